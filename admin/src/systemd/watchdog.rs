//! Feeds systemd's watchdog, and only with answers of the supervision tree: a frozen one starves it,
//! and systemd then aborts and restarts the daemon.

use std::time::Duration;

use sd_notify::NotifyState;
use tokio::sync::watch;

use super::tell;
use crate::server::RuntimeSlot;

/// Feeds until told to stop, at half the interval of `WatchdogSec=`; at once over if there is none.
///
/// While there is no runtime, which is when the database has not been there since the start, a turn
/// of this task is the sign of life: nothing else moves yet.
pub(crate) async fn watchdog(runtime: RuntimeSlot, mut stop: watch::Receiver<bool>) {
    let Some(interval) = sd_notify::watchdog_enabled() else { return };
    let feeding = feed(&runtime, interval);
    tokio::select! {
        _ = stop.wait_for(|stop| *stop) => {}
        () = feeding => {}
    }
}

async fn feed(runtime: &RuntimeSlot, interval: Duration) {
    let mut is_silent = false;
    loop {
        let answer = match runtime.get() {
            Ok(runtime) => runtime.answers(interval / 4).await,
            Err(_) => Ok(()),
        };
        match answer {
            Ok(()) => {
                tell(&[NotifyState::Watchdog]);
                if is_silent {
                    tracing::warn!("the supervision tree answers again");
                }
                is_silent = false;
                tokio::time::sleep(interval / 2).await;
            }
            Err(silent) => {
                if !is_silent {
                    tracing::error!(reason = %silent, "the watchdog is not fed");
                }
                is_silent = true;
                // Soon again: until systemd loses patience, an answer still counts.
                tokio::time::sleep(interval / 16).await;
            }
        }
    }
}
