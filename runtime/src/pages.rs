//! Pages of a projection: read from the log, projected, committed. Workers and runs apply pages
//! alike; what differs is whose turn it is ([`On`]).
//!
//! While a page is committed the next is read and projected. A worker that is far behind reads on
//! until the commit is done, and what it has by then is committed as one: Postgres is paid for a
//! commit and for finding its place in the indexes, not for rows.

mod together;
mod written;

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

use dg_projections::event::{EventType, LogEvent};
use dg_projections::projection::{Poison, Projected, Traces};
use dg_store::{Commit, Committed, Cursor, Page, RunMode, StoreError, Timeline, is_worth_copying};
use tokio::sync::OwnedSemaphorePermit;

use crate::gate::Gate;
use crate::telemetry::{self, Batch};
use crate::worker::{Failure, FailureClass, WorkerKey};
pub(crate) use together::{Parts, stand_together};
use written::Written;

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

    /// Whether pages that have come together are committed as one: a run accounts for each page.
    const fn joins(self) -> bool {
        matches!(self, On::Live)
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

/// Pages that one commit may take; what they hold before one more is taken.
const MOST_PAGES: usize = 5;
const MOST_EVENTS: usize = 5_000;
const MOST_BYTES: usize = 4 * 1024 * 1024;

/// Pages that follow each other, projected, to be committed as one.
#[derive(Debug)]
struct Work {
    from: Cursor,
    /// The cursor after what could be applied.
    to: Cursor,
    timeline: Timeline,
    projected: Projected,
    /// The first event, to be named when it stands alone.
    first: Option<(i64, String, String)>,
    /// Whether there may be more after it.
    more: bool,
    pages: usize,
    bytes: usize,
    batch: Batch,
    written: Written,
}

/// What was read and projected while the pages before it were committed.
#[derive(Debug)]
pub(crate) struct Ahead {
    work: Work,
    /// Among those that may wait in memory.
    _place: OwnedSemaphorePermit,
}

impl Ahead {
    /// Whether it is what comes after this cursor.
    pub(crate) fn is_after(&self, from: Cursor) -> bool {
        self.work.from == from
    }
}

impl Work {
    fn new(key: &WorkerKey, from: Cursor, page: Page, batch: Batch) -> Work {
        let mut work = Work {
            from,
            to: from,
            timeline: page.timeline,
            projected: Projected::default(),
            first: None,
            more: false,
            pages: 0,
            bytes: 0,
            batch,
            written: Written::nothing(from.share.partitions.unsigned_abs() as usize),
        };
        work.take(key, page);
        work
    }

    /// Projects the next page.
    fn take(&mut self, key: &WorkerKey, mut page: Page) {
        let started = Instant::now();
        self.pages += 1;
        self.bytes += payload(&page);
        self.more = page.more;
        self.first = self.first.take().or_else(|| page.events.first().map(identity));
        let (mut traces, damage) = load(&mut page);
        let before = self.projected.applied;
        self.projected.go_on(key.projection, &page.events, &mut traces);
        self.projected.poison = self.projected.poison.take().or(damage);
        let applied = &page.events[..self.projected.applied - before];
        self.to.last_log_seq = match &self.projected.poison {
            None => page.end,
            Some(_) => applied.last().map_or(self.to.last_log_seq, |event| event.log_seq),
        };
        self.to.applied_events += applied.len() as i64;
        self.batch.projected(started.elapsed());
    }

    /// What is known from the pages before holds for these, if all are of one history.
    fn after(mut self, before: Work) -> Work {
        if self.timeline == before.timeline {
            self.written = before.written;
        }
        self
    }

    /// Whether the log is read on after it.
    const fn goes_on(&self) -> bool {
        self.more && self.projected.poison.is_none() && !self.from.lent
    }

    /// Whether one more page may be committed with it.
    const fn has_room(&self) -> bool {
        self.goes_on()
            && self.pages < MOST_PAGES
            && self.projected.applied < MOST_EVENTS
            && self.bytes < MOST_BYTES
    }

    fn outcome(&self) -> Outcome {
        let (to, more) = (self.to, self.more);
        match &self.projected.poison {
            // What came before it is applied; the next page begins with it.
            Some(_) if self.projected.applied > 0 => Outcome::Applied { to, more: true },
            Some(poison) => Outcome::Failed(Failure::from(poison)),
            None => Outcome::Applied { to, more },
        }
    }
}

impl Applier<'_> {
    /// Projects the page after `from` and commits what could be applied; reads it first if it is not
    /// there yet, and what follows meanwhile. `narrowed`: fewer events than usual, one of which is
    /// looked for.
    pub(crate) async fn apply(
        &self,
        from: Cursor,
        (limit, narrowed): (i64, bool),
        ahead: Option<Box<Ahead>>,
    ) -> (Outcome, Option<Box<Ahead>>) {
        let work = match ahead {
            Some(ahead) => Ok(ahead.work),
            None => self.prepare(from, limit).await,
        };
        let mut work = match work {
            Ok(work) => work,
            Err(error) => return (unread(&error, limit), None),
        };
        let (to, goes_on) = (work.to, work.goes_on() && !narrowed);
        let is_done = AtomicBool::new(false);
        let commit = async {
            let outcome = self.commit(&mut work).await;
            is_done.store(true, Ordering::Relaxed);
            outcome
        };
        let (outcome, next) = tokio::join!(commit, self.read_ahead(to, limit, goes_on, &is_done));
        let next = next.filter(|_| matches!(outcome, Outcome::Applied { .. }));
        let ahead = next.map(|(next, place)| Ahead { work: next.after(work), _place: place });
        (outcome, ahead.map(Box::new))
    }

    /// What became of pages that were projected, if there is anything in them.
    async fn commit(&self, work: &mut Work) -> Outcome {
        if work.to.last_log_seq <= work.from.last_log_seq {
            return work.outcome();
        }
        work.batch.commits();
        let nodes = match is_worth_copying(&work.projected.changes) {
            true => work.written.leave_out(&mut work.projected.changes.nodes),
            false => Vec::new(),
        };
        let batch = &Commit {
            tenant: &self.key.tenant_id,
            projection: self.key.projection,
            from: work.from,
            to: work.to,
            timeline: work.timeline,
            changes: &work.projected.changes,
            is_live: self.on.is_live(),
        };
        let commit = |store: dg_store::Store| async move { store.commit(batch).await };
        let commit_new = |store: dg_store::Store| async move { store.commit_new(batch).await };
        let mut committed = None;
        if !nodes.is_empty() && work.written.are_taken_for_new() {
            committed = self.in_turn(commit_new).await.transpose();
            if committed.is_none() {
                work.written.was_wrong();
            }
        }
        let committed = match committed {
            Some(committed) => committed,
            None => self.in_turn(commit).await,
        };
        match committed {
            Ok(Committed::Done { resolved }) => {
                work.written.wrote(nodes);
                work.batch.committed(self, work.projected.applied);
                log_resolved(self.key, resolved);
                work.outcome()
            }
            Ok(Committed::Superseded) => Outcome::Superseded,
            Err(error) => {
                Outcome::Failed(of_batch(&error, work.projected.applied, work.first.take()))
            }
        }
    }

    async fn in_turn<T, W, F>(&self, work: W) -> Result<T, StoreError>
    where
        W: FnOnce(dg_store::Store) -> F,
        F: Future<Output = Result<T, StoreError>>,
    {
        match self.on {
            On::Live | On::Switching => self.gate.work(work).await,
            On::Replay => self.gate.replay(work).await,
            On::Building => self.gate.job(work).await,
        }
    }

    async fn prepare(&self, from: Cursor, limit: i64) -> Result<Work, StoreError> {
        let (page, batch) = self.read(from, limit).await?;
        Ok(Work::new(self.key, from, page, batch))
    }

    async fn read(&self, from: Cursor, limit: i64) -> Result<(Page, Batch), StoreError> {
        let (started, key) = (Instant::now(), self.key);
        let read = |store: dg_store::Store| async move {
            store.read_page(&key.tenant_id, key.projection, from, limit).await
        };
        let page = self.in_turn(read).await?;
        let size = (page.events.len(), payload(&page));
        telemetry::read(&key.tenant_id, key.projection.as_str(), size, started.elapsed());
        let batch = Batch::read(started.elapsed(), page.age);
        Ok((page, batch))
    }

    /// What comes after the pages that are being committed: of the log alone, which does not wait for
    /// the commit. What cannot be had is read again when it is its turn, and what is wrong is told
    /// then.
    async fn read_ahead(
        &self,
        from: Cursor,
        limit: i64,
        goes_on: bool,
        is_done: &AtomicBool,
    ) -> Option<(Work, OwnedSemaphorePermit)> {
        let place = self.gate.place_ahead().filter(|_| goes_on)?;
        let mut work = self.prepare(from, limit).await.ok()?;
        while self.on.joins() && work.has_room() && !is_done.load(Ordering::Relaxed) {
            match self.read(work.to, limit).await {
                // Of one history.
                Ok((page, batch)) if page.timeline == work.timeline => {
                    work.batch.read_on(&batch);
                    work.take(self.key, page);
                }
                _ => break,
            }
        }
        Some((work, place))
    }
}

fn payload(page: &Page) -> usize {
    page.events.iter().map(|event| event.payload.len()).sum()
}

fn identity(event: &LogEvent) -> (i64, String, String) {
    (event.log_seq, event.trace_id.clone(), event.event_id.clone())
}

/// Pages that could not be read: any of their events may be why.
fn unread(error: &StoreError, limit: i64) -> Outcome {
    Outcome::Failed(Failure { suspects: limit, ..Failure::from(error) })
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

#[cfg(test)]
#[path = "pages_tests.rs"]
mod tests;
