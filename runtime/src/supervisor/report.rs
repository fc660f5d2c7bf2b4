//! Supervisor reports: what happened to which child, for the log and for whoever observes.

use std::sync::Arc;

use super::restart::{End, Incarnation};
use super::spec::{Exit, Key};

/// Told of every report, in order, from within the supervisor: it must not wait, and may not ask
/// the supervisor anything. A panic in it is caught.
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
    /// A child ended by itself, having made its supervisor restart it so often before; whether its
    /// restart type takes that for an orderly end (for a permanent child there is none).
    Exited { id: K, exit: Exit, restarts: u64, orderly: bool },
    /// A child was stopped by the supervisor; whether it had to be killed because its time was up.
    Stopped { id: K, overdue: bool },
    /// A child has ended or was killed, and it or something below it lives on: what that owns stays
    /// taken.
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
            Report::Exited { id, exit, restarts, orderly } => {
                log_exit(supervisor, id, exit, *restarts, *orderly);
            }
            Report::Stopped { id, overdue: false } => {
                tracing::debug!(supervisor, child = %id, "child stopped");
            }
            Report::Stopped { id, overdue: true } => {
                tracing::warn!(supervisor, child = %id, reason = "killed", "child did not stop in time");
            }
            Report::Zombie { id } => {
                tracing::error!(supervisor, child = %id, "child lives on after its end; what it owns stays taken");
            }
            Report::Ending { why: why @ End::Intensity } => {
                tracing::error!(supervisor, reason = %why, "supervisor ends");
            }
            Report::Ending { why } => tracing::info!(supervisor, reason = %why, "supervisor ends"),
        }
    }
}

fn log_exit<K: Key>(supervisor: &str, child: &K, exit: &Exit, restarts: u64, orderly: bool) {
    if orderly {
        tracing::debug!(supervisor, %child, reason = %exit, restarts, "child ended");
    } else {
        tracing::error!(supervisor, %child, reason = %exit, restarts, "child terminated");
    }
}
