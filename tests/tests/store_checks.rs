//! The CHECKs that tie state to its columns, each broken once.

#![allow(clippy::unwrap_used, reason = "tests")]

use std::collections::BTreeSet;

use dg_tests::by_hand::{HandMade, insert};
use dg_tests::log::{append_all, catch_up, parsed};
use dg_tests::{Database, events};
use tokio_postgres::error::SqlState;

/// A statement a constraint.
const BROKEN: &[(&str, &str)] = &[
    ("dg_tenant_heads_name_trimmed", "INSERT INTO dg_tenant_heads VALUES (' a', 0, 0)"),
    ("dg_tenant_heads_name_trimmed", "INSERT INTO dg_tenant_heads VALUES ('', 0, 0)"),
    ("dg_tenant_heads_count", "UPDATE dg_tenant_heads SET kept_numbers = true, event_count = 7"),
    ("dg_tenant_heads_count", "INSERT INTO dg_tenant_heads VALUES ('b', 0, -1, true)"),
    ("dg_tenant_heads_no_gaps", "UPDATE dg_tenant_heads SET event_count = 4"),
    ("dg_tenant_heads_empty", "UPDATE dg_tenant_heads SET last_recorded_at = NULL"),
    ("dg_projections_name", "INSERT INTO dg_projections VALUES ('a', 'other')"),
    ("dg_projections_generation", "UPDATE dg_projections SET active_generation = 0"),
    ("dg_projection_cursors_place", "UPDATE dg_projection_cursors SET generation = 0"),
    ("dg_projection_cursors_place", "UPDATE dg_projection_cursors SET partition = -1"),
    ("dg_projection_cursors_share", "UPDATE dg_projection_cursors SET partition = 1"),
    ("dg_projection_cursors_respread", "UPDATE dg_projection_cursors SET respread_at = 9"),
    (
        "dg_projection_cursors_respread",
        "UPDATE dg_projection_cursors SET respread_at = 0, respread_to = 2",
    ),
    ("dg_projection_cursors_count", "UPDATE dg_projection_cursors SET applied_events = 7"),
    ("dg_projection_cursors_count", "UPDATE dg_projection_cursors SET applied_events = -1"),
    ("dg_projection_digests_name", "UPDATE dg_projection_digests SET digest_name = 'x'"),
    ("dg_projection_digests_generation", "UPDATE dg_projection_digests SET generation = NULL"),
    (
        "dg_projection_digests_generation",
        "UPDATE dg_projection_digests SET generation = 1 WHERE digest_name = 'full_projection'",
    ),
    ("dg_projection_digests_digest", "UPDATE dg_projection_digests SET digest = '\\x00'"),
    ("dg_projection_failures_code", "UPDATE dg_projection_failures SET error_code = 'odd'"),
    ("dg_projection_failures_event", "UPDATE dg_projection_failures SET event_id = NULL"),
    ("dg_projection_failures_event", "UPDATE dg_projection_failures SET trace_id = NULL"),
    ("dg_projection_failures_status", "UPDATE dg_projection_failures SET status = 'lost'"),
    ("dg_projection_failures_resolved", "UPDATE dg_projection_failures SET status = 'resolved'"),
    ("dg_projection_failures_resolved", "UPDATE dg_projection_failures SET resolved_at = now()"),
    ("dg_projection_failures_retries", "UPDATE dg_projection_failures SET retry_count = -1"),
    ("dg_projection_runs_name", "UPDATE dg_projection_runs SET projection_name = 'x'"),
    ("dg_projection_runs_mode", "UPDATE dg_projection_runs SET mode = 'x'"),
    ("dg_projection_runs_status", "UPDATE dg_projection_runs SET status = 'x'"),
    ("dg_projection_runs_reason", "UPDATE dg_projection_runs SET reason = ' '"),
    (
        "dg_projection_runs_started",
        "UPDATE dg_projection_runs SET status = 'running', owner = 'x', seen_at = now()",
    ),
    (
        "dg_projection_runs_owner",
        "UPDATE dg_projection_runs SET status = 'running', started_at = now(), owner = 'x'",
    ),
    ("dg_projection_runs_dry", "UPDATE dg_projection_runs SET mode = 'replay', dry_run = true"),
    ("dg_projection_run_steps_name", "UPDATE dg_projection_run_steps SET projection_name = 'all'"),
    ("dg_projection_run_steps_counts", "UPDATE dg_projection_run_steps SET processed_events = -1"),
    ("dg_projection_run_steps_compared", "UPDATE dg_projection_run_steps SET compared_log_seq = 1"),
    (
        "dg_projection_run_steps_digests",
        "UPDATE dg_projection_run_steps SET compared_log_seq = 1, digest = '\\x00', digest_before = '\\x00'",
    ),
    (
        "dg_projection_runs_started",
        "UPDATE dg_projection_runs SET status = 'completed', finished_at = now()",
    ),
    ("dg_projection_runs_finished", "UPDATE dg_projection_runs SET status = 'cancelled'"),
    ("dg_projection_runs_finished", "UPDATE dg_projection_runs SET finished_at = now()"),
    (
        "dg_projection_runs_error",
        "UPDATE dg_projection_runs SET status = 'failed', finished_at = now()",
    ),
    ("dg_projection_runs_error", "UPDATE dg_projection_runs SET error_code = 'storage'"),
    (
        "dg_projection_runs_error",
        "UPDATE dg_projection_runs SET status = 'failed', finished_at = now(), error_code = 'internal'",
    ),
    ("dg_projection_runs_counts", "UPDATE dg_projection_runs SET since_log_seq = -1"),
    ("dg_projection_runs_counts", "UPDATE dg_projection_runs SET processed_events = -1"),
    ("dg_projection_runs_counts", "UPDATE dg_projection_runs SET last_log_seq = -1"),
    (
        "dg_projection_runs_counts",
        "UPDATE dg_projection_runs SET since_log_seq = 5, until_log_seq = 4",
    ),
];

