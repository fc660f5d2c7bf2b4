//! The runtime's metrics: their names and what moves them in one place; what they mean in `describe`.
//!
//! Counters move where things happen; gauges are written when somebody looks, so none freezes when
//! traffic stops, or the database does. Labels come from closed sets, but for tenants: see
//! [`tenants`].

mod describe;
pub(crate) mod gauges;
mod mismatches;
mod page;
pub mod tenants;

use std::sync::Arc;
use std::time::Duration;

use dg_projections::Code;
use dg_projections::projection::Projection;
use dg_store::RunMode;
use metrics::{Counter, Histogram, counter, gauge, histogram};
use time::OffsetDateTime;

use crate::supervisor::{End, Key, Observer, Report};
pub use describe::describe;
use mismatches::FoundBy;
pub use page::{Family, Page};

const RESTARTS: &str = "decisiongraph_supervisor_restarts_total";
const ESCALATIONS: &str = "decisiongraph_supervisor_escalations_total";
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
const RUN_SECONDS: &str = "decisiongraph_replay_duration_seconds";
const RUN_EVENTS: &str = "decisiongraph_replay_events_total";

/// Results of an append beside the codes.
pub(crate) const INSERTED: &str = "inserted";
pub(crate) const REUSED: &str = "reused";
const PHASES: [&str; 3] = ["read", "project", "commit"];

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
    const ALL: [Label; 5] =
        [Label::Root, Label::Lanes, Label::Tenants, Label::Tenant, Label::Replays];

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

// Each of them in one place, so that what appears at 0 is what moves later.

fn restarts(label: Label) -> Counter {
    counter!(RESTARTS, "supervisor" => label.as_str())
}

fn escalations(label: Label) -> Counter {
    counter!(ESCALATIONS, "supervisor" => label.as_str())
}

fn errors(code: Code) -> Counter {
    counter!(ERRORS, "code" => code.as_str())
}

fn appended(result: &'static str) -> Counter {
    counter!(APPENDED, "result" => result)
}

fn retries(projection: Projection, code: Code) -> Counter {
    counter!(RETRIES, "projection" => projection.as_str(), "code" => code.as_str())
}

fn failures(projection: Projection, code: Code) -> Counter {
    counter!(FAILURES, "projection" => projection.as_str(), "code" => code.as_str())
}

fn mismatches_of(projection: Projection) -> Counter {
    counter!(MISMATCHES, "projection" => projection.as_str())
}

fn batch_seconds(projection: Projection, phase: &'static str) -> Histogram {
    histogram!(BATCH_SECONDS, "projection" => projection.as_str(), "phase" => phase)
}

fn visible_seconds(projection: Projection) -> Histogram {
    histogram!(VISIBLE_SECONDS, "projection" => projection.as_str())
}

fn digest_seconds(projection: Projection) -> Histogram {
    histogram!(DIGEST_SECONDS, "projection" => projection.as_str())
}

fn run_events(mode: RunMode) -> Counter {
    counter!(RUN_EVENTS, "mode" => mode.as_str())
}

fn run_seconds(mode: RunMode) -> Histogram {
    histogram!(RUN_SECONDS, "mode" => mode.as_str())
}

/// The gauges of a daemon whose runtime does not run yet: nothing is known.
pub fn gauges_at_start() -> Page {
    gauges::Found::default().page()
}

/// Counts what a supervisor reports, then tells `then`.
pub(crate) fn counting<K: Key>(
    label: Label,
    then: impl Fn(&Report<K>) + Send + Sync + 'static,
) -> Observer<K> {
    Arc::new(move |report| {
        match report {
            Report::Exited { orderly: false, .. } => {
                restarts(label).increment(1);
            }
            Report::Ending { why: End::Intensity } => {
                escalations(label).increment(1);
            }
            _ => {}
        }
        then(report);
    })
}

/// A call to the database failed.
pub(crate) fn count_error(code: Code) {
    errors(code).increment(1);
}

/// An append transaction was answered.
pub(crate) fn count_append_batch(events: usize, bytes: usize, took: Duration) {
    histogram!(APPEND_SECONDS).record(took.as_secs_f64());
    histogram!(APPEND_BATCH).record(events as f64);
    counter!(APPEND_BYTES).increment(bytes as u64);
}

/// Appends of events ended so: [`INSERTED`], [`REUSED`], or a code.
pub(crate) fn count_appends(result: &'static str, events: usize) {
    appended(result).increment(events as u64);
}

/// A page of the log was read.
pub(crate) fn count_read(events: usize, took: Duration) {
    histogram!(READ_SECONDS).record(took.as_secs_f64());
    histogram!(READ_BATCH).record(events as f64);
}

/// A batch was committed after these durations of its phases: read, project, commit.
pub(crate) fn count_batch(projection: Projection, took: [Duration; 3]) {
    for (phase, took) in PHASES.into_iter().zip(took) {
        batch_seconds(projection, phase).record(took.as_secs_f64());
    }
}

/// The first event of a batch became visible so long after it was recorded.
pub(crate) fn count_visible(projection: Projection, after: Duration) {
    visible_seconds(projection).record(after.as_secs_f64());
}

/// Events were applied.
pub(crate) fn count_applied(tenant: &str, projection: Projection, events: usize) {
    let tenant = tenants::label(tenant);
    counter!(APPLIED, "tenant" => tenant, "projection" => projection.as_str())
        .increment(events as u64);
}

/// A run applied events.
pub(crate) fn count_run_events(mode: RunMode, events: usize) {
    run_events(mode).increment(events as u64);
}

/// A run has completed after so much work.
pub(crate) fn time_run(mode: RunMode, took: Duration) {
    run_seconds(mode).record(took.as_secs_f64());
}

/// A worker waits before it tries again.
pub(crate) fn count_retry(projection: Projection, code: Code) {
    retries(projection, code).increment(1);
}

/// A worker failed.
pub(crate) fn count_failure(projection: Projection, code: Code) {
    failures(projection, code).increment(1);
}

/// The log and a projection of a tenant have different counts.
pub(crate) fn count_mismatch(tenant: &str, projection: Projection) {
    mismatches_of(projection).increment(1);
    mismatches::note(tenant, projection, FoundBy::Count);
}

/// A projection of a tenant has other rows than the log gives.
pub(crate) fn note_difference(tenant: &str, projection: Projection) {
    mismatches::note(tenant, projection, FoundBy::Comparison);
}

/// A worker applied a batch or found the tail.
pub(crate) fn note_cycle(projection: Projection, now: OffsetDateTime) {
    gauge!(LAST_CYCLE, "projection" => projection.as_str())
        .set(now.unix_timestamp_nanos() as f64 / 1e9);
}

/// A digest of a projection was computed.
pub(crate) fn time_digest(projection: Projection, took: Duration) {
    digest_seconds(projection).record(took.as_secs_f64());
}
