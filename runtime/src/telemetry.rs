//! What is told of appends and reads: each outcome once as a metric, once as a log event.
//!
//! Log events carry tenant, trace, type, code, durations and sizes, never a payload nor a message
//! that may quote one. What an operator looks for stands at `info` (refusals, one line a batch) and
//! `warn` (a transaction that failed); batches are `debug`, single events `trace`.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use dg_projections::admission::Admission;
use dg_projections::event::{Event, Line};
use dg_projections::{Code, Rejection};
use dg_store::{Answer, BatchRefusal, Cursor, RunMode, StoreError};

use crate::metrics;
use crate::pages::{Applier, On};
use crate::pulse;
use crate::worker::WorkerKey;

/// What became of the events of one transaction.
#[derive(Debug, Default)]
struct Tally<'a> {
    inserted: usize,
    reused: usize,
    refused: BTreeMap<&'static str, usize>,
    /// Payload of the inserted ones.
    bytes: usize,
    first_refused: Option<(&'a Line, Code)>,
}

impl<'a> Tally<'a> {
    fn of(lines: &[&'a Line], answers: &[Answer]) -> Tally<'a> {
        let mut tally = Tally::default();
        for (line, answer) in lines.iter().zip(answers) {
            match answer {
                Ok(Admission::Insert { .. }) => {
                    tally.inserted += 1;
                    tally.bytes += line.event.payload.len();
                }
                Ok(Admission::Reused { .. }) => tally.reused += 1,
                Err(rejection) => {
                    *tally.refused.entry(rejection.code.as_str()).or_default() += 1;
                    tally.first_refused.get_or_insert((line, rejection.code));
                }
            }
        }
        tally
    }
}

/// An append transaction of one tenant was answered.
pub(crate) fn appended(tenant: &str, lines: &[&Line], answers: &[Answer], took: Duration) {
    let tally = Tally::of(lines, answers);
    metrics::count_append_batch(lines.len(), tally.bytes, took);
    pulse::appended(tally.inserted);
    lines.iter().zip(answers).for_each(|(line, answer)| trace_one(line, answer));
    let Tally { inserted, reused, refused, bytes, first_refused } = tally;
    let admitted = [(metrics::INSERTED, inserted), (metrics::REUSED, reused)];
    let counts = admitted.into_iter().chain(refused.clone());
    // Each counter is looked up by its name: once a batch, not once an event.
    counts.for_each(|(result, events)| metrics::count_appends(result, events));
    let refused: usize = refused.into_values().sum();
    let ms = millis(took);
    tracing::debug!(tenant, events = lines.len(), inserted, reused, refused, bytes, ms, "append");
    if let Some((line, code)) = first_refused {
        tell_refusal(line, code, refused, took);
    }
}

fn tell_refusal(line: &Line, code: Code, refused: usize, took: Duration) {
    let Event { tenant_id: tenant, trace_id, event_id, event_type, .. } = &line.event;
    let (event_type, ms) = (event_type.as_str(), millis(took));
    tracing::info!(tenant, refused, %code, trace_id, event_type, event_id, ms, "append refused");
}

/// A batch of all or nothing was answered.
pub(crate) fn appended_atomic(
    lines: &[Line],
    outcome: &Result<Result<Vec<Admission>, BatchRefusal>, StoreError>,
    took: Duration,
) {
    let tenant = lines.first().map_or("", |line| &line.event.tenant_id);
    match outcome {
        Ok(Ok(admitted)) => {
            let answers: Vec<Answer> = admitted.iter().cloned().map(Ok).collect();
            appended(tenant, &lines.iter().collect::<Vec<_>>(), &answers, took);
        }
        Ok(Err(BatchRefusal { index, reason })) => {
            // The others were not written because of it: neither inserted nor refused.
            metrics::count_appends(reason.code.as_str(), 1);
            tell_refusal(&lines[*index], reason.code, 1, took);
        }
        Err(error) => append_failed(tenant, lines.len(), error, took),
    }
}

fn trace_one(line: &Line, answer: &Answer) {
    let event = &line.event;
    let (result, log_seq) = match answer {
        Ok(Admission::Insert { log_seq }) => ("inserted", Some(*log_seq)),
        Ok(Admission::Reused { log_seq, .. }) => ("reused", Some(*log_seq)),
        Err(rejection) => (rejection.code.as_str(), None),
    };
    tracing::trace!(
        tenant = event.tenant_id,
        result,
        log_seq,
        trace_id = event.trace_id,
        trace_seq = event.trace_seq,
        event_type = event.event_type.as_str(),
        event_id = event.event_id,
        bytes = event.payload.len(),
        "append of an event"
    );
}

/// An append transaction failed: its callers are told, and this is for the operator.
pub(crate) fn append_failed(tenant: &str, events: usize, error: &StoreError, took: Duration) {
    metrics::count_appends(error.code.as_str(), events);
    // While the database is away every append fails; the gate has told of it.
    if error.is_outage {
        return tracing::debug!(tenant, events, code = %error.code, "append failed");
    }
    let ms = millis(took);
    tracing::warn!(tenant, events, code = %error.code, reason = %error, ms, "append failed");
}

/// No lane took the events, there being too many that wait or none that runs: their caller is told,
/// and an operator sees the count; under such a load a line each would be one load more.
pub(crate) fn append_not_taken(tenant: &str, events: usize, error: &StoreError) {
    metrics::count_appends(error.code.as_str(), events);
    tracing::debug!(tenant, events, code = %error.code, reason = %error, "append not taken");
}

/// Lines that a request brought and that hold no event, with their numbers.
pub fn unread<'a>(tenant: &str, rejections: impl Iterator<Item = (usize, &'a Rejection)>) {
    let (mut refused, mut first) = (0, None);
    for (line, Rejection { code, .. }) in rejections {
        metrics::count_appends(code.as_str(), 1);
        refused += 1;
        first.get_or_insert((line, code));
    }
    if let Some((line, code)) = first {
        tracing::info!(tenant, refused, %code, line, "append refused");
    }
}

