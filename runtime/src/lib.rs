//! The actor runtime: who applies which events, when, and what happens when something fails.
//!
//! ```text
//! root ─┬─ store        the gate: whether the database is there, and who may use it
//!       ├─ lanes        a lane a tenant: what waits becomes one append
//!       ├─ tenants      a supervisor a tenant, with a worker a projection, woken by appends
//!       ├─ keeper       starts, wakes and parks tenants
//!       ├─ replays      an actor a run: replays and rebuilds
//!       ├─ coordinator  takes up runs that wait, finds those without a runner
//!       ├─ directory    one look for all tenants: events written elsewhere
//!       └─ digests      what the tables come to, once a tenant is at rest
//! ```
//! The only crate that knows ractor. Decisions are pure functions ([`worker::step`],
//! [`worker::decide`], and that of a run); actors turn messages into inputs and effects into calls.
//!
//! Invariants: no actor holds a truth that Postgres does not; a wake-up carries no data; an
//! expected failure (the database away, a poison event, a lost race) is a state, only a defect
//! crashes an actor.

// What a lane does at the database is a future of many layers, of each of which the compiler asks whether it is Send.
#![recursion_limit = "256"]

mod digests;
mod directory;
mod gate;
mod in_flight;
mod lanes;
mod liveness;
pub mod metrics;
mod pages;
mod pauses;
mod pulse;
pub mod registry;
mod runs;
mod runtime;
mod scrape;
mod settings;
mod slot;
pub mod supervisor;
pub mod telemetry;
mod tenants;
mod tree;
mod visible;
pub mod worker;
mod yielding;

pub use gate::{DatabaseState, Gate};
pub use lanes::Appending;
pub use liveness::Silent;
pub use pulse::Pulse;
pub use runs::{Asked, RunRequest, RunView};
pub use runtime::{Runtime, RuntimeError, Snapshot};
pub use settings::Settings;
pub use tenants::Parked;
pub use tree::{Part, Tree};
