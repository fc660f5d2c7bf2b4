//! The supervision tree, in one function.
//!
//! ```text
//! root (rest_for_one)        ends => the daemon stops in order and exits non-zero
//!  1 store                   the gate: never fails to start because the database is away
//!  2 lanes (dynamic)         a lane a tenant: what waits becomes one append
//!  3 tenants (dynamic)       a supervisor a tenant at work; one tenant's bug stops no other
//!  4 keeper                  starts, wakes and parks tenants
//!  5 replays (dynamic)       an actor a run
//!  6 coordinator             takes up the runs that wait, finds those without a runner
//!  7 directory               one look for all tenants
//!  8 digests                 what the tables come to; last to start, first to stop
//! ```
//! Who owns what is told by the registry, which is a table and outlives every actor.

use std::collections::HashMap;
use std::fmt;
use std::time::Duration;

use crate::digests::Digests;
use crate::directory::Directory;
use crate::lanes::Lanes;
use crate::metrics;
use crate::runs::Runs;
use time::OffsetDateTime;

use crate::Snapshot;
use crate::supervisor::{
    ChildInfo, ChildSpec, ChildState, ChildType, Flags, Init, Key, Shutdown, Strategy,
    SupervisorRef,
};
use crate::tenants::Tenants;
use crate::worker::WorkerSnapshot;

/// A root that restarts more than this has a defect that no restart mends.
const ROOT: Flags = Flags {
    strategy: Strategy::RestForOne,
    intensity: 5,
    period: Duration::from_secs(30),
    auto_shutdown: crate::supervisor::AutoShutdown::Never,
    max_children: usize::MAX,
};

/// The children of the root, in start order.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Part {
    /// The gate to the database.
    Store,
    /// The append lanes.
    Lanes,
    /// The tenants at work.
    Tenants,
    /// Their keeper.
    Keeper,
    /// The runs at work.
    Replays,
    /// Who takes them up.
    Coordinator,
    /// The look for events written elsewhere.
    Directory,
    /// What the tables come to.
    Digests,
}

impl Part {
    /// Its name in the log, in metrics and in `status --tree`.
    pub const fn name(self) -> &'static str {
        match self {
            Part::Store => "store",
            Part::Lanes => "lanes",
            Part::Tenants => "tenants",
            Part::Keeper => "keeper",
            Part::Replays => "replays",
            Part::Coordinator => "coordinator",
            Part::Directory => "directory",
            Part::Digests => "digests",
        }
    }
}

