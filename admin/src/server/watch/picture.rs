//! The picture that watchers have, and what a new look changes in it. Pure.
//!
//! Invariants: a look that could not see something changes nothing of it; progress of a run is told
//! at most once a second, and what was held back is told by a later look.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use dg_projections::Code;
use dg_runtime::worker::{WorkerKey, WorkerSnapshot};
use dg_runtime::{DatabaseState, Parked, RunView};
use dg_store::{RunKey, RunStatus};

/// Progress of a run is told no more often.
const PROGRESS: Duration = Duration::from_secs(1);

/// What one look has seen; `None` where it could not see.
#[derive(Debug)]
pub(super) struct Sight {
    pub(super) database: DatabaseState,
    pub(super) workers: Option<Vec<WorkerSnapshot>>,
    pub(super) parked: Option<BTreeMap<String, Parked>>,
    pub(super) runs: Option<Vec<RunView>>,
}

/// A worker's state, and the error that it is in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct WorkerState {
    pub(crate) status: &'static str,
    pub(crate) error: Option<Code>,
}

/// Something that is not as it was.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Change {
    /// A worker's state; none before it began and after it ended.
    Worker { key: WorkerKey, from: Option<WorkerState>, to: Option<WorkerState> },
    /// The database came or went.
    Database(DatabaseState),
    /// A tenant was parked, or is no more.
    Tenant { tenant: String, parked: Option<Parked> },
    /// A run's status or phase; the status before, if it was known.
    Run { view: Box<RunView>, from: Option<RunStatus> },
    /// How far a run is.
    Progress(Box<RunView>),
}

/// The words for [`Change`]s.
pub(crate) const KINDS: [&str; 5] = ["worker", "database", "tenant", "run", "progress"];

impl Change {
    pub(crate) fn kind(&self) -> &'static str {
        match self {
            Change::Worker { .. } => "worker",
            Change::Database(_) => "database",
            Change::Tenant { .. } => "tenant",
            Change::Run { .. } => "run",
            Change::Progress(_) => "progress",
        }
    }

    /// Whom it concerns; none: everybody.
    pub(crate) fn tenant(&self) -> Option<&str> {
        match self {
            Change::Worker { key, .. } => Some(&key.tenant_id),
            Change::Database(_) => None,
            Change::Tenant { tenant, .. } => Some(tenant),
            Change::Run { view, .. } | Change::Progress(view) => Some(&view.run.key.tenant_id),
        }
    }
}

/// What is known of a run.
#[derive(Debug)]
struct Told {
    view: RunView,
    progress_at: Instant,
    /// Whether it was admitted after the last look began, which need not have seen it.
    is_new: bool,
}

/// What watchers know.
#[derive(Debug)]
pub(crate) struct Picture {
    pub(crate) database: DatabaseState,
    pub(crate) workers: BTreeMap<WorkerKey, WorkerState>,
    pub(crate) parked: BTreeMap<String, Parked>,
    runs: BTreeMap<RunKey, Told>,
    /// Whether runs were ever seen: what had ended before that is no news.
    knows_runs: bool,
}

impl Picture {
    /// The first picture.
    pub(super) fn new(sight: Sight, now: Instant) -> Picture {
        let mut picture = Picture {
            database: sight.database.clone(),
            workers: BTreeMap::new(),
            parked: BTreeMap::new(),
            runs: BTreeMap::new(),
            knows_runs: false,
        };
        let _known = picture.update(sight, now);
        picture
    }

    /// The runs that wait or are at work.
    pub(crate) fn active_runs(&self) -> impl Iterator<Item = &RunView> {
        self.runs.values().map(|told| &told.view).filter(|view| is_active(view))
    }

    /// Takes in what was seen; what that changes.
    pub(super) fn update(&mut self, sight: Sight, now: Instant) -> Vec<Change> {
        let mut changes = Vec::new();
        if is_up(&self.database) != is_up(&sight.database) {
            changes.push(Change::Database(sight.database.clone()));
        }
        self.database = sight.database;
        if let Some(parked) = sight.parked {
            changes.extend(self.update_parked(parked));
        }
        if let Some(workers) = sight.workers {
            changes.extend(self.update_workers(&workers));
        }
        if let Some(runs) = sight.runs {
            changes.extend(self.update_runs(runs, now));
        }
        changes
    }

