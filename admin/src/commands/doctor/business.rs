//! Unfinished business: what waits for somebody. The daemon is asked first, since who may ask it
//! need not be known to the database; then the database itself.

use std::path::Path;

use dg_projections::json::Json;
use dg_store::{RunFilter, RunStatus, Store};

use super::daemon::Daemon;
use super::database::Way;
use super::finding::{Finding, Verdict};
use super::patiently;
use super::verdict::business::{self, Neighbour, Standing, Unasked};
use crate::config::Config;
use crate::output::field;
use crate::server::young_name;

/// Tenants that the database tells one by one.
const MOST_TENANTS: i64 = 20;
/// Runs that are counted.
const MOST_RUNS: i64 = 1000;

/// The lines, and the daemon of this machine that does not answer at the socket, if there is one.
pub(super) async fn examine(
    config: &Config,
    daemon: &Daemon,
    way: &Way,
) -> (Vec<Finding>, Option<Neighbour>) {
    // Who is there is told by the server, whichever tables it has.
    let (store, server) = match way {
        Way::Open(store) => (Some(store), Some(store)),
        Way::Pending { store, .. } => (None, Some(store)),
        Way::Closed | Way::None => (None, None),
    };
    // Where nobody is to be asked, there is nothing to say.
    if matches!(way, Way::None) && !daemon.has_database() {
        return (Vec::new(), None);
    }
    let (standings, runs, others) = tokio::join!(
        standings(config, daemon, store),
        interrupted(daemon, store),
        others(daemon, server)
    );
    let is_there = daemon.is_there();
    let standings = standings.as_deref();
    let here = match &others {
        Some(others) if !is_there => here(config, others).await,
        _ => None,
    };
    let neighbours = |others: Vec<String>| business::neighbours(&others, is_there, here.as_ref());
    let checks = [
        ("failures", standings.map(business::failures)),
        ("lag", standings.map(|found| business::lag(found, is_there))),
        ("runs", runs.map(|runs| business::interrupted(&runs))),
        ("neighbours", others.map(neighbours)),
        ("parked", daemon.status().map(parked)),
    ];
    // What only a daemon can tell is left out where there is none.
    let unanswered = checks.iter().filter(|(name, answer)| answer.is_none() && *name != "parked");
    let unanswered: Vec<&str> = unanswered.map(|(name, _)| *name).collect();
    let left_out = (!unanswered.is_empty()).then(|| business::left_out(&unanswered, why(way)));
    let answered = checks.into_iter().filter_map(|(name, answer)| Some(answer?.of(name)));
    (answered.chain(left_out.map(|verdict| verdict.of("not_checked"))).collect(), here)
}

/// The first of them that is a living process of this machine. Its socket was made under another name
/// than it has: the kernel still knows that when its file is gone.
async fn here(config: &Config, others: &[String]) -> Option<Neighbour> {
    let host = nix::unistd::gethostname().ok()?;
    let host = host.to_string_lossy();
    let is_alive = |pid: &i32| Path::new("/proc").join(pid.to_string()).exists();
    let pid = others.iter().filter_map(|owner| business::pid_of(owner, &host)).find(is_alive)?;
    let socket = config.socket_path.clone();
    let bound = tokio::fs::read_to_string("/proc/net/unix").await.unwrap_or_default();
    let names = [socket.clone(), young_name(&socket, pid)];
    let names = names.map(|name| format!(" {}", name.display()));
    let is_meant = bound.lines().any(|line| names.iter().any(|name| line.ends_with(name.as_str())));
    Some(Neighbour { pid, is_meant, socket })
}

/// Why a question was not answered.
fn why(way: &Way) -> Unasked {
    match way {
        Way::Open(_) | Way::None => Unasked::Silent,
        Way::Pending { has_some: true, .. } => Unasked::Pending,
        Way::Pending { has_some: false, .. } => Unasked::NoTables,
        Way::Closed => Unasked::Closed,
    }
}

async fn standings(
    config: &Config,
    daemon: &Daemon,
    store: Option<&Store>,
) -> Option<Vec<Standing>> {
    let all = [("all", Some("true".to_owned()))];
    if let Some(health) = daemon.get("/v1/health", &all).await {
        return Some(health.as_array()?.iter().flat_map(standings_of).collect());
    }
    let lags = store?.lags(&config.projections, MOST_TENANTS, "_other");
    let lags = patiently(lags).await?.ok()?;
    let standing = |lag: dg_store::Lag| Standing {
        tenant: lag.tenant_id,
        projection: lag.projection_name,
        pending: lag.pending_events,
        lag_seconds: lag.lag_seconds,
        open_failures: lag.open_failures,
    };
    Some(lags.into_iter().map(standing).collect())
}

fn standings_of(health: &Json) -> Vec<Standing> {
    let tenant = field(health, "tenant_id");
    let projections = health.get("projections").and_then(Json::as_array).unwrap_or_default();
    let number = |one: &Json, key: &str| one.get(key).and_then(Json::as_i64).unwrap_or(0);
    let standing = |one: &Json| Standing {
        tenant: Some(tenant.clone()),
        projection: field(one, "projection_name"),
        pending: number(one, "pending_events"),
        lag_seconds: one.get("lag_seconds").and_then(Json::as_f64).unwrap_or(0.0),
        open_failures: number(one, "open_failures"),
    };
    projections.iter().map(standing).collect()
}

/// The interrupted runs, the newest first.
async fn interrupted(daemon: &Daemon, store: Option<&Store>) -> Option<Vec<String>> {
    let parameters =
        [("status", Some("interrupted".to_owned())), ("limit", Some(MOST_RUNS.to_string()))];
    if let Some(runs) = daemon.get("/v1/runs", &parameters).await {
        return Some(runs.as_array()?.iter().map(|run| field(run, "run_id")).collect());
    }
    let statuses = &[RunStatus::Interrupted];
    let filter = RunFilter { tenant: None, statuses, limit: MOST_RUNS };
    let runs = patiently(store?.runs(filter)).await?.ok()?;
    Some(runs.into_iter().map(|run| run.key.run_id).collect())
}

fn parked(status: &Json) -> Verdict {
    let parked = status.get("parked").and_then(Json::as_array).unwrap_or_default();
    let named = |one: &Json| format!("{}: {}", field(one, "tenant_id"), field(one, "reason"));
    business::parked(&parked.iter().map(named).collect::<Vec<_>>())
}

/// Daemons at this database besides the one that was asked.
async fn others(daemon: &Daemon, server: Option<&Store>) -> Option<Vec<String>> {
    if let Some(status) = daemon.status() {
        let others = status.get("other_owners").and_then(Json::as_array)?;
        return Some(others.iter().filter_map(Json::as_str).map(str::to_owned).collect());
    }
    patiently(server?.neighbours("")).await?.ok()
}
