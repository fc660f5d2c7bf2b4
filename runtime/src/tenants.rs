//! The tenants at work: a supervisor each, under a dynamic supervisor; and their keeper, who starts
//! them on demand, wakes their workers, stops those at rest, and parks those whose workers crash for
//! ever.
//!
//! ```text
//! tenants (dynamic) ── tenant/acme (one_for_one) ─┬─ acme/context_graph/0   (one a partition)
//!                                                 ├─ acme/trace_summary/0
//!                                                 └─ acme/precedent_index/0
//! ```
//! A tenant's supervisor is temporary: when its workers exceed its intensity it ends, no other tenant
//! notices, and the tenant is parked: visibly, with a failure row, until an operator retries it or
//! the next slow attempt of the keeper's own. Only so many tenants have a place at a time: see `places`.

mod parked;
mod places;
mod set_aside;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use dg_projections::projection::Projection;
use ractor::{Actor, ActorProcessingErr, ActorRef, RpcReplyPort};
use time::OffsetDateTime;

use crate::Settings;
use crate::digests::DigestsMsg;
use crate::gate::Gate;
use crate::in_flight::InFlight;
use crate::metrics;
use crate::pauses::Pauses;
use crate::slot::Slot;
use crate::supervisor::{
    ChildSpec, Flags, Init, Refused, Report, Restart, Shutdown, StartFn, StartFuture,
    SupervisorRef, Template,
};
use crate::worker::{self, Input, Owners, WorkerKey, WorkerMsg, WorkerOwner, WorkerSnapshot};
pub use parked::Parked;
use parked::parked_snapshot;
use places::Queue;
use set_aside::SetAside;

/// Crashes of a tenant's workers that are tolerated within the period.
const TENANT: Flags = flags(3, Duration::from_secs(10));
/// The tenants' supervisor itself restarts nothing: tenants are temporary.
const TENANTS: Flags = flags(1, Duration::from_secs(5));
const fn flags(intensity: usize, period: Duration) -> Flags {
    Flags {
        strategy: crate::supervisor::Strategy::OneForOne,
        intensity,
        period,
        auto_shutdown: crate::supervisor::AutoShutdown::Never,
        max_children: usize::MAX,
    }
}

/// What the tenants' actors share.
#[derive(Debug, Clone)]
pub(crate) struct Tenants {
    pub(crate) gate: Gate,
    pub(crate) settings: Arc<Settings>,
    pub(crate) owners: Owners,
    pub(crate) pauses: Pauses,
    pub(crate) keeper: Slot<KeeperMsg>,
    pub(crate) digests: Slot<DigestsMsg>,
    pub(crate) supervisor: Slot<crate::supervisor::SupervisorMsg<String>>,
}

impl Tenants {
    pub(crate) fn new(gate: Gate, settings: Arc<Settings>) -> Tenants {
        let (owners, keeper) = (Owners::new(), Slot::new());
        Tenants {
            pauses: Pauses::new(&owners, settings.partitions, &keeper),
            gate,
            settings,
            owners,
            keeper,
            digests: Slot::new(),
            supervisor: Slot::new(),
        }
    }

    /// Starts the dynamic supervisor of the tenants.
    pub(crate) fn supervisor_start_fn(&self) -> StartFn {
        let tenants = self.clone();
        Arc::new(move |parent| {
            let tenants = tenants.clone();
            Box::pin(async move {
                let (supervisor, started) =
                    SupervisorRef::start(&parent, tenants.dynamic()).await?;
                tenants.supervisor.put(supervisor.actor().clone());
                Ok(started)
            })
        })
    }

    fn dynamic(&self) -> Init<String> {
        let spec = Arc::new(|tenant| ChildSpec::supervisor(tenant).restart(Restart::Temporary));
        let tenants = self.clone();
        let start = Arc::new(move |tenant: String, parent| {
            let init = tenants.tenant(&tenant);
            Box::pin(async move {
                SupervisorRef::start(&parent, init).await.map(|(_, started)| started)
            }) as StartFuture
        });
        let keeper = self.keeper.clone();
        let observer =
            metrics::counting(metrics::Label::Tenants, move |report: &Report<String>| {
                if let Report::Exited { id, .. } = report {
                    keeper.tell(KeeperMsg::TenantEnded(id.clone()));
                }
            });
        let flags = Flags { max_children: places::places(&self.settings), ..TENANTS };
        Init {
            observer: Some(observer),
            ..Init::dynamic("tenants", flags, Template { spec, start })
        }
    }

