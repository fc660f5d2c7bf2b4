//! Append lanes: per tenant, what waits while a transaction runs becomes the next transaction.
//!
//! ```text
//! requests ─► lane (one a tenant) ─► batch of what waits ─► one transaction ─► an answer each
//! ```
//! The transaction is the lane's own, or, for a small batch that is taken to be new, one that lanes
//! share: see `company`.
//!
//! Invariants:
//! - a tenant has one transaction in flight: its appends do not wait for each other at the head row;
//! - requests keep their order, and each gets its own answers, whatever becomes of its neighbours;
//! - what waits is bounded, per lane by events and over all lanes by bytes: beyond it a request is
//!   refused at once, and memory does not grow;
//! - an answer is true: a batch whose commit broke off is sent again with the same keys, and what
//!   the first attempt had written counts as inserted.
//!
//! Fairness between tenants is the gate's, whose permits are given in the order they were asked for, and
//! that of the shared transactions, in which lanes have their turns in the order they came.

mod commit;
mod company;
mod queue;
mod trust;

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use dg_projections::Code;
use dg_projections::event::Line;
use dg_store::{Answer, StoreError};
use ractor::{Actor, ActorProcessingErr, ActorRef, RpcReplyPort, rpc::CallResult};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::Settings;
use crate::gate::Gate;
use crate::in_flight::InFlight;
use crate::metrics;
use crate::registry::{AlreadyOwned, Lease, Registry};
use crate::slot::Slot;
use crate::supervisor::{
    ChildSpec, Flags, Init, Refused, Restart, Shutdown, StartFn, StartFuture, SupervisorMsg,
    SupervisorRef, Template,
};
use crate::telemetry;
use crate::tenants::KeeperMsg;
use commit::commit;
use company::Company;
use queue::{Queue, Waiting};
use trust::Trust;

/// Events that may wait in one lane.
const LANE_EVENTS: usize = 20_000;
/// Bytes of events that may wait in all lanes together.
const WAITING_BYTES: usize = 128 * 1024 * 1024;
/// Permits are handed out by the kilobyte.
const PERMIT_BYTES: usize = 1024;
/// How often a request is handed to a lane that is ending, and the pause between.
const HAND_OVERS: usize = 5;
const HAND_OVER_PAUSE: Duration = Duration::from_millis(5);
/// A lane without work for so long ends; the next append starts another.
const IDLE: Duration = Duration::from_secs(60);

/// The lanes of all tenants. Cheap to clone.
#[derive(Debug, Clone)]
pub(crate) struct Lanes {
    gate: Gate,
    settings: Settings,
    owners: Registry<String, LaneOwner>,
    supervisor: Slot<SupervisorMsg<String>>,
    keeper: Slot<KeeperMsg>,
    room: Arc<Semaphore>,
    company: Company,
}

/// A tenant's lane, and how many events wait in it.
#[derive(Debug, Clone)]
struct LaneOwner {
    actor: ActorRef<LaneMsg>,
    waiting: Arc<AtomicUsize>,
}

impl Lanes {
    pub(crate) fn new(gate: Gate, settings: Settings, keeper: Slot<KeeperMsg>) -> Lanes {
        let room = Arc::new(Semaphore::new(WAITING_BYTES / PERMIT_BYTES));
        let (owners, supervisor, company) = (Registry::new(), Slot::new(), Company::default());
        Lanes { gate, settings, owners, supervisor, keeper, room, company }
    }

    /// Starts the dynamic supervisor of the lanes.
    pub(crate) fn start_fn(&self) -> StartFn {
        let lanes = self.clone();
        Arc::new(move |parent| {
            let lanes = lanes.clone();
            Box::pin(async move {
                let (supervisor, started) = SupervisorRef::start(&parent, lanes.dynamic()).await?;
                lanes.supervisor.put(supervisor.actor().clone());
                Ok(started)
            })
        })
    }

    fn dynamic(&self) -> Init<String> {
        let patience = Shutdown::Timeout(self.settings.stop_patience);
        let spec = Arc::new(move |tenant| {
            ChildSpec::worker(tenant).restart(Restart::Temporary).shutdown(patience)
        });
        let lanes = self.clone();
        let start = Arc::new(move |tenant: String, parent: crate::supervisor::Parent| {
            let lanes = lanes.clone();
            Box::pin(async move {
                parent.spawn(Lane::default(), (tenant, lanes)).await.map(|(_, started)| started)
            }) as StartFuture
        });
        let observer = metrics::counting(metrics::Label::Lanes, |_| {});
        // A lane is temporary: there is nothing to restart.
        let template = Template { spec, start };
        Init { observer: Some(observer), ..Init::dynamic("lanes", Flags::default(), template) }
    }

