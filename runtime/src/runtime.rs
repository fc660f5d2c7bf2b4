//! The runtime as the daemon and tests see it: start, ask, stop.

use std::time::Duration;

use dg_projections::event::Line;
use dg_projections::projection::Projection;
use dg_projections::{Code, admission::Admission};
use dg_store::{Answer, BatchRefusal, Store, StoreError};
use ractor::{Actor, ActorRef, call_t};
use time::OffsetDateTime;

use crate::directory::{Directory, DirectoryState};
use crate::worker::WorkerSnapshot;
use crate::workers::{Workers, WorkersMsg};
use crate::{DatabaseState, Gate, Settings};

/// How long an actor may take to answer a question about itself.
const ASK: Duration = Duration::from_secs(5);

/// A runtime that could not be started.
#[derive(Debug, thiserror::Error)]
#[error("the actor runtime did not start: {0}")]
pub struct RuntimeError(#[from] ractor::SpawnErr);

/// What the runtime shows of itself.
#[derive(Debug, Clone)]
pub struct Snapshot {
    /// When it was started.
    pub started_at: OffsetDateTime,
    /// The database.
    pub database: DatabaseState,
    /// Each worker, and how often it was started again.
    pub workers: Vec<(WorkerSnapshot, u64)>,
}

/// A running runtime. Cheap to clone; it runs until [`Runtime::stop`].
#[derive(Debug, Clone)]
pub struct Runtime {
    gate: Gate,
    settings: Settings,
    workers: ActorRef<WorkersMsg>,
    directory: ActorRef<crate::directory::DirectoryMsg>,
    started_at: OffsetDateTime,
}

impl Runtime {
    /// Starts the actors; the database may be away.
    ///
    /// # Errors
    /// If an actor does not start.
    pub async fn start(store: Store, settings: Settings) -> Result<Runtime, RuntimeError> {
        let gate = Gate::start(store, settings.worker_permits, settings.storage_timeout).await?;
        let (workers, _) = Actor::spawn(None, Workers, (gate.clone(), settings.clone())).await?;
        let directory = DirectoryState {
            gate: gate.clone(),
            settings: settings.clone(),
            workers: workers.clone(),
        };
        let (directory, _) = Actor::spawn(None, Directory, directory).await?;
        let started_at = OffsetDateTime::now_utc();
        Ok(Runtime { gate, settings, workers, directory, started_at })
    }

    /// The way to the database, for reads.
    pub fn gate(&self) -> &Gate {
        &self.gate
    }

    /// The settings it runs with.
    pub fn settings(&self) -> &Settings {
        &self.settings
    }

    /// Appends events of one tenant and wakes its workers; see [`Store::append`].
    ///
    /// # Errors
    /// As [`Store::append`].
    pub async fn append(&self, tenant: &str, batch: &[Line]) -> Result<Vec<Answer>, StoreError> {
        let answers =
            self.gate.run(|store| async move { store.append(tenant, batch).await }).await?;
        if answers.iter().any(|answer| matches!(answer, Ok(Admission::Insert { .. }))) {
            self.wake(tenant);
        }
        Ok(answers)
    }

    /// Appends all events or none and wakes their tenants' workers; see [`Store::append_atomic`].
    ///
    /// # Errors
    /// As [`Store::append_atomic`].
    pub async fn append_atomic(
        &self,
        batch: &[Line],
    ) -> Result<Result<Vec<Admission>, BatchRefusal>, StoreError> {
        let outcome =
            self.gate.run(|store| async move { store.append_atomic(batch).await }).await?;
        if outcome.is_ok() {
            let mut tenants: Vec<&str> = batch.iter().map(|line| &*line.event.tenant_id).collect();
            tenants.sort_unstable();
            tenants.dedup();
            tenants.into_iter().for_each(|tenant| self.wake(tenant));
        }
        Ok(outcome)
    }

    /// A lost wake-up costs an interval, not an event: the directory looks anyway.
    fn wake(&self, tenant: &str) {
        let _ = self.workers.cast(WorkersMsg::Wake(tenant.to_owned()));
    }

    /// Asks a worker to try again now; false when there is none.
    ///
    /// # Errors
    /// `storage` when the keeper of the workers does not answer.
    pub async fn retry(&self, tenant: &str, projection: Projection) -> Result<bool, StoreError> {
        let ask = ASK.as_millis() as u64;
        call_t!(self.workers, WorkersMsg::Retry, ask, tenant.to_owned(), projection)
            .map_err(|error| no_answer(&error))
    }

    /// What the runtime shows of itself now.
    ///
    /// # Errors
    /// `storage` when the keeper of the workers does not answer.
    pub async fn snapshot(&self) -> Result<Snapshot, StoreError> {
        let ask = ASK.as_millis() as u64;
        let workers =
            call_t!(self.workers, WorkersMsg::Snapshots, ask).map_err(|error| no_answer(&error))?;
        Ok(Snapshot { started_at: self.started_at, database: self.gate.state(), workers })
    }

    /// Stops in order: 1 no new looks, 2 workers after the batch they have in flight, 3 the gate and
    /// its connections. What is not done by `deadline` is rolled back.
    pub async fn stop(&self, deadline: Duration) {
        let ends = tokio::time::Instant::now() + deadline;
        let left = || ends.saturating_duration_since(tokio::time::Instant::now());
        self.directory.stop(None);
        let _ = self.directory.wait(Some(left())).await;
        let patience = left();
        let reply = |reply| WorkersMsg::StopAll(patience, reply);
        // A keeper that does not answer is stopped all the same.
        let _ = self.workers.call(reply, Some(patience + ASK)).await;
        self.workers.stop(None);
        let _ = self.workers.wait(Some(ASK)).await;
        self.gate.stop(left().max(Duration::from_millis(100))).await;
    }
}

fn no_answer(error: &dyn std::fmt::Display) -> StoreError {
    StoreError::new(Code::Storage, format!("the runtime does not answer: {error}"))
}
