//! The routes: one table from method and path to what is done, with the parameters each takes. What
//! may be asked, who may ask it and what is described to clients all derive from it.

use std::borrow::Cow;
use std::sync::Arc;

use hyper::Method;
use hyper::body::Incoming;
use hyper::http::request::Parts;

use super::asked::{Asked, Handled, not_found};
use super::audit::Act;
use super::peer::Crowd;
use super::query::segments;
use super::reads::{live, log, operate, projected};
use super::respond::Refusal;
use super::waiting::WAIT;
use super::{Context, append, openapi, runs, watch};

/// A method at a path; segments in braces stand for any.
#[derive(Debug)]
pub(crate) struct Route {
    /// Its method and path, as auditors and metrics call it: bounded, whatever stands in a request's path.
    pub(super) name: &'static str,
    pub(crate) path: &'static str,
    /// Those of the query; others are refused.
    pub(crate) parameters: &'static [&'static str],
    does: Does,
}

/// Whether a route looks or changes something.
#[derive(Debug, Clone, Copy)]
enum Does {
    Read(Read),
    Change(Change),
}

#[derive(Debug, Clone, Copy)]
enum Read {
    Status,
    Tree,
    Health,
    Workers,
    Runs,
    Run,
    Failures,
    Digests,
    Events,
    Trace,
    Summary,
    Graph,
    Edges,
    Precedents,
    Watch,
    History,
    Lag,
    Description,
}

#[derive(Debug, Clone, Copy)]
enum Change {
    Append,
    StartRun,
    CancelRun,
    ResumeRun,
    Retry,
}

#[rustfmt::skip]
pub(crate) const ROUTES: &[Route] = &[
    read("GET /v1/status", Read::Status, &[]),
    read("GET /v1/tree", Read::Tree, &[]),
    read("GET /v1/health", Read::Health, &["all"]),
    read("GET /v1/workers", Read::Workers, &["all", "state"]),
    read("GET /v1/failures", Read::Failures, &["all"]),
    read("GET /v1/digests", Read::Digests, &["fresh"]),
    read("GET /v1/events", Read::Events, &log::FILTERS),
    change("POST /v1/events", Change::Append, &["atomic", "keep_log_seq"]),
    read("GET /v1/traces/{trace_id}", Read::Trace, &["since_trace_seq"]),
    read("GET /v1/traces/{trace_id}/summary", Read::Summary, &[WAIT]),
    read("GET /v1/graph", Read::Graph, &projected::GRAPH),
    read("GET /v1/edges", Read::Edges, &projected::EDGES),
    read("GET /v1/precedents", Read::Precedents, &projected::PRECEDENTS),
    change("POST /v1/projections/{projection_name}/retry", Change::Retry, &[]),
    read("GET /v1/watch", Read::Watch, &watch::PARAMETERS),
    read("GET /v1/history", Read::History, &["limit"]),
    read("GET /v1/lag", Read::Lag, &["limit"]),
    read("GET /v1/runs", Read::Runs, &["all", "status", "limit"]),
    change("POST /v1/runs", Change::StartRun, &[]),
    read("GET /v1/runs/{run_id}", Read::Run, &[]),
    change("POST /v1/runs/{run_id}/cancel", Change::CancelRun, &[]),
    change("POST /v1/runs/{run_id}/resume", Change::ResumeRun, &[]),
    read("GET /v1/openapi.json", Read::Description, &[]),
];

