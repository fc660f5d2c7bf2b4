//! What a worker does at the database: each effect is one awaited call that ends in one input.

use std::time::Instant;

use dg_projections::Code;
use dg_projections::event::{EventType, LogEvent};
use dg_projections::projection::{Poison, Projected, Traces, project};
use dg_store::{Commit, Committed, Cursor, NewFailure, Page, Share, StoreError, Tail};

use tokio::sync::OwnedSemaphorePermit;

use super::policy::{Failure, FailureClass};
use super::snapshot::WorkerKey;
use super::state::Input;
use crate::failpoint::{self, Point};
use crate::gate::Gate;
use crate::telemetry::{self, Batch};

/// `claim`: where there are as many partitions as somebody else wants, ask for as many as `share` says.
pub(super) async fn load_cursor(gate: &Gate, key: &WorkerKey, share: Share, claim: bool) -> Input {
    let loaded = gate.work(|store| async move {
        let (tenant, projection) = (&*key.tenant_id, key.projection);
        let cursor = store.open_cursor(tenant, projection, share, claim).await?;
        let partition = cursor.share.partition;
        let retries = store.recoverable_retries(tenant, projection, partition).await?;
        Ok((cursor, retries))
    });
    match loaded.await {
        Ok((cursor, retries)) => Input::CursorLoaded { cursor, retries },
        Err(error) => Input::Failed(Failure::from(&error)),
    }
}

/// A page that was read while the one before it was committed.
#[derive(Debug)]
pub(crate) struct Ahead {
    from: Cursor,
    page: Page,
    batch: Batch,
    /// Among the pages that may wait in memory.
    _place: OwnedSemaphorePermit,
}

impl Ahead {
    /// Whether it is the page after this cursor.
    pub(super) fn is_after(&self, from: Cursor) -> bool {
        self.from == from
    }
}

/// Projects the page after `from` and commits what could be applied; reads it first if it is not
/// there yet, and the next one meanwhile. `narrowed`: fewer events than usual, one of which is looked
/// for.
pub(super) async fn apply_page(
    gate: &Gate,
    key: &WorkerKey,
    from: Cursor,
    (limit, narrowed): (i64, bool),
    ahead: Option<Ahead>,
) -> (Input, Option<Ahead>) {
    failpoint::hit(Point::WorkerApplyBefore, &key.to_string());
    let read = match ahead {
        Some(Ahead { page, batch, .. }) => Ok((page, batch)),
        None => read(gate, key, from, limit).await,
    };
    let (page, mut batch) = match read {
        Ok(read) => read,
        Err(error) => {
            let failure = Failure { suspects: limit, ..Failure::from(&error) };
            return (Input::Failed(failure), None);
        }
    };
    let more = page.more;
    let first = page.events.first().map(identity);
    let started = Instant::now();
    let (projected, to) = project_page(key, from, page);
    batch.projected(started.elapsed());
    let mut next = None;
    if to.last_log_seq > from.last_log_seq {
        let goes_on = more && projected.poison.is_none() && !narrowed && !from.lent;
        let (committed, read) = tokio::join!(
            commit(gate, key, from, to, &projected),
            read_ahead(gate, key, to, limit, goes_on),
        );
        next = read;
        match committed {
            Ok(Committed::Done { resolved }) => {
                batch.committed(key, projected.applied);
                log_resolved(key, resolved);
            }
            Ok(Committed::Superseded) => return (Input::Superseded, None),
            Err(error) => {
                return (Input::Failed(of_batch(&error, projected.applied, first)), None);
            }
        }
    }
    let input = match &projected.poison {
        // What came before it is applied; the next page begins with it.
        Some(_) if projected.applied > 0 => Input::Applied { to, at_tail: false },
        Some(poison) => Input::Failed(Failure::from(poison)),
        // What is lent is looked at again until nothing is left of what falls to the worker.
        None if more || (from.lent && to.last_log_seq > from.last_log_seq) => {
            Input::Applied { to, at_tail: false }
        }
        None => at_the_tail(gate, key, to).await,
    };
    (input, next)
}

async fn read(
    gate: &Gate,
    key: &WorkerKey,
    from: Cursor,
    limit: i64,
) -> Result<(Page, Batch), StoreError> {
    let started = Instant::now();
    let read = gate.work(|store| async move {
        store.read_page(&key.tenant_id, key.projection, from, limit).await
    });
    let page = read.await?;
    let bytes = page.events.iter().map(|event| event.payload.len()).sum();
    let size = (page.events.len(), bytes);
    telemetry::read(&key.tenant_id, key.projection.as_str(), size, started.elapsed());
    let batch = Batch::read(started.elapsed(), page.age);
    Ok((page, batch))
}

