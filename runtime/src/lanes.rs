//! Append lanes: per tenant, what waits while a transaction runs becomes the next transaction.
//!
//! ```text
//! requests ─► lane (one a tenant) ─► batch of what waits ─► one transaction ─► an answer each
//! ```
//! The transaction is the lane's own, or, for a small batch that is taken to be new, one that lanes
//! share: see `company`.
//!
//! While a batch of new events is committed, the next is written on a second connection and waits for its end:
//! ```text
//! first   ─ write ─ move the head ─ flush ┐
//! second           ─ write ───────────────┴ move the head ─ flush
//! ```
//! Invariants:
//! - a tenant has two batches under way at most, and the second waits for nothing but the first: it has its permit,
//!   and nobody waits for it in company;
//! - what is behind goes in under the numbers it was written with, or not at all: one that does not begins again
//!   when the batch before it was answered, and one that follows what nobody knows the end of fails with it;
//! - requests keep their order (only where somebody else writes as many events in the place of a batch may the one
//!   behind it come first), and each gets its own answers, whatever becomes of its neighbours;
//! - what waits is bounded, per lane by events and over all lanes by bytes: beyond it a request is
//!   refused at once, and memory does not grow;
//! - an answer is true: a batch whose commit broke off is sent again with the same keys, and what
//!   the first attempt had written counts as inserted.
//!
//! Fairness between tenants is the gate's, whose permits are given in the order they were asked for, and
//! that of the shared transactions, in which lanes have their turns in the order they came.

mod commit;
mod company;
mod follow;
mod place;
mod queue;
mod trust;

use std::collections::VecDeque;
use std::sync::atomic::{AtomicI64, AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use dg_projections::Code;
use dg_projections::event::Line;
use dg_store::{Answer, StoreError};
use ractor::{Actor, ActorProcessingErr, ActorRef, MessagingErr};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, oneshot};

use crate::Settings;
use crate::gate::Gate;
use crate::in_flight::{InFlight, caught};
use crate::metrics;
use crate::registry::{AlreadyOwned, Lease, Registry};
use crate::slot::Slot;
use crate::supervisor::{
    ChildSpec, Flags, Init, Refused, Restart, Shutdown, StartFn, StartFuture, SupervisorMsg,
    SupervisorRef, Template,
};
use crate::telemetry;
use crate::tenants::KeeperMsg;
use commit::{Answered, Before, Pass, commit};
use company::Company;
use follow::{Goes, Last, goes};
use place::{Place, Taken};
use queue::{Queue, Waiting};
use trust::Trust;

/// Bytes of events that may wait in all lanes together.
const WAITING_BYTES: usize = 128 * 1024 * 1024;
/// Permits are handed out by the kilobyte.
const PERMIT_BYTES: usize = 1024;
/// How often a request is handed to a lane that crashes.
const HAND_OVERS: usize = 5;
/// How long a request waits for the lane after one that is ending, and the pause between two looks.
const HAND_OVER: Duration = Duration::from_secs(5);
const HAND_OVER_PAUSE: Duration = Duration::from_millis(5);
/// A lane without work for so long ends; the next append starts another.
const IDLE: Duration = Duration::from_secs(60);
/// The same where there are more lanes than so many: memory does not grow with the number of tenants.
const MANY: usize = 2_000;
const IDLE_OF_MANY: Duration = Duration::from_secs(1);

/// How long one of so many lanes is without work before it ends: it goes no later than the workers of its
/// tenant.
fn idle(lanes: usize, tenant_idle_stop: Duration) -> Duration {
    if lanes > MANY { IDLE_OF_MANY } else { IDLE }.min(tenant_idle_stop)
}

