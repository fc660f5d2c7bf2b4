//! One connection: who is there, and the requests it makes.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use dg_projections::{Code, Rejection};
use dg_store::failpoint::{self, Point};
use hyper::body::Incoming;
use hyper::header::EXPECT;
use hyper::http::request::Parts;
use hyper::server::conn::http1::Builder;
use hyper::service::service_fn;
use hyper::{Method, Request, Response};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::UnixStream;
use tokio::sync::watch;

use super::asked::Handled;
use super::audit::Act;
use super::caller::{Caller, Role};
use super::measured::{self, Measured};
use super::peer::{Crowd, Peer};
use super::places::Place;
use super::respond::{self, Body, Refusal};
use super::routes::Request as Wanted;
use super::{Context, body, routes, told_to};
use crate::config::LiveConfig;
use crate::quiet::Quiet;

const MAX_HEADER_BYTES: usize = 16 * 1024;

const STRANGER: &str =
    "this user may not use the admin socket; the daemon's user, root and admin_uids may";
const EXCESS: &str = "this user has as many connections as it may have; close some, or try again";
const OBSERVER: &str = "this user is of observer_uids and may only look (GET); the daemon's user, \
    root and admin_uids may change something";

pub(super) async fn converse(
    stream: UnixStream,
    (caller, place): (Caller, Place),
    context: Arc<Context>,
    mut stop: watch::Receiver<bool>,
) {
    let stream = match Quiet::new(stream) {
        Ok(stream) => stream,
        Err(error) => {
            return tracing::warn!(%error, "a connection cannot be watched over and is ended");
        }
    };
    let crowd = place.crowd.clone();
    let peer = TokioIo::new(Peer::new(stream, crowd.clone()));
    let builder = http(caller.is_admitted(), crowd.patience_for_heads());
    let config = context.config.clone();
    let service = service_fn(move |request| {
        let (context, crowd) = (context.clone(), crowd.clone());
        async move { Ok::<_, Infallible>(answer(request, &context, &crowd, caller).await) }
    });
    let connection = builder.serve_connection(peer, service);
    tokio::pin!(connection);
    // An error is the peer's: it went away or did not speak HTTP, and was told so. What goes wrong
    // here is logged where it does.
    let ended = tokio::select! {
        ended = connection.as_mut() => Some(ended),
        () = told_to(&mut stop) => None,
        () = shut_out(caller, &config) => return,
    };
    let ended = match ended {
        Some(ended) => ended,
        None => {
            connection.as_mut().graceful_shutdown();
            connection.await
        }
    };
    if ended.is_err_and(|error| error.is_parse()) {
        measured::count_malformed();
    }
}

/// Ends when a reload has taken from a caller what it was let in for. Its next request would be
/// refused, but a stream has none: it may last for ever.
async fn shut_out(caller: Caller, config: &LiveConfig) {
    if !caller.is_admitted() {
        // There is an answer that says so.
        return std::future::pending().await;
    }
    config.until(|config| !caller.under(config).is_admitted()).await;
    tracing::info!(uid = ?caller.uid, pid = ?caller.pid, "a peer was shut out by the new configuration");
}

/// HTTP within limits. Who may not ask gets one answer.
fn http(keep_alive: bool, patience_for_heads: Duration) -> Builder {
    let mut builder = Builder::new();
    builder
        .timer(TokioTimer::new())
        .keep_alive(keep_alive)
        .header_read_timeout(patience_for_heads)
        .max_header_size(MAX_HEADER_BYTES);
    builder
}

async fn answer(
    request: Request<Incoming>,
    context: &Arc<Context>,
    crowd: &Crowd,
    caller: Caller,
) -> Response<Body> {
    let caller = caller.under(&context.config.get());
    let id = respond::request_id(request.headers());
    let (mut parts, mut body) = request.into_parts();
    parts.extensions.insert(caller);
    let handled = handle(&parts, &mut body, (context, crowd), (caller, &id)).await;
    // Who expects to be told to continue sends nothing before. Who is not admitted is not listened to.
    let is_sending = caller.is_admitted() && !parts.headers.contains_key(EXPECT);
    if handled.is_err() && is_sending {
        body::discard(&mut body).await;
    }
    respond::finish(handled, &id)
}

/// Finds what a request is about, and does it if its caller may. What would change something is
/// told to auditors whatever comes of it.
async fn handle(
    parts: &Parts,
    body: &mut Incoming,
    (context, crowd): (&Arc<Context>, &Crowd),
    (caller, id): (Caller, &str),
) -> Handled {
    failpoint::hit(Point::SocketBefore, parts.uri.path()).await;
    let found = routes::find(parts);
    let mut act = match &found {
        Ok(found) => Act::new(found.route, &found.argument, parts, (caller, id)),
        Err(_) => Act::default(),
    };
    let mut measured = Measured::new(found.as_ref().ok().map(|found| found.route));
    let outcome = match found {
        _ if caller.role == Role::Excess => Err(Rejection::new(Code::Storage, EXCESS).into()),
        _ if !caller.may(&Method::GET) => Err(Refusal::forbidden(STRANGER)),
        Ok(found) if found.route.changes() && !caller.may(&Method::POST) => {
            Err(Refusal::forbidden(OBSERVER))
        }
        Ok(found) => routes::call(&found, Wanted { context, parts, body, crowd }, &mut act).await,
        Err(refusal) => Err(refusal),
    };
    act.ended(&outcome);
    measured.ended(&outcome);
    failpoint::hit(Point::SocketAfter, parts.uri.path()).await;
    outcome
}
