//! How people drive DecisionGraph: the daemon, its admin socket, its command line.
//!
//! ```text
//! cli ── commands ── client ══ Unix socket ══ server ── runtime ── store
//!                 └─ direct ───────────────────────────────────── store   (verify, parity, migrate)
//! daemon: configuration, embedded Postgres, schema, runtime, server, signals
//! ```
//! The wire types are [`wire`]'s: what the runtime and the store know becomes the JSON of the
//! contract there and nowhere else.

mod bench;
pub mod cli;
pub mod client;
mod commands;
pub mod config;
mod console;
pub mod daemon;
pub mod embedded;
pub mod failure;
pub mod generate;
mod history;
mod keeper;
mod logging;
mod monitor;
mod neighbours;
pub mod output;
pub mod parity;
mod quiet;
mod receipt;
mod scratch;
mod server;
mod systemd;
pub mod wire;

/// A page of events is tens of thousands of small pieces that live for milliseconds, and that another thread
/// frees than the one that made them. The system's allocator keeps most of that memory for good: after
/// thousands of tenants were at work it is three times what this one keeps.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;
