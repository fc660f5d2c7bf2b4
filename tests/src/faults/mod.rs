//! The failure-injection harness: faults come while a workload goes on, and a checker holds what
//! clients were told against the log, the tables and the runs.
//!
//! ```text
//! scenario ── faults ──┬─────────────┬────────────┐
//! workload ── requests ─ daemon ── network ── Postgres
//!     └─ history ── checker ── watcher ───────────┘
//! ```
//! Invariants:
//! - what clients were told is written down before anything is done with it, and nothing else is
//!   trusted: not the daemon's word, not the injector's;
//! - a scenario is repeated by its name and seed as far as a real database and a real clock allow;
//! - a scenario heals what it broke; what then does not recover by itself is a violation, and so is a
//!   panic of the harness.

mod arena;
mod checker;
mod digests;
mod history;
mod means;
mod network;
mod place;
mod producer;
mod report;
mod run;
mod scenarios;
mod shrink;
mod soak;
mod watcher;
mod workload;

pub use arena::Arena;
pub use report::{Outcome, page, table};
pub use run::{Dose, run};
pub use scenarios::{SCENARIOS, Scenario};
pub use shrink::{Shrunk, shrink};
pub use soak::{Soak, soak};