    /// The keys of a tenant's workers.
    fn keys(&self, tenant: &str) -> impl Iterator<Item = WorkerKey> {
        let partitions = self.settings.partitions;
        self.settings.projections.iter().flat_map(move |projection| {
            let key =
                WorkerKey { tenant_id: tenant.to_owned(), projection: *projection, partition: 0 };
            (0..partitions).map(move |partition| WorkerKey { partition, ..key.clone() })
        })
    }

    /// A tenant's supervisor: a worker for each projection and partition.
    fn tenant(&self, tenant: &str) -> Init<WorkerKey> {
        let child = |key: WorkerKey| {
            let Tenants { gate, settings, owners, pauses, digests, .. } = self;
            let start = worker::start_fn(key.clone(), gate, settings, owners, pauses, digests);
            (ChildSpec::worker(key).shutdown(Shutdown::Timeout(self.settings.stop_patience)), start)
        };
        let children = self.keys(tenant).map(child).collect();
        let keeper = self.keeper.clone();
        let observer =
            metrics::counting(metrics::Label::Tenant, move |report: &Report<WorkerKey>| {
                if let Report::Exited { id, exit, .. } = report {
                    keeper.tell(KeeperMsg::WorkerCrashed(id.clone(), exit.to_string()));
                }
            });
        Init {
            observer: Some(observer),
            ..Init::new(&format!("tenant/{tenant}"), TENANT, children)
        }
    }

    /// Whether a worker of the tenant is on its way to the tail.
    pub(crate) fn is_moving(&self, tenant: &str) -> bool {
        let is_moving = |snapshot: &WorkerSnapshot| {
            matches!(snapshot.status, "starting" | "catching_up" | "stopping")
        };
        self.workers(tenant).any(|owner| is_moving(&owner.snapshot.borrow()))
    }

    /// The workers of a tenant that run now.
    fn workers(&self, tenant: &str) -> impl Iterator<Item = WorkerOwner> {
        self.keys(tenant).filter_map(|key| self.owners.owner(&key))
    }

    /// Starts the keeper.
    pub(crate) fn keeper_start_fn(&self) -> StartFn {
        let tenants = self.clone();
        Arc::new(move |parent| {
            let tenants = tenants.clone();
            Box::pin(async move { parent.spawn(Keeper, tenants).await.map(|(_, started)| started) })
        })
    }
}

struct Keeper;

struct KeeperState {
    tenants: Tenants,
    /// Tells when the database has come back.
    _watching: InFlight,
    parked: BTreeMap<String, Parked>,
    /// How often in a row each tenant was parked, and when last.
    attempts: BTreeMap<String, (u32, OffsetDateTime)>,
    crashes: BTreeMap<String, (WorkerKey, String)>,
    restarts: BTreeMap<WorkerKey, u64>,
    /// When each tenant at work was woken last.
    woken: BTreeMap<String, OffsetDateTime>,
    /// Tenants that have no place.
    waiting: Queue,
    /// Tenants that need none.
    set_aside: SetAside,
    /// Whose places others wait for: they are not woken, but wait as well.
    leaving: BTreeSet<String>,
    is_making_room: bool,
}

#[derive(Debug)]
pub(crate) enum KeeperMsg {
    /// The database was away.
    DatabaseBack,
    /// There may be new events of this tenant.
    Wake(String),
    /// These projections of a tenant are behind its log.
    Behind(String, BTreeSet<Projection>),
    /// A run lets go of this tenant's workers.
    Unpaused(String),
    /// A worker ended by itself; its supervisor does what is to be done.
    WorkerCrashed(WorkerKey, String),
    /// A tenant's supervisor has given up.
    TenantEnded(String),
    /// A parked tenant's time has come.
    Unpark(String, OffsetDateTime),
    /// An operator asks a worker to try again; answers whether there was one to ask.
    Retry(String, Projection, RpcReplyPort<bool>),
    /// Who has been at rest for long?
    Sweep,
    /// Others wait for a place: who leaves?
    MakeRoom,
    /// This one seemed to be at rest.
    StopIfAtRest(String),
    /// What each worker shows, how often it was started again, and who is parked.
    Look(RpcReplyPort<Look>),
}

