//! Replays and rebuilds of a quiet tenant: what they do, what they find, and what they leave.

#![allow(clippy::unwrap_used, reason = "tests")]

use std::time::Duration;

use dg_projections::event::Line;
use dg_projections::projection::Projection;
use dg_runtime::{RunRequest, Runtime, Settings};
use dg_store::{RunMode, Store};
use dg_tests::log::{
    append_all, assert_proven, generated_lines, model_of, running, settings, until_applied,
};
use dg_tests::runs::{completed, request, request_of, start};
use dg_tests::{Database, eventually};

const STOP: Duration = Duration::from_secs(10);

/// A tenant of 400 events whose projections are current.
async fn current() -> (Database, Store, Runtime, Vec<Line>) {
    let (database, store) = Database::with_schema().await;
    let log = generated_lines("a", 50, 8, 61);
    append_all(&store, "a", &log, 100).await;
    let runtime = running(database.store()).await;
    until_applied(&store, "a").await;
    (database, store, runtime, log)
}

/// Only the active generation has rows and cursors.
async fn until_cleared(database: &Database) {
    let client = database.connect().await;
    eventually("what earlier generations left is cleared", || async {
        let sql = "SELECT 1 FROM dg_projection_cursors AS c JOIN dg_projections AS p
                USING (tenant_id, projection_name) WHERE c.generation <> p.active_generation
            UNION ALL SELECT 1 FROM dg_trace_summary AS t JOIN dg_projections AS p USING (tenant_id)
                WHERE p.projection_name = 'trace_summary' AND t.generation <> p.active_generation
            UNION ALL SELECT 1 FROM dg_cg_nodes AS t JOIN dg_projections AS p USING (tenant_id)
                WHERE p.projection_name = 'context_graph' AND t.generation <> p.active_generation
            UNION ALL SELECT 1 FROM dg_precedent_index AS t JOIN dg_projections AS p USING (tenant_id)
                WHERE p.projection_name = 'precedent_index' AND t.generation <> p.active_generation
            LIMIT 1";
        client.query_opt(sql, &[]).await.unwrap().is_none().then_some(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rebuild_of_all_serves_the_same_rows_from_the_next_generation() {
    let (database, store, runtime, log) = current().await;
    let before = store.compute_digests("a").await.unwrap();
    let run = start(&runtime, request("a", RunMode::Rebuild)).await;
    let run = completed(&store, &run.run.key.run_id).await;
    assert_eq!((run.processed_events, run.total_events), (1_200, Some(1_200)));
    assert_eq!((run.last_log_seq, run.is_equal()), (400, Some(true)));
    for (step, projection) in run.steps.iter().zip(Projection::ALL) {
        assert_eq!((step.projection, step.generation), (projection, Some(2)));
        let compared = step.comparison.as_ref().unwrap();
        assert_eq!((compared.log_seq, &compared.digest), (400, &compared.digest_before));
        assert!(step.switched_at.is_some() && step.switch_ms.is_some());
    }
    assert_eq!(store.tables("a").await.unwrap(), model_of(&log).tables);
    let after = store.compute_digests("a").await.unwrap();
    let values = |digests: &[dg_store::StoredDigest]| -> Vec<_> {
        digests.iter().map(|one| (one.name.clone(), one.digest, one.is_current)).collect()
    };
    assert_eq!(values(&after), values(&before));
    assert_proven(&store, "a").await;
    // The workers go on with it.
    let late = generated_lines("a", 5, 4, 62);
    runtime.append("a", &late[..]).await.unwrap();
    until_applied(&store, "a").await;
    assert_eq!(store.tables("a").await.unwrap(), model_of(&[&log[..], &late].concat()).tables);
    until_cleared(&database).await;
    runtime.stop(STOP).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dry_run_compares_and_leaves_everything_as_it_was() {
    let (database, store, runtime, _) = current().await;
    let asked = RunRequest { dry_run: true, ..request("a", RunMode::Rebuild) };
    let run = start(&runtime, asked).await;
    let run = completed(&store, &run.run.key.run_id).await;
    assert_eq!((run.processed_events, run.is_equal()), (1_200, Some(true)));
    assert!(run.steps.iter().all(|step| step.switched_at.is_none()));
    let generations = store.health(Some("a"), &dg_tests::log::ALL).await.unwrap().remove(0);
    assert!(generations.projections.iter().all(|one| one.generation == Some(1)));
    until_cleared(&database).await;
    assert_proven(&store, "a").await;
    runtime.stop(STOP).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_replay_goes_to_its_bound_and_not_beyond_and_hands_the_cursor_back() {
    let (database, store) = Database::with_schema().await;
    let log = generated_lines("a", 50, 8, 63);
    append_all(&store, "a", &log, 100).await;
    // Workers that would go on at once if they were not paused: held until the replay has begun.
    let runtime = Runtime::start(
        database.store(),
        Settings { batch_size: 1, job_batch_size: 7, partitions: 3, ..settings() },
    )
    .await
    .unwrap();
    let projection = Projection::TraceSummary;
    let asked =
        RunRequest { until_log_seq: Some(250), ..request_of("a", RunMode::Replay, projection) };
    let run = start(&runtime, asked).await;
    let run = completed(&store, &run.run.key.run_id).await;
    assert!(run.last_log_seq >= 250, "{run:?}");
    assert!(run.processed_events <= 250, "{run:?}");
    until_applied(&store, "a").await;
    assert_eq!(store.tables("a").await.unwrap(), model_of(&log).tables);
    assert_proven(&store, "a").await;
    runtime.stop(STOP).await;
}