    /// A lane goes no later than the workers of its tenant.
    fn idle(&self) -> Duration {
        IDLE.min(self.settings.tenant_idle_stop)
    }

    /// The lanes' supervisor; none while it is starting.
    pub(crate) fn supervisor(&self) -> Option<SupervisorRef<String>> {
        self.supervisor.get().map(SupervisorRef::of)
    }

    /// Appends events of one tenant; see [`crate::Runtime::append`].
    pub(crate) async fn append(
        &self,
        tenant: &str,
        lines: Arc<[Line]>,
    ) -> Result<Vec<Answer>, StoreError> {
        if lines.is_empty() {
            return Ok(Vec::new());
        }
        let events = lines.len();
        // A lane tells itself what became of those that it took.
        self.hand_over(tenant, lines).await.unwrap_or_else(|error| {
            telemetry::append_not_taken(tenant, events, &error);
            Err(error)
        })
    }

    /// The answers of a lane, or why none took the events.
    async fn hand_over(
        &self,
        tenant: &str,
        lines: Arc<[Line]>,
    ) -> Result<Result<Vec<Answer>, StoreError>, StoreError> {
        let bytes: usize = lines.iter().map(queue::bytes_of).sum();
        let permits = u32::try_from(bytes.div_ceil(PERMIT_BYTES)).unwrap_or(u32::MAX);
        let room = self.room.clone().try_acquire_many_owned(permits).map_err(|_| full())?;
        let mut held = Some(room);
        // A lane may end, of idleness or a crash, with the request in its mailbox: then once more.
        for _ in 0..HAND_OVERS {
            if let Some(lane) = self.lane(tenant).await? {
                let place =
                    Place::take(&lane.waiting, lines.len(), held.take()).ok_or_else(full)?;
                let request =
                    |reply| LaneMsg::Append(Waiting { lines: lines.clone(), reply, place });
                if let Ok(CallResult::Success(answers)) = lane.actor.call(request, None).await {
                    return Ok(answers);
                }
            }
            tokio::time::sleep(HAND_OVER_PAUSE).await;
        }
        Err(StoreError::new(
            Code::Storage,
            "the append lane ended; send again, the keys tell what is in",
        ))
    }

    /// The tenant's lane, started if there is none; none if it has ended again already.
    async fn lane(&self, tenant: &str) -> Result<Option<LaneOwner>, StoreError> {
        if let Some(owner) = self.owners.owner(&tenant.to_owned()) {
            return Ok(Some(owner));
        }
        let starting_again =
            || StoreError::new(Code::Storage, "the append lanes are starting again; send again");
        let supervisor = self.supervisor().ok_or_else(starting_again)?;
        match supervisor.start_dynamic(tenant.to_owned()).await {
            Ok(Ok(_) | Err(Refused::AlreadyStarted(_))) => {}
            Ok(Err(refusal)) => {
                return Err(StoreError::internal(format!("append lane: {refusal}")));
            }
            Err(_) => return Err(starting_again()),
        }
        Ok(self.owners.owner(&tenant.to_owned()))
    }
}

fn full() -> StoreError {
    StoreError::new(Code::Storage, "too many appends are waiting; send again in a moment")
}

/// A request's place among those that wait: given back when the request is gone, whoever drops it.
#[derive(Debug)]
struct Place {
    waiting: Arc<AtomicUsize>,
    events: usize,
    _room: Option<OwnedSemaphorePermit>,
}

impl Place {
    /// None when the lane is full; a request alone goes whatever its size.
    fn take(
        waiting: &Arc<AtomicUsize>,
        events: usize,
        room: Option<OwnedSemaphorePermit>,
    ) -> Option<Place> {
        let before = waiting.fetch_add(events, Ordering::Relaxed);
        let place = Place { waiting: waiting.clone(), events, _room: room };
        (before == 0 || before + events <= LANE_EVENTS).then_some(place)
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.waiting.fetch_sub(self.events, Ordering::Relaxed);
    }
}