const fn read(name: &'static str, read: Read, parameters: &'static [&'static str]) -> Route {
    let (_, path) = name.split_at("GET ".len());
    Route { name, path, parameters, does: Does::Read(read) }
}

const fn change(name: &'static str, change: Change, parameters: &'static [&'static str]) -> Route {
    let (_, path) = name.split_at("POST ".len());
    Route { name, path, parameters, does: Does::Change(change) }
}

impl Route {
    pub(crate) fn method(&self) -> &'static str {
        if self.changes() { "POST" } else { "GET" }
    }

    /// Whether it changes something, which is not for observers.
    pub(super) fn changes(&self) -> bool {
        matches!(self.does, Does::Change(_))
    }

    /// Whether it is told to auditors even if it was admitted: events tell of themselves.
    pub(super) fn is_act(&self) -> bool {
        self.changes() && !matches!(self.does, Does::Change(Change::Append))
    }

    /// Its own segments.
    fn segments(&self) -> impl Iterator<Item = &'static str> + use<> {
        self.path.split('/').skip(1)
    }

    fn matches(&self, path: &[Cow<'_, str>]) -> bool {
        let mut given = path.iter();
        self.segments()
            .all(|own| given.next().is_some_and(|given| own.starts_with('{') || own == given))
            && given.next().is_none()
    }

    /// What a path has where this one's has braces.
    fn argument(&self, path: Vec<Cow<'_, str>>) -> String {
        let found = self.segments().zip(path).find(|(own, _)| own.starts_with('{'));
        found.map(|(_, given)| given.into_owned()).unwrap_or_default()
    }
}

/// A route that was found, and what stands in its path.
#[derive(Debug)]
pub(super) struct Found {
    pub(super) route: &'static Route,
    pub(super) argument: String,
}

/// The route of a request.
///
/// # Errors
/// Whether it is the path that there is not, or only the method.
pub(super) fn find(parts: &Parts) -> Result<Found, Refusal> {
    let path = segments(parts.uri.path())?;
    let find = |method: &Method| {
        ROUTES.iter().find(|route| route.method() == method.as_str() && route.matches(&path))
    };
    match find(&parts.method) {
        Some(route) => Ok(Found { route, argument: route.argument(path) }),
        None => Err(no_such(|method| find(&method).is_some(), &path)),
    }
}

/// Nothing there takes the method; what `takes` tells is which it would take.
fn no_such(takes: impl Fn(Method) -> bool, path: &[Cow<'_, str>]) -> Refusal {
    match (takes(Method::GET), takes(Method::POST)) {
        (true, true) => Refusal::method("GET, POST"),
        (true, false) => Refusal::method("GET"),
        (false, true) => Refusal::method("POST"),
        (false, false) => not_found(format!("there is no route /{}", path.join("/"))).into(),
    }
}

/// A request that may be done.
pub(super) struct Request<'a> {
    pub(super) context: &'a Arc<Context>,
    pub(super) parts: &'a Parts,
    pub(super) body: &'a mut Incoming,
    pub(super) crowd: &'a Crowd,
}

/// Does what a route does.
pub(super) async fn call(found: &Found, request: Request<'_>, act: &mut Act) -> Handled {
    let Request { context, parts, body, crowd } = request;
    let asked = Asked::new(context, parts, found.route.parameters)?;
    let argument = found.argument.as_str();
    match found.route.does {
        // Boxed: a request is as large as the largest of them, and is moved as a whole.
        Does::Read(wanted) => Box::pin(look(wanted, asked, argument)).await,
        Does::Change(Change::Append) => append::append(asked, body, crowd).await,
        Does::Change(Change::StartRun) => Box::pin(runs::start(asked, body, crowd, act)).await,
        Does::Change(Change::CancelRun) => Box::pin(runs::cancel(asked, argument, act)).await,
        Does::Change(Change::ResumeRun) => Box::pin(runs::resume(asked, argument, act)).await,
        Does::Change(Change::Retry) => {
            act.tenant = Some(asked.tenant.clone());
            operate::retry(asked, argument).await
        }
    }
}

async fn look(wanted: Read, asked: Asked<'_>, argument: &str) -> Handled {
    match wanted {
        Read::Status => operate::status(asked).await,
        Read::Tree => operate::tree(asked).await,
        Read::Health => operate::health(asked).await,
        Read::Workers => operate::workers(asked).await,
        Read::Runs => runs::list(asked).await,
        Read::Run => runs::one(asked, argument).await,
        Read::Failures => operate::failures(asked).await,
        Read::Digests => operate::digests(asked).await,
        Read::Events => log::events(asked).await,
        Read::Trace => log::trace(asked, argument).await,
        Read::Summary => projected::summary(asked, argument).await,
        Read::Graph => projected::graph(asked).await,
        Read::Edges => projected::edges(asked).await,
        Read::Precedents => projected::precedents(asked).await,
        Read::History => live::history(asked).await,
        Read::Lag => live::lag(asked).await,
        Read::Description => openapi::description(),
        Read::Watch => watch::watch(asked).await,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(method: &str, path: &str) -> Result<(&'static str, String), Refusal> {
        let request = hyper::Request::builder().method(method).uri(path).body(()).unwrap();
        find(&request.into_parts().0).map(|found| (found.route.path, found.argument))
    }

    #[test]
    fn a_route_is_found_by_method_and_path() {
        for (method, path, route, argument) in [
            ("GET", "/v1/status", "/v1/status", ""),
            ("GET", "/v1/status/?x=1", "/v1/status", ""),
            ("GET", "/v1/runs", "/v1/runs", ""),
            ("POST", "/v1/runs", "/v1/runs", ""),
            ("GET", "/v1/runs/7", "/v1/runs/{run_id}", "7"),
            ("POST", "/v1/runs/a%2Fb/cancel", "/v1/runs/{run_id}/cancel", "a/b"),
            ("GET", "/v1/traces/t", "/v1/traces/{trace_id}", "t"),
            ("GET", "/v1/traces/t/summary", "/v1/traces/{trace_id}/summary", "t"),
        ] {
            assert_eq!(found(method, path).unwrap(), (route, argument.to_owned()), "{path}");
        }
    }

    #[test]
    fn a_route_is_called_by_its_method_and_path_and_no_two_are_the_same() {
        for (at, route) in ROUTES.iter().enumerate() {
            assert_eq!(route.name, format!("{} {}", route.method(), route.path));
            let same =
                |other: &&Route| (other.path, other.method()) == (route.path, route.method());
            assert!(!ROUTES[at + 1..].iter().any(|other| same(&other)), "{}", route.path);
        }
    }
}
