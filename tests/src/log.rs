//! Logs and their projections without a daemon: parsed lines, a worker's page by hand, a runtime.

use std::time::Duration;

use dg_admin::generate::Plan;
use dg_projections::admission::Admission;
use dg_projections::event::{Keeping, Line, LogEvent, parse_line};
use dg_projections::json::{self, Json};
use dg_projections::model::Model;
use dg_projections::projection::{Projection, Traces, project};
use dg_runtime::worker::RetryPolicy;
use dg_runtime::{Runtime, Settings};
use dg_store::{Commit, Committed, Cursor, Share, Store, Verdict};

use crate::{Database, eventually};

/// The names of all projections.
pub const ALL: [&str; 3] = ["context_graph", "trace_summary", "precedent_index"];

/// The lines as events of this tenant.
///
/// # Panics
/// When one is not valid.
#[track_caller]
pub fn parsed<L: AsRef<str>>(tenant: &str, lines: &[L]) -> Vec<Line> {
    let parse = |line: &L| parse_line(line.as_ref(), tenant, Keeping::NewNumbers).unwrap();
    lines.iter().map(parse).collect()
}

/// Events of one tenant in traces that interleave.
pub fn generated_lines(tenant: &str, traces: u64, events_per_trace: u32, seed: u64) -> Vec<Line> {
    let plan = Plan { traces, events_per_trace, payload_bytes: 0, tenants: 1, seed };
    parsed(tenant, &dg_admin::generate::lines(plan).collect::<Vec<_>>())
}

/// The logs of the parity vectors, by tenant.
///
/// # Panics
/// When the fixture is not as it should be.
pub fn parity() -> Vec<(String, Vec<Line>)> {
    let text = include_str!("../fixtures/parity_vectors.json");
    let vectors = json::parse(text).unwrap();
    let scenarios = vectors.get("scenarios").and_then(Json::as_array).unwrap();
    let log = |(at, scenario): (usize, &Json)| {
        let tenant = format!("parity-{at}");
        let events = scenario.get("events").and_then(Json::as_array).unwrap();
        let texts: Vec<String> = events.iter().map(json::canonical).collect();
        let lines = parsed(&tenant, &texts);
        (tenant, lines)
    };
    scenarios.iter().enumerate().map(log).collect()
}

/// Appends events of one tenant, in batches.
///
/// # Panics
/// When one is refused.
pub async fn append_all(store: &Store, tenant: &str, lines: &[Line], batch: usize) {
    for batch in lines.chunks(batch) {
        for answer in store.append(tenant, batch).await.unwrap() {
            answer.unwrap();
        }
    }
}

/// The number that an append gave.
///
/// # Panics
/// When it gave none.
#[track_caller]
pub fn inserted(answer: &dg_store::Answer) -> i64 {
    match answer {
        Ok(Admission::Insert { log_seq }) => *log_seq,
        other => panic!("not inserted: {other:?}"),
    }
}

/// The tables that a whole log gives.
///
/// # Panics
/// When an event cannot be applied.
pub fn model_of(lines: &[Line]) -> Model {
    let mut model = Model::new();
    let events: Vec<LogEvent> =
        (1..).zip(lines).map(|(at, line)| LogEvent::from_event(&line.event, at)).collect();
    model.apply_all(&events).unwrap();
    model
}

/// What a worker does with the page after `from`: reads, projects, commits.
///
/// # Panics
/// When the store fails or an event is poison.
pub async fn apply_page(
    store: &Store,
    tenant: &str,
    projection: Projection,
    from: Cursor,
    limit: i64,
) -> (Committed, Cursor) {
    page_after(store, tenant, projection, from, (limit, true)).await
}

/// The same of a generation that is built beside what is served.
///
/// # Panics
/// As [`apply_page`].
pub async fn build_page(
    store: &Store,
    tenant: &str,
    projection: Projection,
    from: Cursor,
    limit: i64,
) -> (Committed, Cursor) {
    page_after(store, tenant, projection, from, (limit, false)).await
}