    fn update_parked(&mut self, parked: BTreeMap<String, Parked>) -> Vec<Change> {
        let came = parked.iter().filter(|(tenant, _)| !self.parked.contains_key(*tenant));
        let went = self.parked.keys().filter(|tenant| !parked.contains_key(*tenant));
        let came = came.map(|(tenant, parked)| (tenant, Some(parked.clone())));
        let changed = came.chain(went.map(|tenant| (tenant, None)));
        let changes = changed
            .map(|(tenant, parked)| Change::Tenant { tenant: tenant.clone(), parked })
            .collect();
        self.parked = parked;
        changes
    }

    fn update_workers(&mut self, workers: &[WorkerSnapshot]) -> Vec<Change> {
        let seen: BTreeMap<WorkerKey, WorkerState> =
            workers.iter().map(|worker| (worker.key.clone(), state(worker))).collect();
        let ended = self.workers.iter().filter(|(key, _)| !seen.contains_key(*key));
        let ended = ended.map(|(key, from)| (key, Some(*from), None));
        let others = seen.iter().map(|(key, to)| (key, self.workers.get(key).copied(), Some(*to)));
        let changes = ended
            .chain(others)
            .filter(|(_, from, to)| from.map(|one| one.status) != to.map(|one| one.status))
            .map(|(key, from, to)| Change::Worker { key: key.clone(), from, to })
            .collect();
        self.workers = seen;
        changes
    }

    fn update_runs(&mut self, views: Vec<RunView>, now: Instant) -> Vec<Change> {
        let mut before = std::mem::take(&mut self.runs);
        let mut changes = Vec::new();
        for view in views {
            let key = view.run.key.clone();
            let (told, change) = next(before.remove(&key), view, now);
            changes.extend(change);
            self.runs.insert(key, told);
        }
        let new = before.into_iter().filter(|(_, told)| told.is_new);
        self.runs.extend(new.map(|(key, told)| (key, Told { is_new: false, ..told })));
        if !std::mem::replace(&mut self.knows_runs, true) {
            changes.retain(|change| matches!(change, Change::Run { view, .. } if is_active(view)));
        }
        changes
    }

    /// Takes in a run that was just admitted, before it may have begun; unless it is known already,
    /// when what is known may be newer.
    pub(super) fn admitted(&mut self, view: RunView, now: Instant) -> Option<Change> {
        if self.runs.contains_key(&view.run.key) {
            return None;
        }
        let key = view.run.key.clone();
        let (told, change) = next(None, view, now);
        self.runs.insert(key, Told { is_new: true, ..told });
        change
    }
}

/// What is known of a run after a look at it, and what is to be told.
fn next(before: Option<Told>, view: RunView, now: Instant) -> (Told, Option<Change>) {
    let from = before.as_ref().map(|told| told.view.run.status);
    let Some(before) = before.filter(|told| stage(&told.view) == stage(&view)) else {
        let change = Change::Run { view: Box::new(view.clone()), from };
        return (Told { view, progress_at: now, is_new: false }, Some(change));
    };
    let is_further = view.run.processed_events != before.view.run.processed_events;
    if is_further && now - before.progress_at >= PROGRESS {
        let change = Change::Progress(Box::new(view.clone()));
        return (Told { view, progress_at: now, is_new: false }, Some(change));
    }
    // Held back: what was told stays what is known.
    (Told { is_new: false, ..before }, None)
}

fn stage(view: &RunView) -> (RunStatus, Option<&str>) {
    (view.run.status, view.run.phase.as_deref())
}

fn is_active(view: &RunView) -> bool {
    matches!(view.run.status, RunStatus::Queued | RunStatus::Running)
}

fn is_up(state: &DatabaseState) -> bool {
    *state == DatabaseState::Up
}

/// An error counts while the worker is in it.
fn state(worker: &WorkerSnapshot) -> WorkerState {
    let is_in_trouble = matches!(worker.status, "retrying" | "failed");
    let error = worker.last_error.as_ref().filter(|_| is_in_trouble).map(|error| error.code);
    WorkerState { status: worker.status, error }
}

#[cfg(test)]
#[path = "picture_tests.rs"]
mod tests;