impl fmt::Display for Part {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// The root and its children, in start order.
pub(crate) fn root(tenants: &Tenants, lanes: &Lanes, runs: &Runs) -> Init<Part> {
    let children = vec![
        (ChildSpec::worker(Part::Store), tenants.gate.start_fn()),
        (ChildSpec::supervisor(Part::Lanes), lanes.start_fn()),
        (ChildSpec::supervisor(Part::Tenants), tenants.supervisor_start_fn()),
        // These hold nothing that must be finished, and may be waiting for the database.
        (ChildSpec::worker(Part::Keeper).shutdown(Shutdown::BrutalKill), tenants.keeper_start_fn()),
        (ChildSpec::supervisor(Part::Replays), runs.supervisor_start_fn()),
        (
            ChildSpec::worker(Part::Coordinator).shutdown(Shutdown::BrutalKill),
            runs.coordinator_start_fn(),
        ),
        (
            ChildSpec::worker(Part::Directory).shutdown(Shutdown::BrutalKill),
            Directory::start_fn(tenants),
        ),
        (
            ChildSpec::worker(Part::Digests).shutdown(Shutdown::BrutalKill),
            Digests::start_fn(tenants),
        ),
    ];
    let observer = metrics::counting(metrics::Label::Root, |_| {});
    Init { observer: Some(observer), ..Init::new("root", ROOT, children) }
}

/// A node of the supervision tree as it stands.
#[derive(Debug, Clone, PartialEq)]
pub struct Tree {
    /// Its name among its siblings.
    pub name: String,
    /// `supervisor` or `worker`.
    pub kind: &'static str,
    /// `running`, `restarting`, `stopped`, or what a worker says of itself; `parked` for a tenant.
    pub state: &'static str,
    /// How often its supervisor started it again.
    pub restarts: u64,
    /// How long its present life has lasted.
    pub age: Option<Duration>,
    /// What it supervises.
    pub children: Vec<Tree>,
}

impl Tree {
    /// Asks the root and the dynamic supervisors; workers are found in the registry.
    pub(crate) async fn of(
        root: &SupervisorRef<Part>,
        lanes: &Lanes,
        tenants: &Tenants,
        runs: &Runs,
        snapshot: &Snapshot,
    ) -> Option<Tree> {
        let mut children = Vec::new();
        for part in root.which_children().await.ok()? {
            let mut node = Tree::node(&part);
            node.children = match part.id {
                Part::Lanes => Tree::dynamic(lanes.supervisor()?).await?,
                Part::Replays => Tree::dynamic(runs.supervisor()?).await?,
                Part::Tenants => Tree::tenants(tenants, snapshot).await?,
                Part::Store
                | Part::Keeper
                | Part::Coordinator
                | Part::Directory
                | Part::Digests => Vec::new(),
            };
            children.push(node);
        }
        let age = (OffsetDateTime::now_utc() - snapshot.started_at).try_into().ok();
        Some(Tree {
            name: "root".to_owned(),
            kind: "supervisor",
            state: "running",
            restarts: 0,
            age,
            children,
        })
    }

    /// The children of a dynamic supervisor, by name.
    async fn dynamic<K: Key>(supervisor: SupervisorRef<K>) -> Option<Vec<Tree>> {
        let children = supervisor.which_children().await.ok()?;
        let mut nodes: Vec<Tree> = children.iter().map(Tree::node).collect();
        nodes.sort_by(|a, b| a.name.cmp(&b.name));
        Some(nodes)
    }

    async fn tenants(tenants: &Tenants, snapshot: &Snapshot) -> Option<Vec<Tree>> {
        let supervisor = SupervisorRef::of(tenants.supervisor.get()?);
        let mut nodes: Vec<Tree> =
            supervisor.which_children().await.ok()?.iter().map(Tree::node).collect();
        let parked = |name: &String| Tree {
            name: name.clone(),
            kind: "supervisor",
            state: "parked",
            restarts: 0,
            age: None,
            children: Vec::new(),
        };
        nodes.extend(snapshot.parked.keys().map(parked));
        let mut workers: HashMap<&str, Vec<Tree>> = HashMap::new();
        for (worker, restarts) in &snapshot.workers {
            let own = workers.entry(&worker.key.tenant_id).or_default();
            own.push(Tree::worker(worker, *restarts));
        }
        for node in &mut nodes {
            node.children = workers.remove(&*node.name).unwrap_or_default();
        }
        nodes.sort_by(|a, b| a.name.cmp(&b.name));
        Some(nodes)
    }

    fn node<K: Key>(child: &ChildInfo<K>) -> Tree {
        Tree {
            name: child.id.to_string(),
            kind: match child.child_type {
                ChildType::Worker => "worker",
                ChildType::Supervisor => "supervisor",
            },
            state: match child.state {
                ChildState::Running(_) => "running",
                ChildState::Restarting => "restarting",
                ChildState::Stopped => "stopped",
            },
            restarts: child.restarts,
            age: child.age,
            children: Vec::new(),
        }
    }

    fn worker(worker: &WorkerSnapshot, restarts: u64) -> Tree {
        let age = (OffsetDateTime::now_utc() - worker.started_at).try_into().ok();
        let name = format!("{}/{}", worker.key.projection, worker.key.partition);
        Tree { name, kind: "worker", state: worker.status, restarts, age, children: Vec::new() }
    }
}
