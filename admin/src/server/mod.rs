//! The admin socket: HTTP/1.1 with JSON over a Unix socket.
//!
//! Invariants:
//! - a connection costs a bounded amount of memory and time: limits on headers, bodies, silence and
//!   the number of connections; malformed input ends its own connection and nothing else;
//! - nobody's connections or bodies keep root and the daemon's own user out;
//! - every request is answered within its deadline, by a 503 if by nothing better;
//! - peers are who the kernel says they are; who may only look changes nothing, and every act is told
//!   to auditors once.

#[cfg(test)]
mod any_input;
mod append;
mod asked;
mod audit;
mod body;
mod caller;
mod connection;
mod elements;
mod measured;
mod openapi;
mod peer;
mod places;
mod query;
mod reads;
mod refusals;
mod respond;
mod room;
mod routes;
mod runs;
mod runtime_slot;
mod socket;
mod waiting;
mod watch;

use std::sync::Arc;
use std::time::Duration;

use tokio::net::{UnixListener, UnixStream};
use tokio::sync::watch as flag;
use tokio::task::{JoinError, JoinSet};

pub(crate) use append::MAX_EVENT_BYTES;
pub(crate) use asked::{invalid, not_found};
use caller::Caller;
use connection::converse;
pub(crate) use measured::describe;
pub(crate) use peer::{Crowd, Peer};
use places::Places;
pub(crate) use query::{Query, encode};
pub(crate) use reads::operate::worker_state;
use refusals::Refusals;
pub(crate) use respond::{Body, JSON, JSON_LINES, streamed};
pub(crate) use runs::OPEN;
pub(crate) use runtime_slot::{FillRuntime, RuntimeSlot};
pub(crate) use socket::{Listening, listen, young_name};
pub(crate) use waiting::MAX_WAIT;
pub(crate) use watch::{Change, Messages, Picture, Watch, WorkerState};

/// How long to pause when no connection can be accepted.
const ACCEPT_RETRY: Duration = Duration::from_millis(100);

/// What every request may use.
#[derive(Debug)]
pub(crate) struct Context {
    /// The runtime, once there is one.
    pub(crate) runtime: RuntimeSlot,
    /// The configuration of the daemon, which a reload changes.
    pub(crate) config: crate::config::LiveConfig,
    /// The name of this daemon.
    pub(crate) owner: String,
    /// The way to be told what changes.
    pub(crate) watch: Watch,
    /// Its last minutes.
    pub(crate) history: crate::history::History,
    /// When it started.
    pub(crate) started_at: time::OffsetDateTime,
}

/// Serves connections until told to stop, then lets those in progress end within `patience`. Root and
/// the daemon's user wait to be accepted while all their places are taken.
pub(crate) async fn serve(
    listener: UnixListener,
    (context, messages): (Arc<Context>, Messages),
    mut stop: flag::Receiver<bool>,
    patience: Duration,
) {
    let places = Places::new(nix::unistd::geteuid().as_raw());
    let mut refusals = Refusals::default();
    let mut connections = JoinSet::new();
    let lookout = tokio::spawn(messages.look_out(context.runtime.clone(), stop.clone()));
    loop {
        tokio::select! {
            stream = accept(&listener), if places.has_own() => {
                let config = context.config.get();
                let others = config.admin_uids.len() + config.observer_uids.len();
                let caller = Caller::of(&stream, &config);
                let admitted = places.admit(caller, others);
                refusals.note(admitted.as_ref().map_or(caller, |(caller, _)| *caller));
                // Without a place even to be told no in, it is hung up on.
                if let Some(place) = admitted {
                    connections.spawn(converse(stream, place, context.clone(), stop.clone()));
                }
            }
            Some(ended) = connections.join_next() => report(ended),
            () = told_to(&mut stop) => break,
        }
    }
    if tokio::time::timeout(patience, all_ended(&mut connections)).await.is_err() {
        tracing::warn!(open = connections.len(), "connections did not end in time and are cut");
    }
    // The streams have ended, or were cut.
    lookout.abort();
}

async fn all_ended(connections: &mut JoinSet<()>) {
    while let Some(ended) = connections.join_next().await {
        report(ended);
    }
}

/// The next connection, however long that takes.
async fn accept(listener: &UnixListener) -> UnixStream {
    let mut is_failing = false;
    loop {
        match listener.accept().await {
            Ok((stream, _)) => return stream,
            Err(error) => {
                if !is_failing {
                    // Out of descriptors, most likely: a pause lets some end.
                    tracing::warn!(%error, "connections cannot be accepted; trying on");
                }
                is_failing = true;
                tokio::time::sleep(ACCEPT_RETRY).await;
            }
        }
    }
}

fn report(ended: Result<(), JoinError>) {
    if let Err(error) = ended {
        tracing::error!(%error, "a part of the admin socket ended abnormally");
    }
}

/// Ends when the flag is set, or nobody is left to set it.
pub(crate) async fn told_to(stop: &mut flag::Receiver<bool>) {
    let _ = stop.wait_for(|stop| *stop).await;
}
