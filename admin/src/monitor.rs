//! HTTP on loopback for those who watch: `/metrics`, `/healthz`, `/readyz`, and the console if there
//! is one. Read-only, bounded, and truthful: liveness is that the process answers, readiness is
//! checked when it is asked.

mod process;

pub(crate) use process::processor_seconds;

use std::collections::BTreeSet;
use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use dg_projections::Code;
use dg_projections::json::{Json, canonical};
use dg_runtime::metrics::tenants;
use dg_runtime::{Runtime, Snapshot};
use futures_util::FutureExt as _;
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use hyper::header::{CONTENT_TYPE, HeaderValue};
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};
use metrics_exporter_prometheus::{Matcher, PrometheusBuilder, PrometheusHandle};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, watch};
use tokio::task::JoinSet;

use crate::config::LiveConfig;
use crate::console::{self, Console, Visitor};
use crate::failure::{Failure, exit};
use crate::server::{self, Body, Crowd, Peer, RuntimeSlot, told_to};
use crate::wire::object;

/// Those beyond wait to be accepted, and who is slow goes: any local user may knock here.
const MAX_CONNECTIONS: usize = 128;
/// Answers from the database that are made at once, so that whoever asks for many leaves it to others.
/// Whether the process answers is told without a turn: the database has no part in that.
static TURNS: Semaphore = Semaphore::const_new(4);
/// How long a peer may leave its answer unread: who scrapes has read it long before.
const UNREAD: Duration = Duration::from_secs(10);
/// Failed projections that are named, at most: who asks wants to know whether, and has a time-out.
const MOST_REASONS: usize = 20;
/// Summaries and histograms forget what is older; the exporter wants to be told the time.
const UPKEEP: Duration = Duration::from_secs(5);
/// From a commit on a quick disk to the storage time-out.
const SECONDS: [f64; 12] =
    [0.0005, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.5, 1.0, 5.0, 30.0];
/// From a tenant of a thousand events to one of a hundred million.
const RUN_SECONDS: [f64; 9] = [0.1, 1.0, 5.0, 30.0, 60.0, 300.0, 1800.0, 7200.0, 28800.0];
const RUNS: &str = "decisiongraph_replay_duration_seconds";
const EVENTS: [f64; 8] = [1.0, 2.0, 5.0, 10.0, 50.0, 100.0, 500.0, 1000.0];
const TEXT: &str = "text/plain; version=0.0.4; charset=utf-8";
const JSON: &str = "application/json";

/// The listener and the recorder behind it.
#[derive(Debug)]
pub(crate) struct Monitor {
    listener: TcpListener,
    recorder: PrometheusHandle,
    config: LiveConfig,
}

impl Monitor {
    /// Binds the address and starts recording.
    ///
    /// # Errors
    /// When the address is taken or not ours.
    pub(crate) async fn bind(address: SocketAddr, config: LiveConfig) -> Result<Monitor, Failure> {
        let listener = TcpListener::bind(address).await.map_err(|error| {
            Failure::new(Code::InvalidArgument, format!("metrics_listen {address}: {error}"))
                .exit(exit::CONFIG)
                .help("choose another --metrics-listen, or `off`")
        })?;
        // Port 0 leaves the choice to the system.
        if let Ok(address) = listener.local_addr() {
            tracing::info!(%address, "metrics, healthz and readyz");
        }
        let recorder = recorder()?;
        tenants::set_most(config.get().metrics_max_tenants);
        Ok(Monitor { listener, recorder, config })
    }

    /// Answers until told to stop.
    pub(crate) async fn serve(
        self,
        runtime: RuntimeSlot,
        console: Option<Arc<Console>>,
        mut stop: watch::Receiver<bool>,
    ) {
        let Monitor { listener, recorder, config } = self;
        if let (Some(_), Ok(address)) = (&console, listener.local_addr()) {
            tracing::info!(url = %format_args!("http://{address}/console"), "console");
        }
        let crowd = Crowd::without_bodies();
        let mut connections = JoinSet::new();
        let mut upkeep = tokio::time::interval(UPKEEP);
        loop {
            let has_place = connections.len() < MAX_CONNECTIONS;
            if !has_place {
                crowd.is_full_now();
            }
            tokio::select! {
                accepted = listener.accept(), if has_place => {
                    let Ok((stream, _)) = accepted else {
                        tokio::time::sleep(Duration::from_millis(100)).await;
                        continue;
                    };
                    let peer = (stream, crowd.clone());
                    let most = config.get().metrics_max_tenants;
                    let (runtime, recorder) = (runtime.clone(), recorder.clone());
                    let visitor = console.clone().map(|console| Arc::new(Visitor::new(console)));
                    connections.spawn(converse(peer, runtime, recorder, most, visitor));
                }
                Some(_) = connections.join_next() => {}
                _ = upkeep.tick() => recorder.run_upkeep(),
                () = told_to(&mut stop) => return,
            }
        }
    }
}

