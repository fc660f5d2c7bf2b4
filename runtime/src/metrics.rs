//! The runtime's metrics: names and descriptions in one place.
//!
//! Counters move where things happen; gauges are set when somebody looks, so none
//! freezes when traffic stops. Labels come from closed sets, but for tenants: see [`tenants`].

pub mod tenants;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use dg_projections::Code;
use dg_projections::projection::Projection;
use dg_store::{RunMode, RunStatus};
use metrics::{counter, describe_counter, describe_gauge, describe_histogram, gauge, histogram};
use time::OffsetDateTime;

use crate::Snapshot;
use crate::supervisor::{ChildInfo, ChildState, End, Key, Observer, Report};

const RESTARTS: &str = "decisiongraph_supervisor_restarts_total";
const ESCALATIONS: &str = "decisiongraph_supervisor_escalations_total";
const CHILDREN: &str = "decisiongraph_supervisor_children";
const WORKERS: &str = "decisiongraph_projection_workers";
const PARKED: &str = "decisiongraph_tenants_parked";
const STORE_UP: &str = "decisiongraph_store_up";
const POOL: &str = "decisiongraph_store_pool_connections";
const ERRORS: &str = "decisiongraph_store_errors_total";
const APPENDED: &str = "decisiongraph_store_append_events_total";
const APPEND_SECONDS: &str = "decisiongraph_store_append_duration_seconds";
const APPEND_BATCH: &str = "decisiongraph_store_append_batch_events";
const APPEND_BYTES: &str = "decisiongraph_store_append_bytes_total";
const READ_SECONDS: &str = "decisiongraph_store_read_batch_duration_seconds";
const READ_BATCH: &str = "decisiongraph_store_read_batch_events";
const APPLIED: &str = "decisiongraph_projection_events_applied_total";
const BATCH_SECONDS: &str = "decisiongraph_projection_batch_duration_seconds";
const VISIBLE_SECONDS: &str = "decisiongraph_projection_append_to_visible_seconds";
const RETRIES: &str = "decisiongraph_projection_retries_total";
const FAILURES: &str = "decisiongraph_projection_failures_total";
const MISMATCHES: &str = "decisiongraph_projection_count_mismatches_total";
const LAST_CYCLE: &str = "decisiongraph_projection_last_cycle_timestamp_seconds";
const DIGEST_SECONDS: &str = "decisiongraph_projection_digest_duration_seconds";
const RUNS: &str = "decisiongraph_replay_runs";
const RUN_SECONDS: &str = "decisiongraph_replay_duration_seconds";
const RUN_EVENTS: &str = "decisiongraph_replay_events_total";

/// Which supervisor, as a label: all tenants' are one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Label {
    Root,
    Lanes,
    Tenants,
    Tenant,
    Replays,
}

impl Label {
    const fn as_str(self) -> &'static str {
        match self {
            Label::Root => "root",
            Label::Lanes => "lanes",
            Label::Tenants => "tenants",
            Label::Tenant => "tenant",
            Label::Replays => "replays",
        }
    }
}

/// Tells a recorder what the metrics mean, and makes those of no event yet appear as 0.
pub fn describe() {
    describe_projections();
    describe_runs();
    describe_counter!(RESTARTS, "Children that ended and made their supervisor restart them.");
    describe_counter!(
        ESCALATIONS,
        "Supervisors that gave up: more restarts than their intensity allows."
    );
    describe_gauge!(CHILDREN, "Children of a supervisor by state.");
    describe_gauge!(WORKERS, "Projection workers by projection and status.");
    describe_gauge!(PARKED, "Tenants whose workers crash for ever and that wait for an operator.");
    describe_gauge!(STORE_UP, "Whether the database answers: 1 or 0.");
    describe_gauge!(POOL, "Connections of the pool by state.");
    describe_counter!(ERRORS, "Calls to the database that failed, by stable code.");
    describe_counter!(
        APPENDED,
        "Events of append requests by result: inserted, reused, or the code of the refusal."
    );
    describe_histogram!(APPEND_SECONDS, "How long an append transaction took.");
    describe_histogram!(APPEND_BATCH, "Events that shared an append transaction.");
    describe_counter!(APPEND_BYTES, "Payload of inserted events, in bytes.");
    describe_histogram!(READ_SECONDS, "How long a page of the log took to read.");
    describe_histogram!(READ_BATCH, "Events of a page of the log.");
    describe_histogram!(DIGEST_SECONDS, "How long a digest of a projection's rows took.");
    store_is_down(); // until somebody has looked
    for result in ["inserted", "reused"] {
        counter!(APPENDED, "result" => result).increment(0);
    }
    for label in [Label::Root, Label::Lanes, Label::Tenants, Label::Tenant, Label::Replays] {
        counter!(RESTARTS, "supervisor" => label.as_str()).increment(0);
        counter!(ESCALATIONS, "supervisor" => label.as_str()).increment(0);
    }
}

