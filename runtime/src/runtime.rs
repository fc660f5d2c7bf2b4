//! The runtime as the daemon and tests see it: start, ask, stop.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use dg_projections::event::Line;
use dg_projections::projection::Projection;
use dg_projections::{Code, admission::Admission};
use dg_store::{Answer, BatchRefusal, Store, StoreError, StoredDigest};
use ractor::{RpcReplyPort, rpc::CallResult};
use time::OffsetDateTime;
use tokio::sync::watch;

use crate::digests;
use crate::lanes::{Appending, Lanes};
use crate::runs::Runs;
use crate::supervisor::{Life, Shutdown, StartError, SupervisorRef};
use crate::telemetry;
use crate::tenants::{KeeperMsg, Look, Parked, Tenants};
use crate::tree::{self, Part, Tree};
use crate::worker::WorkerSnapshot;
use crate::{DatabaseState, Gate, Settings};

/// How long an actor may take to answer a question about itself.
const ASK: Duration = Duration::from_secs(5);

/// A runtime that could not be started.
#[derive(Debug, thiserror::Error)]
#[error("the actor runtime did not start: {0}")]
pub struct RuntimeError(#[from] StartError);

/// What the runtime shows of itself.
#[derive(Debug, Clone)]
pub struct Snapshot {
    /// When it was started.
    pub started_at: OffsetDateTime,
    /// The database.
    pub database: DatabaseState,
    /// Each worker, and how often it was started again.
    pub workers: Vec<(WorkerSnapshot, u64)>,
    /// Tenants whose workers crash for ever.
    pub parked: BTreeMap<String, Parked>,
    /// Tenants that have something to do and wait until another rests, or yields its place.
    pub waiting: usize,
}

/// A running runtime. Cheap to clone; it runs until [`Runtime::stop`] or until its root gives up.
#[derive(Debug, Clone)]
pub struct Runtime {
    pub(crate) tenants: Tenants,
    pub(crate) lanes: Lanes,
    pub(crate) runs: Runs,
    pub(crate) root: SupervisorRef<Part>,
    started_at: OffsetDateTime,
    stop: watch::Sender<Option<Duration>>,
    ended: watch::Receiver<bool>,
}

impl Runtime {
    /// Starts the actors; the database may be away.
    ///
    /// # Errors
    /// If an actor does not start.
    pub async fn start(store: Store, settings: Settings) -> Result<Runtime, RuntimeError> {
        let gate = Gate::new(store, &settings);
        let tenants = Tenants::new(gate, Arc::new(settings));
        let lanes =
            Lanes::new(tenants.gate.clone(), tenants.settings.clone(), tenants.keeper.clone());
        let runs = Runs::new(tenants.clone());
        let (root, life) = SupervisorRef::start_root(tree::root(&tenants, &lanes, &runs)).await?;
        let (stop, asked) = watch::channel(None);
        let (tell, ended) = watch::channel(false);
        tokio::spawn(watch_over(life, asked, tell));
        let started_at = OffsetDateTime::now_utc();
        Ok(Runtime { tenants, lanes, runs, root, started_at, stop, ended })
    }

    /// The way to the database, for reads.
    pub fn gate(&self) -> &Gate {
        &self.tenants.gate
    }

    /// The settings it runs with.
    pub fn settings(&self) -> &Settings {
        &self.tenants.settings
    }

    /// The supervision tree as it stands, from the root down.
    ///
    /// # Errors
    /// `storage` when a supervisor does not answer.
    pub async fn tree(&self) -> Result<Tree, StoreError> {
        let snapshot = self.snapshot().await?;
        let look = Tree::of(&self.root, &self.lanes, &self.tenants, &self.runs, &snapshot);
        tokio::time::timeout(ASK, look).await.ok().flatten().ok_or_else(no_answer)
    }

    /// The longest that live workers took of late from the recording of an event until readers saw it;
    /// zero while nothing is appended.
    pub fn live_lag(&self) -> Duration {
        self.gate().live_lag()
    }

    /// Appends events of one tenant through its lane, each with its own answer, in order.
    ///
    /// # Errors
    /// `storage` when too many appends wait, or the database did not tell in time what became of
    /// them; sending the same events again is always safe and tells.
    pub async fn append(
        &self,
        tenant: &str,
        batch: impl Into<Arc<[Line]>>,
    ) -> Result<Vec<Answer>, StoreError> {
        let batch = batch.into();
        if batch.is_empty() {
            return Ok(Vec::new());
        }
        self.lanes.append(tenant, batch).await
    }

    /// Hands events of one tenant, one at least, to its lane, in which they come after those that were handed over
    /// before; their answers may be waited for when more were handed over.
    ///
    /// # Errors
    /// `storage` when too many appends wait.
    pub async fn hand_over(
        &self,
        tenant: &str,
        batch: Arc<[Line]>,
    ) -> Result<Appending, StoreError> {
        self.lanes.hand_over(tenant, batch).await
    }

    /// Appends all events or none and wakes their tenants' workers; see [`Store::append_atomic`].
    ///
    /// # Errors
    /// As [`Store::append_atomic`].
    pub async fn append_atomic(
        &self,
        batch: &[Line],
    ) -> Result<Result<Vec<Admission>, BatchRefusal>, StoreError> {
        let started = Instant::now();
        let append = |store: Store| async move { store.append_atomic(batch).await };
        let outcome = self.gate().append_waiting(append).await;
        telemetry::appended_atomic(batch, &outcome, started.elapsed());
        let outcome = outcome?;
        if outcome.is_ok() {
            let mut tenants: Vec<&str> = batch.iter().map(|line| &*line.event.tenant_id).collect();
            tenants.sort_unstable();
            tenants.dedup();
            tenants.into_iter().for_each(|tenant| self.wake(tenant));
        }
        Ok(outcome)
    }

    /// A lost wake-up costs an interval, not an event: the directory looks anyway.
    pub(crate) fn wake(&self, tenant: &str) {
        self.tenants.keeper.tell(KeeperMsg::Wake(tenant.to_owned()));
    }

    /// Asks a worker to try again now, unparks its tenant, or starts the workers of one at rest;
    /// false when there is nothing to ask.
    ///
    /// # Errors
    /// `storage` when the keeper of the tenants, or the database, does not answer.
    pub async fn retry(&self, tenant: &str, projection: Projection) -> Result<bool, StoreError> {
        if self.ask(|reply| KeeperMsg::Retry(tenant.to_owned(), projection, reply)).await? {
            return Ok(true);
        }
        if !self.settings().projections.contains(&projection) {
            return Ok(false);
        }
        let is_known =
            self.gate().run(|store| async move { store.has_events(tenant).await }).await?;
        if is_known {
            self.wake(tenant);
        }
        Ok(is_known)
    }

    /// Digests of a tenant's tables as they stand, each with its cursor: those that are not known
    /// yet are computed, or all `anew`.
    ///
    /// # Errors
    /// `not_found` for a tenant without projections; `storage` when the database cannot be asked, or
    /// has no turn for this in time.
    pub async fn digests(&self, tenant: &str, anew: bool) -> Result<Vec<StoredDigest>, StoreError> {
        digests::refresh(self.gate(), tenant, anew).await
    }

    /// What the runtime shows of itself now.
    ///
    /// # Errors
    /// `storage` when the keeper of the tenants does not answer.
    pub async fn snapshot(&self) -> Result<Snapshot, StoreError> {
        let Look { workers, parked, waiting } = self.ask(KeeperMsg::Look).await?;
        let (started_at, database) = (self.started_at, self.gate().state());
        Ok(Snapshot { started_at, database, workers, parked, waiting })
    }

    async fn ask<T: Send + 'static>(
        &self,
        message: impl FnOnce(RpcReplyPort<T>) -> KeeperMsg,
    ) -> Result<T, StoreError> {
        if let Some(keeper) = self.tenants.keeper.get()
            && let Ok(CallResult::Success(answer)) = keeper.call(message, Some(ASK)).await
        {
            return Ok(answer);
        }
        Err(no_answer())
    }

    /// Waits until the tree has ended: by [`Runtime::stop`], or because its root has given up.
    pub async fn ended(&self) {
        let mut ended = self.ended.clone();
        // The sender tells before it goes.
        let _ = ended.wait_for(|ended| *ended).await;
    }

    /// Stops in order: 1 the digests and the directory, 2 the runs, which are left as interrupted, 3
    /// the keeper, 4 the tenants, each worker after the batch it has in flight, 5 the lanes, likewise,
    /// 6 the gate and its connections. What is not done by `deadline` is rolled back.
    pub async fn stop(&self, deadline: Duration) {
        self.runs.close();
        self.stop.send_replace(Some(deadline));
        self.ended().await;
        self.gate().close();
    }
}

fn no_answer() -> StoreError {
    StoreError::new(Code::Storage, "the runtime does not answer; it may be starting again")
}

/// Owns the root's life: ends it when asked, and tells when it has ended.
async fn watch_over(
    mut life: Life,
    mut asked: watch::Receiver<Option<Duration>>,
    tell: watch::Sender<bool>,
) {
    let deadline = tokio::select! {
        () = life.ended() => {
            tracing::error!("the supervision tree has ended");
            None
        }
        deadline = asked.wait_for(Option::is_some) => deadline.ok().and_then(|deadline| *deadline),
    };
    if let Some(deadline) = deadline {
        life.stop(Shutdown::Timeout(deadline)).await;
    }
    tell.send_replace(true);
}
