//! The actor runtime: who applies which events, when, and what happens when something fails.
//!
//! ```text
//! Runtime ─┬─ gate        whether the database is there, and who may use it
//!          ├─ workers     one actor a tenant and projection, woken by appends
//!          └─ directory   one poll for all tenants: events written elsewhere
//! ```
//! The only crate that knows ractor. Decisions are pure functions ([`worker::step`],
//! [`worker::decide`]); actors turn messages into inputs and effects into calls.
//!
//! Invariants: no actor holds a truth that Postgres does not; a wake-up carries no data; an
//! expected failure (the database away, a poison event, a lost race) is a state, only a defect
//! crashes an actor.

mod directory;
mod gate;
mod runtime;
mod settings;
pub mod supervisor;
pub mod worker;
mod workers;

pub use gate::{DatabaseState, Gate};
pub use runtime::{Runtime, RuntimeError, Snapshot};
pub use settings::Settings;
