//! Runs among others: who waits, who is found without a runner, who is taken over, and what two
//! daemons make of one run.

#![allow(clippy::unwrap_used, reason = "tests")]

use std::time::Duration;

use dg_projections::Code;
use dg_projections::projection::Projection;
use dg_runtime::{Runtime, Settings};
use dg_store::{RunMode, RunStatus, Store};
use dg_tests::log::{append_all, assert_proven, generated_lines, settings, until_applied};
use dg_tests::runs::{completed, refused, request, request_of, start, until_status};
use dg_tests::{Database, eventually};

const STOP: Duration = Duration::from_secs(10);

async fn runtime(database: &Database, owner: &str) -> Runtime {
    let settings = Settings { job_batch_size: 5, owner: owner.to_owned(), ..settings() };
    Runtime::start(database.store(), settings).await.unwrap()
}

async fn current(tenants: &[&str]) -> (Database, Store, Runtime) {
    let (database, store) = Database::with_schema().await;
    let runtime = runtime(&database, "one").await;
    for tenant in tenants {
        append_all(&store, tenant, &generated_lines(tenant, 20, 8, 81), 100).await;
    }
    for tenant in tenants {
        until_applied(&store, tenant).await;
    }
    (database, store, runtime)
}

/// Keeps every run from writing anything of its steps, until the connection ends or lets go.
async fn hold(database: &Database) -> tokio_postgres::Client {
    let client = database.connect().await;
    let sql = "SELECT pg_advisory_lock(7);
        CREATE FUNCTION wait() RETURNS trigger LANGUAGE plpgsql
            AS $$ BEGIN PERFORM pg_advisory_xact_lock(7); RETURN NEW; END $$;
        CREATE TRIGGER wait BEFORE UPDATE ON dg_projection_run_steps
            FOR EACH ROW EXECUTE FUNCTION wait()";
    client.batch_execute(sql).await.unwrap();
    client
}

