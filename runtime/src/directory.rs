//! The directory: one query an interval finds every projection that is behind, whatever wrote the
//! events, and has its tenant woken. The cost does not grow with the number of quiet workers.

use std::collections::BTreeSet;

use ractor::{Actor, ActorProcessingErr, ActorRef};

use crate::Settings;
use crate::gate::Gate;
use crate::workers::WorkersMsg;

pub(crate) struct Directory;

pub(crate) struct DirectoryState {
    pub(crate) gate: Gate,
    pub(crate) settings: Settings,
    pub(crate) workers: ActorRef<WorkersMsg>,
}

#[derive(Debug)]
pub(crate) enum DirectoryMsg {
    /// Look, then look again after the interval.
    Poll,
}

impl Actor for Directory {
    type Msg = DirectoryMsg;
    type State = DirectoryState;
    type Arguments = DirectoryState;

    async fn pre_start(
        &self,
        myself: ActorRef<DirectoryMsg>,
        state: DirectoryState,
    ) -> Result<DirectoryState, ActorProcessingErr> {
        myself.cast(DirectoryMsg::Poll)?;
        Ok(state)
    }

    async fn handle(
        &self,
        myself: ActorRef<DirectoryMsg>,
        _: DirectoryMsg,
        state: &mut DirectoryState,
    ) -> Result<(), ActorProcessingErr> {
        let names: Vec<&str> = state.settings.projections.iter().map(|p| p.as_str()).collect();
        let names = names.as_slice();
        // While the database is away the gate says so; there is nothing to add here.
        if let Ok(behind) = state.gate.run(|store| async move { store.behind(names).await }).await {
            let tenants: BTreeSet<String> = behind.into_iter().map(|row| row.tenant_id).collect();
            for tenant in tenants {
                state.workers.cast(WorkersMsg::Wake(tenant))?;
            }
        }
        // Scheduled anew each time, so that slow looks do not pile up.
        myself.send_after(state.settings.poll_interval, || DirectoryMsg::Poll);
        Ok(())
    }
}
