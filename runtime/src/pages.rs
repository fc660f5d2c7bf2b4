//! A page of a projection: read from the log, projected, committed. Workers and runs apply pages
//! alike; what differs is whose turn it is ([`On`]).

use std::time::Instant;

use dg_projections::event::{EventType, LogEvent};
use dg_projections::projection::{Poison, Projected, Traces, project};
use dg_store::{Commit, Committed, Cursor, Page, RunMode, StoreError, Timeline};
use tokio::sync::OwnedSemaphorePermit;

use crate::gate::Gate;
use crate::telemetry::{self, Batch};
use crate::worker::{Failure, FailureClass, WorkerKey};

/// On whose account a page is applied.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum On {
    /// A worker's.
    Live,
    /// A replay's, in the place of the worker.
    Replay,
    /// A rebuild's, to a generation that nobody sees yet.
    Building,
    /// The same while live workers wait for it: in their place at the database.
    Switching,
}

impl On {
    /// A run's of this mode.
    pub(crate) const fn job(mode: RunMode) -> On {
        match mode {
            RunMode::Replay => On::Replay,
            RunMode::Rebuild => On::Building,
        }
    }

    /// Whether readers see what is applied.
    pub(crate) const fn is_live(self) -> bool {
        matches!(self, On::Live | On::Replay)
    }

    /// Whether it takes a turn of those for runs.
    const fn yields(self) -> bool {
        matches!(self, On::Replay | On::Building)
    }
}

/// Whose pages, by what way to the database, on whose account.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Applier<'a> {
    pub(crate) gate: &'a Gate,
    pub(crate) key: &'a WorkerKey,
    pub(crate) on: On,
}

/// What became of a page.
#[derive(Debug)]
pub(crate) enum Outcome {
    /// Rows and cursor are in, or there was nothing to apply.
    Applied {
        /// The cursor after it.
        to: Cursor,
        /// Whether there may be more within the bounds of the cursor.
        more: bool,
    },
    /// Somebody else moved the cursor.
    Superseded,
    /// It was not applied, or only up to an event that cannot be.
    Failed(Failure),
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
    pub(crate) fn is_after(&self, from: Cursor) -> bool {
        self.from == from
    }
}

impl Applier<'_> {
    /// Projects the page after `from` and commits what could be applied; reads it first if it is not
    /// there yet, and the next one meanwhile. `narrowed`: fewer events than usual, one of which is
    /// looked for.
    pub(crate) async fn apply(
        &self,
        from: Cursor,
        (limit, narrowed): (i64, bool),
        ahead: Option<Ahead>,
    ) -> (Outcome, Option<Ahead>) {
        let read = match ahead {
            Some(Ahead { page, batch, .. }) => Ok((page, batch)),
            None => self.read(from, limit).await,
        };
        let (page, mut batch) = match read {
            Ok(read) => read,
            Err(error) => {
                let failure = Failure { suspects: limit, ..Failure::from(&error) };
                return (Outcome::Failed(failure), None);
            }
        };
        let more = page.more;
        let first = page.events.first().map(identity);
        let started = Instant::now();
        let timeline = page.timeline;
        let (projected, to) = project_page(self.key, from, page);
        batch.projected(started.elapsed());
        let mut next = None;
        if to.last_log_seq > from.last_log_seq {
            let goes_on = more && projected.poison.is_none() && !narrowed && !from.lent;
            let (committed, read) = tokio::join!(
                self.commit(from, to, timeline, &projected),
                self.read_ahead(to, limit, goes_on),
            );
            next = read;
            match committed {
                Ok(Committed::Done { resolved }) => {
                    batch.committed(self, projected.applied);
                    log_resolved(self.key, resolved);
                }
                Ok(Committed::Superseded) => return (Outcome::Superseded, None),
                Err(error) => {
                    let failure = of_batch(&error, projected.applied, first);
                    return (Outcome::Failed(failure), None);
                }
            }
        }
        let outcome = match &projected.poison {
            // What came before it is applied; the next page begins with it.
            Some(_) if projected.applied > 0 => Outcome::Applied { to, more: true },
            Some(poison) => Outcome::Failed(Failure::from(poison)),
            None => Outcome::Applied { to, more },
        };
        (outcome, next)
    }

    async fn read(&self, from: Cursor, limit: i64) -> Result<(Page, Batch), StoreError> {
        let (started, key) = (Instant::now(), self.key);
        let read = |store: dg_store::Store| async move {
            store.read_page(&key.tenant_id, key.projection, from, limit).await
        };
        let page = match self.on.yields() {
            true => self.gate.job(read).await?,
            false => self.gate.work(read).await?,
        };
        let bytes = page.events.iter().map(|event| event.payload.len()).sum();
        let size = (page.events.len(), bytes);
        telemetry::read(&key.tenant_id, key.projection.as_str(), size, started.elapsed());
        let batch = Batch::read(started.elapsed(), page.age);
        Ok((page, batch))
    }

    /// The page after the one that is being committed: of the log alone, which does not wait for the
    /// commit. If it cannot be had, it is read again when it is its turn, and what is wrong is told
    /// then.
    async fn read_ahead(&self, from: Cursor, limit: i64, goes_on: bool) -> Option<Ahead> {
        let place = self.gate.place_ahead().filter(|_| goes_on)?;
        let (page, batch) = self.read(from, limit).await.ok()?;
        Some(Ahead { from, page, batch, _place: place })
    }

    async fn commit(
        &self,
        from: Cursor,
        to: Cursor,
        timeline: Timeline,
        projected: &Projected,
    ) -> Result<Committed, StoreError> {
        let batch = Commit {
            tenant: &self.key.tenant_id,
            projection: self.key.projection,
            from,
            to,
            timeline,
            changes: &projected.changes,
            is_live: self.on.is_live(),
        };
        let batch = &batch;
        let commit = |store: dg_store::Store| async move { store.commit(batch).await };
        match self.on.yields() {
            true => self.gate.job(commit).await,
            false => self.gate.work(commit).await,
        }
    }
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

pub(crate) fn log_resolved(key: &WorkerKey, resolved: u64) {
    if resolved > 0 {
        tracing::info!(tenant = %key.tenant_id, projection = %key.projection, resolved, "failure resolved");
    }
}
