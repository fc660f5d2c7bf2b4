//! Unfinished business: what waits for somebody. The daemon is asked first, since who may ask it
//! need not be known to the database; then the database itself.

use dg_projections::json::Json;
use dg_store::{RunFilter, RunStatus, Store};

use super::daemon::Daemon;
use super::finding::{Finding, Verdict};
use super::patiently;
use super::verdict::business::{self, Standing};
use crate::config::Config;
use crate::output::field;

/// Tenants that the database tells one by one.
const MOST_TENANTS: i64 = 20;
/// Runs that are counted.
const MOST_RUNS: i64 = 1000;

pub(super) async fn examine(
    config: &Config,
    daemon: &Daemon,
    store: Option<&Store>,
) -> Vec<Finding> {
    // Where nobody can be asked, the lines before this one say why.
    if store.is_none() && !daemon.has_database() {
        return Vec::new();
    }
    let (standings, runs, others) = tokio::join!(
        standings(config, daemon, store),
        interrupted(daemon, store),
        others(daemon, store)
    );
    let is_there = daemon.is_there();
    let or_silent = |verdict: Option<Verdict>| verdict.unwrap_or_else(unanswered);
    let standings = standings.as_deref();
    let lag = standings.map(|found| business::lag(found, is_there));
    let mut findings = vec![
        or_silent(standings.map(business::failures)).of("failures"),
        or_silent(lag).of("lag"),
        or_silent(runs.map(|runs| business::interrupted(&runs))).of("runs"),
        or_silent(others.map(|others| business::neighbours(&others, is_there))).of("neighbours"),
    ];
    findings.extend(daemon.status().map(|status| parked(status).of("parked")));
    findings
}

fn unanswered() -> Verdict {
    let help = "the logs of the daemon and of the server tell what is amiss";
    Verdict::warning("it was asked for in vain", help)
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
async fn others(daemon: &Daemon, store: Option<&Store>) -> Option<Vec<String>> {
    if let Some(status) = daemon.status() {
        let others = status.get("other_owners").and_then(Json::as_array)?;
        return Some(others.iter().filter_map(Json::as_str).map(str::to_owned).collect());
    }
    patiently(store?.neighbours("")).await?.ok()
}
