//! `demo`: a daemon on the embedded default, the sample log, and what can be asked of it.

use std::time::{Duration, Instant};

use bytes::Bytes;
use dg_projections::Code;
use dg_projections::json::Json;

use super::{operate, prove, read, run};
use crate::cli::Session;
use crate::client::Client;
use crate::daemon::Daemon;
use crate::failure::Failure;
use crate::output::{grouped, line};

/// The sample log travels with the binary, so that the demo needs no other file.
const SAMPLE: [(&str, &str); 3] = [
    ("northwind-retail", include_str!("../../../ops/sample/northwind-retail.jsonl")),
    ("harbor-bank", include_str!("../../../ops/sample/harbor-bank.jsonl")),
    ("aurora-support", include_str!("../../../ops/sample/aurora-support.jsonl")),
];
const TENANT: &str = "northwind-retail";
const TRACE: &str = "deal-2026-0147";
const POLICY: &str = "discount-authority";

const PATIENCE: Duration = Duration::from_secs(60);

pub(crate) async fn demo(session: &Session) -> Result<u8, Failure> {
    // Nobody watches a demo, and a daemon beside it may have the port.
    let mut config = session.config()?;
    config.metrics_listen = None;
    crate::logging::start(&config);
    let socket = config.socket_path.clone();
    line(&format!("starting a daemon under {} ...", config.data_dir.display()))?;
    let mut signals = run::Signals::new()?;
    let started = run::start(config, &mut signals).await?;
    let mut daemon = started.ok_or_else(Failure::interrupted)?;
    let mut shown = tokio::select! {
        shown = show(session, &mut daemon, &socket) => shown,
        () = signals.next() => Err(Failure::interrupted()),
    };
    if shown.is_ok() && session.args.get_flag("keep-running") {
        shown = line("\nThe daemon goes on serving; stop it with Ctrl-C.");
        if shown.is_ok() {
            shown = run::until_signal(&mut daemon, &mut signals).await;
        }
    }
    run::stop(daemon, &mut signals).await?;
    shown.map(|()| 0)
}

async fn show(
    session: &Session,
    daemon: &mut Daemon,
    socket: &std::path::Path,
) -> Result<(), Failure> {
    daemon.ready().await?;
    let to = |tenant: &str| Client::new(socket.to_path_buf(), Some(tenant.to_owned()));
    for (tenant, sample) in SAMPLE {
        load(&to(tenant), tenant, sample).await?;
    }
    let client = to(TENANT);
    let waited = until_current(&client).await?;
    line(&format!("every projection is current {} ms later\n", waited.as_millis()))?;

    for (tenant, _) in SAMPLE {
        to(tenant).get("/v1/digests", &[]).await?;
    }
    let health = client.get("/v1/health", &[("all", Some("true".to_owned()))]).await?;
    heading("Health: how far each projection is", "decisiongraph health --all-tenants")?;
    line(&operate::health_table(session, health.as_array().unwrap_or_default()))?;

    heading("Digests: what every replay must give", &format!("decisiongraph digest -t {TENANT}"))?;
    line(&prove::digest_table(session, &client.get("/v1/digests", &[]).await?))?;

    heading("One decision", &format!("decisiongraph summary {TRACE} -t {TENANT}"))?;
    let summary = client.get(&format!("/v1/traces/{TRACE}/summary"), &[]).await?;
    line(&read::summary_card(&summary))?;

    heading("What it touched", &format!("decisiongraph graph trace {TRACE} -t {TENANT}"))?;
    let node = [("kind", Some("trace".to_owned())), ("id", Some(TRACE.to_owned()))];
    line(&read::graph_table(session, &client.get("/v1/graph", &node).await?))?;

    heading(
        "Who decided alike",
        &format!(
            "decisiongraph precedents --policy {POLICY} --outcome success --limit 5 -t {TENANT}"
        ),
    )?;
    let query = [
        ("policy_id", Some(POLICY.to_owned())),
        ("outcome", Some("success".to_owned())),
        ("limit", Some("5".to_owned())),
    ];
    let hits = client.get("/v1/precedents", &query).await?;
    line(&read::precedent_table(session, hits.as_array().unwrap_or_default()))?;
    line(NEXT)
}

const NEXT: &str = "
Try next, beside a running daemon (`decisiongraph serve`, or `demo --keep-running`):
  decisiongraph trace deal-2026-0147 -t northwind-retail       the events of that decision
  decisiongraph verify -t northwind-retail                     prove every row from the log
  decisiongraph graph entity account:acct-lumen-grocers -t northwind-retail --depth 2
  decisiongraph precedents --policy payout-limits -t harbor-bank
  decisiongraph generate --traces 1000 | decisiongraph import -";

fn heading(what: &str, command: &str) -> Result<(), Failure> {
    line(&format!("\n{what}\n$ {command}"))
}

async fn load(client: &Client, tenant: &str, sample: &'static str) -> Result<(), Failure> {
    let started = Instant::now();
    let body = Bytes::from_static(sample.as_bytes());
    let data = client.post("/v1/events", &[], "application/x-ndjson", body).await?;
    let results = data.get("results").and_then(Json::as_array).unwrap_or_default();
    let count = |status: &str| {
        results
            .iter()
            .filter(|result| result.get("status").and_then(Json::as_str) == Some(status))
            .count() as i64
    };
    if let Some(rejected) = results
        .iter()
        .find(|result| result.get("status").and_then(Json::as_str) == Some("rejected"))
    {
        let message = format!(
            "the sample of {tenant} was refused: {}",
            crate::output::field(rejected, "message")
        );
        return Err(Failure::new(Code::Conflict, message));
    }
    line(&format!(
        "loaded {tenant}: {} inserted, {} reused in {} ms",
        grouped(count("inserted")),
        grouped(count("reused")),
        started.elapsed().as_millis()
    ))
}

async fn until_current(client: &Client) -> Result<Duration, Failure> {
    let started = Instant::now();
    loop {
        let health = client.get("/v1/health", &[("all", Some("true".to_owned()))]).await?;
        let tenants = health.as_array().unwrap_or_default();
        if tenants
            .iter()
            .all(|tenant| tenant.get("is_stale").and_then(Json::as_bool) == Some(false))
        {
            return Ok(started.elapsed());
        }
        if started.elapsed() > PATIENCE {
            return Err(Failure::new(
                Code::ProjectionOutOfDate,
                "the projections did not become current in time",
            ));
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}