/// What the keeper sees.
#[derive(Debug, Clone, Default)]
pub(crate) struct Look {
    pub(crate) workers: Vec<(WorkerSnapshot, u64)>,
    pub(crate) parked: BTreeMap<String, Parked>,
    /// Tenants that have something to do and wait for a place.
    pub(crate) waiting: usize,
}

impl Actor for Keeper {
    type Msg = KeeperMsg;
    type State = KeeperState;
    type Arguments = Tenants;

    async fn pre_start(
        &self,
        myself: ActorRef<KeeperMsg>,
        tenants: Tenants,
    ) -> Result<KeeperState, ActorProcessingErr> {
        tenants.keeper.put(myself.clone());
        places::look_later(&myself, &tenants.settings);
        let gate = tenants.gate.clone();
        let watching = InFlight::begin(async move {
            while gate.comes_back().await && myself.cast(KeeperMsg::DatabaseBack).is_ok() {}
        });
        Ok(KeeperState {
            tenants,
            _watching: watching,
            parked: BTreeMap::new(),
            attempts: BTreeMap::new(),
            crashes: BTreeMap::new(),
            restarts: BTreeMap::new(),
            woken: BTreeMap::new(),
            waiting: Queue::default(),
            set_aside: SetAside::default(),
            leaving: BTreeSet::new(),
            is_making_room: false,
        })
    }

    async fn handle(
        &self,
        myself: ActorRef<KeeperMsg>,
        message: KeeperMsg,
        state: &mut KeeperState,
    ) -> Result<(), ActorProcessingErr> {
        match message {
            KeeperMsg::Wake(tenant) => state.wake(&myself, &tenant).await,
            KeeperMsg::Behind(tenant, projections) => {
                state.go_after(&myself, &tenant, &projections).await;
            }
            KeeperMsg::Unpaused(tenant) => {
                if state.set_aside.may_return(&tenant) {
                    state.wake(&myself, &tenant).await;
                }
            }
            KeeperMsg::WorkerCrashed(key, reason) => {
                *state.restarts.entry(key.clone()).or_default() += 1;
                state.crashes.insert(key.tenant_id.clone(), (key, reason));
            }
            KeeperMsg::TenantEnded(tenant) => state.park(&myself, tenant).await,
            KeeperMsg::Unpark(tenant, since) => {
                // A timer of an earlier parking changes nothing.
                if state.parked.get(&tenant).is_some_and(|parked| parked.since == since) {
                    state.parked.remove(&tenant);
                    state.wake(&myself, &tenant).await;
                }
            }
            KeeperMsg::Retry(tenant, projection, reply) => {
                let _ = reply.send(state.retry(&myself, tenant, projection).await);
            }
            KeeperMsg::DatabaseBack => state.try_again(),
            KeeperMsg::Sweep => state.sweep(&myself),
            KeeperMsg::MakeRoom => state.make_room(&myself).await,
            KeeperMsg::StopIfAtRest(tenant) => state.stop_if_at_rest(&tenant).await,
            KeeperMsg::Look(reply) => {
                let _ = reply.send(state.look());
            }
        }
        Ok(())
    }
}

impl KeeperState {
    /// What workers wait for has come: the rest of their waits would be for nothing. They take turns
    /// at the gate.
    fn try_again(&self) {
        for (_, owner) in self.tenants.owners.owners() {
            if owner.snapshot.borrow().status == "retrying" {
                let _ = owner.actor.cast(WorkerMsg::Input(Input::RetryRequested));
            }
        }
    }

    /// Wakes the workers of a tenant, or starts them when there is a place for it: they look at the
    /// log by themselves then.
    async fn wake(&mut self, myself: &ActorRef<KeeperMsg>, tenant: &str) {
        if self.is_out_of_work(tenant) {
            return;
        }
        let is_at_work = !self.leaving.contains(tenant) && self.call(tenant);
        let comes = is_at_work || (self.waiting.is_empty() && self.come(tenant).await);
        if !comes {
            self.queue(myself, tenant);
        }
    }

