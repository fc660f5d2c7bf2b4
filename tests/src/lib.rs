//! What whole-daemon tests stand on: a Postgres server, a database a test, a daemon process, waits
//! on conditions.
//!
//! Invariants: everything listens on Unix sockets below a directory of its own, or on a port of the
//! loopback address, and is stopped by whoever started it, also when the test panics or is killed;
//! every wait has a deadline.

#![allow(clippy::unwrap_used, reason = "a test that cannot set its stage has failed")]

mod auditor;
mod authority;
pub mod by_hand;
mod cli;
mod daemon;
mod database;
mod directory;
pub mod dump;
pub mod events;
pub mod faults;
pub mod findings;
pub mod hands;
pub mod http;
pub mod log;
mod machine;
mod manager;
pub mod naive;
mod postgres;
pub mod proxy;
mod random;
pub mod runs;
mod stage;
mod terminal;
pub mod users;
mod wait;
pub mod ways;

pub use auditor::Auditor;
pub use authority::{Authority, EXPIRED, Identity};
pub use cli::{Answer, binary, run, run_into, spawn};
pub use daemon::{Daemon, LogTo, Where};
pub use database::{Database, server};
pub use directory::Directory;
pub use machine::{Machine, units};
pub use manager::Manager;
pub use postgres::{Fitting, Postgres};
pub use random::Random;
pub use stage::{Sql, Stage, new_database};
pub use terminal::Terminal;
pub use wait::{eventually, try_until, until};

/// Prints why a test did not run, in the form that `ops/test.sh` counts.
pub fn skip(reason: &str) {
    use std::io::Write as _;
    // To the descriptor itself: the test harness would swallow it.
    let _ = writeln!(std::io::stderr(), "SKIPPED: {reason}");
}
