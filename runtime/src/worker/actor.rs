//! The shell around the machine: messages in, effects out, a snapshot for whoever looks.
//!
//! An effect runs in a task beside the actor and comes back as a message, so the actor always
//! answers; a panic in it crashes the actor, whose supervisor starts it again from the durable
//! cursor. At most one effect is in flight: a new one begins when the one before has come back.

use std::sync::{Arc, OnceLock};

use ractor::{Actor, ActorProcessingErr, ActorRef};
use time::OffsetDateTime;
use tokio::sync::watch;

use dg_store::Share;

use super::effects;
use super::snapshot::{WorkerKey, WorkerSnapshot};
use super::state::{Effect, Input, Machine, State, Then, step};
use crate::Settings;
use crate::digests::DigestsMsg;
use crate::gate::Gate;
use crate::in_flight::{InFlight, caught};
use crate::metrics;
use crate::pages::Ahead;
use crate::pauses::Pauses;
use crate::registry::{AlreadyOwned, Lease, Registry};
use crate::slot::Slot;
use crate::supervisor::StartFn;

/// The owner of a worker's key: to wake it, and to see what it does.
#[derive(Debug, Clone)]
pub struct WorkerOwner {
    pub(crate) actor: ActorRef<WorkerMsg>,
    /// What it shows of itself.
    pub snapshot: watch::Receiver<WorkerSnapshot>,
}

/// Who works on what.
pub(crate) type Owners = Registry<WorkerKey, WorkerOwner>;

/// Starts the worker of a key.
pub(crate) fn start_fn(
    key: WorkerKey,
    gate: &Gate,
    settings: &Arc<Settings>,
    owners: &Owners,
    pauses: &Pauses,
    digests: &Slot<DigestsMsg>,
) -> StartFn {
    let (gate, settings, owners) = (gate.clone(), settings.clone(), owners.clone());
    let (pauses, digests) = (pauses.clone(), digests.clone());
    Arc::new(move |parent| {
        let arguments = WorkerArguments {
            key: key.clone(),
            gate: gate.clone(),
            settings: settings.clone(),
            owners: owners.clone(),
            pauses: pauses.clone(),
            digests: digests.clone(),
        };
        Box::pin(async move {
            parent.spawn(Worker::default(), arguments).await.map(|(_, started)| started)
        })
    })
}

/// The handler holds the worker's key: it is dropped when the worker's task has ended.
#[derive(Default)]
struct Worker {
    lease: OnceLock<Lease<WorkerKey, WorkerOwner>>,
}

struct WorkerArguments {
    key: WorkerKey,
    gate: Gate,
    settings: Arc<Settings>,
    owners: Owners,
    pauses: Pauses,
    digests: Slot<DigestsMsg>,
}

struct WorkerState {
    key: WorkerKey,
    who: String,
    gate: Gate,
    settings: Arc<Settings>,
    publish: watch::Sender<WorkerSnapshot>,
    lease: Lease<WorkerKey, WorkerOwner>,
    machine: Machine,
    /// What it was last given: its own share, or what fell to it of another number of partitions.
    share: Share,
    /// Whether its number of partitions was in force once: from then on it follows any other, so
    /// that two daemons of different settings do not undo each other's for ever.
    settled: bool,
    in_flight: Option<InFlight>,
    /// The page after the one that was applied last.
    ahead: Option<Box<Ahead>>,
    digests: Slot<DigestsMsg>,
    /// The cursor at rest that the digests were told of last.
    rested: Option<i64>,
}

#[derive(Debug)]
pub(crate) enum WorkerMsg {
    Input(Input),
    /// The effect in flight has ended.
    Done(Input, Option<Box<Ahead>>),
    /// The effect in flight panicked.
    Crashed(String),
}

impl Actor for Worker {
    type Msg = WorkerMsg;
    type State = WorkerState;
    type Arguments = WorkerArguments;

