//! The admin socket: HTTP/1.1 with JSON over a Unix socket.
//!
//! Invariants:
//! - a connection costs a bounded amount of memory and time: limits on headers, bodies, idle time
//!   and the number of connections; malformed input ends its own connection and nothing else;
//! - every request is answered within its deadline, by a 503 if by nothing better;
//! - peers are who the kernel says they are.

mod append;
mod query;
mod reads;
mod respond;
mod routes;
mod runtime_slot;
mod socket;

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::{Semaphore, watch};

pub(crate) use append::MAX_EVENT_BYTES;
pub(crate) use query::encode;
pub(crate) use respond::Body;
pub(crate) use runtime_slot::RuntimeSlot;
pub(crate) use socket::bind;

/// The largest request body.
pub(crate) const MAX_BODY_BYTES: usize = 64 * 1024 * 1024;
const MAX_HEADER_BYTES: usize = 16 * 1024;
const HEADER_TIMEOUT: Duration = Duration::from_secs(30);
const MAX_CONNECTIONS: usize = 256;

/// What every request may use.
#[derive(Debug)]
pub(crate) struct Context {
    /// The runtime, once there is one.
    pub(crate) runtime: RuntimeSlot,
    /// The configuration of the daemon.
    pub(crate) config: crate::config::Config,
    /// The name of this daemon.
    pub(crate) owner: String,
}

impl Context {
    /// Root, the daemon's own user, and whom the configuration names.
    fn admits(&self, uid: u32) -> bool {
        uid == 0 || uid == nix::unistd::geteuid().as_raw() || self.config.admin_uids.contains(&uid)
    }
}

/// Serves connections until told to stop, then lets those in progress end within `patience`.
pub(crate) async fn serve(
    listener: UnixListener,
    context: Arc<Context>,
    mut stop: watch::Receiver<bool>,
    patience: Duration,
) {
    let slots = Arc::new(Semaphore::new(MAX_CONNECTIONS));
    loop {
        let Ok(slot) = slots.clone().acquire_owned().await else { return };
        tokio::select! {
            accepted = listener.accept() => match accepted {
                Ok((stream, _)) => {
                    let (context, stop) = (context.clone(), stop.clone());
                    tokio::spawn(async move {
                        converse(stream, context, stop).await;
                        drop(slot);
                    });
                }
                Err(error) => {
                    // Out of descriptors, most likely: a pause lets some end.
                    tracing::warn!(%error, "a connection could not be accepted");
                    tokio::time::sleep(Duration::from_millis(100)).await;
                }
            },
            () = told_to(&mut stop) => break,
        }
    }
    let idle = slots.acquire_many(MAX_CONNECTIONS as u32);
    if tokio::time::timeout(patience, idle).await.is_err() {
        tracing::warn!("requests did not end in time");
    }
}

async fn converse(stream: UnixStream, context: Arc<Context>, mut stop: watch::Receiver<bool>) {
    let peer = stream.peer_cred().map(|credentials| credentials.uid());
    let admitted = peer.as_ref().is_ok_and(|uid| context.admits(*uid));
    if !admitted {
        tracing::warn!(?peer, "a peer was refused");
    }
    let service = service_fn(move |request| {
        let context = context.clone();
        async move { Ok::<_, Infallible>(answer(request, context, admitted).await) }
    });
    let connection = hyper::server::conn::http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEADER_TIMEOUT)
        .max_buf_size(MAX_HEADER_BYTES)
        .serve_connection(TokioIo::new(stream), service);
    tokio::pin!(connection);
    // An error here is the peer's: it went away or did not speak HTTP, and was told so.
    let stopping = tokio::select! {
        _ = connection.as_mut() => false,
        () = told_to(&mut stop) => true,
    };
    if stopping {
        connection.as_mut().graceful_shutdown();
        let _ = connection.await;
    }
}

/// Ends when the flag is set, or nobody is left to set it.
async fn told_to(stop: &mut watch::Receiver<bool>) {
    let _ = stop.wait_for(|stop| *stop).await;
}

async fn answer(
    request: Request<Incoming>,
    context: Arc<Context>,
    admitted: bool,
) -> Response<Body> {
    let id = respond::request_id(request.headers());
    if !admitted {
        return respond::forbidden(&id);
    }
    let outcome = routes::dispatch(request, &context).await;
    respond::finish(outcome, &id)
}