/// One recorder a process: later daemons of it, which only tests have, share it.
fn recorder() -> Result<PrometheusHandle, Failure> {
    static RECORDER: std::sync::OnceLock<PrometheusHandle> = std::sync::OnceLock::new();
    if let Some(recorder) = RECORDER.get() {
        return Ok(recorder.clone());
    }
    let recorder = PrometheusBuilder::new()
        .set_buckets_for_metric(Matcher::Suffix("_duration_seconds".to_owned()), &SECONDS)
        .and_then(|builder| {
            builder.set_buckets_for_metric(Matcher::Suffix("_batch_events".to_owned()), &EVENTS)
        })
        .and_then(|builder| {
            builder.set_buckets_for_metric(Matcher::Suffix("_visible_seconds".to_owned()), &SECONDS)
        })
        .and_then(|builder| {
            builder.set_buckets_for_metric(Matcher::Full(RUNS.to_owned()), &RUN_SECONDS)
        })
        .and_then(PrometheusBuilder::install_recorder);
    let recorder = recorder.map_err(|error| Failure::new(Code::Internal, error.to_string()))?;
    dg_runtime::metrics::describe();
    server::describe();
    metrics::describe_gauge!("decisiongraph_build_info", "1, labelled with the version.");
    metrics::gauge!("decisiongraph_build_info", "version" => env!("CARGO_PKG_VERSION")).set(1.0);
    Ok(RECORDER.get_or_init(|| recorder).clone())
}

async fn converse(
    (stream, crowd): (TcpStream, Crowd),
    runtime: RuntimeSlot,
    recorder: PrometheusHandle,
    most_tenants: usize,
    visitor: Option<Arc<Visitor>>,
) {
    let service = service_fn(move |request: Request<Incoming>| {
        let (runtime, recorder) = (runtime.clone(), recorder.clone());
        let visitor = visitor.clone().filter(|_| console::is_ours(request.uri().path()));
        async move {
            Ok::<_, Infallible>(match visitor {
                Some(visitor) => visitor.answer(&request).await,
                None => answer(&request, &runtime, &recorder, most_tenants).await.map(boxed),
            })
        }
        // Erased: the type of everything below a connection is deeper than the compiler follows.
        .boxed()
    });
    // An error is the peer's.
    let _ = hyper::server::conn::http1::Builder::new()
        .timer(TokioTimer::new())
        // Who asks again and again on one connection would be ahead of all others.
        .keep_alive(false)
        .header_read_timeout(crowd.patience_for_heads())
        .max_header_size(16 * 1024)
        .serve_connection(TokioIo::new(Peer::within(stream, crowd, UNREAD)), service)
        .await;
}

async fn answer(
    request: &Request<Incoming>,
    runtime: &RuntimeSlot,
    recorder: &PrometheusHandle,
    most_tenants: usize,
) -> Response<Full<Bytes>> {
    if request.method() != Method::GET {
        return respond(StatusCode::METHOD_NOT_ALLOWED, TEXT, "only GET\n".to_owned());
    }
    if request.uri().path() == "/healthz" {
        return respond(StatusCode::OK, TEXT, "ok\n".to_owned());
    }
    let _turn = TURNS.acquire().await;
    match request.uri().path() {
        "/metrics" => {
            let mut page = match runtime.get() {
                Ok(runtime) => runtime.gauges(most_tenants).await,
                Err(_) => dg_runtime::metrics::gauges_at_start(),
            };
            process::write(&mut page);
            respond(StatusCode::OK, TEXT, recorder.render() + &page.into_text())
        }
        "/readyz" => readiness(runtime).await,
        _ => respond(
            StatusCode::NOT_FOUND,
            TEXT,
            "there are /metrics, /healthz and /readyz; `console = true` adds /console\n".to_owned(),
        ),
    }
}

async fn readiness(runtime: &RuntimeSlot) -> Response<Full<Bytes>> {
    let reasons = match runtime.get() {
        Err(error) => vec![error.message],
        Ok(runtime) => unready(&runtime).await,
    };
    let status = if reasons.is_empty() { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    let ready = Json::from(reasons.is_empty());
    let reasons = Json::Array(reasons.into_iter().map(Json::from).collect());
    respond(status, JSON, canonical(&object([("ready", ready), ("reasons", reasons)])) + "\n")
}

/// Why the daemon is not ready; nothing when it is. The schema was checked before there was a runtime.
async fn unready(runtime: &Runtime) -> Vec<String> {
    let (unreachable, snapshot) = tokio::join!(runtime.unreachable(), runtime.snapshot());
    let away = unreachable.map(|reason| format!("the database is away: {reason}"));
    let mut reasons: Vec<String> = away.into_iter().collect();
    match snapshot {
        Ok(snapshot) => reasons.extend(failed(&snapshot)),
        Err(error) => reasons.push(error.message),
    }
    reasons
}

/// The projections that wait for an operator, the first by name and how many more there are.
fn failed(snapshot: &Snapshot) -> Vec<String> {
    let workers = snapshot.workers.iter().map(|(worker, _)| worker);
    let failed = workers.filter(|worker| worker.status == "failed");
    // One of several partitions is enough.
    let failed: BTreeSet<_> =
        failed.map(|worker| (&worker.key.tenant_id, worker.key.projection)).collect();
    let parked = snapshot.parked.keys().map(|tenant| format!("tenant {tenant} is parked"));
    let mut reasons: Vec<String> = failed
        .into_iter()
        .map(|(tenant, projection)| format!("{projection} of tenant {tenant} has failed"))
        .chain(parked)
        .collect();
    let more = reasons.len().saturating_sub(MOST_REASONS);
    if more > 0 {
        reasons.truncate(MOST_REASONS);
        reasons.push(format!("and {more} more; `decisiongraph health --all-tenants` names them"));
    }
    reasons
}

fn boxed(body: Full<Bytes>) -> Body {
    body.map_err(|never| match never {}).boxed_unsync()
}

fn respond(status: StatusCode, content_type: &'static str, body: String) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(Bytes::from(body)));
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
    response
}
