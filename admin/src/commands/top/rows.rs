//! The lists as rows of text: which columns each has, how it is sorted, what a filter leaves.

use dg_projections::json::Json;
use time::OffsetDateTime;

use super::ask::WORKER_STATES;
use super::picture::{Pane, Picture};
use crate::commands::runs::{mode, percent};
use crate::output::{ago, duration, field, grouped, instant, printable};

/// A column.
#[derive(Debug)]
pub(super) struct Column {
    pub(super) head: &'static str,
    /// Cells it takes at eighty; the last one of a list has what is left, the first a third of it.
    pub(super) width: u16,
    /// Numbers stand at its right.
    pub(super) is_number: bool,
}

const fn text(head: &'static str, width: u16) -> Column {
    Column { head, width, is_number: false }
}

const fn number(head: &'static str, width: u16) -> Column {
    Column { head, width, is_number: true }
}

/// A row.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Row {
    /// It alone has it in its list.
    pub(super) name: String,
    pub(super) cells: Vec<String>,
    /// By which it is sorted, upwards, in each order of its list.
    ranks: Vec<(i64, String)>,
}

/// What a list may be sorted by; the first is the one it begins with.
pub(super) const fn orders(pane: Pane) -> &'static [&'static str] {
    match pane {
        Pane::Tenants => &["lag", "failures", "name"],
        Pane::Workers => &["state", "retries", "name"],
        Pane::Runs => &["newest", "state", "tenant"],
        Pane::Failures => &["newest", "code", "tenant"],
    }
}

pub(super) const fn columns(pane: Pane) -> &'static [Column] {
    match pane {
        Pane::Tenants => {
            const {
                &[
                    text("tenant", 22),
                    text("state", 7),
                    number("pending", 11),
                    number("lag", 11),
                    number("failures", 8),
                    text("behind", 0),
                ]
            }
        }
        Pane::Workers => {
            const {
                &[
                    text("tenant", 18),
                    text("projection", 17),
                    text("state", 11),
                    number("cursor", 9),
                    number("retries", 7),
                    text("last error", 0),
                ]
            }
        }
        Pane::Runs => {
            const {
                &[
                    text("tenant", 11),
                    text("what", 23),
                    text("state", 11),
                    text("progress", 12),
                    number("events/s", 8),
                    text("time", 0),
                ]
            }
        }
        Pane::Failures => {
            const {
                &[
                    text("tenant", 14),
                    text("projection", 17),
                    number("log_seq", 8),
                    text("since", 10),
                    text("code", 16),
                    text("message", 0),
                ]
            }
        }
    }
}

/// The rows of the list that is on the screen, in order, as far as the filter lets them through.
pub(super) fn of(picture: &Picture) -> Vec<Row> {
    let mut rows = all(picture, picture.pane);
    let wanted = picture.filter.to_lowercase();
    rows.retain(|row| row.cells.iter().any(|cell| cell.to_lowercase().contains(&wanted)));
    let order = picture.order[picture.pane as usize];
    rows.sort_by(|a, b| a.ranks[order].cmp(&b.ranks[order]));
    rows
}

fn all(picture: &Picture, pane: Pane) -> Vec<Row> {
    let (known, now) = (&picture.known, picture.heard_at);
    let list = |answer: &Option<Json>| -> Vec<Json> {
        answer.as_ref().and_then(Json::as_array).unwrap_or_default().to_vec()
    };
    match pane {
        Pane::Tenants => tenants(&list(&known.lags)),
        Pane::Workers => known.workers.iter().flatten().map(worker).collect(),
        Pane::Runs => {
            list(&known.runs).iter().enumerate().map(|(place, one)| run(place, one)).collect()
        }
        Pane::Failures => known.failures.iter().flatten().map(|one| failure(one, now)).collect(),
    }
}

/// What a row is made of, for the card about it: one object, of a tenant one a projection.
pub(super) fn facts(picture: &Picture, name: &str) -> Vec<Json> {
    let known = &picture.known;
    let (items, named): (Vec<Json>, fn(&Json) -> String) = match picture.pane {
        Pane::Tenants => (of_answer(known.lags.as_ref()), tenant_name),
        Pane::Workers => (known.workers.clone().unwrap_or_default(), worker_name),
        Pane::Runs => (of_answer(known.runs.as_ref()), |run| field(run, "run_id")),
        Pane::Failures => {
            (known.failures.clone().unwrap_or_default(), |failure| field(failure, "failure_id"))
        }
    };
    items.into_iter().filter(|item| named(item) == name).collect()
}

fn of_answer(answer: Option<&Json>) -> Vec<Json> {
    answer.and_then(Json::as_array).unwrap_or_default().to_vec()
}

fn integer(value: &Json, key: &str) -> i64 {
    value.get(key).and_then(Json::as_i64).unwrap_or(0)
}

/// The others together have no name of their own.
fn tenant_name(lag: &Json) -> String {
    match lag.get("tenant_id").and_then(Json::as_str) {
        Some(tenant) => printable(tenant),
        None => "(all others)".to_owned(),
    }
}