    /// Wakes a tenant that was found behind, if it is not known why it is. One that leaves its place just now is found again.
    async fn go_after(
        &mut self,
        myself: &ActorRef<KeeperMsg>,
        tenant: &str,
        behind: &BTreeSet<Projection>,
    ) {
        let is_known = self.set_aside.explains(tenant, behind, OffsetDateTime::now_utc());
        if !is_known && !self.leaving.contains(tenant) {
            self.set_aside.may_return(tenant);
            self.wake(myself, tenant).await;
        }
    }

    /// Tells the workers of a tenant to look at the log; false if it has none.
    fn call(&mut self, tenant: &str) -> bool {
        let woken = OffsetDateTime::now_utc();
        let mut runs = false;
        for owner in self.tenants.workers(tenant) {
            runs = true;
            let _ = owner.actor.cast(WorkerMsg::Input(Input::Woken));
        }
        if runs {
            self.woken.insert(tenant.to_owned(), woken);
        }
        runs
    }

    /// The same, and starts them if it has none; false if there is no place for it.
    async fn come(&mut self, tenant: &str) -> bool {
        if self.is_out_of_work(tenant) || self.call(tenant) {
            return true;
        }
        let Some(supervisor) = self.tenants.supervisor.get() else { return true };
        // Before its workers can have looked.
        self.woken.insert(tenant.to_owned(), OffsetDateTime::now_utc());
        match SupervisorRef::of(supervisor).start_dynamic(tenant.to_owned()).await {
            Ok(Err(Refused::MaxChildren)) => {
                self.woken.remove(tenant);
                return false;
            }
            // One that is there already is between two lives of its workers.
            Ok(Ok(_) | Err(Refused::AlreadyStarted(_))) => {}
            Ok(Err(refusal)) => tracing::error!(tenant, reason = %refusal, "tenant not started"),
            // It is being started again itself; the directory's next look finds the tenant.
            Err(_) => {}
        }
        self.set_aside.remove(tenant);
        true
    }

    /// Whether its workers are not to run: it is parked, all have failed, or nothing is projected here.
    fn is_out_of_work(&self, tenant: &str) -> bool {
        self.parked.contains_key(tenant)
            || self.set_aside.has_all_of(tenant)
            || self.tenants.settings.projections.is_empty()
    }

    async fn retry(
        &mut self,
        myself: &ActorRef<KeeperMsg>,
        tenant: String,
        projection: Projection,
    ) -> bool {
        if self.parked.remove(&tenant).is_some() {
            self.attempts.remove(&tenant);
            self.wake(myself, &tenant).await;
            return true;
        }
        // Whoever is asked now is not to be stopped, as one that has failed, before it has heard of it.
        self.leaving.remove(&tenant);
        let mut asked = false;
        for key in self.tenants.keys(&tenant).filter(|key| key.projection == projection) {
            if let Some(owner) = self.tenants.owners.owner(&key) {
                asked |= owner.actor.cast(WorkerMsg::Input(Input::RetryRequested)).is_ok();
            }
        }
        if !asked && (self.set_aside.may_return(&tenant) || self.waiting.has(&tenant)) {
            self.come_first(myself, &tenant).await;
            return true;
        }
        asked
    }

    fn look(&self) -> Look {
        let restarts = |key: &WorkerKey| self.restarts.get(key).copied().unwrap_or(0);
        let mut workers: Vec<_> = self
            .tenants
            .owners
            .owners()
            .into_iter()
            .map(|(key, owner)| (owner.snapshot.borrow().clone(), restarts(&key)))
            .collect();
        for (tenant, parked) in &self.parked {
            for key in self.tenants.keys(tenant) {
                let count = restarts(&key);
                workers.push((parked_snapshot(key, parked), count));
            }
        }
        workers.extend(self.set_aside.workers().map(|worker| (worker.clone(), 0)));
        Look { workers, parked: self.parked.clone(), waiting: self.waiting.len() }
    }
}
