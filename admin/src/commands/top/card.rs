//! What there is to know about one row, as lines of text, with the command that goes on from there.

use dg_projections::json::Json;
use time::OffsetDateTime;

use super::picture::{Pane, Picture};
use super::rows;
use crate::commands::runs;
use crate::output::{
    Format, Output, ago, duration, field, grouped, instant, printable, shell_word, to_the_second,
};

/// The card of the chosen row.
pub(super) fn of(picture: &Picture, now: OffsetDateTime) -> Vec<String> {
    let name = picture.chosen_row().unwrap_or_default();
    let facts = rows::facts(picture, &name);
    match (picture.pane, facts.as_slice()) {
        (_, []) => vec![format!("{name} is not there any more; Esc goes back")],
        (Pane::Tenants, lags) => tenant(&name, lags),
        (Pane::Workers, [worker, ..]) => of_worker(worker, now),
        (Pane::Runs, [run, ..]) => {
            let plain = Output { format: Format::Table, color: false };
            runs::card(plain, run).lines().map(str::to_owned).collect()
        }
        (Pane::Failures, [failure, ..]) => of_failure(failure, now),
    }
}

fn tenant(name: &str, lags: &[Json]) -> Vec<String> {
    let mut lines = vec![line("tenant", name), String::new()];
    for lag in lags {
        let age = lag.get("lag_seconds").and_then(Json::as_f64).unwrap_or(0.0);
        let pending = lag.get("pending_events").and_then(Json::as_i64).unwrap_or(0);
        let place = match pending {
            0 => "current".to_owned(),
            _ => format!("{} events behind, the oldest for {}", grouped(pending), duration(age)),
        };
        let failures = match field(lag, "open_failures").as_str() {
            "0" => String::new(),
            failures => format!(", {failures} open failures"),
        };
        let cursor = match field(lag, "last_log_seq").as_str() {
            "-" => String::new(),
            cursor => format!(", cursor {cursor}"),
        };
        lines.push(line(&field(lag, "projection_name"), &format!("{place}{cursor}{failures}")));
    }
    let is_named = lags.iter().any(|lag| lag.get("tenant_id").is_some_and(|id| !id.is_null()));
    if is_named {
        lines.extend([
            String::new(),
            format!("`decisiongraph health -t {}` says more", shell_word(name)),
        ]);
    }
    lines
}

fn of_worker(worker: &Json, now: OffsetDateTime) -> Vec<String> {
    let error = worker.get("last_error").filter(|error| !error.is_null());
    let of_error = |key| error.map_or_else(|| "-".to_owned(), |error| field(error, key));
    let mut lines = vec![
        line("tenant", &field(worker, "tenant_id")),
        line("projection", &projection(worker)),
        line("state", &field(worker, "status")),
    ];
    if error.is_some() {
        lines.push(line("error", &format!("{}: {}", of_error("code"), of_error("message"))));
        lines.push(line("next retry", &when(worker, "next_retry_at", now)));
        lines.push(line("", &retry(worker)));
        lines.push(line("at event", &of_error("event_id")));
        lines.push(line("log_seq", &of_error("log_seq")));
        lines.push(line("trace", &of_error("trace_id")));
    }
    lines.extend([
        line("cursor", &field(worker, "cursor")),
        line("last sync", &when(worker, "last_sync_at", now)),
        line("syncs", &field(worker, "sync_count")),
        line("retries", &field(worker, "retry_count")),
        line("restarts", &field(worker, "restarts")),
        line("daemon", &field(worker, "owner")),
    ]);
    lines
}

/// With its partition, where there are several.
fn projection(value: &Json) -> String {
    match field(value, "partition").as_str() {
        "0" => field(value, "projection_name"),
        partition => format!("{}, partition {partition}", field(value, "projection_name")),
    }
}

fn of_failure(failure: &Json, now: OffsetDateTime) -> Vec<String> {
    let fact = |name: &str, key: &str| line(name, &field(failure, key));
    vec![
        fact("tenant", "tenant_id"),
        line("projection", &projection(failure)),
        line(
            "error",
            &format!("{}: {}", field(failure, "error_code"), field(failure, "error_message")),
        ),
        line("", &retry(failure)),
        fact("at event", "event_id"),
        fact("log_seq", "log_seq"),
        fact("trace", "trace_id"),
        line("recorded", &when(failure, "recorded_at", now)),
        fact("retries", "retry_count"),
        fact("status", "status"),
        fact("failure", "failure_id"),
    ]
}

/// What is to be done once the cause is mended.
fn retry(value: &Json) -> String {
    let projection = field(value, "projection_name");
    let tenant = shell_word(&field(value, "tenant_id"));
    format!("after mending: `decisiongraph retry {projection} -t {tenant}`")
}

fn line(name: &str, text: &str) -> String {
    format!("{name:<16} {}", printable(text))
}

/// An instant, and how far it is from now.
fn when(value: &Json, key: &str, now: OffsetDateTime) -> String {
    match instant(value, key) {
        Some(at) => format!("{} UTC, {}", to_the_second(at), ago(at, now)),
        None => "-".to_owned(),
    }
}