async fn page_after(
    store: &Store,
    tenant: &str,
    projection: Projection,
    from: Cursor,
    (limit, is_live): (i64, bool),
) -> (Committed, Cursor) {
    let page = store.read_page(tenant, projection, from, limit).await.unwrap();
    let timeline = page.timeline;
    let mut traces = Traces::load(page.resumed, &page.recalled).unwrap();
    let projected = project(projection, &page.events, &mut traces);
    assert_eq!(projected.poison, None);
    if page.end == from.last_log_seq {
        return (Committed::Done { resolved: 0 }, from);
    }
    let applied_events = from.applied_events + page.events.len() as i64;
    let to = Cursor { last_log_seq: page.end, applied_events, ..from };
    let changes = &projected.changes;
    let batch = Commit { tenant, projection, from, to, timeline, changes, is_live };
    (store.commit(&batch).await.unwrap(), to)
}

/// Brings all partitions of all projections of a tenant to the end of its log, a page at a time.
///
/// # Panics
/// As [`apply_page`], and when somebody else is at it.
pub async fn catch_up(store: &Store, tenant: &str, limit: i64) {
    for projection in Projection::ALL {
        let open = || store.open_cursor(tenant, projection, Share::WHOLE, false);
        let mut cursor = open().await.unwrap();
        loop {
            let (committed, to) = apply_page(store, tenant, projection, cursor, limit).await;
            assert!(matches!(committed, Committed::Done { .. }));
            if to == cursor {
                break;
            }
            cursor = if to.lent { open().await.unwrap() } else { to };
        }
    }
}

/// Asserts that every row, digest and count of a tenant is what its log says.
///
/// # Panics
/// When one is not.
pub async fn assert_proven(store: &Store, tenant: &str) {
    match store.verify(tenant, &|_, _| ()).await.unwrap() {
        Verdict::Proven(_) => {}
        Verdict::Different(difference) => panic!("{tenant}: {difference}"),
    }
}

/// Waits until every projection of a tenant has applied its whole log.
///
/// # Panics
/// When that does not happen.
pub async fn until_applied(store: &Store, tenant: &str) {
    eventually("every projection is current", || async {
        let health = store.health(Some(tenant), &ALL).await.ok()?;
        let health = health.first()?;
        let done = |p: &dg_store::ProjectionHealth| !p.is_stale && p.pending_events == 0;
        health.projections.iter().all(done).then_some(())
    })
    .await;
}

/// Waits until somebody waits for a lock in this database.
///
/// # Panics
/// When nobody does.
pub async fn until_blocked(database: &Database) {
    let client = database.connect().await;
    eventually("somebody waits for a lock", || async {
        let sql = "SELECT 1 FROM pg_stat_activity
            WHERE datname = current_database() AND wait_event_type = 'Lock'";
        client.query_opt(sql, &[]).await.ok()?
    })
    .await;
}

/// Settings of a runtime that is quick to notice and to try again.
pub fn settings() -> Settings {
    Settings {
        projections: Projection::ALL.to_vec(),
        append_batch_max_events: 1000,
        append_batch_max_wait: Duration::ZERO,
        partitions: 1,
        batch_size: 50,
        job_batch_size: 200,
        resume_interrupted_runs: false,
        poll_interval: Duration::from_millis(50),
        retry: RetryPolicy {
            base: Duration::from_millis(20),
            max: Duration::from_millis(200),
            max_retries: 5,
        },
        digest_idle: Duration::from_millis(50),
        tenant_idle_stop: Duration::from_secs(600),
        tenant_turn: Duration::from_secs(10),
        max_workers: 6_000,
        storage_timeout: Duration::from_secs(20),
        stop_patience: Duration::from_secs(5),
        worker_permits: 4,
        append_permits: 2,
        owner: "test".to_owned(),
    }
}

/// A runtime on a store of its own, which it closes when it stops.
///
/// # Panics
/// When it does not start.
pub async fn running(store: Store) -> Runtime {
    Runtime::start(store, settings()).await.unwrap()
}
