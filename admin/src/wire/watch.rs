//! The lines of a watch: each has a `kind`, and `at` which instant it was seen.

use dg_projections::json::{Json, Object};
use dg_runtime::{DatabaseState, RunView};
use dg_store::RunStatus;

use super::{database, number, object, optional_number, parked, runs, seconds, text};
use crate::server::{Change, Picture, WorkerState};

/// The first line: how things stand, for everybody or for a tenant.
pub(crate) fn picture(picture: &Picture, tenant: Option<&str>, at: &str) -> Json {
    let is_own = |other: &str| tenant.is_none_or(|tenant| tenant == other);
    let mut by_status = Object::new();
    for (_, state) in picture.workers.iter().filter(|(key, _)| is_own(&key.tenant_id)) {
        let count = by_status.get(state.status).and_then(Json::as_i64).unwrap_or(0);
        by_status.insert(state.status.to_owned(), number(count + 1));
    }
    let is_parked = picture.parked.iter().filter(|(tenant, _)| is_own(tenant));
    let active = picture.active_runs().filter(|view| is_own(&view.run.key.tenant_id));
    object([
        ("kind", text("picture")),
        ("at", text(at)),
        ("database", database(&picture.database, None)),
        ("workers", Json::Object(by_status)),
        ("parked", Json::Array(is_parked.map(parked).collect())),
        ("active_runs", Json::Array(active.map(runs::short).collect())),
    ])
}

/// Something that is not as it was.
pub(crate) fn change(change: &Change, at: &str) -> Json {
    let mut line = match change {
        Change::Worker { key, from, to } => object([
            ("tenant_id", text(&key.tenant_id)),
            ("projection_name", text(key.projection.as_str())),
            ("partition", number(i64::from(key.partition))),
            ("from", status(from.as_ref())),
            ("to", status(to.as_ref())),
            ("error_code", error_code(to.as_ref())),
        ]),
        Change::Database(DatabaseState::Up) => object([("to", text("up"))]),
        Change::Database(DatabaseState::Down { reason, .. }) => {
            object([("to", text("down")), ("reason", text(reason))])
        }
        Change::Tenant { tenant, parked } => object([
            ("tenant_id", text(tenant)),
            ("to", text(if parked.is_some() { "parked" } else { "unparked" })),
            ("reason", parked.as_ref().map_or(Json::Null, |parked| text(&parked.reason))),
        ]),
        Change::Run { view, from } => run(view, *from),
        Change::Progress(view) => progress(view),
    };
    if let Json::Object(members) = &mut line {
        members.insert("kind".to_owned(), text(change.kind()));
        members.insert("at".to_owned(), text(at));
    }
    line
}

fn status(state: Option<&WorkerState>) -> Json {
    state.map_or(Json::Null, |state| text(state.status))
}

fn error_code(state: Option<&WorkerState>) -> Json {
    state.and_then(|state| state.error).map_or(Json::Null, |code| text(code.as_str()))
}

/// How many lines there was no room for.
pub(crate) fn missed(count: u64, at: &str) -> Json {
    object([("kind", text("missed")), ("at", text(at)), ("count", number(count as i64))])
}

/// A line about the stream itself.
pub(crate) fn of_the_stream(kind: &str, at: &str) -> Json {
    object([("kind", text(kind)), ("at", text(at))])
}

fn run(view: &RunView, from: Option<RunStatus>) -> Json {
    let run = &view.run;
    object([
        ("tenant_id", text(&run.key.tenant_id)),
        ("run_id", text(&run.key.run_id)),
        ("projection_name", text(&run.projection_name)),
        ("mode", text(run.mode.as_str())),
        ("dry_run", Json::from(run.dry_run)),
        ("from", from.map_or(Json::Null, |status| text(status.as_str()))),
        ("to", text(run.status.as_str())),
        ("phase", Json::from(run.phase.clone())),
        ("processed_events", number(run.processed_events)),
        ("total_events", optional_number(run.total_events)),
        ("is_equal", run.is_equal().map_or(Json::Null, Json::from)),
        ("error_code", Json::from(run.error_code.clone())),
    ])
}

fn progress(view: &RunView) -> Json {
    let run = &view.run;
    object([
        ("tenant_id", text(&run.key.tenant_id)),
        ("run_id", text(&run.key.run_id)),
        ("phase", Json::from(run.phase.clone())),
        ("processed_events", number(run.processed_events)),
        ("total_events", optional_number(run.total_events)),
        ("last_log_seq", number(run.last_log_seq)),
        ("events_per_second", view.events_per_second.map_or(Json::Null, seconds)),
        ("eta_seconds", view.eta_seconds.map_or(Json::Null, seconds)),
    ])
}
