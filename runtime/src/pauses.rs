//! Pauses: a run keeps the live workers of a projection from their work for as long as it holds one.
//!
//! Invariants:
//! - a paused worker has nothing in flight: what it did is committed or rolled back;
//! - a worker that starts meanwhile finds the pause in the table before it does anything, one that
//!   runs is told: none is missed, whichever comes first;
//! - a pause ends with whoever holds it, also when that is cut off or crashes, and ends itself alone:
//!   it has a name that no other has.

use std::sync::atomic::{AtomicU64, Ordering};

use dg_projections::projection::Projection;

use crate::registry::{AlreadyOwned, Lease, Registry};
use crate::slot::Slot;
use crate::tenants::KeeperMsg;
use crate::worker::{Input, Owners, WorkerKey, WorkerMsg, WorkerOwner};

/// Pauses so far, to name them.
static PAUSES: AtomicU64 = AtomicU64::new(0);

type Table = Registry<(String, Projection), String>;

/// Who has paused what. Cheap to clone.
#[derive(Debug, Clone)]
pub(crate) struct Pauses {
    table: Table,
    owners: Owners,
    partitions: i32,
    keeper: Slot<KeeperMsg>,
}

impl Pauses {
    pub(crate) fn new(owners: &Owners, partitions: i32, keeper: &Slot<KeeperMsg>) -> Pauses {
        let (owners, keeper) = (owners.clone(), keeper.clone());
        Pauses { table: Registry::new(), owners, partitions, keeper }
    }

    /// The run that has paused a worker.
    pub(crate) fn by(&self, key: &WorkerKey) -> Option<String> {
        self.table.owner(&(key.tenant_id.clone(), key.projection))
    }

    /// Tells the workers of a projection to pause; [`Pause::settled`] waits for them.
    ///
    /// # Errors
    /// The run that has paused them already.
    pub(crate) fn pause(
        &self,
        tenant: &str,
        projection: Projection,
        run_id: &str,
    ) -> Result<Pause, AlreadyOwned<String>> {
        let name = format!("{run_id}#{}", PAUSES.fetch_add(1, Ordering::Relaxed));
        let lease = self.table.register((tenant.to_owned(), projection), name.clone())?;
        let (tenant, pauses) = (tenant.to_owned(), self.clone());
        let pause = Pause { name, tenant, projection, pauses, lease: Some(lease) };
        pause.tell(&Input::Pause(pause.name.clone()));
        Ok(pause)
    }
}

/// The live workers of a projection are paused while this lives.
#[derive(Debug)]
pub(crate) struct Pause {
    name: String,
    tenant: String,
    projection: Projection,
    pauses: Pauses,
    lease: Option<Lease<(String, Projection), String>>,
}

impl Pause {
    fn workers(&self) -> impl Iterator<Item = WorkerOwner> {
        let key = |partition| WorkerKey {
            tenant_id: self.tenant.clone(),
            projection: self.projection,
            partition,
        };
        (0..self.pauses.partitions).filter_map(move |one| self.pauses.owners.owner(&key(one)))
    }

    fn tell(&self, input: &Input) {
        for owner in self.workers() {
            let _ = owner.actor.cast(WorkerMsg::Input(input.clone()));
        }
    }

    /// Waits until no worker of the projection has anything in flight.
    pub(crate) async fn settled(&self) {
        let workers: Vec<WorkerOwner> = self.workers().collect();
        for WorkerOwner { mut snapshot, .. } in workers {
            // One that has ended meanwhile finds the pause in its next life.
            let _ = snapshot.wait_for(|worker| worker.status == "paused").await;
        }
    }
}

impl Drop for Pause {
    fn drop(&mut self) {
        drop(self.lease.take());
        self.tell(&Input::Unpause(self.name.clone()));
        self.pauses.keeper.tell(KeeperMsg::Unpaused(self.tenant.clone()));
    }
}
