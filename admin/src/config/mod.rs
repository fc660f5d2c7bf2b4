//! Configuration: one table of keys, merged from four sources into one typed [`Config`].
//!
//! [`KEYS`] is the only place that knows a key's name, range, default and meaning. Flags, names of
//! environment variables, the checks, the README's table, `ops/config.toml` and `decisiongraph
//! config` derive from it.
//!
//! Sources, lowest to highest: default, file, environment, flag. The file is `--config FILE`, else
//! `$DECISIONGRAPH_CONFIG`, else the first of [`CANDIDATES`] that exists.
//!
//! Invariants:
//! - Loading is a pure function of [`Inputs`], the one file they lead to, the certificates that a
//!   database URL names and the file of its password (for warnings, with who may read them); the
//!   process environment is read in [`Inputs::from_process`] alone.
//! - A [`Config`] exists only when nothing at all was wrong; [`ConfigError`] has every problem.
//! - A value given anywhere is checked, also one that a higher source replaces. `DATABASE_URL` is
//!   the exception: it belongs to everybody, so it counts only when it is the one in effect.
//! - No output of this module contains a password: not `Debug`, not a problem, not an effective
//!   value.
//!
//! Deliberately absent: profiles, includes and interpolation.

mod check;
mod client;
mod env;
mod file;
mod flags;
mod keys;
mod kind;
mod live;
mod merge;
mod password;
mod postgres;
mod problem;
mod secret;
mod settings;
mod suggest;
mod table;
mod template;
mod typed;
mod value;
mod warning;

#[cfg(test)]
mod tests;

pub use client::client_socket;
pub use env::{CANDIDATES, Inputs};
pub use flags::{flags_from, serve_flags};
pub use keys::{Fallback, KEYS, Key, key};
pub use kind::Kind;
pub(crate) use live::{LiveConfig, Reloaded};
pub use problem::{ConfigError, Position, Problem, Source};
pub use secret::{Secret, mask};
pub use settings::{Config, EffectiveValue, LogFormat, Migrate};
pub(crate) use suggest::nearest;
pub use table::markdown_table;
pub use template::commented_file;
pub use warning::Warning;
