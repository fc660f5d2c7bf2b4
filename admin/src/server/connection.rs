//! One connection: who is there, and the requests it makes.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use hyper::body::Incoming;
use hyper::server::conn::http1::Builder;
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::UnixStream;
use tokio::sync::watch;

use super::peer::{Crowd, Peer};
use super::respond::{self, Body};
use super::{Context, routes, told_to};

const MAX_HEADER_BYTES: usize = 16 * 1024;
/// How long a connection may be idle, or take for the head of a request.
const HEAD_TIMEOUT: Duration = Duration::from_secs(5);

/// The user at the other end, as requests carry it.
#[derive(Debug, Clone, Copy)]
pub(super) struct Uid(pub(super) u32);

pub(super) async fn converse(
    stream: UnixStream,
    context: Arc<Context>,
    crowd: Crowd,
    mut stop: watch::Receiver<bool>,
) {
    let uid = admitted(&context, &stream);
    let peer = TokioIo::new(Peer::new(stream, crowd.clone()));
    let service = service_fn(move |request| {
        let (context, crowd) = (context.clone(), crowd.clone());
        async move { Ok::<_, Infallible>(answer(request, &context, &crowd, uid).await) }
    });
    let connection = http(uid.is_some()).serve_connection(peer, service);
    tokio::pin!(connection);
    // An error is the peer's: it went away or did not speak HTTP, and was told so. What goes wrong
    // here is logged where it does.
    let is_stopping = tokio::select! {
        _ = connection.as_mut() => false,
        () = told_to(&mut stop) => true,
    };
    if is_stopping {
        connection.as_mut().graceful_shutdown();
        let _ = connection.await;
    }
}

/// The user at the other end, if it may ask.
fn admitted(context: &Context, stream: &UnixStream) -> Option<Uid> {
    let uid = stream.peer_cred().map(|peer| peer.uid());
    let is_admitted = uid.as_ref().is_ok_and(|uid| context.admits(*uid));
    if !is_admitted {
        tracing::warn!(?uid, "a peer was refused");
    }
    uid.ok().filter(|_| is_admitted).map(Uid)
}

/// HTTP within limits. Who may not ask gets one answer.
fn http(keep_alive: bool) -> Builder {
    let mut builder = Builder::new();
    builder
        .timer(TokioTimer::new())
        .keep_alive(keep_alive)
        .header_read_timeout(HEAD_TIMEOUT)
        .max_header_size(MAX_HEADER_BYTES);
    builder
}

async fn answer(
    mut request: Request<Incoming>,
    context: &Arc<Context>,
    crowd: &Crowd,
    uid: Option<Uid>,
) -> Response<Body> {
    let id = respond::request_id(request.headers());
    let Some(uid) = uid else { return respond::forbidden(&id) };
    request.extensions_mut().insert(uid);
    respond::finish(routes::dispatch(request, context, crowd).await, &id)
}
