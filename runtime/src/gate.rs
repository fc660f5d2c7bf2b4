//! The gate to the database: an actor that knows whether it is there, and a handle through which
//! all work goes.
//!
//! Invariants:
//! - the gate starts whether or not the database is there;
//! - while it is away, work is refused at once and one probe at a time looks for it, at growing
//!   intervals; the first answer opens the gate again;
//! - workers, appends and reads of everything never use more connections than their permits, so an
//!   operator's request finds one.

use std::future::Future;
use std::sync::Arc;
use std::time::{Duration, Instant};

use dg_projections::Code;
use dg_store::failpoint::{self, Point};
use dg_store::{Store, StoreError};
use ractor::rpc::CallResult;
use ractor::{Actor, ActorProcessingErr, ActorRef, RpcReplyPort};
use time::OffsetDateTime;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, SemaphorePermit, watch};

use crate::Settings;
use crate::metrics;
use crate::slot::Slot;
use crate::supervisor::StartFn;
use crate::yielding::Turns;

const PROBE_FIRST: Duration = Duration::from_millis(100);
const PROBE_LAST: Duration = Duration::from_secs(2);

/// Whether the database is there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum DatabaseState {
    /// It answers.
    Up,
    /// It does not.
    Down {
        /// Since when.
        since: OffsetDateTime,
        /// What was said last.
        reason: String,
        /// How often it was looked for since.
        probes: u32,
    },
}

/// Connections that each kind of work may use at once; the rest of the pool is for requests.
#[derive(Debug)]
struct Permits {
    work: Semaphore,
    append: Arc<Semaphore>,
    /// Of those for appends, how many may wait for somebody's lock at once: one is left for the others.
    wait: Semaphore,
    /// One, for reads of everything there is.
    stream: Semaphore,
    /// Pages that were read before it is their turn: as many as workers may be at work.
    ahead: Arc<Semaphore>,
    /// Pages of live workers from being read to being committed: as many as keep both at work.
    page: Semaphore,
    /// One, for whoever asks whether the database is still there.
    knock: Arc<Semaphore>,
}

/// The way to the database. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Gate {
    store: Store,
    state: watch::Receiver<DatabaseState>,
    permits: Arc<Permits>,
    timeout: Duration,
    /// Of the permits for work, those that runs may use.
    turns: Arc<Turns>,
    actor: Slot<GateMsg>,
    publish: Arc<watch::Sender<DatabaseState>>,
}

impl Gate {
    /// A gate that is open; [`Gate::start_fn`] starts its actor.
    pub(crate) fn new(store: Store, settings: &Settings) -> Gate {
        let (publish, state) = watch::channel(DatabaseState::Up);
        let permits = Permits {
            work: Semaphore::new(settings.worker_permits),
            append: Arc::new(Semaphore::new(settings.append_permits)),
            wait: Semaphore::new(settings.append_permits.saturating_sub(1).max(1)),
            stream: Semaphore::new(1),
            ahead: Arc::new(Semaphore::new(settings.worker_permits)),
            page: Semaphore::new(2 * settings.worker_permits),
            knock: Arc::new(Semaphore::new(1)),
        };
        Gate {
            store,
            state,
            permits: Arc::new(permits),
            timeout: settings.storage_timeout,
            turns: Arc::new(Turns::new((settings.worker_permits / 2).max(1))),
            actor: Slot::new(),
            publish: Arc::new(publish),
        }
    }

    /// Starts the gate's actor; a later life goes on with what the one before knew.
    pub(crate) fn start_fn(&self) -> StartFn {
        let gate = self.clone();
        Arc::new(move |parent| {
            let gate = gate.clone();
            Box::pin(async move { parent.spawn(GateActor, gate).await.map(|(_, started)| started) })
        })
    }

    /// Whether the database is there.
    pub fn state(&self) -> DatabaseState {
        self.state.borrow().clone()
    }