#[tokio::test(flavor = "multi_thread")]
async fn two_runs_are_at_work_at_once_and_others_wait_for_their_turn() {
    let (database, store, runtime) = current(&["a", "b", "c"]).await;
    let held = hold(&database).await;
    let mut runs = Vec::new();
    for tenant in ["a", "b", "c"] {
        runs.push(start(&runtime, request(tenant, RunMode::Rebuild)).await.run.key);
    }
    let statuses = || async {
        let mut statuses = Vec::new();
        for key in &runs {
            statuses.push(store.run(None, &key.run_id).await.unwrap().unwrap().status);
        }
        statuses
    };
    eventually("two are at work", || async {
        let running = statuses().await.iter().filter(|one| **one == RunStatus::Running).count();
        (running == 2).then_some(())
    })
    .await;
    assert_eq!(statuses().await[2], RunStatus::Queued);
    held.batch_execute("SELECT pg_advisory_unlock(7)").await.unwrap();
    for key in &runs {
        completed(&store, &key.run_id).await;
    }
    runtime.stop(STOP).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_run_in_the_way_refuses_others_and_is_named() {
    let (database, store, runtime) = current(&["a"]).await;
    let first = abandoned(&database, "another", 0).await;
    let summary = Projection::TraceSummary;
    for asked in [
        request("a", RunMode::Rebuild),
        request("a", RunMode::Replay),
        request_of("a", RunMode::Rebuild, summary),
        request_of("a", RunMode::Replay, summary),
    ] {
        let refusal = runtime.start_run(asked).await.unwrap().unwrap_err();
        assert_eq!(refusal.code, Code::Conflict);
        assert!(refusal.message.contains(&first), "{refusal}");
    }
    // At another projection it is in nobody's way.
    let other = request_of("a", RunMode::Replay, Projection::ContextGraph);
    let other = start(&runtime, other).await.run.key;
    completed(&store, &other.run_id).await;
    assert_eq!(refused(runtime.resume_run(None, &other.run_id).await), Code::Conflict);
    assert_eq!(refused(runtime.cancel_run(None, &other.run_id).await), Code::Conflict);
    runtime.stop(STOP).await;
}

/// A run that a daemon left without a word.
async fn abandoned(database: &Database, owner: &str, seconds: u32) -> String {
    let client = database.connect().await;
    let sql = format!(
        "WITH run AS (INSERT INTO dg_projection_runs (tenant_id, projection_name, mode, status,
            reason, owner, started_at, seen_at)
            VALUES ('a', 'trace_summary', 'rebuild', 'running', 'left', '{owner}', now(),
                now() - interval '{seconds} s') RETURNING tenant_id, run_id),
         step AS (INSERT INTO dg_projection_run_steps (tenant_id, run_id, projection_name, step)
            SELECT tenant_id, run_id, 'trace_summary', 0 FROM run)
         SELECT run_id::text FROM run"
    );
    client.query_one(&sql, &[]).await.unwrap().get(0)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_run_whose_daemon_is_gone_is_found_and_can_be_resumed_or_dropped() {
    let (database, store, runtime) = current(&["a"]).await;
    let run_id = abandoned(&database, "another", 60).await;
    until_status(&store, &run_id, &[RunStatus::Interrupted]).await;
    runtime.resume_run(None, &run_id).await.unwrap().unwrap();
    let run = completed(&store, &run_id).await;
    // Each life of a daemon has a name of its own.
    assert!(run.owner.as_deref().is_some_and(|owner| owner.starts_with("one:")), "{run:?}");
    let dropped = abandoned(&database, "another", 60).await;
    until_status(&store, &dropped, &[RunStatus::Interrupted]).await;
    let run = runtime.cancel_run(None, &dropped).await.unwrap().unwrap();
    assert_eq!(run.run.status, RunStatus::Cancelled);
    assert_proven(&store, "a").await;
    runtime.stop(STOP).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_run_of_a_living_daemon_is_left_to_it() {
    let (database, store, runtime) = current(&["a"]).await;
    let client = database.connect().await;
    let run_id = abandoned(&database, "another", 0).await;
    // It says so every second; so many looks do not take it for gone.
    for _ in 0..7 {
        let sql = "UPDATE dg_projection_runs SET seen_at = now()";
        client.batch_execute(sql).await.unwrap();
        tokio::time::sleep(Duration::from_secs(1)).await;
        assert_eq!(store.run(None, &run_id).await.unwrap().unwrap().status, RunStatus::Running);
    }
    runtime.stop(STOP).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_run_is_cancelled_through_another_daemon() {
    let (database, store, one) = current(&["a"]).await;
    let two = runtime(&database, "two").await;
    let run = start(&one, request("a", RunMode::Rebuild)).await.run.key;
    eventually("it is at work", || async {
        let run = store.run(None, &run.run_id).await.ok()??;
        (run.status != RunStatus::Queued).then_some(())
    })
    .await;
    let owner = store.run(None, &run.run_id).await.unwrap().unwrap().owner.unwrap();
    let other = if owner.starts_with("one:") { &two } else { &one };
    if other.cancel_run(None, &run.run_id).await.unwrap().is_ok() {
        eventually("nobody is at it any more", || async {
            let workers = [one.snapshot().await.ok()?.workers, two.snapshot().await.ok()?.workers];
            let none = workers.iter().flatten().all(|(worker, _)| worker.status != "paused");
            let building = "SELECT count(*) FROM pg_stat_activity WHERE query LIKE '%run_steps%'
                AND state = 'active' AND pid <> pg_backend_pid()
                AND datname = current_database()";
            let busy: i64 = database.connect().await.query_one(building, &[]).await.ok()?.get(0);
            (none && busy == 0).then_some(())
        })
        .await;
        assert_eq!(
            store.run(None, &run.run_id).await.unwrap().unwrap().status,
            RunStatus::Cancelled
        );
        two.resume_run(None, &run.run_id).await.unwrap().unwrap();
    }
    completed(&store, &run.run_id).await;
    assert_proven(&store, "a").await;
    one.stop(STOP).await;
    two.stop(STOP).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn interrupted_runs_go_on_by_themselves_where_the_configuration_says_so() {
    let (database, store, runtime) = current(&["a"]).await;
    runtime.stop(STOP).await;
    let run_id = abandoned(&database, "another", 60).await;
    let settings = Settings { resume_interrupted_runs: true, ..settings() };
    let runtime = Runtime::start(database.store(), settings).await.unwrap();
    // It is found and marked before it goes on.
    let ended = [RunStatus::Completed, RunStatus::Failed, RunStatus::Cancelled];
    let run = until_status(&store, &run_id, &ended).await;
    assert_eq!(run.status, RunStatus::Completed, "{run:?}");
    runtime.stop(STOP).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn workers_are_paused_for_a_replay_and_go_on_when_it_is_cancelled() {
    let (database, store, runtime) = current(&["a"]).await;
    let graph = Projection::ContextGraph;
    // The replay has paused its worker and waits for the cursor.
    let held = database.connect().await;
    let cursors = "BEGIN; SELECT 1 FROM dg_projection_cursors FOR UPDATE";
    held.batch_execute(cursors).await.unwrap();
    let run = start(&runtime, request_of("a", RunMode::Replay, graph)).await.run.key;
    let status = || async {
        let workers = runtime.snapshot().await.ok()?.workers;
        let mut own = workers.iter().filter(|(worker, _)| worker.key.projection == graph);
        own.next().map(|(worker, _)| worker.status)
    };
    eventually("the worker is paused", || async { (status().await? == "paused").then_some(()) })
        .await;
    runtime.cancel_run(None, &run.run_id).await.unwrap().unwrap();
    eventually("the worker goes on", || async { (status().await? == "idle").then_some(()) }).await;
    held.batch_execute("ROLLBACK").await.unwrap();
    let late = generated_lines("a", 2, 4, 82);
    runtime.append("a", &late[..]).await.unwrap();
    until_applied(&store, "a").await;
    assert_proven(&store, "a").await;
    runtime.stop(STOP).await;
}