/// Where the answers of a request go.
type Reply = RpcReplyPort<Result<Vec<Answer>, StoreError>>;

/// The handler holds the tenant's key.
#[derive(Default)]
struct Lane {
    lease: OnceLock<Lease<String, LaneOwner>>,
}

struct LaneState {
    tenant: String,
    lanes: Lanes,
    queue: Queue<Reply, Place>,
    in_flight: Option<InFlight>,
    trust: Trust,
    /// Grows with each batch: tells an idle time from a busy one.
    batches: u64,
}

#[derive(Debug)]
enum LaneMsg {
    Append(Waiting<Reply, Place>),
    /// The wait for company is over.
    Go,
    /// The batch in flight was answered; what the lane may take the next one for.
    Done(Trust),
    /// Nothing may have happened since so many batches.
    IdleSince(u64),
}

impl Actor for Lane {
    type Msg = LaneMsg;
    type State = LaneState;
    type Arguments = (String, Lanes);

    async fn pre_start(
        &self,
        myself: ActorRef<LaneMsg>,
        (tenant, lanes): (String, Lanes),
    ) -> Result<LaneState, ActorProcessingErr> {
        let owner = LaneOwner { actor: myself.clone(), waiting: Arc::default() };
        let lease = lanes.owners.register(tenant.clone(), owner);
        let _ = self.lease.set(lease.map_err(|AlreadyOwned(_)| "the tenant has a lane")?);
        myself.send_after(lanes.idle(), || LaneMsg::IdleSince(0));
        Ok(LaneState {
            tenant,
            lanes,
            queue: Queue::new(),
            in_flight: None,
            trust: Trust::default(),
            batches: 0,
        })
    }

    async fn handle(
        &self,
        myself: ActorRef<LaneMsg>,
        message: LaneMsg,
        state: &mut LaneState,
    ) -> Result<(), ActorProcessingErr> {
        match message {
            LaneMsg::Append(request) => state.take(&myself, request),
            LaneMsg::Go => state.go(&myself),
            LaneMsg::Done(trust) => {
                state.in_flight = None;
                state.trust = trust;
                state.go(&myself);
            }
            LaneMsg::IdleSince(batches) => state.end_if_idle(&myself, batches),
        }
        Ok(())
    }

    /// The batch in flight is finished; those that still wait are told by their dropped ports.
    async fn post_stop(
        &self,
        _: ActorRef<LaneMsg>,
        state: &mut LaneState,
    ) -> Result<(), ActorProcessingErr> {
        if let Some(mut in_flight) = state.in_flight.take() {
            let _ = in_flight.finished().await;
        }
        Ok(())
    }
}

impl LaneState {
    fn take(&mut self, myself: &ActorRef<LaneMsg>, request: Waiting<Reply, Place>) {
        let was_empty = self.queue.is_empty();
        self.queue.push(request);
        let wait = self.lanes.settings.append_batch_max_wait;
        let is_full = self.queue.events() >= self.lanes.settings.append_batch_max_events;
        if wait.is_zero() || is_full {
            self.go(myself);
        } else if was_empty {
            myself.send_after(wait, || LaneMsg::Go);
        }
    }

    fn go(&mut self, myself: &ActorRef<LaneMsg>) {
        if self.in_flight.is_some() || self.queue.is_empty() {
            return;
        }
        self.batches += 1;
        let batch = self.queue.take(self.lanes.settings.append_batch_max_events);
        let (tenant, lanes, myself) = (self.tenant.clone(), self.lanes.clone(), myself.clone());
        let mut trust = self.trust;
        self.in_flight = Some(InFlight::begin(async move {
            let outcome = commit(&tenant, &lanes, &mut trust, batch).await;
            let _ = myself.cast(LaneMsg::Done(trust));
            // Last, as who is woken last goes on first; and without a wait in between, since the lane drops
            // this task when it hears that it is done.
            outcome.tell();
        }));
    }

    fn end_if_idle(&self, myself: &ActorRef<LaneMsg>, batches: u64) {
        if self.batches == batches && self.in_flight.is_none() && self.queue.is_empty() {
            return myself.stop(Some("normal".to_owned()));
        }
        let batches = self.batches;
        myself.send_after(self.lanes.idle(), move || LaneMsg::IdleSince(batches));
    }
}