    /// Whether the gate's actor answers; what waits for it is at the mercy of the caller's patience.
    pub(crate) async fn is_alive(&self) -> bool {
        let Some(actor) = self.actor.get() else { return false };
        matches!(actor.call(GateMsg::Alive, None).await, Ok(CallResult::Success(())))
    }

    /// Waits until the database has been away and is back; false when the gate is closed for good.
    pub(crate) async fn comes_back(&self) -> bool {
        let mut state = self.state.clone();
        let is_up = |state: &DatabaseState| *state == DatabaseState::Up;
        state.wait_for(|state| !is_up(state)).await.is_ok() && state.wait_for(is_up).await.is_ok()
    }

    /// The store itself, for reads that stream for longer than a request may take.
    pub fn store(&self) -> &Store {
        &self.store
    }

    /// Does a request's work at the database.
    ///
    /// # Errors
    /// `storage` at once while the database is away, or when the work takes too long; otherwise the
    /// work's own.
    pub async fn run<T, W, F>(&self, work: W) -> Result<T, StoreError>
    where
        W: FnOnce(Store) -> F,
        F: Future<Output = Result<T, StoreError>>,
    {
        let in_time = |store: Store| async move {
            let outcome = tokio::time::timeout(self.timeout, store.lend(work)).await;
            outcome.unwrap_or_else(|_| {
                self.doubt();
                let message =
                    format!("no answer from the database in {} ms", self.timeout.as_millis());
                Err(StoreError::new(Code::Storage, message))
            })
        };
        self.unbounded(in_time).await
    }

    /// Reads everything there is of a tenant, however long that takes, when it is its turn: one such
    /// read at a time.
    ///
    /// # Errors
    /// `storage` when its turn does not come in time; otherwise as [`Gate::run`].
    pub async fn stream<T, W, F>(&self, work: W) -> Result<T, StoreError>
    where
        W: FnOnce(Store) -> F,
        F: Future<Output = Result<T, StoreError>>,
    {
        let _permit = self.permit(&self.permits.stream).await?;
        self.unbounded(|store: Store| async move { store.lend(work).await }).await
    }

    async fn unbounded<T, W, F>(&self, work: W) -> Result<T, StoreError>
    where
        W: FnOnce(Store) -> F,
        F: Future<Output = Result<T, StoreError>>,
    {
        if let DatabaseState::Down { reason, .. } = &*self.state.borrow() {
            return Err(StoreError::outage(format!("the database is away: {reason}")));
        }
        let outcome = work(self.store.clone()).await;
        if let Err(error) = &outcome {
            metrics::count_error(error.code);
            self.report(error);
        }
        outcome
    }

    /// Does a worker's work, when a permit is free.
    ///
    /// # Errors
    /// As [`Gate::run`].
    pub async fn work<T, W, F>(&self, work: W) -> Result<T, StoreError>
    where
        W: FnOnce(Store) -> F,
        F: Future<Output = Result<T, StoreError>>,
    {
        self.permitted(&self.permits.work, work).await
    }

    /// Does a run's work, when it is its turn and a permit of the workers' is free; runs rest after it
    /// while live workers are slower than their goal.
    ///
    /// # Errors
    /// As [`Gate::run`].
    pub async fn job<T, W, F>(&self, work: W) -> Result<T, StoreError>
    where
        W: FnOnce(Store) -> F,
        F: Future<Output = Result<T, StoreError>>,
    {
        let turn = self.turns.take().await.ok_or_else(closed)?;
        let timed = |store| async move {
            let started = Instant::now();
            work(store).await.map(|done| (done, started.elapsed()))
        };
        let (done, took) = self.work(timed).await?;
        self.turns.rest(turn, took);
        Ok(done)
    }