/// The page after the one that is being committed: of the log alone, which does not wait for the
/// commit. If it cannot be had, it is read again when it is its turn, and what is wrong is told then.
async fn read_ahead(
    gate: &Gate,
    key: &WorkerKey,
    from: Cursor,
    limit: i64,
    goes_on: bool,
) -> Option<Ahead> {
    let place = gate.place_ahead().filter(|_| goes_on)?;
    let (page, batch) = read(gate, key, from, limit).await.ok()?;
    Some(Ahead { from, page, batch, _place: place })
}

fn identity(event: &LogEvent) -> (i64, String, String) {
    (event.log_seq, event.trace_id.clone(), event.event_id.clone())
}

/// A batch that could not be committed: its only event is to blame, or one of them.
fn of_batch(error: &StoreError, events: usize, first: Option<(i64, String, String)>) -> Failure {
    let failure = Failure::from(error);
    match (failure.class, events) {
        (FailureClass::Storage, _) => failure,
        (_, 1) => Failure { event: first, ..failure },
        _ => Failure { suspects: events as i64, ..failure },
    }
}

/// The log has no more: what the cursor has passed is resolved (by another daemon's commit, say,
/// while this one was about to write it down), and the proof is made that nothing was skipped.
async fn at_the_tail(gate: &Gate, key: &WorkerKey, at: Cursor) -> Input {
    let (tenant, projection) = (&*key.tenant_id, key.projection);
    let looked = gate.work(|store| async move { store.reach_tail(tenant, projection, at).await });
    match looked.await {
        Ok(Tail::Sound { resolved }) => {
            log_resolved(key, resolved);
            Input::Applied { to: at, at_tail: true }
        }
        Ok(Tail::Miscounted { event_count, applied_events }) => {
            telemetry::miscounted(key, event_count, applied_events, at);
            Input::Failed(miscounted(event_count, applied_events, at))
        }
        Err(error) => Input::Failed(Failure::from(&error)),
    }
}

fn miscounted(event_count: i64, applied_events: i64, at: Cursor) -> Failure {
    Failure {
        class: FailureClass::Defect,
        code: Code::Internal,
        message: format!(
            "the log has {event_count} events up to log_seq {}, but {applied_events} were applied: `verify` names the event",
            at.last_log_seq
        ),
        event: None,
        suspects: 0,
    }
}

/// The changes of a page and the cursor after those that could be applied.
fn project_page(key: &WorkerKey, from: Cursor, mut page: Page) -> (Projected, Cursor) {
    let (mut traces, damage) = load(&mut page);
    let mut projected = project(key.projection, &page.events, &mut traces);
    projected.poison = projected.poison.or(damage);
    let last = match &projected.poison {
        None => page.end,
        Some(_) => {
            let applied = page.events[..projected.applied].last();
            applied.map_or(from.last_log_seq, |event| event.log_seq)
        }
    };
    let applied_events = from.applied_events + projected.applied as i64;
    (projected, Cursor { last_log_seq: last, applied_events, ..from })
}

/// What the page continues. Where an earlier event that is needed again was damaged since, the page
/// is cut before the end of its trace, which is what needs it; the events before are applied.
fn load(page: &mut Page) -> (Traces, Option<Poison>) {
    let mut damage = None;
    loop {
        match Traces::load(page.resumed.clone(), &page.recalled) {
            Ok(traces) => return (traces, damage),
            Err(poison) => {
                page.recalled.retain(|event| event.trace_id != poison.trace_id);
                let ends = |event: &LogEvent| {
                    event.trace_id == poison.trace_id
                        && event.event_type == EventType::TraceFinished.as_str()
                };
                if let Some(end) = page.events.iter().position(ends) {
                    page.events.truncate(end);
                    damage = Some(poison);
                }
            }
        }
    }
}

async fn commit(
    gate: &Gate,
    key: &WorkerKey,
    from: Cursor,
    to: Cursor,
    projected: &Projected,
) -> Result<Committed, StoreError> {
    let batch = Commit {
        tenant: &key.tenant_id,
        projection: key.projection,
        from,
        to,
        changes: &projected.changes,
        is_live: true,
    };
    let batch = &batch;
    gate.work(|store| async move { store.commit(batch).await }).await
}

fn log_resolved(key: &WorkerKey, resolved: u64) {
    if resolved > 0 {
        tracing::info!(tenant = %key.tenant_id, projection = %key.projection, resolved, "failure resolved");
    }
}

/// Writes a failure down, and how often it was tried again, for the partition that was at work.
pub(super) async fn record(
    gate: &Gate,
    key: &WorkerKey,
    partition: i32,
    (failure, retries): (&Failure, u32),
) -> Input {
    let event = failure.event.as_ref();
    let event = event.map(|(log_seq, trace, event)| (*log_seq, trace.as_str(), event.as_str()));
    let row = NewFailure {
        tenant: &key.tenant_id,
        projection: key.projection,
        partition,
        event,
        code: failure.code,
        message: &failure.message,
        retries,
    };
    let row = &row;
    match gate.work(|store| async move { store.record_failure(row).await }).await {
        Ok(()) => Input::Recorded,
        Err(error) => Input::Failed(Failure::from(&error)),
    }
}
