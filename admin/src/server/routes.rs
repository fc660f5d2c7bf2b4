//! The routes: one table from method and path to handler, with the parameters each takes.

use std::sync::Arc;

use hyper::body::Incoming;
use hyper::header::EXPECT;
use hyper::http::request::Parts;
use hyper::{Method, Request};

use super::asked::{Asked, Handled, not_found};
use super::peer::Crowd;
use super::query::segments;
use super::reads::{log, operate, projected};
use super::respond::Refusal;
use super::waiting::WAIT;
use super::{Context, append, body, runs};

/// Finds the handler of a request and calls it.
pub(crate) async fn dispatch(
    request: Request<Incoming>,
    context: &Arc<Context>,
    crowd: &Crowd,
) -> Handled {
    let (parts, mut body) = request.into_parts();
    let path = segments(parts.uri.path())?;
    let path: Vec<&str> = path.iter().map(String::as_str).collect();
    let handled = match parts.method {
        Method::GET => get(&path, context, &parts).await,
        Method::POST => post(&path, context, &parts, &mut body, crowd).await,
        _ => Err(no_such(&path)),
    };
    // Who expects to be told to continue sends nothing before.
    if handled.is_err() && !parts.headers.contains_key(EXPECT) {
        body::discard(&mut body).await;
    }
    handled
}

async fn get(path: &[&str], context: &Arc<Context>, parts: &Parts) -> Handled {
    let asked = |parameters: &[&str]| Asked::new(context, parts, parameters);
    match path {
        ["v1", "status"] => operate::status(asked(&[])?).await,
        ["v1", "tree"] => operate::tree(asked(&[])?).await,
        ["v1", "health"] => operate::health(asked(&["all"])?).await,
        ["v1", "workers"] => operate::workers(asked(&["all", "state"])?).await,
        ["v1", "runs"] => runs::list(asked(&["all", "status", "limit"])?).await,
        ["v1", "runs", run] => runs::one(asked(&[])?, run).await,
        ["v1", "failures"] => operate::failures(asked(&["all"])?).await,
        ["v1", "digests"] => operate::digests(asked(&["fresh"])?).await,
        ["v1", "events"] => log::events(asked(&log::FILTERS)?).await,
        ["v1", "traces", trace] => log::trace(asked(&["since_trace_seq"])?, trace).await,
        ["v1", "traces", trace, "summary"] => projected::summary(asked(&[WAIT])?, trace).await,
        ["v1", "graph"] => projected::graph(asked(&projected::GRAPH)?).await,
        ["v1", "edges"] => projected::edges(asked(&projected::EDGES)?).await,
        ["v1", "precedents"] => projected::precedents(asked(&projected::PRECEDENTS)?).await,
        _ => Err(no_such(path)),
    }
}

async fn post(
    path: &[&str],
    context: &Arc<Context>,
    parts: &Parts,
    body: &mut Incoming,
    crowd: &Crowd,
) -> Handled {
    let asked = |parameters: &[&str]| Asked::new(context, parts, parameters);
    match path {
        ["v1", "events"] => append::append(asked(&["atomic", "keep_log_seq"])?, body, crowd).await,
        ["v1", "runs"] => runs::start(asked(&[])?, body, crowd).await,
        ["v1", "runs", run, "cancel"] => runs::cancel(asked(&[])?, run).await,
        ["v1", "runs", run, "resume"] => runs::resume(asked(&[])?, run).await,
        ["v1", "projections", name, "retry"] => operate::retry(asked(&[])?, name).await,
        _ => Err(no_such(path)),
    }
}

/// Why neither table had a handler: the path, or only the method.
fn no_such(path: &[&str]) -> Refusal {
    match path {
        ["v1", "events" | "runs"] => Refusal::method("GET, POST"),
        ["v1", "status" | "tree" | "health" | "workers" | "failures" | "digests"]
        | ["v1", "graph" | "edges" | "precedents"]
        | ["v1", "traces", _]
        | ["v1", "traces", _, "summary"]
        | ["v1", "runs", _] => Refusal::method("GET"),
        ["v1", "runs", _, "cancel" | "resume"] | ["v1", "projections", _, "retry"] => {
            Refusal::method("POST")
        }
        _ => not_found(format!("there is no route /{}", path.join("/"))).into(),
    }
}
