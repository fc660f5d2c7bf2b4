//! A run as people read it: a card of its own, a line among others, how far it is.

use dg_projections::event::rfc3339;
use dg_projections::json::Json;
use time::OffsetDateTime;

use crate::cli::Session;
use crate::output::{Output, duration, field, grouped, instant, printable, since};
use crate::wire::difference_of;

/// Characters of a reason among others.
const SHORT_REASON: usize = 40;

fn number(value: &Json, key: &str) -> Option<i64> {
    value.get(key).and_then(Json::as_i64)
}

pub(super) fn word<'a>(value: &'a Json, key: &str) -> Option<&'a str> {
    value.get(key).and_then(Json::as_str)
}

pub(super) fn is(value: &Json, key: &str) -> Option<bool> {
    value.get(key).and_then(Json::as_bool)
}

/// What is done at what.
pub(in crate::commands) fn what(run: &Json) -> String {
    let scope = match word(run, "projection_name") {
        Some("all") => "all projections".to_owned(),
        _ => field(run, "projection_name"),
    };
    let until = number(run, "until_log_seq");
    let until = until.map_or(String::new(), |until| format!(" up to log_seq {}", grouped(until)));
    format!("{} of {scope}{until}", mode(run))
}

pub(in crate::commands) fn mode(run: &Json) -> String {
    match is(run, "dry_run") {
        Some(true) => "dry run".to_owned(),
        _ => field(run, "mode"),
    }
}

/// Where it is in its life, and what it is at.
pub(super) fn state(run: &Json) -> String {
    match (word(run, "status"), word(run, "phase")) {
        (Some("queued"), _) => "queued: waits for its turn".to_owned(),
        (Some("interrupted"), _) => "interrupted: resume it, or cancel it to drop it".to_owned(),
        (Some(status), Some(phase)) => format!("{status}: {}", printable(phase)),
        _ => field(run, "status"),
    }
}

/// How many of how many events.
pub(super) fn progress(run: &Json) -> String {
    let done = field(run, "processed_events");
    match (number(run, "total_events"), percent(run)) {
        (Some(total), Some(percent)) => format!("{done} of {} events ({percent})", grouped(total)),
        (Some(total), None) => format!("{done} of {} events", grouped(total)),
        _ => format!("{done} events"),
    }
}

/// None where there is nothing to be done, or nobody knows how much.
pub(in crate::commands) fn percent(run: &Json) -> Option<String> {
    let (done, total) = (number(run, "processed_events")?, number(run, "total_events")?);
    let percent = done.saturating_mul(100).checked_div(total)?;
    Some(format!("{percent} %"))
}

/// Events a second, and how long the rest takes; nothing before anything is known.
pub(super) fn rate(run: &Json) -> Option<String> {
    let rate = run.get("events_per_second").and_then(Json::as_f64)?;
    let rate = format!("{} events/s", grouped(rate as i64));
    let left = run.get("eta_seconds").and_then(Json::as_f64);
    Some(left.map_or(rate.clone(), |left| format!("{rate}, {} left", duration(left))))
}

/// How long it took, or has taken so far.
fn took(run: &Json) -> Option<String> {
    let started = instant(run, "started_at")?;
    let finished = match word(run, "status")? {
        "running" => OffsetDateTime::now_utc(),
        _ => instant(run, "finished_at")?,
    };
    Some(duration((finished - started).as_seconds_f64().max(0.0)))
}

/// Everything about a run.
pub(in crate::commands) fn card(output: Output, run: &Json) -> String {
    let lines = [
        ("run", Some(field(run, "run_id"))),
        ("tenant", Some(field(run, "tenant_id"))),
        ("what", Some(what(run))),
        ("status", Some(state(run))),
        ("progress", Some(progress(run))),
        ("rate", rate(run)),
        ("result", result(run).map(str::to_owned)),
        ("error", word(run, "error_message").map(|_| error(run))),
        ("reason", Some(field(run, "reason"))),
        ("requested", when(run, "requested_at", "by", Some("requested_by"))),
        ("started", when(run, "started_at", "by daemon", Some("owner"))),
        ("finished", when(run, "finished_at", "", None)),
        ("took", took(run)),
    ];
    let lines = lines.into_iter().filter_map(|(name, text)| Some(format!("{name:<11}{}", text?)));
    let steps = run.get("steps").and_then(Json::as_array).unwrap_or_default();
    let table = output.table(&STEP_HEAD, steps.iter().map(step).collect());
    let remarks = steps.iter().filter_map(remark);
    let card: Vec<String> = lines.chain([String::new(), table]).chain(remarks).collect();
    card.join("\n")
}

