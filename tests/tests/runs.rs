//! Replays and rebuilds of a quiet tenant: what they do, what they find, and what they leave.

#![allow(clippy::unwrap_used, reason = "tests")]

use std::time::Duration;

use dg_projections::event::Line;
use dg_projections::projection::Projection;
use dg_runtime::{RunRequest, Runtime, Settings};
use dg_store::{RunMode, RunStatus, Store, Verdict};
use dg_tests::log::{
    append_all, assert_proven, generated_lines, model_of, running, settings, until_applied,
};
use dg_tests::runs::{completed, request, request_of, start, until_status};
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
async fn a_replay_goes_to_its_bound_and_not_beyond() {
    for partitions in [1, 3] {
        let (database, store) = Database::with_schema().await;
        // Nobody looks for what is written behind its back: only the replay applies it.
        let poll_interval = Duration::from_secs(3600);
        let settings = Settings { job_batch_size: 7, partitions, poll_interval, ..settings() };
        let runtime = Runtime::start(database.store(), settings).await.unwrap();
        let log = generated_lines("a", 50, 8, 63);
        append_all(&store, "a", &log, 100).await;
        for (until, processed) in [(250, 250), (100, 0), (251, 1), (400, 149)] {
            let asked = RunRequest {
                until_log_seq: Some(until),
                ..request_of("a", RunMode::Replay, Projection::TraceSummary)
            };
            let run = start(&runtime, asked).await;
            let run = completed(&store, &run.run.key.run_id).await;
            let place = store.place("a", Projection::TraceSummary).await.unwrap().cursor;
            assert_eq!((run.processed_events, place), (processed, place.max(until)), "{run:?}");
            assert_eq!(run.total_events, Some(processed));
            assert_proven(&store, "a").await;
        }
        let whole = start(&runtime, request("a", RunMode::Replay)).await;
        completed(&store, &whole.run.key.run_id).await;
        assert_eq!(store.tables("a").await.unwrap(), model_of(&log).tables);
        runtime.stop(STOP).await;
    }
}

/// A change behind everybody's back, and the table that a rebuild names for it.
const TAMPERINGS: &[(Projection, &str, &str)] = &[
    (
        Projection::ContextGraph,
        "dg_cg_nodes",
        "UPDATE dg_cg_nodes SET created_at = 'never'
        WHERE node_id = (SELECT max(node_id) FROM dg_cg_nodes)",
    ),
    (
        Projection::ContextGraph,
        "dg_cg_edges",
        "DELETE FROM dg_cg_edges
        WHERE edge_id = (SELECT min(edge_id) FROM dg_cg_edges)",
    ),
    (
        Projection::ContextGraph,
        "dg_cg_nodes",
        "INSERT INTO dg_cg_nodes
        (tenant_id, generation, log_seq, node_id, node_type, trace_id, created_at)
        SELECT tenant_id, generation, 1, 'zz:added', 'zz', 'x', 'y' FROM dg_cg_nodes LIMIT 1",
    ),
    (
        Projection::TraceSummary,
        "dg_trace_summary",
        "UPDATE dg_trace_summary SET outcome = 'failure'
        WHERE trace_id = (SELECT max(trace_id) FROM dg_trace_summary WHERE outcome = 'success')",
    ),
    (
        Projection::TraceSummary,
        "dg_trace_summary",
        "DELETE FROM dg_trace_summary
        WHERE trace_id = (SELECT max(trace_id) FROM dg_trace_summary)",
    ),
    (
        Projection::PrecedentIndex,
        "dg_policy_eval_index",
        "UPDATE dg_policy_eval_index
        SET policy_version = '99' WHERE log_seq = (SELECT min(log_seq) FROM dg_policy_eval_index)",
    ),
    (Projection::PrecedentIndex, "dg_precedent_index", "DELETE FROM dg_precedent_index"),
];