/// A page of a tenant's log was read: by a projection, or for a list.
pub fn read(tenant: &str, by: &str, (events, bytes): (usize, usize), took: Duration) {
    metrics::count_read(events, took);
    tracing::debug!(tenant, by, events, bytes, ms = millis(took), "read");
}

/// A projection's batch on its way from the log to its readers.
#[derive(Debug, Clone)]
pub(crate) struct Batch {
    /// How old its first event was when it was read.
    age: Duration,
    read: Duration,
    read_at: Instant,
    projected: Duration,
    commit_at: Instant,
}

impl Batch {
    pub(crate) fn read(took: Duration, age: Duration) -> Batch {
        let now = Instant::now();
        Batch { age, read: took, read_at: now, projected: Duration::ZERO, commit_at: now }
    }

    pub(crate) fn projected(&mut self, took: Duration) {
        self.projected += took;
    }

    /// One more page of it was read.
    pub(crate) fn read_on(&mut self, next: &Batch) {
        self.read += next.read;
    }

    /// Its commit begins.
    pub(crate) fn commits(&mut self) {
        self.commit_at = Instant::now();
    }

    /// It is in. A worker's rows are visible from now on; those of a replay have been waited for by
    /// nobody, and those of a rebuild are not seen yet.
    pub(crate) fn committed(&self, by: &Applier<'_>, events: usize) {
        let projection = by.key.projection;
        metrics::count_batch(projection, [self.read, self.projected, self.commit_at.elapsed()]);
        if by.on == On::Live {
            let after = self.age + self.read_at.elapsed();
            metrics::count_visible(projection, after);
            by.gate.note_lag(after);
        }
        let by_run = match by.on {
            On::Live => None,
            On::Replay => Some(RunMode::Replay),
            On::Building | On::Switching => Some(RunMode::Rebuild),
        };
        match by_run {
            None => pulse::applied(events),
            Some(mode) => {
                pulse::applied_by_run(events);
                metrics::count_run_events(mode, events);
            }
        }
        if by.on.is_live() {
            metrics::count_applied(&by.key.tenant_id, projection, events);
        }
    }
}

/// The log and a projection disagree about how many events there are: the one thing that must not
/// happen, so it is told beside what the worker says of its own failure.
pub(crate) fn miscounted(key: &WorkerKey, event_count: i64, applied_events: i64, at: Cursor) {
    let WorkerKey { tenant_id: tenant, projection, partition } = key;
    metrics::count_mismatch(tenant, *projection);
    tracing::error!(
        %tenant, %projection, partition, log_seq = at.last_log_seq, event_count,
        applied_events,
        "count mismatch: events were skipped, removed or added behind the log's back; run verify"
    );
}

pub(crate) fn beyond_the_log(key: &WorkerKey, log_end: i64, at: Cursor) {
    let WorkerKey { tenant_id: tenant, projection, partition } = key;
    metrics::count_mismatch(tenant, *projection);
    tracing::error!(
        %tenant, %projection, partition, log_seq = at.last_log_seq, log_end,
        "the log ends before the cursor: events were lost after they were applied; run verify, then rebuild"
    );
}

fn millis(took: Duration) -> f64 {
    (took.as_secs_f64() * 1e6).round() / 1e3
}
