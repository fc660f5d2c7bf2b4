//! The schema of runs: what a hand-made change must not make of one.

#![allow(clippy::unwrap_used, reason = "tests")]

use dg_projections::projection::Projection;
use dg_store::RunMode;
use dg_tests::Database;
use dg_tests::hands::{RUN_TABLES, admitted, asked, asked_of, image, prepared, taken_up};
use dg_tests::log::{append_all, generated_lines};

#[tokio::test]
async fn every_constraint_refuses_what_it_is_there_for() {
    let (database, store) = Database::with_schema().await;
    for tenant in ["a", "b"] {
        append_all(&store, tenant, &generated_lines(tenant, 2, 8, 1), 100).await;
    }
    // A rebuild of `a` at work, and a replay of `b` that waits.
    let new = asked_of("a", RunMode::Rebuild, Projection::ContextGraph);
    let run = taken_up(&store, "x", &new).await.key;
    prepared(&store, &run, "x", Projection::ContextGraph, 2).await;
    admitted(&store, &asked("b", RunMode::Replay)).await;
    let before = image(&database, &RUN_TABLES).await;
    let client = database.connect().await;

    let of = |table: &str, tenant: &str, set: &str| {
        format!("UPDATE dg_projection_{table} SET {set} WHERE tenant_id = '{tenant}'")
    };
    let running = |set: &str| of("runs", "a", set);
    let queued = |set: &str| of("runs", "b", set);
    let step = |set: &str| of("run_steps", "a", set);
    let copy_of_run = |columns: &str| {
        format!(
            "INSERT INTO dg_projection_runs (tenant_id, run_id, projection_name, mode, reason)
             SELECT {columns} FROM dg_projection_runs WHERE tenant_id = 'a'"
        )
    };
    let copy_of_step = |columns: &str| {
        format!(
            "INSERT INTO dg_projection_run_steps (tenant_id, run_id, projection_name, step)
             SELECT {columns} FROM dg_projection_run_steps WHERE tenant_id = 'a'"
        )
    };
    let (digest, short) = (r"sha256('x')", r"'\x00'::bytea");
    let table = [
        (queued("dry_run = true"), "dg_projection_runs_dry"),
        (running("mode = 'replay', dry_run = true"), "dg_projection_runs_dry"),
        (running("owner = NULL"), "dg_projection_runs_owner"),
        (running("seen_at = NULL"), "dg_projection_runs_owner"),
        (queued("status = 'running', started_at = now()"), "dg_projection_runs_owner"),
        (running("started_at = NULL"), "dg_projection_runs_started"),
        (running("status = 'completed'"), "dg_projection_runs_finished"),
        (queued("finished_at = now()"), "dg_projection_runs_finished"),
        (running("status = 'failed', finished_at = now()"), "dg_projection_runs_error"),
        (queued("error_message = 'x'"), "dg_projection_runs_error"),
        (queued("status = 'waiting'"), "dg_projection_runs_status"),
        (queued("mode = 'redo'"), "dg_projection_runs_mode"),
        (queued("projection_name = 'some'"), "dg_projection_runs_name"),
        (queued("reason = ' '"), "dg_projection_runs_reason"),
        (queued("until_log_seq = 3, since_log_seq = 4"), "dg_projection_runs_counts"),
        (running("processed_events = -1"), "dg_projection_runs_counts"),
        (
            copy_of_run("tenant_id, gen_random_uuid(), projection_name, mode, 'another'"),
            "dg_projection_runs_active",
        ),
        (
            copy_of_run("tenant_id, run_id, 'trace_summary', mode, 'another'"),
            "dg_projection_runs_pkey",
        ),
        (step("projection_name = 'all'"), "dg_projection_run_steps_name"),
        (step("step = -1"), "dg_projection_run_steps_counts"),
        (step("processed_events = -1"), "dg_projection_run_steps_counts"),
        (step("last_log_seq = -1"), "dg_projection_run_steps_counts"),
        (step("compared_log_seq = 1"), "dg_projection_run_steps_compared"),
        (step(&format!("digest = {digest}")), "dg_projection_run_steps_compared"),
        (step(&format!("digest_before = {digest}")), "dg_projection_run_steps_compared"),
        (
            step(&format!("compared_log_seq = 1, digest = {short}, digest_before = {digest}")),
            "dg_projection_run_steps_digests",
        ),
        (
            step(&format!("compared_log_seq = 1, digest = {digest}, digest_before = {short}")),
            "dg_projection_run_steps_digests",
        ),
        (copy_of_step("tenant_id, run_id, projection_name, 1"), "dg_projection_run_steps_pkey"),
        (
            copy_of_step("'b', run_id, projection_name, 1"),
            "dg_projection_run_steps_tenant_id_run_id_fkey",
        ),
        (
            "DELETE FROM dg_projection_runs WHERE tenant_id = 'a'".to_owned(),
            "dg_projection_run_steps_tenant_id_run_id_fkey",
        ),
        (of("cursors", "a", "partition = 2"), "dg_projection_cursors_share"),
    ];
    for (change, constraint) in &table {
        let error = client.batch_execute(change).await.unwrap_err();
        let named = error.as_db_error().and_then(|error| error.constraint());
        assert_eq!(named, Some(*constraint), "{change}: {error}");
    }
    for (table, column) in [
        ("cursors", "retired"),
        ("runs", "dry_run"),
        ("runs", "work_ms"),
        ("run_steps", "step"),
        ("run_steps", "processed_events"),
        ("run_steps", "last_log_seq"),
    ] {
        let change = of(table, "a", &format!("{column} = NULL"));
        let error = client.batch_execute(&change).await.unwrap_err();
        let named = error.as_db_error().and_then(|error| error.column());
        assert_eq!(named, Some(column), "{change}: {error}");
    }
    assert_eq!(image(&database, &RUN_TABLES).await, before);
}