#[tokio::test(flavor = "multi_thread")]
async fn a_rebuild_restores_what_was_tampered_with_and_names_the_first_difference_as_verify_does() {
    let (database, store, runtime, log) = current().await;
    let model = model_of(&log).tables;
    let client = database.connect().await;
    for (projection, table, change) in TAMPERINGS {
        client.batch_execute(change).await.unwrap();
        let Verdict::Different(verified) = store.verify("a", &|_, _| ()).await.unwrap() else {
            panic!("verify finds nothing: {change}");
        };
        for dry_run in [true, false] {
            let asked = request_of("a", RunMode::Rebuild, *projection);
            let run = start(&runtime, RunRequest { dry_run, ..asked }).await;
            let run = completed(&store, &run.run.key.run_id).await;
            let compared = run.steps[0].comparison.as_ref().unwrap();
            let difference = compared.difference.as_ref().unwrap();
            assert_eq!((difference, difference.table.as_str()), (&*verified, *table));
            assert_eq!(run.is_equal(), Some(false));
            // What no digest covers is compared all the same.
            let is_covered = *table != "dg_policy_eval_index";
            assert_eq!(compared.digest != compared.digest_before, is_covered);
        }
        assert_eq!(store.tables("a").await.unwrap(), model, "{change}");
        assert_proven(&store, "a").await;
    }
    runtime.stop(STOP).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rebuild_that_meets_a_damaged_event_fails_naming_it_and_goes_on_when_it_is_mended() {
    let (database, store, runtime, log) = current().await;
    let client = database.connect().await;
    let damage = |text: &str| {
        format!(
            "SET session_replication_role = replica; UPDATE dg_event_log SET
            payload_json = {text} WHERE log_seq = 300; SET session_replication_role = origin"
        )
    };
    client
        .batch_execute(
            "CREATE TABLE kept AS SELECT payload_json FROM dg_event_log WHERE log_seq = 300",
        )
        .await
        .unwrap();
    client.batch_execute(&damage("'{}'")).await.unwrap();
    let run = start(&runtime, request_of("a", RunMode::Rebuild, Projection::ContextGraph)).await;
    let run_id = run.run.key.run_id.as_str();
    let failed = until_status(&store, run_id, &[RunStatus::Failed]).await;
    assert_eq!(failed.error_code.as_deref(), Some("conflict"));
    assert_eq!((failed.last_log_seq, failed.steps[0].generation), (299, Some(2)));
    assert!(failed.error_message.unwrap().contains("hash"));
    // What is served is whole, and no worker has failed.
    assert_eq!(store.tables("a").await.unwrap(), model_of(&log).tables);
    assert_eq!(store.failures("a", true).await.unwrap(), []);
    client.batch_execute(&damage("(SELECT payload_json FROM kept)")).await.unwrap();
    runtime.resume_run(None, run_id).await.unwrap().unwrap();
    let run = completed(&store, run_id).await;
    assert_eq!((run.steps[0].generation, run.processed_events), (Some(2), 400));
    runtime.stop(STOP).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rebuild_brings_a_failed_worker_back() {
    let (database, store, runtime, log) = current().await;
    let client = database.connect().await;
    // The row that the end of a trace would change: gone.
    let begun = dg_tests::log::parsed("a", &[dg_tests::events::started("late")]);
    let ended = dg_tests::log::parsed("a", &[dg_tests::events::finished("late", 1)]);
    runtime.append("a", begun.clone()).await.unwrap();
    until_applied(&store, "a").await;
    client.batch_execute("DELETE FROM dg_trace_summary WHERE trace_id = 'late'").await.unwrap();
    runtime.append("a", ended.clone()).await.unwrap();
    eventually("the worker has failed", || async {
        let failures = store.failures("a", false).await.ok()?;
        (failures.len() == 1 && failures[0].log_seq == Some(402)).then_some(())
    })
    .await;
    let run = start(&runtime, request("a", RunMode::Rebuild)).await;
    let run = completed(&store, &run.run.key.run_id).await;
    let compared = run.steps[1].comparison.as_ref().unwrap();
    assert_eq!(compared.log_seq, 401, "where the failed worker stood");
    assert!(compared.difference.as_ref().unwrap().key == "late");
    until_applied(&store, "a").await;
    assert_eq!(store.failures("a", false).await.unwrap(), []);
    assert_eq!(store.tables("a").await.unwrap(), model_of(&[log, begun, ended].concat()).tables);
    runtime.stop(STOP).await;
}
