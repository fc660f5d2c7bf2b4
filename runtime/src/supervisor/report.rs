//! Supervisor reports: what happened to which child, for the log and for whoever observes.

use std::sync::Arc;

use super::restart::{End, Incarnation};
use super::spec::{Exit, Key};

/// Told of every report, in order, from within the supervisor: it must not wait.
pub type Observer<K> = Arc<dyn Fn(&Report<K>) + Send + Sync>;

/// Something that happened under a supervisor.
#[derive(Debug, Clone, PartialEq, Eq)]
#[allow(missing_docs, reason = "the fields are OTP's")]
pub enum Report<K> {
    /// A child runs.
    Started { id: K, incarnation: Incarnation },
    /// A child's start function had nothing to run.
    Ignored { id: K },
    /// A child did not start.
    StartFailed { id: K, reason: String },
    /// A child ended by itself, having been started again so often.
    Exited { id: K, exit: Exit, restarts: u64 },
    /// A child was stopped by the supervisor.
    Stopped { id: K, killed: bool },
    /// A child was killed and lives on: what it owns stays taken.
    Zombie { id: K },
    /// The supervisor ends by itself.
    Ending { why: End },
}

impl<K: Key> Report<K> {
    /// Writes the report to the log, with OTP's fields.
    pub(super) fn log(&self, supervisor: &str) {
        match self {
            Report::Started { id, .. } => tracing::debug!(supervisor, child = %id, "child started"),
            Report::Ignored { id } => {
                tracing::debug!(supervisor, child = %id, "child ignored its start");
            }
            Report::StartFailed { id, reason } => {
                tracing::warn!(supervisor, child = %id, reason, "child did not start");
            }
            Report::Exited { id, exit, restarts } if exit.is_abnormal() => {
                tracing::error!(supervisor, child = %id, reason = %exit, restarts, "child terminated");
            }
            Report::Exited { id, exit, restarts } => {
                tracing::debug!(supervisor, child = %id, reason = %exit, restarts, "child ended");
            }
            Report::Stopped { id, killed: false } => {
                tracing::debug!(supervisor, child = %id, "child stopped");
            }
            Report::Stopped { id, killed: true } => {
                tracing::warn!(supervisor, child = %id, reason = "killed", "child did not stop in time");
            }
            Report::Zombie { id } => {
                tracing::error!(supervisor, child = %id, "child was killed and lives on; what it owns stays taken");
            }
            Report::Ending { why } => tracing::error!(supervisor, reason = %why, "supervisor ends"),
        }
    }
}
