//! Tells systemd how the daemon is: READY once, then STATUS whenever there is something else to say.

use std::time::Duration;

use dg_runtime::Runtime;
use tokio::sync::watch;
use tokio::time::{Instant, sleep_until, timeout};

use super::status::{Seen, text};
use super::{Starting, is_asked, ready, status};
use crate::server::RuntimeSlot;

/// From one look to the next.
const PERIOD: Duration = Duration::from_secs(1);
/// How much of the time may go into looks, as one part of so many.
const SHARE: u32 = 20;
/// How long a look waits for an answer; a tree that does not give one is the watchdog's business.
const PATIENCE: Duration = Duration::from_secs(3);

/// Sends READY when the runtime is there, or is known to wait for the database, and then what a look
/// at it shows, until told to stop.
pub(crate) async fn herald(
    runtime: RuntimeSlot,
    starting: Starting,
    mut stop: watch::Receiver<bool>,
) {
    if !is_asked() {
        return;
    }
    status("starting: the schema");
    let stopped = stop.wait_for(|stop| *stop);
    let telling = async {
        if !runtime.settled().await {
            // The daemon ends; why is told where it does.
            return std::future::pending().await;
        }
        ready();
        drop(starting);
        let mut said = String::new();
        loop {
            let started = Instant::now();
            if let Some(text) = look(&runtime).await.map(|seen| text(&seen))
                && said != text
            {
                status(&text);
                said = text;
            }
            sleep_until(started + PERIOD.max(started.elapsed() * SHARE)).await;
        }
    };
    tokio::select! {
        _ = stopped => {}
        () = telling => {}
    }
}

async fn look(runtime: &RuntimeSlot) -> Option<Seen> {
    match runtime.look() {
        Ok(runtime) => timeout(PATIENCE, of_runtime(&runtime)).await.ok().flatten(),
        Err(reason) => Some(Seen::NotYet(reason)),
    }
}

async fn of_runtime(runtime: &Runtime) -> Option<Seen> {
    let (snapshot, runs) = tokio::join!(runtime.snapshot(), runtime.runs_at_work());
    Some(Seen::Runtime(snapshot.ok()?, runs))
}