    /// The same for a replay, after which nobody rests: the live workers of its tenant wait for it.
    ///
    /// # Errors
    /// As [`Gate::run`].
    pub async fn replay<T, W, F>(&self, work: W) -> Result<T, StoreError>
    where
        W: FnOnce(Store) -> F,
        F: Future<Output = Result<T, StoreError>>,
    {
        let _turn = self.turns.take().await.ok_or_else(closed)?;
        self.work(work).await
    }

    /// Connections that runs may use at once.
    pub(crate) fn most_jobs(&self) -> usize {
        self.turns.most()
    }

    /// A worker's batch became visible so long after it was appended.
    pub(crate) fn note_lag(&self, lag: Duration) {
        self.turns.note_lag(lag);
    }

    /// The longest lag of live workers of late.
    pub(crate) fn live_lag(&self) -> Duration {
        self.turns.live_lag()
    }

    /// Does an append that waits for whoever holds a tenant's head, when a permit is free.
    ///
    /// # Errors
    /// As [`Gate::run`].
    pub async fn append_waiting<T, W, F>(&self, append: W) -> Result<T, StoreError>
    where
        W: FnOnce(Store) -> F,
        F: Future<Output = Result<T, StoreError>>,
    {
        let _permit = self.permit(&self.permits.wait).await?;
        self.append(append).await
    }

    /// Does an append that waits for nobody, when a permit is free.
    ///
    /// # Errors
    /// As [`Gate::run`].
    pub async fn append<T, W, F>(&self, append: W) -> Result<T, StoreError>
    where
        W: FnOnce(Store) -> F,
        F: Future<Output = Result<T, StoreError>>,
    {
        self.permitted(&self.permits.append, append).await
    }

    /// A permit for an append, if one is free now: for who holds up something meanwhile.
    pub(crate) fn permit_to_append(&self) -> Option<OwnedSemaphorePermit> {
        self.permits.append.clone().try_acquire_owned().ok()
    }

    /// Does an append whose permit was had already.
    ///
    /// # Errors
    /// As [`Gate::run`].
    pub(crate) async fn append_with<T, W, F>(
        &self,
        _permit: OwnedSemaphorePermit,
        append: W,
    ) -> Result<T, StoreError>
    where
        W: FnOnce(Store) -> F,
        F: Future<Output = Result<T, StoreError>>,
    {
        Box::pin(self.run(append)).await
    }

    /// Permits are given in the order they were asked for: fair between tenants.
    async fn permitted<T, W, F>(&self, permits: &Semaphore, work: W) -> Result<T, StoreError>
    where
        W: FnOnce(Store) -> F,
        F: Future<Output = Result<T, StoreError>>,
    {
        let _permit = self.permit(permits).await?;
        // Boxed: thousands may wait for a turn, and only those whose turn it is need the room.
        Box::pin(self.run(work)).await
    }

    async fn permit<'a>(&self, permits: &'a Semaphore) -> Result<SemaphorePermit<'a>, StoreError> {
        let permit = tokio::time::timeout(self.timeout, permits.acquire()).await.map_err(|_| {
            let waited = self.timeout.as_millis();
            StoreError::new(Code::Storage, format!("no turn at the database in {waited} ms"))
        })?;
        permit.map_err(|_| closed())
    }

    /// A live worker's place for a page, when it is its turn, in the order of asking. Thousands of
    /// workers that are hungry at once would otherwise all have read theirs before the first can
    /// commit. Whoever has a place is done in bounded time, so nobody waits for ever.
    pub(crate) async fn place(&self) -> Option<SemaphorePermit<'_>> {
        // It is never closed.
        self.permits.page.acquire().await.ok()
    }

    /// A place for a page that is read before it is its turn, if there is one: many tenants that
    /// catch up at once must not each keep a page in memory.
    pub(crate) fn place_ahead(&self) -> Option<OwnedSemaphorePermit> {
        self.permits.ahead.clone().try_acquire_owned().ok()
    }

    /// Takes note of a failure; one that means that the database is away closes the gate.
    pub fn report(&self, error: &StoreError) {
        if error.is_outage {
            self.actor.tell(GateMsg::Failed(error.message.clone()));
        }
    }

    /// Nothing has answered in time: one piece of work that is held up, or a database that is silent. A
    /// new connection tells which.
    fn doubt(&self) {
        let Ok(turn) = self.permits.knock.clone().try_acquire_owned() else { return };
        let (store, actor) = (self.store.clone(), self.actor.clone());
        tokio::spawn(async move {
            if let Err(error) = store.knock().await {
                actor.tell(GateMsg::Failed(error.message));
            }
            drop(turn);
        });
    }

    /// Refuses all further work and ends the connections.
    pub(crate) fn close(&self) {
        self.permits.work.close();
        self.permits.append.close();
        self.permits.wait.close();
        self.turns.close();
        self.permits.stream.close();
        self.store.close();
    }
}

