//! The shell around the machine: messages in, effects out, a snapshot for whoever looks.
//!
//! An effect runs in a task beside the actor and comes back as a message, so the actor always
//! answers; a panic in it crashes the actor, whose supervisor starts it again from the durable
//! cursor. At most one effect is in flight: a new one begins when the one before has come back.

use std::panic::AssertUnwindSafe;
use std::sync::{Arc, OnceLock};

use futures_util::FutureExt as _;
use ractor::{Actor, ActorProcessingErr, ActorRef};
use time::OffsetDateTime;
use tokio::sync::watch;

use dg_store::Share;

use super::effects;
use super::snapshot::{WorkerKey, WorkerSnapshot};
use super::state::{Effect, Input, Machine, step};
use crate::Settings;
use crate::gate::Gate;
use crate::in_flight::InFlight;
use crate::registry::{AlreadyOwned, Lease, Registry};
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
    settings: &Settings,
    owners: &Owners,
) -> StartFn {
    let (gate, settings, owners) = (gate.clone(), settings.clone(), owners.clone());
    Arc::new(move |parent| {
        let arguments = WorkerArguments {
            key: key.clone(),
            gate: gate.clone(),
            settings: settings.clone(),
            owners: owners.clone(),
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
    settings: Settings,
    owners: Owners,
}

struct WorkerState {
    key: WorkerKey,
    who: String,
    gate: Gate,
    settings: Settings,
    publish: watch::Sender<WorkerSnapshot>,
    lease: Lease<WorkerKey, WorkerOwner>,
    machine: Machine,
    /// What it was last given: its own share, or what fell to it of another number of partitions.
    share: Share,
    /// Whether its number of partitions was in force once: from then on it follows any other, so
    /// that two daemons of different settings do not undo each other's for ever.
    settled: bool,
    in_flight: Option<InFlight>,
}

#[derive(Debug)]
pub(crate) enum WorkerMsg {
    Input(Input),
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
        let WorkerArguments { key, gate, settings, owners } = start;
        let (publish, snapshot) = watch::channel(WorkerSnapshot::new(key.clone()));
        let owner = WorkerOwner { actor: myself.clone(), snapshot };
        let lease = owners
            .register(key.clone(), owner)
            .map_err(|AlreadyOwned(_)| format!("{key} has a live owner"))?;
        let _ = self.lease.set(lease.clone());
        let (machine, effects) = Machine::start();
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
        if let Input::CursorLoaded(cursor) = input {
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
        self.perform(myself, effects);
        Ok(())
    }

    /// One line when trouble begins and one when it ends.
    fn log(&self, before: &'static str, input: &Input, had_error: bool) {
        let (tenant, projection) = (&self.key.tenant_id, self.key.projection);
        let after = self.machine.state.status();
        let begins = match after {
            "retrying" => self.machine.attempt <= 1,
            _ => before != after,
        };
        match input {
            Input::Failed(failure) if begins => {
                let event = failure.event.as_ref().map(|(_, _, event)| event.as_str());
                let log_seq = failure.event.as_ref().map(|(log_seq, ..)| *log_seq);
                tracing::warn!(%tenant, %projection, code = %failure.code, event, log_seq, reason = %failure.message, "worker {after}");
            }
            Input::Applied { .. } if had_error => {
                tracing::info!(%tenant, %projection, "worker recovered");
            }
            _ if before != after => {
                tracing::debug!(%tenant, %projection, from = before, "worker {after}");
            }
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
                        effects::load_cursor(&gate, &key, share, claim).await
                    });
                }
                Effect::ApplyPage(from) => {
                    self.begin(myself, async move {
                        effects::apply_page(&gate, &key, from, limit).await
                    });
                }
                Effect::Record(failure) => {
                    let partition = self.share.partition;
                    self.begin(myself, async move {
                        effects::record(&gate, &key, partition, &failure).await
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
        effect: impl Future<Output = Input> + Send + 'static,
    ) {
        let (myself, lease) = (myself.clone(), self.lease.clone());
        self.in_flight = Some(InFlight::begin(async move {
            let outcome = AssertUnwindSafe(effect).catch_unwind().await;
            drop(lease);
            // A worker that is gone has no use for it.
            let _ = myself.cast(match outcome {
                Ok(input) => WorkerMsg::Input(input),
                Err(panic) => WorkerMsg::Crashed(panic_text(&*panic)),
            });
        }));
    }
}

/// The share that a worker's settings give it.
fn share(key: &WorkerKey, settings: &Settings) -> Share {
    Share { partition: key.partition, partitions: settings.partitions }
}

fn panic_text(panic: &(dyn std::any::Any + Send)) -> String {
    let text = panic
        .downcast_ref::<String>()
        .map(String::as_str)
        .or_else(|| panic.downcast_ref::<&str>().copied());
    format!("panicked: {}", text.unwrap_or("without a message"))
}