/// A value of the log's row a constraint.
fn broken_rows(row: &HandMade) -> Vec<(&'static str, HandMade)> {
    let with = |column, value: &str| row.clone().with(column, value);
    vec![
        ("dg_event_log_positive", row.clone().with("log_seq", -1)),
        ("dg_event_log_positive", row.clone().with("trace_seq", -1)),
        ("dg_event_log_positive", row.clone().with("schema_version", 0)),
        ("dg_event_log_starts", with("event_type", "TraceStarted")),
        ("dg_event_log_starts", row.clone().with("trace_seq", 0)),
        ("dg_event_log_type", with("event_type", "TraceParted")),
        ("dg_event_log_actor", with("actor_type", "robot")),
        ("dg_event_log_key", with("idempotency_key", "")),
        ("dg_event_log_key", with("idempotency_key", &"é".repeat(101))),
        ("dg_event_log_hash", with("payload_hash", "\\x00")),
        ("dg_tenant_heads_name_trimmed", with("tenant_id", "a ")),
    ]
}

#[tokio::test]
async fn every_check_refuses_what_it_is_there_for() {
    let (database, store) = Database::with_schema().await;
    let lines = parsed("a", &events::whole_trace("t"));
    append_all(&store, "a", &lines[..5], 5).await;
    catch_up(&store, "a", 100).await;
    store.compute_digests("a").await.unwrap();
    let mut client = database.connect().await;
    client
        .batch_execute(
            "INSERT INTO dg_projection_failures
                 (tenant_id, projection_name, log_seq, trace_id, event_id, error_code, error_message, recoverable)
                 VALUES ('a', 'trace_summary', 3, 't', 't.2', 'conflict', 'x', false);
             INSERT INTO dg_projection_runs (tenant_id, projection_name, mode, reason)
                 VALUES ('a', 'all', 'rebuild', 'trial');
             INSERT INTO dg_projection_run_steps (tenant_id, run_id, projection_name, step)
                 SELECT tenant_id, run_id, 'trace_summary', 0 FROM dg_projection_runs",
        )
        .await
        .unwrap();

    let mut broken = BTreeSet::new();
    for (constraint, sql) in BROKEN {
        // In a transaction of its own that is never committed, in case it is let through.
        let transaction = client.transaction().await.unwrap();
        let error = transaction.execute(*sql, &[]).await.expect_err(sql);
        let refusal = error.as_db_error().unwrap();
        assert_eq!(refusal.code(), &SqlState::CHECK_VIOLATION, "{sql}");
        assert_eq!(refusal.constraint(), Some(*constraint), "{sql}");
        broken.insert((*constraint).to_owned());
    }
    for (constraint, row) in broken_rows(&HandMade::new(&lines[5], 6)) {
        let error = insert(&client, &[row]).await.expect_err(constraint);
        assert_eq!(error.sqlstate.as_deref(), Some("23514"), "{constraint}");
        assert!(error.message.contains(constraint), "{constraint}: {error}");
        broken.insert(constraint.to_owned());
    }

    let sql = "SELECT conname::text FROM pg_constraint
        WHERE contype = 'c' AND connamespace = 'public'::regnamespace";
    let all = client.query(sql, &[]).await.unwrap();
    let all: BTreeSet<String> = all.iter().map(|row| row.get(0)).collect();
    assert_eq!(all, broken, "each CHECK of the schema is broken once");
}

#[tokio::test]
async fn one_failure_a_worker_is_open_and_one_run_a_projection_active() {
    let (database, _store) = Database::with_schema().await;
    let client = database.connect().await;
    let failure = "INSERT INTO dg_projection_failures
        (tenant_id, projection_name, error_code, error_message, recoverable)
        VALUES ('a', 'trace_summary', 'internal', 'x', false)";
    let run = "INSERT INTO dg_projection_runs (tenant_id, projection_name, mode, reason)
        VALUES ('a', 'trace_summary', 'replay', 'trial')";
    for sql in [failure, run] {
        client.execute(sql, &[]).await.unwrap();
        let error = client.execute(sql, &[]).await.unwrap_err();
        assert_eq!(error.code(), Some(&SqlState::UNIQUE_VIOLATION));
    }
    client
        .batch_execute(
            "UPDATE dg_projection_failures SET status = 'resolved', resolved_at = now();
             UPDATE dg_projection_runs SET status = 'interrupted'",
        )
        .await
        .unwrap();
    for sql in [failure, run] {
        client.execute(sql, &[]).await.unwrap();
    }
}