fn closed() -> StoreError {
    StoreError::new(Code::Storage, "the store is closed")
}

struct GateActor;

#[derive(Debug)]
pub(crate) enum GateMsg {
    Failed(String),
    Probe,
    Probed(Result<(), String>),
    /// Is anybody there?
    Alive(RpcReplyPort<()>),
}

impl Actor for GateActor {
    type Msg = GateMsg;
    type State = Gate;
    type Arguments = Gate;

    /// Nothing that may fail: the database may be away.
    async fn pre_start(
        &self,
        myself: ActorRef<GateMsg>,
        gate: Gate,
    ) -> Result<Gate, ActorProcessingErr> {
        gate.actor.put(myself.clone());
        if gate.state() != DatabaseState::Up {
            myself.cast(GateMsg::Probe)?;
        }
        Ok(gate)
    }

    async fn handle(
        &self,
        myself: ActorRef<GateMsg>,
        message: GateMsg,
        gate: &mut Gate,
    ) -> Result<(), ActorProcessingErr> {
        failpoint::hit(Point::GateHandleBefore, "").await;
        match message {
            GateMsg::Failed(reason) => gate.shut(&myself, reason),
            GateMsg::Probe => gate.probe(&myself),
            GateMsg::Probed(outcome) => gate.probed(&myself, outcome),
            GateMsg::Alive(reply) => drop(reply.send(())),
        }
        Ok(())
    }
}

impl Gate {
    fn shut(&self, myself: &ActorRef<GateMsg>, reason: String) {
        if *self.publish.borrow() != DatabaseState::Up {
            return; // a probe is under way
        }
        tracing::warn!(code = "storage", %reason, "database away");
        let since = OffsetDateTime::now_utc();
        self.publish.send_replace(DatabaseState::Down { since, reason, probes: 0 });
        myself.send_after(PROBE_FIRST, || GateMsg::Probe);
    }

    /// Beside the actor, so that it answers while the database does not.
    fn probe(&self, myself: &ActorRef<GateMsg>) {
        let (store, myself) = (self.store.clone(), myself.clone());
        tokio::spawn(async move {
            let outcome = store.ping().await.map_err(|error| error.message);
            let _ = myself.cast(GateMsg::Probed(outcome));
        });
    }

    fn probed(&self, myself: &ActorRef<GateMsg>, outcome: Result<(), String>) {
        let DatabaseState::Down { since, probes, .. } = self.publish.borrow().clone() else {
            return;
        };
        match outcome {
            Ok(()) => {
                let seconds = (OffsetDateTime::now_utc() - since).as_seconds_f64();
                tracing::info!(seconds, probes, "database back");
                self.publish.send_replace(DatabaseState::Up);
            }
            Err(reason) => {
                self.publish.send_replace(DatabaseState::Down {
                    since,
                    reason,
                    probes: probes + 1,
                });
                let wait = PROBE_FIRST.saturating_mul(1 << probes.min(10)).min(PROBE_LAST);
                myself.send_after(wait, || GateMsg::Probe);
            }
        }
    }
}