/// A row a tenant of the lags, which are told by projection. The others stand last in every order.
fn tenants(lags: &[Json]) -> Vec<Row> {
    let mut names: Vec<String> = lags.iter().map(tenant_name).collect();
    names.dedup();
    let row = |name: String| {
        let own: Vec<&Json> = lags.iter().filter(|lag| tenant_name(lag) == name).collect();
        let pending = own.iter().map(|lag| integer(lag, "pending_events")).max().unwrap_or(0);
        let failures: i64 = own.iter().map(|lag| integer(lag, "open_failures")).sum();
        let age = |lag: &&&Json| lag.get("lag_seconds").and_then(Json::as_f64).unwrap_or(0.0);
        let age = own.iter().map(|lag| age(&lag)).fold(0.0, f64::max);
        let behind = own.iter().filter(|lag| integer(lag, "pending_events") > 0);
        let behind: Vec<String> = behind.map(|lag| field(lag, "projection_name")).collect();
        let state = match (failures, pending) {
            (1.., _) => "failed",
            (_, 1..) => "behind",
            _ => "current",
        };
        let is_others = own.iter().all(|lag| lag.get("tenant_id").is_none_or(Json::is_null));
        let last = |rank: i64| if is_others { i64::MAX } else { rank };
        let behind = match behind.len() {
            0 => "-".to_owned(),
            count if count == own.len() && count > 1 => "all".to_owned(),
            _ => behind.join(", "),
        };
        Row {
            ranks: vec![
                (last(-pending), name.clone()),
                (last(-failures), name.clone()),
                (last(0), name.clone()),
            ],
            cells: vec![
                name.clone(),
                state.to_owned(),
                grouped(pending),
                if age > 0.0 { duration(age) } else { "-".to_owned() },
                grouped(failures),
                behind,
            ],
            name,
        }
    };
    names.into_iter().map(row).collect()
}

fn worker_name(worker: &Json) -> String {
    let [tenant, projection, partition] =
        ["tenant_id", "projection_name", "partition"].map(|key| field(worker, key));
    format!("{tenant}/{projection}/{partition}")
}

fn worker(worker: &Json) -> Row {
    let name = worker_name(worker);
    let state = field(worker, "status");
    let severity = WORKER_STATES.iter().position(|one| *one == state).unwrap_or(usize::MAX);
    let error = worker.get("last_error").filter(|error| !error.is_null());
    let error = error.map_or_else(|| "-".to_owned(), |error| field(error, "message"));
    let projection = match integer(worker, "partition") {
        0 => field(worker, "projection_name"),
        partition => format!("{}/{partition}", field(worker, "projection_name")),
    };
    Row {
        ranks: vec![
            (severity as i64, name.clone()),
            (-integer(worker, "retry_count"), name.clone()),
            (0, name.clone()),
        ],
        cells: vec![
            field(worker, "tenant_id"),
            projection,
            state,
            field(worker, "cursor"),
            field(worker, "retry_count"),
            error,
        ],
        name,
    }
}

/// Cells of a bar of progress.
const BAR: usize = 6;

fn run(place: usize, run: &Json) -> Row {
    let name = field(run, "run_id");
    let state = field(run, "status");
    let states = ["running", "queued", "interrupted", "failed", "cancelled", "completed"];
    let rank = states.iter().position(|one| *one == state).unwrap_or(states.len()) as i64;
    let known = |text: Option<String>| text.unwrap_or_else(|| "-".to_owned());
    let rate = run.get("events_per_second").and_then(Json::as_f64);
    let left = run.get("eta_seconds").and_then(Json::as_f64);
    let time = left.map(|left| format!("eta {}", duration(left)));
    let ended = instant(run, "finished_at");
    let took = ended.zip(instant(run, "started_at"));
    let took = took.map(|(end, start)| (end - start).as_seconds_f64().max(0.0));
    Row {
        ranks: vec![
            (place as i64, String::new()),
            (rank, name.clone()),
            (0, format!("{} {place:05}", field(run, "tenant_id"))),
        ],
        cells: vec![
            field(run, "tenant_id"),
            format!("{} {}", mode(run), field(run, "projection_name")),
            state,
            known(percent(run).map(|percent| format!("{} {percent}", bar(run)))),
            known(rate.map(|rate| grouped(rate as i64))),
            known(time.or_else(|| took.map(duration))),
        ],
        name,
    }
}

/// How much of it is done, in sixths. A shape, so that it reads without colour.
fn bar(run: &Json) -> String {
    let (done, total) = (integer(run, "processed_events"), integer(run, "total_events"));
    let done = done.saturating_mul(BAR as i64).checked_div(total).unwrap_or(0);
    let done = usize::try_from(done).unwrap_or(0).min(BAR);
    format!("{}{}", "█".repeat(done), "░".repeat(BAR - done))
}

fn failure(failure: &Json, now: OffsetDateTime) -> Row {
    let name = field(failure, "failure_id");
    let at = instant(failure, "recorded_at");
    let newest = at.map_or(0, |at| -at.unix_timestamp());
    Row {
        ranks: vec![
            (newest, name.clone()),
            (0, field(failure, "error_code")),
            (0, field(failure, "tenant_id")),
        ],
        cells: vec![
            field(failure, "tenant_id"),
            field(failure, "projection_name"),
            field(failure, "log_seq"),
            at.map_or_else(|| "-".to_owned(), |at| ago(at, now)),
            field(failure, "error_code"),
            field(failure, "error_message"),
        ],
        name,
    }
}
