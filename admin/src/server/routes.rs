//! The routes: one table from method and path to handler.

use std::sync::Arc;

use dg_projections::projection::Projection;
use dg_projections::{Code, Rejection};
use hyper::body::Incoming;
use hyper::{Method, Request, StatusCode};

use super::query::{Query, segments, tenant};
use super::respond::{Answer, Refusal};
use super::{Context, append, reads};
use crate::wire::object;

/// Finds the handler of a request and calls it.
pub(crate) async fn dispatch(
    request: Request<Incoming>,
    context: &Arc<Context>,
) -> Result<Answer, Refusal> {
    let (parts, body) = request.into_parts();
    let path = segments(parts.uri.path())?;
    let path: Vec<&str> = path.iter().map(String::as_str).collect();
    let tenant = tenant(&parts)?;
    let mut query = Query::of(&parts)?;
    let asked = reads::Asked { context, tenant: &tenant, query: &mut query, parts: &parts };
    let answer = match (&parts.method, path.as_slice()) {
        (&Method::GET, ["v1", "ping"]) => Ok(object([]).into()),
        (&Method::GET, ["v1", "status"]) => reads::status(asked).await,
        (&Method::GET, ["v1", "health"]) => reads::health(asked).await,
        (&Method::GET, ["v1", "workers"]) => reads::workers(asked).await,
        (&Method::GET, ["v1", "failures"]) => reads::failures(asked).await,
        (&Method::GET, ["v1", "digests"]) => reads::digests(asked).await,
        (&Method::GET, ["v1", "events"]) => reads::events(asked).await,
        (&Method::GET, ["v1", "traces", trace]) => reads::trace(asked, trace).await,
        (&Method::GET, ["v1", "traces", trace, "summary"]) => reads::summary(asked, trace).await,
        (&Method::GET, ["v1", "graph"]) => reads::graph(asked).await,
        (&Method::GET, ["v1", "edges"]) => reads::edges(asked).await,
        (&Method::GET, ["v1", "precedents"]) => reads::precedents(asked).await,
        (&Method::POST, ["v1", "events"]) => append::append(asked, body).await,
        (&Method::POST, ["v1", "projections", name, "retry"]) => retry(asked, name).await,
        (_, path) => Err(unknown(path)),
    };
    if answer.is_ok() {
        query.done()?;
    }
    answer
}

fn unknown(path: &[&str]) -> Refusal {
    const KNOWN: [&str; 12] = [
        "ping",
        "status",
        "health",
        "workers",
        "failures",
        "digests",
        "events",
        "traces",
        "graph",
        "edges",
        "precedents",
        "projections",
    ];
    match path {
        ["v1", resource, ..] if KNOWN.contains(resource) => Refusal::with_status(
            StatusCode::METHOD_NOT_ALLOWED,
            Rejection::new(Code::InvalidArgument, "this route does not take this method"),
        ),
        _ => Rejection::new(Code::NotFound, "there is no such route").into(),
    }
}

/// The projection of a name.
pub(crate) fn projection(name: &str) -> Result<Projection, Rejection> {
    Projection::from_name(name).ok_or_else(|| {
        let names = Projection::ALL.map(Projection::as_str).join(", ");
        Rejection::new(
            Code::NotFound,
            format!("there is no projection '{name}'; there are {names}"),
        )
    })
}

async fn retry(asked: reads::Asked<'_>, name: &str) -> Result<Answer, Refusal> {
    let projection = projection(name)?;
    let runtime = asked.context.runtime.get()?;
    if !runtime.retry(asked.tenant, projection).await? {
        let message = format!("no worker of tenant '{}' keeps {projection} now", asked.tenant);
        return Err(Rejection::new(Code::NotFound, message).into());
    }
    Ok(object([("requested", true.into())]).into())
}
