//! The directory: one query an interval finds every projection that is behind, whatever wrote the
//! events, and has its tenant woken. The cost does not grow with the number of quiet workers.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use dg_projections::projection::Projection;
use ractor::{Actor, ActorProcessingErr, ActorRef};

use crate::supervisor::StartFn;
use crate::tenants::{KeeperMsg, Tenants};

pub(crate) struct Directory;

#[derive(Debug)]
pub(crate) enum DirectoryMsg {
    /// Look, then look again after the interval.
    Look,
}

impl Directory {
    pub(crate) fn start_fn(tenants: &Tenants) -> StartFn {
        let tenants = tenants.clone();
        Arc::new(move |parent| {
            let tenants = tenants.clone();
            Box::pin(
                async move { parent.spawn(Directory, tenants).await.map(|(_, started)| started) },
            )
        })
    }
}

impl Actor for Directory {
    type Msg = DirectoryMsg;
    type State = Tenants;
    type Arguments = Tenants;

    async fn pre_start(
        &self,
        myself: ActorRef<DirectoryMsg>,
        tenants: Tenants,
    ) -> Result<Tenants, ActorProcessingErr> {
        myself.cast(DirectoryMsg::Look)?;
        Ok(tenants)
    }

    async fn handle(
        &self,
        myself: ActorRef<DirectoryMsg>,
        _: DirectoryMsg,
        tenants: &mut Tenants,
    ) -> Result<(), ActorProcessingErr> {
        let names: Vec<&str> = tenants.settings.projections.iter().map(|p| p.as_str()).collect();
        let names = names.as_slice();
        // While the database is away the gate says so; there is nothing to add here.
        if let Ok(behind) = tenants.gate.run(|store| async move { store.behind(names).await }).await
        {
            let mut by_tenant = BTreeMap::<String, BTreeSet<Projection>>::new();
            for row in behind {
                let projection = Projection::from_name(&row.projection_name);
                by_tenant.entry(row.tenant_id).or_default().extend(projection);
            }
            for (tenant, projections) in by_tenant {
                tenants.keeper.tell(KeeperMsg::Behind(tenant, projections));
            }
        }
        // Scheduled anew each time, so that slow looks do not pile up.
        myself.send_after(tenants.settings.poll_interval, || DirectoryMsg::Look);
        Ok(())
    }
}