    /// Takes the key; nothing that may fail otherwise: the first look at the database is an effect.
    async fn pre_start(
        &self,
        myself: ActorRef<WorkerMsg>,
        start: WorkerArguments,
    ) -> Result<WorkerState, ActorProcessingErr> {
        let WorkerArguments { key, gate, settings, owners, pauses, digests } = start;
        let (publish, snapshot) = watch::channel(WorkerSnapshot::new(key.clone()));
        let owner = WorkerOwner { actor: myself.clone(), snapshot };
        let lease = owners
            .register(key.clone(), owner)
            .map_err(|AlreadyOwned(_)| format!("{key} has a live owner"))?;
        let _ = self.lease.set(lease.clone());
        // After it was registered: whoever pauses from now on finds it and tells it.
        let (machine, effects) = match pauses.by(&key) {
            Some(run) => (Machine::start_paused(run), Vec::new()),
            None => Machine::start(),
        };
        publish.send_modify(|snapshot| snapshot.stand(&machine.state));
        let who = key.to_string();
        let mut state = WorkerState {
            share: share(&key, &settings),
            settled: false,
            key,
            who,
            gate,
            settings,
            publish,
            lease,
            machine,
            in_flight: None,
            ahead: None,
            digests,
            rested: None,
        };
        state.perform(&myself, effects);
        Ok(state)
    }

    async fn handle(
        &self,
        myself: ActorRef<WorkerMsg>,
        message: WorkerMsg,
        state: &mut WorkerState,
    ) -> Result<(), ActorProcessingErr> {
        match message {
            WorkerMsg::Input(input) => state.take(&myself, &input),
            WorkerMsg::Done(input, ahead) => {
                // It has ended: kept, its task would go on taking the room of one that runs.
                state.in_flight = None;
                state.ahead = ahead;
                state.take(&myself, &input)
            }
            WorkerMsg::Crashed(reason) => Err(reason.into()),
        }
    }

    /// The batch in flight is finished first.
    async fn post_stop(
        &self,
        myself: ActorRef<WorkerMsg>,
        state: &mut WorkerState,
    ) -> Result<(), ActorProcessingErr> {
        state.take(&myself, &Input::Stop)?;
        if let Some(in_flight) = &mut state.in_flight {
            // A panic in it is its own report.
            let _ = in_flight.finished().await;
        }
        Ok(())
    }
}

impl WorkerState {
    fn take(
        &mut self,
        myself: &ActorRef<WorkerMsg>,
        input: &Input,
    ) -> Result<(), ActorProcessingErr> {
        if let Input::CursorLoaded { cursor, .. } = input {
            self.share = cursor.share;
            self.settled |= !cursor.lent && cursor.share == share(&self.key, &self.settings);
        }
        let before = self.machine.state.status();
        let (machine, effects) =
            step(self.machine.clone(), input.clone(), &self.settings.retry, &self.who)?;
        self.machine = machine;
        let now = OffsetDateTime::now_utc();
        let had_error = self.publish.borrow().last_error.is_some();
        self.publish.send_modify(|snapshot| snapshot.note(input, &self.machine, now));
        self.log(before, input, had_error);
        self.count(input, now);
        self.tell_of_rest(input);
        if !matches!(self.machine.state, State::CatchingUp { .. }) {
            self.ahead = None;
        }
        self.perform(myself, effects);
        Ok(())
    }

    /// Told once for each tail where it comes to rest: the digests there are not known yet.
    fn tell_of_rest(&mut self, input: &Input) {
        let State::Idle { at } = &self.machine.state else { return };
        if !matches!(input, Input::Applied { at_tail: true, .. }) {
            return; // it yields its place
        }
        if self.rested.replace(at.last_log_seq) != Some(at.last_log_seq) {
            self.digests.tell(DigestsMsg::Rested(self.key.tenant_id.clone()));
        }
    }

