//! What the daemon and systemd tell each other: readiness, status, signs of life, a passed socket.
//!
//! Invariants:
//! - without systemd all of this does nothing: `$NOTIFY_SOCKET` and `$LISTEN_FDS` are not set;
//! - READY is sent once requests are answered, whether or not the database is there;
//! - a sign of life is sent only when the supervision tree has just given one.

mod herald;
mod sockets;
mod status;
mod watchdog;

use std::time::Duration;

use sd_notify::NotifyState;
use tokio::task::JoinHandle;

pub(crate) use herald::herald;
pub(crate) use sockets::{Passed, passed_socket};
pub(crate) use watchdog::watchdog;

/// How much longer a start may take, told again before that is over.
const MORE_TIME: Duration = Duration::from_secs(30);
const MORE_TIME_EVERY: Duration = Duration::from_secs(10);
/// Longer texts are cut: a status is one line on a screen.
const MOST_STATUS: usize = 300;

/// Whether systemd wants to be told: a look that nobody sees is not taken.
fn is_asked() -> bool {
    std::env::var_os("NOTIFY_SOCKET").is_some()
}

/// Tells systemd. That it cannot be told is its own trouble, and no reason to stop.
fn tell(states: &[NotifyState<'_>]) {
    if let Err(error) = sd_notify::notify(states) {
        tracing::debug!(%error, "systemd is not told");
    }
}

/// Shows a line in `systemctl status`.
pub(crate) fn status(text: &str) {
    tell(&[NotifyState::Status(&one_line(text))]);
}

/// A line break would begin another message.
fn one_line(text: &str) -> String {
    let shown = |c: char| if c.is_control() { ' ' } else { c };
    text.chars().take(MOST_STATUS).map(shown).collect()
}

/// The stop has begun, and takes so long at most.
pub(crate) fn stopping(most: Duration) {
    let most = u32::try_from(most.as_micros()).unwrap_or(u32::MAX);
    tell(&[NotifyState::Stopping, NotifyState::ExtendTimeoutUsec(most)]);
}

/// A reload has begun; the time tells systemd 253 and later which READY belongs to it.
pub(crate) fn reloading() {
    match NotifyState::monotonic_usec_now() {
        Ok(now) => tell(&[NotifyState::Reloading, now]),
        Err(error) => tracing::debug!(%error, "the monotonic time is not known"),
    }
}

/// Requests are answered, or are answered again.
pub(crate) fn ready() {
    tell(&[NotifyState::Ready]);
}

/// A start that goes on: as long as this is held, systemd waits. Every step of the start has a time
/// limit of its own, so that this never hides one that hangs.
#[derive(Debug)]
pub(crate) struct Starting(JoinHandle<()>);

impl Starting {
    pub(crate) fn begin() -> Starting {
        let more = u32::try_from(MORE_TIME.as_micros()).unwrap_or(u32::MAX);
        tell(&[NotifyState::ExtendTimeoutUsec(more)]);
        Starting(tokio::spawn(async move {
            loop {
                tokio::time::sleep(MORE_TIME_EVERY).await;
                tell(&[NotifyState::ExtendTimeoutUsec(more)]);
            }
        }))
    }
}

impl Drop for Starting {
    fn drop(&mut self) {
        self.0.abort();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_status_is_one_line_whatever_the_database_said() {
        assert_eq!(one_line("away: a\nREADY=1\tb"), "away: a READY=1 b");
        assert_eq!(one_line(&"é".repeat(301)).chars().count(), 300);
    }
}
