//! The supervision tree, in one function.
//!
//! ```text
//! root (rest_for_one)        ends => the daemon stops in order and exits non-zero
//!  1 store                   the gate: never fails to start because the database is away
//!  2 tenants (dynamic)       a supervisor a tenant at work; one tenant's bug stops no other
//!  3 keeper                  starts, wakes and parks tenants
//!  4 directory               one look for all tenants; last to start, first to stop
//! ```
//! Who owns what is told by the registry, which is a table and outlives every actor.

use std::fmt;
use std::time::Duration;

use crate::directory::Directory;
use crate::supervisor::{ChildSpec, Flags, Init, Strategy};
use crate::tenants::Tenants;

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
    /// The tenants at work.
    Tenants,
    /// Their keeper.
    Keeper,
    /// The look for events written elsewhere.
    Directory,
}

impl fmt::Display for Part {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Part::Store => "store",
            Part::Tenants => "tenants",
            Part::Keeper => "keeper",
            Part::Directory => "directory",
        })
    }
}

/// The root and its children, in start order.
pub(crate) fn root(tenants: &Tenants) -> Init<Part> {
    let children = vec![
        (ChildSpec::worker(Part::Store), tenants.gate.start_fn()),
        (ChildSpec::supervisor(Part::Tenants), tenants.supervisor_start_fn()),
        (ChildSpec::worker(Part::Keeper), tenants.keeper_start_fn()),
        (ChildSpec::worker(Part::Directory), Directory::start_fn(tenants)),
    ];
    Init::new("root", ROOT, children)
}
