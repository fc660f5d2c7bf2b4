//! What a DecisionGraph log means.
//!
//! An event enters as a line of JSON ([`event::parse_line`]), is checked, guarded and hashed
//! ([`event::Event`]), is admitted to a tenant's log ([`admission`]) and, once it is stored, is
//! folded into the rows of the three projections ([`projection`]), whose digests ([`digest`])
//! prove that any replay gives the same result. [`model`] is all of it on in-memory tables.
//!
//! Invariants:
//! - pure: no I/O, no clock, no randomness, no async; the same input gives the same output for ever;
//! - total: bad input is a [`Rejection`] or a [`projection::Poison`], never a panic;
//! - order is the order of UTF-8 bytes everywhere, never that of a locale.
//!
//! Deliberately absent: SQL, actors, logging, metrics, configuration.

pub mod admission;
pub mod compare;
pub mod digest;
mod error;
pub mod event;
pub mod hash;
pub mod json;
pub mod log_hash;
pub mod model;
pub mod projection;
pub mod rows;
pub mod subgraph;

pub use error::{Code, Rejection};

/// The version of what a log means: of projections and digests. It grows when the same log would
/// give other rows or other digests, which makes those of before no measure any more.
pub const SEMANTICS: u32 = 1;
