//! The shell around the machine: messages in, effects out, a snapshot for whoever looks.
//!
//! An effect runs in a task beside the actor and comes back as a message, so the actor always
//! answers; a panic in it crashes the actor, whose keeper starts it again from the durable cursor.

use dg_projections::Code;
use dg_projections::projection::Projection;
use ractor::{Actor, ActorProcessingErr, ActorRef};
use time::OffsetDateTime;
use tokio::sync::watch;

use super::effects;
use super::policy::Failure;
use super::state::{Effect, Input, Machine, State, step};
use crate::Settings;
use crate::gate::Gate;

/// Whose events a worker applies, to what.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct WorkerKey {
    /// The tenant.
    pub tenant_id: String,
    /// The projection.
    pub projection: Projection,
    /// The partition, from 0.
    pub partition: i32,
}

/// The last thing that went wrong.
#[derive(Debug, Clone, PartialEq, Eq)]
#[allow(missing_docs, reason = "the names are the contract's")]
pub struct LastError {
    pub code: Code,
    pub message: String,
    pub log_seq: Option<i64>,
    pub trace_id: Option<String>,
    pub event_id: Option<String>,
}

impl From<&Failure> for LastError {
    fn from(failure: &Failure) -> LastError {
        let (log_seq, trace_id, event_id) = match failure.event.clone() {
            Some((log_seq, trace_id, event_id)) => (Some(log_seq), Some(trace_id), Some(event_id)),
            None => (None, None, None),
        };
        LastError {
            code: failure.code,
            message: failure.message.clone(),
            log_seq,
            trace_id,
            event_id,
        }
    }
}

/// What a worker shows of itself.
#[derive(Debug, Clone, PartialEq, Eq)]
#[allow(missing_docs, reason = "the names are the contract's")]
pub struct WorkerSnapshot {
    pub key: WorkerKey,
    pub status: &'static str,
    pub cursor: Option<i64>,
    /// When a page was last applied, or the tail found.
    pub last_sync_at: Option<OffsetDateTime>,
    /// Pages applied.
    pub sync_count: u64,
    pub retry_count: u32,
    pub next_retry_at: Option<OffsetDateTime>,
    pub last_error: Option<LastError>,
}

impl WorkerSnapshot {
    pub(crate) fn new(key: WorkerKey) -> WorkerSnapshot {
        WorkerSnapshot {
            key,
            status: State::Starting.status(),
            cursor: None,
            last_sync_at: None,
            sync_count: 0,
            retry_count: 0,
            next_retry_at: None,
            last_error: None,
        }
    }

    /// What an input and the state after it change in the picture.
    fn note(&mut self, input: &Input, machine: &Machine, now: OffsetDateTime) {
        match input {
            Input::CursorLoaded(cursor) => self.cursor = Some(cursor.last_log_seq),
            Input::Applied { to, .. } => {
                self.cursor = Some(to.last_log_seq);
                self.last_sync_at = Some(now);
                self.sync_count += 1;
                self.last_error = None;
            }
            Input::Failed(failure) => self.last_error = Some(LastError::from(failure)),
            _ => {}
        }
        self.status = machine.state.status();
        self.retry_count = machine.attempt;
        self.next_retry_at = match &machine.state {
            // Other inputs do not move a wait that has begun.
            State::Retrying { after, .. } if matches!(input, Input::Failed(_)) => {
                Some(now + *after)
            }
            State::Retrying { .. } => self.next_retry_at,
            _ => None,
        };
    }
}

pub(crate) struct Worker;

pub(crate) struct WorkerArguments {
    pub(crate) key: WorkerKey,
    pub(crate) gate: Gate,
    pub(crate) settings: Settings,
    pub(crate) publish: watch::Sender<WorkerSnapshot>,
}

pub(crate) struct WorkerState {
    key: WorkerKey,
    gate: Gate,
    settings: Settings,
    publish: watch::Sender<WorkerSnapshot>,
    machine: Machine,
}

#[derive(Debug)]
pub(crate) enum WorkerMsg {
    Input(Input),
    /// An effect's task panicked.
    Crashed(String),
}

impl Actor for Worker {
    type Msg = WorkerMsg;
    type State = WorkerState;
    type Arguments = WorkerArguments;

    /// Nothing that may fail: the first look at the database is an effect like any other.
    async fn pre_start(
        &self,
        myself: ActorRef<WorkerMsg>,
        start: WorkerArguments,
    ) -> Result<WorkerState, ActorProcessingErr> {
        let (machine, effects) = Machine::start();
        let WorkerArguments { key, gate, settings, publish } = start;
        let state = WorkerState { key, gate, settings, publish, machine };
        for effect in effects {
            state.perform(&myself, effect);
        }
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
}

impl WorkerState {
    fn take(
        &mut self,
        myself: &ActorRef<WorkerMsg>,
        input: &Input,
    ) -> Result<(), ActorProcessingErr> {
        let before = self.machine.state.status();
        let who = format!("{}/{}/{}", self.key.tenant_id, self.key.projection, self.key.partition);
        let (machine, effects) =
            step(self.machine.clone(), input.clone(), &self.settings.retry, &who)?;
        self.machine = machine;
        let now = OffsetDateTime::now_utc();
        self.publish.send_modify(|snapshot| snapshot.note(input, &self.machine, now));
        self.log(before, input);
        for effect in effects {
            self.perform(myself, effect);
        }
        Ok(())
    }

    /// One line when trouble begins and one when it ends.
    fn log(&self, before: &'static str, input: &Input) {
        let (tenant, projection) = (&self.key.tenant_id, self.key.projection);
        let after = self.machine.state.status();
        if let Input::Failed(failure) = input
            && self.machine.attempt <= 1
        {
            let event = failure.event.as_ref().map(|(_, _, event)| event.as_str());
            let log_seq = failure.event.as_ref().map(|(log_seq, ..)| *log_seq);
            tracing::warn!(%tenant, %projection, code = %failure.code, event, log_seq, reason = %failure.message, "worker {after}");
        } else if before != after {
            tracing::debug!(%tenant, %projection, from = before, "worker {after}");
        }
    }

    fn perform(&self, myself: &ActorRef<WorkerMsg>, effect: Effect) {
        let (gate, key, limit) = (self.gate.clone(), self.key.clone(), self.settings.batch_size);
        match effect {
            Effect::LoadCursor => {
                in_flight(myself, async move { effects::load_cursor(&gate, &key).await });
            }
            Effect::ApplyPage(from) => {
                in_flight(
                    myself,
                    async move { effects::apply_page(&gate, &key, from, limit).await },
                );
            }
            Effect::Record(failure) => {
                in_flight(myself, async move { effects::record(&gate, &key, &failure).await });
            }
            Effect::StartTimer { id, after } => {
                myself.send_after(after, move || WorkerMsg::Input(Input::TimerFired(id)));
            }
            Effect::End => myself.stop(Some("normal".to_owned())),
        }
    }
}

/// Runs an effect beside the actor. A worker that is gone has no use for its outcome.
fn in_flight(myself: &ActorRef<WorkerMsg>, effect: impl Future<Output = Input> + Send + 'static) {
    let myself = myself.clone();
    let task = tokio::spawn(effect);
    tokio::spawn(async move {
        let message = match task.await {
            Ok(input) => WorkerMsg::Input(input),
            Err(panic) => WorkerMsg::Crashed(format!("an effect ended abnormally: {panic}")),
        };
        let _ = myself.cast(message);
    });
}
