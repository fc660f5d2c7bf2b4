//! The JSON objects of the contract: field names, shapes and units are relied on by others.

mod live;
mod runs;
mod watch;

use dg_projections::Rejection;
use dg_projections::admission::Admission;
use dg_projections::event::rfc3339;
use dg_projections::hash::Hash;
use dg_projections::json::{Json, Object, Text};
use dg_projections::rows::{EdgeRow, NodeRow, SummaryRow};
use dg_runtime::worker::WorkerSnapshot;
use dg_runtime::{DatabaseState, Parked, RunView, Snapshot, Tree};
use dg_store::{
    Failure, Health, MigrationStatus, Missing, PrecedentHit, ProjectionHealth, RunStatus,
    Standpoint, StoredDigest, Subgraph,
};
use time::OffsetDateTime;

use crate::receipt::versions;

pub(crate) use live::{history, lags};
pub use runs::{difference_of, run};
pub(crate) use watch::{change, missed, of_the_stream, picture};

/// An object from its members.
pub fn object<'a, S: From<&'a str> + Ord, const N: usize>(
    members: [(&'a str, Json<S>); N],
) -> Json<S> {
    Json::Object(members.into_iter().map(|(key, value)| (key.into(), value)).collect())
}

/// A number of seconds, to the millisecond.
pub fn seconds(value: f64) -> Json {
    Json::Number(format!("{:.3}", value.max(0.0)))
}

/// A measured number, to the thousandth.
pub fn decimal(value: f64) -> Json {
    Json::Number(format!("{value:.3}"))
}

fn text(value: &str) -> Json {
    Json::from(value)
}

fn number(value: i64) -> Json {
    Json::from(value)
}

fn instant(value: Option<OffsetDateTime>) -> Json {
    value.map_or(Json::Null, |at| Json::from(rfc3339(at)))
}

fn optional_number(value: Option<i64>) -> Json {
    value.map_or(Json::Null, Json::from)
}

fn hash(value: Option<Hash>) -> Json {
    value.map_or(Json::Null, |hash| Json::from(hash.to_string()))
}

fn list<T>(items: &[T], one: impl Fn(&T) -> Json) -> Json {
    Json::Array(items.iter().map(one).collect())
}

/// Why something was refused.
pub fn error(code: &str, message: &str, details: Object) -> Json {
    object([("code", text(code)), ("message", text(message)), ("details", Json::from(details))])
}

/// What became of one line of an append; there may be hundreds of thousands, so it need not copy what it tells.
pub fn append_result<'a, S: Text + From<&'a str> + From<String>>(
    line: usize,
    tenant_id: Option<&'a str>,
    event_id: Option<&'a str>,
    answer: &'a Result<Admission, Rejection>,
) -> Json<S> {
    let (status, log_seq, event, refusal) = match answer {
        Ok(Admission::Insert { log_seq }) => ("inserted", Some(*log_seq), event_id, None),
        Ok(Admission::Reused { log_seq, event_id }) => {
            ("reused", Some(*log_seq), Some(event_id.as_str()), None)
        }
        Err(rejection) => ("rejected", None, event_id, Some(rejection)),
    };
    let text = |text: &'a str| Json::String(text.into());
    let number = |number: i64| Json::Number(number.to_string().into());
    let details = |rejection: &Rejection| Json::from(rejection.details.clone()).map(&S::from);
    object([
        ("line", number(line as i64)),
        ("status", text(status)),
        ("tenant_id", tenant_id.map_or(Json::Null, text)),
        ("event_id", event.map_or(Json::Null, text)),
        ("log_seq", log_seq.map_or(Json::Null, number)),
        ("code", refusal.map_or(Json::Null, |rejection| text(rejection.code.as_str()))),
        ("message", refusal.map_or(Json::Null, |rejection| text(&rejection.message))),
        ("details", refusal.map_or(Json::Null, details)),
    ])
}

/// The digests of a tenant, and what an auditor asks beside them.
pub fn digests(tenant: &str, digests: &[StoredDigest], at: Option<&Standpoint>) -> Json {
    let one = |digest: &StoredDigest| {
        let value = object([
            ("digest", text(&digest.digest.to_string())),
            ("log_seq", number(digest.log_seq)),
            ("updated_at", instant(Some(digest.updated_at))),
        ]);
        (digest.name.clone(), value)
    };
    object([
        ("tenant_id", text(tenant)),
        ("digests", Json::Object(digests.iter().map(one).collect())),
        ("last_log_seq", at.map_or(Json::Null, |at| number(at.last_log_seq))),
        ("event_count", at.map_or(Json::Null, |at| number(at.event_count))),
        ("versions", at.map_or(Json::Null, |at| versions(at.schema_version, &at.server_version))),
    ])
}

/// A tenant's health; `status` tells a projection's worker status. Its own are picked from the `open`
/// runs.
pub fn health(
    health: &Health,
    status: impl Fn(&ProjectionHealth) -> &'static str,
    open: &[RunView],
) -> Json {
    let is_own = |view: &&RunView| view.run.key.tenant_id == health.tenant_id;
    object([
        ("tenant_id", text(&health.tenant_id)),
        ("event_log_last_seq", number(health.event_log_last_seq)),
        ("event_count", number(health.event_count)),
        ("is_stale", Json::from(health.is_stale())),
        ("full_digest", hash(health.full_digest)),
        ("projections", list(&health.projections, |one| projection_health(one, status(one)))),
        ("open_runs", Json::Array(open.iter().filter(is_own).map(run).collect())),
    ])
}

fn projection_health(one: &ProjectionHealth, status: &str) -> Json {
    let partitions = list(&one.partitions, |partition| {
        object([
            ("partition", number(i64::from(partition.partition))),
            ("last_log_seq", number(partition.last_log_seq)),
            ("applied_events", number(partition.applied_events)),
        ])
    });
    object([
        ("projection_name", text(&one.projection_name)),
        ("last_log_seq", number(one.last_log_seq)),
        ("applied_events", number(one.applied_events)),
        ("pending_events", number(one.pending_events)),
        ("lag_seconds", seconds(one.lag_seconds)),
        ("cursor_age_seconds", one.cursor_age_seconds.map_or(Json::Null, seconds)),
        ("is_stale", Json::from(one.is_stale)),
        ("status", text(status)),
        ("generation", one.generation.map_or(Json::Null, |generation| number(generation.into()))),
        ("digest", hash(one.digest)),
        ("digest_log_seq", optional_number(one.digest_log_seq)),
        ("digest_updated_at", instant(one.digest_updated_at)),
        ("open_failures", number(one.open_failures)),
        ("partitions", partitions),
    ])
}

/// A worker.
pub fn worker(worker: &WorkerSnapshot, restarts: u64, owner: &str) -> Json {
    let error = worker.last_error.as_ref().map_or(Json::Null, |error| {
        object([
            ("code", text(error.code.as_str())),
            ("message", text(&error.message)),
            ("event_id", Json::from(error.event_id.clone())),
            ("log_seq", optional_number(error.log_seq)),
            ("trace_id", Json::from(error.trace_id.clone())),
        ])
    });
    object([
        ("tenant_id", text(&worker.key.tenant_id)),
        ("projection_name", text(worker.key.projection.as_str())),
        ("partition", number(i64::from(worker.key.partition))),
        ("status", text(worker.status)),
        ("cursor", optional_number(worker.cursor)),
        ("last_sync_at", instant(worker.last_sync_at)),
        ("sync_count", number(worker.sync_count as i64)),
        ("retry_count", number(i64::from(worker.retry_count))),
        ("next_retry_at", instant(worker.next_retry_at)),
        ("last_error", error),
        ("restarts", number(restarts as i64)),
        ("owner", text(owner)),
    ])
}

/// What the daemon says of itself as a whole.
pub fn status(
    snapshot: &Snapshot,
    (projections, partitions): (&[&str], u32),
    schema: Option<&MigrationStatus>,
    (owner, others): (&str, Option<Vec<String>>),
    open_runs: Option<&[RunView]>,
) -> Json {
    let mut by_status = Object::new();
    for (worker, _) in &snapshot.workers {
        let count = by_status.get(worker.status).and_then(Json::as_i64).unwrap_or(0);
        by_status.insert(worker.status.to_owned(), number(count + 1));
    }
    let uptime = (OffsetDateTime::now_utc() - snapshot.started_at).as_seconds_f64();
    object([
        ("version", text(env!("CARGO_PKG_VERSION"))),
        ("pid", number(i64::from(std::process::id()))),
        ("owner", text(owner)),
        ("other_owners", others.map_or(Json::Null, |others| list(&others, |one| text(one)))),
        ("started_at", instant(Some(snapshot.started_at))),
        ("uptime_seconds", seconds(uptime)),
        ("database", database(&snapshot.database, schema)),
        ("workers", Json::Object(by_status)),
        ("parked", Json::Array(snapshot.parked.iter().map(parked).collect())),
        ("waiting_tenants", number(snapshot.waiting as i64)),
        ("active_runs", open_runs.map_or(Json::Null, active_runs)),
        ("interrupted_runs", optional_number(open_runs.map(interrupted_runs))),
        ("partitions", number(i64::from(partitions))),
        ("projections", list(projections, |name| text(name))),
    ])
}

fn is_interrupted(view: &&RunView) -> bool {
    view.run.status == RunStatus::Interrupted
}

fn active_runs(open: &[RunView]) -> Json {
    Json::Array(open.iter().filter(|view| !is_interrupted(view)).map(runs::short).collect())
}

fn interrupted_runs(open: &[RunView]) -> i64 {
    open.iter().filter(is_interrupted).count() as i64
}

/// A node of the supervision tree, with those below it.
pub fn tree(node: &Tree) -> Json {
    object([
        ("name", text(&node.name)),
        ("type", text(node.kind)),
        ("state", text(node.state)),
        ("restarts", number(node.restarts as i64)),
        ("age_seconds", node.age.map_or(Json::Null, |age| seconds(age.as_secs_f64()))),
        ("children", Json::Array(node.children.iter().map(tree).collect())),
    ])
}

fn parked((tenant, parked): (&String, &Parked)) -> Json {
    object([
        ("tenant_id", text(tenant)),
        ("since", instant(Some(parked.since))),
        ("reason", text(&parked.reason)),
        ("next_attempt_at", instant(Some(parked.next_attempt_at))),
    ])
}

fn database(state: &DatabaseState, schema: Option<&MigrationStatus>) -> Json {
    let (word, since, reason) = match state {
        DatabaseState::Up => ("up", None, None),
        DatabaseState::Down { since, reason, .. } => ("down", Some(*since), Some(reason.clone())),
    };
    object([
        ("state", text(word)),
        ("down_since", instant(since)),
        ("reason", Json::from(reason)),
        ("schema_version", schema.map_or(Json::Null, |schema| number(schema.version().into()))),
    ])
}

/// A trace's summary.
pub fn summary(row: &SummaryRow) -> Json {
    object([
        ("trace_id", text(&row.trace_id)),
        ("workflow", text(&row.workflow)),
        ("title", text(&row.title)),
        ("primary_entity_type", text(&row.primary_entity_type)),
        ("primary_entity_system", Json::from(row.primary_entity_system.clone())),
        ("primary_entity_id", text(&row.primary_entity_id)),
        ("outcome", Json::from(row.outcome.clone())),
        ("started_at", text(&row.started_at)),
        ("finished_at", Json::from(row.finished_at.clone())),
        ("event_count", number(row.event_count)),
        ("last_log_seq", number(row.last_log_seq)),
    ])
}

/// A part of the graph.
pub fn subgraph(found: &Subgraph) -> Json {
    object([
        ("nodes", list(&found.nodes, node)),
        ("edges", list(&found.edges, edge)),
        ("truncated", Json::from(found.truncated)),
    ])
}

fn node(row: &NodeRow) -> Json {
    object([
        ("node_id", text(&row.node_id)),
        ("node_type", text(&row.node_type)),
        ("trace_id", text(&row.trace_id)),
        ("log_seq", number(row.log_seq)),
        ("created_at", text(&row.created_at)),
        ("attrs", attrs(&row.attrs)),
    ])
}

/// An edge.
pub fn edge(row: &EdgeRow) -> Json {
    object([
        ("edge_id", text(&row.edge_id)),
        ("edge_type", text(&row.edge_type)),
        ("from_node_id", text(&row.from_node_id)),
        ("to_node_id", text(&row.to_node_id)),
        ("trace_id", text(&row.trace_id)),
        ("log_seq", number(row.log_seq)),
        ("created_at", text(&row.created_at)),
        ("attrs", attrs(&row.attrs)),
    ])
}

fn attrs(canonical: &str) -> Json {
    dg_projections::json::parse(canonical).unwrap_or(Json::Null)
}

/// A precedent that was found.
pub fn precedent(hit: &PrecedentHit) -> Json {
    object([
        ("trace_id", text(&hit.trace_id)),
        ("workflow", text(&hit.workflow)),
        ("title", text(&hit.title)),
        ("outcome", text(&hit.outcome)),
        ("finished_at", Json::from(hit.finished_at.clone())),
        ("last_log_seq", number(hit.last_log_seq)),
        ("primary_entity_type", text(&hit.primary_entity_type)),
        ("primary_entity_system", Json::from(hit.primary_entity_system.clone())),
        ("primary_entity_id", text(&hit.primary_entity_id)),
        ("policy_id", Json::from(hit.policy_id.clone())),
        ("policy_version", Json::from(hit.policy_version.clone())),
        ("exception_id", Json::from(hit.exception_id.clone())),
        ("source_event_id", Json::from(hit.source_event_id.clone())),
    ])
}

/// A dead letter.
pub fn failure(failure: &Failure) -> Json {
    object([
        ("failure_id", text(&failure.failure_id)),
        ("tenant_id", text(&failure.tenant_id)),
        ("projection_name", text(&failure.projection_name)),
        ("partition", number(i64::from(failure.partition))),
        ("log_seq", optional_number(failure.log_seq)),
        ("trace_id", Json::from(failure.trace_id.clone())),
        ("event_id", Json::from(failure.event_id.clone())),
        ("error_code", text(&failure.error_code)),
        ("error_message", text(&failure.error_message)),
        ("recoverable", Json::from(failure.recoverable)),
        ("retry_count", number(i64::from(failure.retry_count))),
        ("status", text(&failure.status)),
        ("recorded_at", instant(Some(failure.recorded_at))),
        ("resolved_at", instant(failure.resolved_at)),
    ])
}

/// Where the schema stands.
pub fn migration_status(status: &MigrationStatus, missing: &[Missing]) -> Json {
    let applied = list(&status.applied, |step| {
        object([
            ("version", number(step.version.into())),
            ("name", text(&step.name)),
            ("checksum", text(&step.checksum.to_string())),
            ("applied_at", instant(Some(step.applied_at))),
            ("binary_version", text(&step.binary_version)),
        ])
    });
    let known = dg_store::migrations().last().map_or(0, |step| step.version);
    object([
        ("version", number(status.version().into())),
        ("known_version", number(known.into())),
        ("applied", applied),
        ("pending", list(&status.pending, |version| number((*version).into()))),
        ("drift", list(&status.drift, |drift| text(&drift.to_string()))),
        ("missing", list(missing, missing_object)),
    ])
}

fn missing_object(one: &Missing) -> Json {
    object([
        ("kind", text(one.kind)),
        ("name", text(&one.name)),
        ("table", Json::from(one.table.clone())),
        ("state", text(&one.state)),
        ("statement", Json::from(one.statement.clone())),
    ])
}