    /// One line when trouble begins and one when it ends.
    fn log(&self, before: &'static str, input: &Input, had_error: bool) {
        let WorkerKey { tenant_id: tenant, projection, partition } = &self.key;
        let after = self.machine.state.status();
        let begins = match after {
            "retrying" => self.machine.attempt <= 1,
            _ => before != after,
        };
        match input {
            Input::Failed(failure) if begins => {
                let event = failure.event.as_ref().map(|(_, _, event)| event.as_str());
                let log_seq = failure.event.as_ref().map(|(log_seq, ..)| *log_seq);
                tracing::warn!(%tenant, %projection, partition, code = %failure.code, event, log_seq, reason = %failure.message, "worker {after}");
            }
            Input::Applied { .. } if had_error => {
                tracing::info!(%tenant, %projection, partition, "worker recovered");
            }
            _ if before != after => {
                tracing::debug!(%tenant, %projection, from = before, "worker {after}");
            }
            _ => {}
        }
    }

    /// What becomes of each verdict is counted once: a dead letter that cannot be written is none.
    fn count(&self, input: &Input, now: OffsetDateTime) {
        let projection = self.key.projection;
        match (input, &self.machine.state) {
            (
                Input::Failed(failure),
                State::Retrying { .. } | State::Recording { then: Then::Wait(_), .. },
            ) => metrics::count_retry(projection, failure.code),
            (Input::Failed(failure), State::Recording { then: Then::Fail, .. }) => {
                metrics::count_failure(projection, failure.code);
            }
            (Input::Applied { .. }, _) => metrics::note_cycle(projection, now),
            _ => {}
        }
    }

    fn perform(&mut self, myself: &ActorRef<WorkerMsg>, effects: Vec<Effect>) {
        for effect in effects {
            let (gate, key, limit) =
                (self.gate.clone(), self.key.clone(), self.settings.batch_size);
            match effect {
                Effect::LoadCursor => {
                    let share = share(&key, &self.settings);
                    let claim = share.partition == 0 && !self.settled; // one asks for all
                    self.begin(myself, async move {
                        (effects::load_cursor(&gate, &key, share, claim).await, None)
                    });
                }
                Effect::ApplyPage { from, limit: fewer } => {
                    let limit = (fewer.map_or(limit, |fewer| fewer.min(limit)), fewer.is_some());
                    let ahead = self.ahead.take().filter(|ahead| ahead.is_after(from) && !limit.1);
                    self.begin(myself, async move {
                        effects::apply_page(&gate, &key, from, limit, ahead).await
                    });
                }
                Effect::Record { failure, retries } => {
                    let partition = self.share.partition;
                    self.begin(myself, async move {
                        let failure = (&failure, retries);
                        (effects::record(&gate, &key, partition, failure).await, None)
                    });
                }
                Effect::StartTimer { id, after } => {
                    myself.send_after(after, move || WorkerMsg::Input(Input::TimerFired(id)));
                }
            }
        }
    }

    /// Runs an effect beside the actor, so that the actor always answers; the key is held for it.
    fn begin(
        &mut self,
        myself: &ActorRef<WorkerMsg>,
        effect: impl Future<Output = (Input, Option<Box<Ahead>>)> + Send + 'static,
    ) {
        // Boxed: the room for it is given back when it ends, and is not needed twice on the way into its task.
        let effect = Box::pin(effect);
        let (myself, lease) = (myself.clone(), self.lease.clone());
        self.in_flight = Some(InFlight::begin(async move {
            let outcome = caught(effect).await;
            drop(lease);
            // A worker that is gone has no use for it.
            let _ = myself.cast(match outcome {
                Ok((input, ahead)) => WorkerMsg::Done(input, ahead),
                Err(panic) => WorkerMsg::Crashed(panic),
            });
        }));
    }
}

/// The share that a worker's settings give it.
fn share(key: &WorkerKey, settings: &Settings) -> Share {
    Share { partition: key.partition, partitions: settings.partitions }
}