fn error(run: &Json) -> String {
    format!("{}: {}", field(run, "error_code"), field(run, "error_message"))
}

fn when(run: &Json, key: &str, by: &str, who: Option<&str>) -> Option<String> {
    let at = rfc3339(instant(run, key)?);
    let who = who.and_then(|who| word(run, who));
    Some(who.map_or(at.clone(), |who| format!("{at} {by} {}", printable(who))))
}

/// What came of the comparison: equal only when there is nothing left to compare.
fn result(run: &Json) -> Option<&'static str> {
    match is(run, "is_equal")? {
        true => (word(run, "status") == Some("completed")).then_some("equal"),
        false => Some("different"),
    }
}

const STEP_HEAD: [&str; 6] =
    ["projection", "generation", "events", "cursor", "compared", "switched"];

fn step(step: &Json) -> Vec<String> {
    let compared = match (number(step, "compared_log_seq"), difference_of(step)) {
        (Some(at), None) => format!("equal at log_seq {}", grouped(at)),
        (Some(at), Some(_)) => format!("DIFFERENT at log_seq {}", grouped(at)),
        (None, _) if word(step, "not_compared").is_some() => "not compared".to_owned(),
        (None, _) => "-".to_owned(),
    };
    let switched = match (word(step, "switched_at"), number(step, "switch_ms")) {
        (Some(_), Some(took)) => format!("in {} ms", grouped(took)),
        (Some(_), None) => "yes".to_owned(),
        (None, _) => "-".to_owned(),
    };
    let cells = ["projection_name", "generation", "processed_events", "last_log_seq"];
    let cells = cells.iter().map(|name| field(step, name));
    cells.chain([compared, switched]).collect()
}

/// What of a step does not fit into its line.
fn remark(step: &Json) -> Option<String> {
    let name = field(step, "projection_name");
    match (difference_of(step), word(step, "not_compared")) {
        (Some(difference), _) => {
            Some(format!("DIFFERENT: {name}: {}", printable(&difference.to_string())))
        }
        (None, Some(why)) => Some(format!("not compared: {name}: {}", printable(why))),
        (None, None) => None,
    }
}

/// A line a run.
pub(super) fn history(session: &Session, runs: &[Json]) -> String {
    let head = [
        "run",
        "tenant",
        "mode",
        "projection",
        "status",
        "progress",
        "started",
        "took",
        "result",
        "reason",
    ];
    session.output.table(&head, runs.iter().map(line).collect())
}

fn line(run: &Json) -> Vec<String> {
    let known = |text: Option<String>| text.unwrap_or_else(|| "-".to_owned());
    let result = word(run, "error_code").or_else(|| result(run));
    vec![
        field(run, "run_id"),
        field(run, "tenant_id"),
        mode(run),
        field(run, "projection_name"),
        field(run, "status"),
        known(percent(run)),
        since(run, "started_at"),
        known(took(run)),
        known(result.map(str::to_owned)),
        short(&field(run, "reason")),
    ]
}

fn short(reason: &str) -> String {
    if reason.chars().count() <= SHORT_REASON {
        return reason.to_owned();
    }
    let short: String = reason.chars().take(SHORT_REASON - 1).collect();
    format!("{}…", short.trim_end())
}

#[cfg(test)]
mod tests {
    use dg_projections::json::parse;

    use super::*;

    #[test]
    fn how_far_a_run_is_reads_well() {
        let run = |text: &str| parse(text).unwrap();
        let half = run(r#"{"processed_events":160000,"total_events":480000,"until_log_seq":160000,
            "events_per_second":25300.5,"eta_seconds":12.6,"projection_name":"all",
            "mode":"replay","status":"running","phase":"replaying"}"#);
        assert_eq!(progress(&half), "160,000 of 480,000 events (33 %)");
        assert_eq!(rate(&half).unwrap(), "25,300 events/s, 12.6 s left");
        assert_eq!(what(&half), "replay of all projections up to log_seq 160,000");
        assert_eq!(state(&half), "running: replaying");
        let none =
            run(r#"{"processed_events":0,"total_events":0,"projection_name":"trace_summary",
            "mode":"rebuild","dry_run":true,"status":"queued"}"#);
        assert_eq!(progress(&none), "0 of 0 events");
        assert_eq!(rate(&none), None);
        assert_eq!(what(&none), "dry run of trace_summary");
        assert_eq!(state(&none), "queued: waits for its turn");
    }

    #[test]
    fn a_long_reason_is_cut_and_a_short_one_is_not() {
        assert_eq!(short(&"x".repeat(40)), "x".repeat(40));
        assert_eq!(short(&"é".repeat(41)), format!("{}…", "é".repeat(39)));
    }
}