fn describe_projections() {
    describe_counter!(APPLIED, "Events applied, by tenant as far as tenants have labels.");
    describe_histogram!(BATCH_SECONDS, "How long each phase of an applied batch took.");
    describe_histogram!(
        VISIBLE_SECONDS,
        "From the recording of a batch's first event, the oldest, to the commit that applied it."
    );
    describe_counter!(RETRIES, "Waits that workers began before another try, by stable code.");
    describe_counter!(FAILURES, "Workers that failed and wait for an operator, by stable code.");
    describe_counter!(
        MISMATCHES,
        "Times that the log and a projection at its end had different counts of events."
    );
    describe_gauge!(LAST_CYCLE, "When a worker last applied a batch or found nothing to apply.");
    for projection in Projection::ALL {
        counter!(MISMATCHES, "projection" => projection.as_str()).increment(0);
    }
}

fn describe_runs() {
    describe_gauge!(RUNS, "Runs by mode and status, those of the past included.");
    describe_histogram!(RUN_SECONDS, "How long a run that has completed was at work.");
    describe_counter!(RUN_EVENTS, "Events that runs have applied.");
    for mode in RunMode::ALL {
        counter!(RUN_EVENTS, "mode" => mode.as_str()).increment(0);
    }
}

/// Counts what a supervisor reports, then tells `then`.
pub(crate) fn counting<K: Key>(
    label: Label,
    then: impl Fn(&Report<K>) + Send + Sync + 'static,
) -> Observer<K> {
    Arc::new(move |report| {
        match report {
            Report::Exited { orderly: false, .. } => {
                counter!(RESTARTS, "supervisor" => label.as_str()).increment(1);
            }
            Report::Ending { why: End::Intensity } => {
                counter!(ESCALATIONS, "supervisor" => label.as_str()).increment(1);
            }
            _ => {}
        }
        then(report);
    })
}

/// A call to the database failed.
pub(crate) fn count_error(code: Code) {
    counter!(ERRORS, "code" => code.as_str()).increment(1);
}

/// An append transaction was answered.
pub(crate) fn count_append_batch(events: usize, bytes: usize, took: Duration) {
    histogram!(APPEND_SECONDS).record(took.as_secs_f64());
    histogram!(APPEND_BATCH).record(events as f64);
    counter!(APPEND_BYTES).increment(bytes as u64);
}

/// Appends of events ended so: `inserted`, `reused`, or a code.
pub(crate) fn count_appends(result: &'static str, events: usize) {
    counter!(APPENDED, "result" => result).increment(events as u64);
}

/// A page of the log was read.
pub(crate) fn count_read(events: usize, took: Duration) {
    histogram!(READ_SECONDS).record(took.as_secs_f64());
    histogram!(READ_BATCH).record(events as f64);
}

/// A batch was committed after these durations of its phases: read, project, commit.
pub(crate) fn count_batch(projection: Projection, took: [Duration; 3]) {
    for (phase, took) in ["read", "project", "commit"].into_iter().zip(took) {
        histogram!(BATCH_SECONDS, "projection" => projection.as_str(), "phase" => phase)
            .record(took.as_secs_f64());
    }
}

/// The first event of a batch became visible so long after it was recorded.
pub(crate) fn count_visible(projection: Projection, after: Duration) {
    histogram!(VISIBLE_SECONDS, "projection" => projection.as_str()).record(after.as_secs_f64());
}

/// Events were applied.
pub(crate) fn count_applied(tenant: &str, projection: Projection, events: usize) {
    let tenant = tenants::label(tenant);
    counter!(APPLIED, "tenant" => tenant, "projection" => projection.as_str())
        .increment(events as u64);
}

