//! The keeper of all workers: starts them on demand, wakes them, notes their ends.
//!
//! A worker that crashed is forgotten; the directory's next look finds its projection behind and
//! starts it again from the durable cursor.

use std::collections::BTreeMap;
use std::time::Duration;

use dg_projections::projection::Projection;
use ractor::{Actor, ActorCell, ActorProcessingErr, ActorRef, RpcReplyPort, SupervisionEvent};
use tokio::sync::watch;

use crate::Settings;
use crate::gate::Gate;
use crate::worker::{Input, Worker, WorkerArguments, WorkerKey, WorkerMsg, WorkerSnapshot};

pub(crate) struct Workers;

pub(crate) struct WorkersState {
    gate: Gate,
    settings: Settings,
    running: BTreeMap<WorkerKey, Running>,
    restarts: BTreeMap<WorkerKey, u64>,
}

struct Running {
    actor: ActorRef<WorkerMsg>,
    snapshot: watch::Receiver<WorkerSnapshot>,
}

#[derive(Debug)]
pub(crate) enum WorkersMsg {
    /// There may be new events of this tenant.
    Wake(String),
    /// An operator asks a failed worker to try again; answers whether there was one to ask.
    Retry(String, Projection, RpcReplyPort<bool>),
    /// What each worker shows, and how often it was started again.
    Snapshots(RpcReplyPort<Vec<(WorkerSnapshot, u64)>>),
    /// End all workers, each after the effect it has in flight.
    StopAll(Duration, RpcReplyPort<()>),
}

impl Actor for Workers {
    type Msg = WorkersMsg;
    type State = WorkersState;
    type Arguments = (Gate, Settings);

    async fn pre_start(
        &self,
        _: ActorRef<WorkersMsg>,
        (gate, settings): (Gate, Settings),
    ) -> Result<WorkersState, ActorProcessingErr> {
        Ok(WorkersState { gate, settings, running: BTreeMap::new(), restarts: BTreeMap::new() })
    }

    async fn handle(
        &self,
        myself: ActorRef<WorkersMsg>,
        message: WorkersMsg,
        state: &mut WorkersState,
    ) -> Result<(), ActorProcessingErr> {
        match message {
            WorkersMsg::Wake(tenant) => state.wake(&myself, &tenant).await?,
            WorkersMsg::Retry(tenant_id, projection, reply) => {
                let key = WorkerKey { tenant_id, projection, partition: 0 };
                let asked = state.running.get(&key).is_some_and(|worker| {
                    worker.actor.cast(WorkerMsg::Input(Input::RetryRequested)).is_ok()
                });
                let _ = reply.send(asked);
            }
            WorkersMsg::Snapshots(reply) => {
                let _ = reply.send(state.snapshots());
            }
            WorkersMsg::StopAll(deadline, reply) => {
                state.stop_all(deadline).await;
                let _ = reply.send(());
            }
        }
        Ok(())
    }

    async fn handle_supervisor_evt(
        &self,
        _: ActorRef<WorkersMsg>,
        event: SupervisionEvent,
        state: &mut WorkersState,
    ) -> Result<(), ActorProcessingErr> {
        match event {
            SupervisionEvent::ActorTerminated(who, _, _) => state.forget(&who),
            SupervisionEvent::ActorFailed(who, error) => {
                if let Some(key) = state.forget(&who) {
                    tracing::error!(tenant = %key.tenant_id, projection = %key.projection, reason = %error, "worker crashed");
                    *state.restarts.entry(key).or_default() += 1;
                }
                return Ok(());
            }
            _ => None,
        };
        Ok(())
    }
}

impl WorkersState {
    async fn wake(
        &mut self,
        myself: &ActorRef<WorkersMsg>,
        tenant: &str,
    ) -> Result<(), ActorProcessingErr> {
        for projection in self.settings.projections.clone() {
            let key = WorkerKey { tenant_id: tenant.to_owned(), projection, partition: 0 };
            match self.running.get(&key) {
                Some(worker) => {
                    // One that has just ended is started again by the next look.
                    let _ = worker.actor.cast(WorkerMsg::Input(Input::Woken));
                }
                None => self.start(myself, key).await?,
            }
        }
        Ok(())
    }

    async fn start(
        &mut self,
        myself: &ActorRef<WorkersMsg>,
        key: WorkerKey,
    ) -> Result<(), ActorProcessingErr> {
        let (publish, snapshot) = watch::channel(WorkerSnapshot::new(key.clone()));
        let arguments = WorkerArguments {
            key: key.clone(),
            gate: self.gate.clone(),
            settings: self.settings.clone(),
            publish,
        };
        let (actor, _) = Actor::spawn_linked(None, Worker, arguments, myself.get_cell()).await?;
        self.running.insert(key, Running { actor, snapshot });
        Ok(())
    }

    fn forget(&mut self, who: &ActorCell) -> Option<WorkerKey> {
        let ended = |worker: &Running| worker.actor.get_id() == who.get_id();
        let key =
            self.running.iter().find(|(_, worker)| ended(worker)).map(|(key, _)| key.clone())?;
        self.running.remove(&key);
        Some(key)
    }

    fn snapshots(&self) -> Vec<(WorkerSnapshot, u64)> {
        let restarts = |key| self.restarts.get(key).copied().unwrap_or(0);
        self.running
            .iter()
            .map(|(key, worker)| (worker.snapshot.borrow().clone(), restarts(key)))
            .collect()
    }

    async fn stop_all(&mut self, deadline: Duration) {
        for worker in self.running.values() {
            let _ = worker.actor.cast(WorkerMsg::Input(Input::Stop));
        }
        let all = async {
            for worker in self.running.values() {
                let _ = worker.actor.wait(None).await;
            }
        };
        if tokio::time::timeout(deadline, all).await.is_err() {
            tracing::warn!("workers did not end in time; their batches are rolled back");
            for worker in self.running.values() {
                worker.actor.kill();
            }
        }
        self.running.clear();
    }
}
