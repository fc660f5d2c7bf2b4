//! What the daemon says of itself: status, health, workers, failures, digests; and `retry`.

use std::collections::BTreeMap;
use std::time::Duration;

use dg_projections::Rejection;
use dg_projections::json::Json;
use dg_projections::projection::Projection;
use dg_runtime::worker::WorkerSnapshot;
use dg_runtime::{DatabaseState, RunView, Snapshot};
use dg_store::{MigrationStatus, ProjectionHealth, StoreError};

use crate::server::asked::{Asked, Handled, invalid, not_found};
use crate::server::respond::Answer;
use crate::server::runs::{self, OPEN};
use crate::wire::{self, object};

/// How long `status` waits for the database: the rest of the picture is worth having without it.
const DATABASE_PATIENCE: Duration = Duration::from_secs(2);

const WORKER_STATES: [&str; 7] =
    ["starting", "catching_up", "idle", "retrying", "failed", "paused", "stopping"];

pub(crate) async fn status(asked: Asked<'_>) -> Handled {
    let snapshot = match asked.runtime() {
        Ok(runtime) => runtime.snapshot().await?,
        Err(error) => not_yet(&asked, error.message),
    };
    let (schema, others, runs) = tokio::join!(schema(&asked), others(&asked), open_runs(&asked));
    let config = asked.context.config.get();
    let spread = (&*config.projections, config.projection_partitions);
    let owners = (&*asked.context.owner, others);
    Ok(wire::status(&snapshot, spread, schema.as_ref(), owners, runs.as_deref()).into())
}

pub(crate) async fn tree(asked: Asked<'_>) -> Handled {
    Ok(wire::tree(&asked.runtime()?.tree().await?).into())
}

/// The picture of a daemon whose database has been away since it started.
fn not_yet(asked: &Asked<'_>, reason: String) -> Snapshot {
    let since = asked.context.started_at;
    Snapshot {
        started_at: since,
        database: DatabaseState::Down { since, reason, probes: 0 },
        workers: Vec::new(),
        parked: BTreeMap::new(),
        waiting: 0,
    }
}

/// The other daemons on this database; unknown while that does not answer.
async fn others(asked: &Asked<'_>) -> Option<Vec<String>> {
    let owner = asked.context.owner.as_str();
    patiently(asked.database(|store| async move { store.neighbours(owner).await })).await
}

async fn schema(asked: &Asked<'_>) -> Option<MigrationStatus> {
    patiently(asked.database(|store| async move { store.migration_status().await })).await
}

/// The runs of all tenants that wait or are at work, or wait for somebody.
async fn open_runs(asked: &Asked<'_>) -> Option<Vec<RunView>> {
    patiently(runs::of(asked, None, &OPEN)).await
}

/// What the database answers, if it does so soon.
async fn patiently<T>(answer: impl Future<Output = Result<T, StoreError>>) -> Option<T> {
    tokio::time::timeout(DATABASE_PATIENCE, answer).await.ok()?.ok()
}

pub(crate) async fn health(asked: Asked<'_>) -> Handled {
    let all = asked.query.flag("all")?;
    let config = asked.context.config.get();
    let (tenant, names) = (asked.tenant.as_str(), config.projections.as_slice());
    let one = (!all).then_some(tenant);
    let found = asked.database(|store| async move { store.health(one, names).await }).await?;
    let open = runs::of(&asked, one, &OPEN).await?;
    let workers = asked.runtime()?.snapshot().await?.workers;
    let shown = found.iter().map(|health| {
        let status = |one: &ProjectionHealth| worker_state(&workers, &health.tenant_id, one);
        wire::health(health, status, &open)
    });
    if all {
        return Ok(Json::Array(shown.collect()).into());
    }
    let mut shown = shown.map(Answer::from);
    Ok(shown.next().ok_or_else(|| not_found(format!("tenant '{tenant}' has no events")))?)
}

/// The state of the worker that keeps a projection, or what its absence means.
pub(crate) fn worker_state(
    workers: &[(WorkerSnapshot, u64)],
    tenant: &str,
    projection: &ProjectionHealth,
) -> &'static str {
    let keeps = |worker: &&WorkerSnapshot| {
        worker.key.tenant_id == tenant
            && worker.key.projection.as_str() == projection.projection_name
    };
    match workers.iter().map(|(worker, _)| worker).find(keeps) {
        Some(worker) => worker.status,
        None if projection.open_failures > 0 => "failed",
        None if projection.is_stale => "starting",
        None => "idle",
    }
}

/// Those of the tenant that the request names; of all tenants if it names none.
pub(crate) async fn workers(asked: Asked<'_>) -> Handled {
    let all = asked.query.flag("all")?;
    let tenant = asked.named_tenant().filter(|_| !all);
    let state = asked.query.text("state");
    if let Some(state) = state.as_deref().filter(|state| !WORKER_STATES.contains(state)) {
        let states = WORKER_STATES.join(", ");
        return Err(invalid(format!("no worker is ever '{state}'; states are {states}")).into());
    }
    let workers = asked.runtime()?.snapshot().await?.workers;
    let shown = workers.iter().filter(|(worker, _)| {
        tenant.is_none_or(|tenant| worker.key.tenant_id == tenant)
            && state.as_ref().is_none_or(|state| worker.status == state)
    });
    let owner = &asked.context.owner;
    let shown = shown.map(|(worker, restarts)| wire::worker(worker, *restarts, owner));
    Ok(Json::Array(shown.collect()).into())
}

pub(crate) async fn failures(asked: Asked<'_>) -> Handled {
    let (tenant, all) = (asked.named_tenant(), asked.query.flag("all")?);
    let found = asked
        .database(|store| async move { store.newest_failures(tenant, all, i64::MAX).await })
        .await?;
    Ok(Json::Array(found.iter().map(wire::failure).collect()).into())
}

/// Stored digests while each is current, fresh ones otherwise or on demand.
pub(crate) async fn digests(asked: Asked<'_>) -> Handled {
    let (tenant, fresh) = (asked.tenant.as_str(), asked.query.flag("fresh")?);
    let stored = asked.database(|store| async move { store.stored_digests(tenant).await }).await?;
    let is_complete = stored.len() == Projection::ALL.len() + 1;
    let is_current = is_complete && stored.iter().all(|digest| digest.is_current);
    let shown = match !fresh && is_current {
        true => stored,
        false => asked.runtime()?.digests(tenant, fresh).await?,
    };
    let at = asked.database(|store| async move { store.standpoint(tenant).await }).await?;
    Ok(wire::digests(tenant, &shown, at.as_ref()).into())
}

pub(crate) async fn retry(asked: Asked<'_>, name: &str) -> Handled {
    let projection = projection(name)?;
    if !asked.runtime()?.retry(&asked.tenant, projection).await? {
        let message = format!("no worker of tenant '{}' keeps {projection} now", asked.tenant);
        return Err(not_found(message).into());
    }
    Ok(object([("requested", true.into())]).into())
}

/// The projection of a name.
pub(crate) fn projection(name: &str) -> Result<Projection, Rejection> {
    Projection::from_name(name).ok_or_else(|| {
        let names = Projection::ALL.map(Projection::as_str).join(", ");
        not_found(format!("there is no projection '{name}'; there are {names}"))
    })
}