/// A run applied events.
pub(crate) fn count_run_events(mode: RunMode, events: usize) {
    counter!(RUN_EVENTS, "mode" => mode.as_str()).increment(events as u64);
}

/// A run has completed after so much work.
pub(crate) fn time_run(mode: RunMode, took: Duration) {
    histogram!(RUN_SECONDS, "mode" => mode.as_str()).record(took.as_secs_f64());
}

/// Sets the gauges of runs, also where there are none.
pub(crate) fn publish_runs(counts: &[(RunMode, RunStatus, i64)]) {
    for mode in RunMode::ALL {
        for status in RunStatus::ALL {
            let of = |(m, s, _): &&(RunMode, RunStatus, i64)| (*m, *s) == (mode, status);
            let count = counts.iter().find(of).map_or(0, |(_, _, count)| *count);
            gauge!(RUNS, "mode" => mode.as_str(), "status" => status.as_str()).set(count as f64);
        }
    }
}

/// A worker waits before it tries again.
pub(crate) fn count_retry(projection: Projection, code: Code) {
    counter!(RETRIES, "projection" => projection.as_str(), "code" => code.as_str()).increment(1);
}

/// A worker failed.
pub(crate) fn count_failure(projection: Projection, code: Code) {
    counter!(FAILURES, "projection" => projection.as_str(), "code" => code.as_str()).increment(1);
}

/// The log and a projection have different counts.
pub(crate) fn count_mismatch(projection: Projection) {
    counter!(MISMATCHES, "projection" => projection.as_str()).increment(1);
}

/// A worker applied a batch or found the tail.
pub(crate) fn note_cycle(projection: Projection, now: OffsetDateTime) {
    gauge!(LAST_CYCLE, "projection" => projection.as_str())
        .set(now.unix_timestamp_nanos() as f64 / 1e9);
}

/// A digest of a projection was computed.
pub(crate) fn time_digest(projection: Projection, took: Duration) {
    histogram!(DIGEST_SECONDS, "projection" => projection.as_str()).record(took.as_secs_f64());
}

/// The daemon has no database yet.
pub fn store_is_down() {
    gauge!(STORE_UP).set(0.0);
}

/// Sets the gauges of the database, and of the pool: connections in use, idle, and how many there
/// may be.
pub(crate) fn publish_store(is_up: bool, (open, idle, most): (usize, usize, usize)) {
    gauge!(STORE_UP).set(if is_up { 1.0 } else { 0.0 });
    for (state, count) in [("used", open.saturating_sub(idle)), ("idle", idle), ("max", most)] {
        gauge!(POOL, "state" => state).set(count as f64);
    }
}

/// Sets the gauges from a fresh picture.
pub(crate) fn publish(snapshot: &Snapshot, projections: &[&'static str]) {
    gauge!(PARKED).set(snapshot.parked.len() as f64);
    // The registry knows those that run; what restarts is in no table for so short a time.
    gauge!(CHILDREN, "supervisor" => Label::Tenant.as_str(), "state" => "running")
        .set(snapshot.workers.len() as f64);
    let mut workers: BTreeMap<(&'static str, &'static str), u64> = BTreeMap::new();
    for projection in projections {
        for status in crate::worker::State::STATUSES {
            workers.insert((projection, status), 0);
        }
    }
    for (worker, _) in &snapshot.workers {
        *workers.entry((worker.key.projection.as_str(), worker.status)).or_default() += 1;
    }
    for ((projection, status), count) in workers {
        gauge!(WORKERS, "projection" => projection, "status" => status).set(count as f64);
    }
}

/// Sets the gauges of a supervisor's children.
pub(crate) fn publish_children<K: Key>(label: Label, children: &[ChildInfo<K>]) {
    let count = |wanted: fn(&ChildState) -> bool| {
        children.iter().filter(|child| wanted(&child.state)).count()
    };
    let counts = [
        ("running", count(|state| matches!(state, ChildState::Running(_)))),
        ("restarting", count(|state| matches!(state, ChildState::Restarting))),
        ("stopped", count(|state| matches!(state, ChildState::Stopped))),
    ];
    for (state, count) in counts {
        gauge!(CHILDREN, "supervisor" => label.as_str(), "state" => state).set(count as f64);
    }
}