/// The lanes of all tenants. Cheap to clone.
#[derive(Debug, Clone)]
pub(crate) struct Lanes {
    gate: Gate,
    settings: Arc<Settings>,
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
    pub(crate) fn new(gate: Gate, settings: Arc<Settings>, keeper: Slot<KeeperMsg>) -> Lanes {
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
        let lanes = Arc::new(self.clone());
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

    fn idle(&self) -> Duration {
        idle(self.owners.count(), self.settings.tenant_idle_stop)
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
        // A lane may crash with the request in its mailbox: then once more.
        for _ in 0..HAND_OVERS {
            let appending = self.hand_over(tenant, lines.clone()).await?;
            if let Ok(answers) = appending.answers.await {
                return answers;
            }
            tokio::time::sleep(HAND_OVER_PAUSE).await;
        }
        let error = ended();
        telemetry::append_not_taken(tenant, lines.len(), &error);
        Err(error)
    }

    /// Hands events of one tenant to its lane; see [`crate::Runtime::hand_over`].
    pub(crate) async fn hand_over(
        &self,
        tenant: &str,
        lines: Arc<[Line]>,
    ) -> Result<Appending, StoreError> {
        let bytes: usize = lines.iter().map(queue::bytes_of).sum();
        let permits = u32::try_from(bytes.div_ceil(PERMIT_BYTES)).unwrap_or(u32::MAX);
        let room = self.room.clone().try_acquire_many_owned(permits).map_err(|_| full());
        let taken = match room {
            Ok(room) => self.take(tenant, &lines, room).await,
            Err(full) => Err(full),
        };
        // A lane tells itself what became of those that it took.
        let answers =
            taken.inspect_err(|error| telemetry::append_not_taken(tenant, lines.len(), error))?;
        Ok(Appending { tenant: tenant.to_owned(), events: lines.len(), answers })
    }

    /// Where the answers of the tenant's lane will come, or why it took nothing.
    async fn take(
        &self,
        tenant: &str,
        lines: &Arc<[Line]>,
        room: OwnedSemaphorePermit,
    ) -> Result<Answers, StoreError> {
        let mut room = Some(room);
        let started = Instant::now();
        while started.elapsed() < HAND_OVER {
            if let Some(lane) = self.lane(tenant).await? {
                match Place::take(&lane.waiting, lines.len()) {
                    Taken::Place(mut place) => {
                        place.room = room.take();
                        let (reply, answers) = oneshot::channel();
                        let request = Waiting { lines: lines.clone(), reply, place };
                        match lane.actor.cast(LaneMsg::Append(request)) {
                            // It has crashed meanwhile: its part of the room is for the next lane.
                            Err(MessagingErr::SendErr(LaneMsg::Append(mut unsent))) => {
                                room = unsent.place.room.take();
                            }
                            Err(_) => {}
                            Ok(()) => return Ok(answers),
                        }
                    }
                    Taken::Full => return Err(full()),
                    Taken::Ended => {}
                }
            }
            tokio::time::sleep(HAND_OVER_PAUSE).await;
        }
        Err(ended())
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

fn ended() -> StoreError {
    StoreError::new(Code::Storage, "the append lane ended; send again, the keys tell what is in")
}

fn full() -> StoreError {
    StoreError::new(Code::Storage, "too many appends are waiting; send again in a moment")
}

/// Events that a lane has. It appends them also if nobody waits for the answers.
#[derive(Debug)]
pub struct Appending {
    tenant: String,
    events: usize,
    answers: Answers,
}

impl Appending {
    /// The answer of each event, in order.
    ///
    /// # Errors
    /// As [`crate::Runtime::append`], and `storage` if the lane ended: what came after these may be in another by now.
    pub async fn answers(self) -> Result<Vec<Answer>, StoreError> {
        self.answers.await.unwrap_or_else(|_| {
            let error = ended();
            telemetry::append_not_taken(&self.tenant, self.events, &error);
            Err(error)
        })
    }
}

/// Where the answers of a request go, and where they come from.
type Reply = oneshot::Sender<Result<Vec<Answer>, StoreError>>;
type Answers = oneshot::Receiver<Result<Vec<Answer>, StoreError>>;

/// The handler holds the tenant's key.
#[derive(Default)]
struct Lane {
    lease: OnceLock<Lease<String, LaneOwner>>,
}

struct LaneState {
    tenant: String,
    lanes: Arc<Lanes>,
    queue: Queue<Reply, Place>,
    /// Events that have not been answered, as everybody sees them.
    waiting: Arc<AtomicUsize>,
    /// Batches that have not been answered, in order.
    under_way: VecDeque<UnderWay>,
    trust: Trust,
    /// Grows with each batch: tells an idle time from a busy one.
    batches: u64,
}

/// A batch that has not been answered.
struct UnderWay {
    task: InFlight,
    events: usize,
    /// Where the log ends after it, while it is at the database and another may be sent behind it; otherwise zero.
    end: Arc<AtomicI64>,
    /// For who follows it; none when it is followed, or is not to be.
    answered: Option<oneshot::Receiver<Answered>>,
}

#[derive(Debug)]
enum LaneMsg {
    Append(Waiting<Reply, Place>),
    /// What waits may have its turn.
    Go,
    /// The first of the batches under way was answered; what the lane may take the next one for.
    Done(Option<Trust>),
    /// A batch has crashed: so does the lane, and what it had is handed to the next.
    Crashed(String),
    /// Nothing may have happened since so many batches.
    IdleSince(u64),
}

impl Actor for Lane {
    type Msg = LaneMsg;
    type State = LaneState;
    type Arguments = (String, Arc<Lanes>);

    async fn pre_start(
        &self,
        myself: ActorRef<LaneMsg>,
        (tenant, lanes): (String, Arc<Lanes>),
    ) -> Result<LaneState, ActorProcessingErr> {
        let waiting = Arc::default();
        let owner = LaneOwner { actor: myself.clone(), waiting: Arc::clone(&waiting) };
        let lease = lanes.owners.register(tenant.clone(), owner);
        let _ = self.lease.set(lease.map_err(|AlreadyOwned(_)| "the tenant has a lane")?);
        myself.send_after(lanes.idle(), || LaneMsg::IdleSince(0));
        Ok(LaneState {
            tenant,
            lanes,
            queue: Queue::new(),
            waiting,
            under_way: VecDeque::new(),
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
                state.under_way.pop_front();
                if trust.is_none() {
                    // Who is behind it fails as well, and whoever followed that one would.
                    state.under_way.iter_mut().for_each(|batch| batch.answered = None);
                }
                state.trust = trust.unwrap_or_default();
                state.go(&myself);
            }
            LaneMsg::Crashed(panic) => return Err(panic.into()),
            LaneMsg::IdleSince(batches) => state.end_if_idle(&myself, batches),
        }
        Ok(())
    }

    /// The batches under way are finished; those that still wait are told by their dropped ports.
    async fn post_stop(
        &self,
        _: ActorRef<LaneMsg>,
        state: &mut LaneState,
    ) -> Result<(), ActorProcessingErr> {
        for batch in &mut state.under_way {
            let _ = batch.task.finished().await;
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
        if self.queue.is_empty() {
            return;
        }
        let Some(before) = self.before() else { return };
        self.batches += 1;
        let batch = self.queue.take(self.lanes.settings.append_batch_max_events);
        let end = Arc::new(AtomicI64::new(0));
        let events: usize = batch.iter().map(|request| request.lines.len()).sum();
        let begun = self.begun(myself, events, end.clone());
        let (tell_next, answered) = oneshot::channel();
        let (tenant, lanes, myself) = (self.tenant.clone(), self.lanes.clone(), myself.clone());
        // Boxed: Tokio moves a task's future whole, several times.
        let task = InFlight::begin(Box::pin(async move {
            let committed = caught(commit(&tenant, &lanes, before, batch, begun)).await;
            let (answered, outcome) = match committed {
                Ok(committed) => committed,
                Err(panic) => return drop(myself.cast(LaneMsg::Crashed(panic))),
            };
            let _ = myself.cast(LaneMsg::Done(answered.as_ref().ok().copied()));
            let _nobody_follows = tell_next.send(answered);
            // Last, as who is woken last goes on first; and without a wait in between, since the lane drops
            // this task when it hears that it is done.
            outcome.tell();
        }));
        self.under_way.push_back(UnderWay { task, events, end, answered: Some(answered) });
    }

    /// What the next batch goes on from, if there may be one.
    fn before(&mut self) -> Option<Before> {
        let under_way = self.under_way.len();
        let Some(batch) = self.under_way.back_mut() else {
            return Some(Before::Answered(self.trust));
        };
        let head = batch.end.load(Ordering::Acquire);
        let may_be_followed = head != 0 && batch.answered.is_some();
        let last = Last { events: batch.events, may_be_followed };
        let turn = match goes(under_way, last, self.queue.events()) {
            Goes::Later => return None,
            Goes::Behind => None,
            Goes::BehindInTurn => Some(self.lanes.company.follow(&self.lanes.gate)?),
        };
        let pass = Pass { permit: self.lanes.gate.permit_to_append()?, turn };
        Some(Before::UnderWay { head, answered: batch.answered.take()?, pass })
    }

    /// What is to be done when a batch is at the database, or is no longer: who waits already may follow it.
    fn begun(
        &self,
        myself: &ActorRef<LaneMsg>,
        events: usize,
        end: Arc<AtomicI64>,
    ) -> impl Fn(Option<i64>) + use<> {
        let (myself, waiting) = (myself.clone(), self.waiting.clone());
        let is_first = self.under_way.is_empty();
        move |number| {
            end.store(number.unwrap_or(0), Ordering::Release);
            if number.is_some() && is_first && waiting.load(Ordering::Relaxed) >= 2 * events {
                let _ = myself.cast(LaneMsg::Go);
            }
        }
    }

    fn end_if_idle(&self, myself: &ActorRef<LaneMsg>, batches: u64) {
        if self.batches == batches && Place::end(&self.waiting) {
            return myself.stop(Some("normal".to_owned()));
        }
        let batches = self.batches;
        myself.send_after(self.lanes.idle(), move || LaneMsg::IdleSince(batches));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lanes_end_sooner_where_there_are_many() {
        let (long, short) = (Duration::from_secs(600), Duration::from_millis(20));
        for (lanes, tenant_idle_stop, expected) in [
            (MANY, long, IDLE),
            (MANY + 1, long, IDLE_OF_MANY),
            (MANY, short, short),
            (MANY + 1, short, short),
        ] {
            assert_eq!(idle(lanes, tenant_idle_stop), expected, "{lanes}");
        }
    }
}
