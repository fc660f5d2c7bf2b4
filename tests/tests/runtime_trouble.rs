//! Trouble in the tables of a projection: a defect is narrowed down to its event, storage that is in
//! the way is waited for, told of, and forgotten by itself.

#![allow(clippy::unwrap_used, reason = "tests")]

use std::time::Duration;

use dg_projections::projection::Projection;
use dg_runtime::worker::{RetryPolicy, WorkerSnapshot};
use dg_runtime::{Runtime, Settings};
use dg_store::{Failure, Store};
use dg_tests::log::{assert_proven, generated_lines, running, settings, until_applied};
use dg_tests::{Database, eventually};

const STOP: Duration = Duration::from_secs(10);

/// Makes every insert of a node of these events fail.
async fn break_nodes(database: &Database, condition: &str, sqlstate: &str) {
    let sql = format!(
        "CREATE FUNCTION in_the_way() RETURNS trigger LANGUAGE plpgsql AS $$
         BEGIN RAISE EXCEPTION 'in the way' USING ERRCODE = '{sqlstate}'; END $$;
         CREATE TRIGGER in_the_way BEFORE INSERT ON dg_cg_nodes
         FOR EACH ROW WHEN ({condition}) EXECUTE FUNCTION in_the_way()"
    );
    database.connect().await.batch_execute(&sql).await.unwrap();
}

async fn mend_nodes(database: &Database) {
    database.connect().await.batch_execute("DROP FUNCTION in_the_way CASCADE").await.unwrap();
}

async fn until_open(store: &Store, what: &str, wanted: impl Fn(&Failure) -> bool) -> Failure {
    eventually(what, || async {
        let open = store.failures("a", false).await.unwrap().pop()?;
        wanted(&open).then_some(open)
    })
    .await
}

async fn until_resolved(store: &Store) {
    eventually("nothing is open", || async {
        store.failures("a", false).await.unwrap().is_empty().then_some(())
    })
    .await;
}

async fn graph_worker(runtime: &Runtime) -> Option<WorkerSnapshot> {
    let mut workers = runtime.snapshot().await.ok()?.workers.into_iter().map(|(worker, _)| worker);
    workers.find(|worker| worker.key.projection == Projection::ContextGraph)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_defect_of_a_batch_is_narrowed_down_to_its_event() {
    let (database, store) = Database::with_schema().await;
    let lines = generated_lines("a", 20, 8, 3);
    // The first event that makes a node of its own trace, late in the one page that all are in.
    let culprit = 97;
    let trace = &lines[culprit].event.trace_id;
    assert_ne!(trace, &lines[0].event.trace_id);
    break_nodes(&database, &format!("NEW.log_seq = {}", culprit + 1), "P0001").await;
    let runtime = running(database.store()).await;
    runtime.append("a", &lines[..]).await.unwrap();
    let letter = until_open(&store, "a dead letter", |_| true).await;
    let event = &lines[culprit].event;
    assert_eq!(
        (letter.log_seq, letter.event_id.as_deref(), letter.trace_id.as_deref()),
        (Some(culprit as i64 + 1), Some(&*event.event_id), Some(&*event.trace_id))
    );
    assert_eq!((&*letter.error_code, letter.recoverable), ("internal", false));
    let worker = graph_worker(&runtime).await.unwrap();
    assert_eq!(worker.cursor, Some(culprit as i64), "what comes before it is applied");
    assert!(worker.sync_count < 12, "narrowing halves: {worker:?}");
    mend_nodes(&database).await;
    runtime.retry("a", Projection::ContextGraph).await.unwrap();
    until_applied(&store, "a").await;
    until_resolved(&store).await;
    assert_proven(&store, "a").await;
    runtime.stop(STOP).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn storage_in_the_way_for_too_long_is_told_counted_over_lives_and_heals_by_itself() {
    let (database, store) = Database::with_schema().await;
    let (base, max) = (Duration::from_millis(1), Duration::from_millis(20));
    let retry = RetryPolicy { base, max, max_retries: 3 };
    let quick = || Settings { retry, ..settings() };
    break_nodes(&database, "true", "53100").await; // disk_full
    let runtime = Runtime::start(database.store(), quick()).await.unwrap();
    runtime.append("a", generated_lines("a", 3, 8, 3)).await.unwrap();
    let open = until_open(&store, "retries are told", |open| open.retry_count >= 6).await;
    assert_eq!((&*open.error_code, open.recoverable, open.log_seq), ("storage", true, None));
    assert!(open.error_message.contains("in the way"), "{open:?}");
    assert_eq!(graph_worker(&runtime).await.unwrap().last_error.unwrap().code.as_str(), "storage");
    runtime.stop(STOP).await;

    let before = store.failures("a", false).await.unwrap().remove(0).retry_count;
    let runtime = Runtime::start(database.store(), quick()).await.unwrap();
    let first = eventually("the second life has retried", || async {
        let retries = i64::from(graph_worker(&runtime).await?.retry_count);
        (retries > 0).then_some(retries)
    })
    .await;
    assert!(first >= i64::from(before), "{first} goes on from {before}");
    eventually("it has counted on", || async {
        let retries = i64::from(graph_worker(&runtime).await?.retry_count);
        (retries > i64::from(before)).then_some(())
    })
    .await;
    mend_nodes(&database).await;
    until_applied(&store, "a").await;
    until_resolved(&store).await;
    let all = store.failures("a", true).await.unwrap();
    assert_eq!(all.len(), 1, "one trouble, one row: {all:?}");
    eventually("the worker is at rest", || async {
        let worker = graph_worker(&runtime).await?;
        (worker.status == "idle" && worker.retry_count == 0).then_some(())
    })
    .await;
    assert_proven(&store, "a").await;
    runtime.stop(STOP).await;
}
