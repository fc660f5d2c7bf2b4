//! Runs that meet what should not be: slow statements, lost claims, a stalled database, damage; and
//! what they say of it.

#![allow(clippy::unwrap_used, reason = "tests")]

use std::time::Duration;

use dg_projections::projection::Projection;
use dg_runtime::{Runtime, Settings};
use dg_store::{RunMode, RunStatus, Store};
use dg_tests::Database;
use dg_tests::log::{append_all, assert_proven, generated_lines, settings, until_applied};
use dg_tests::runs::{completed, request, request_of, start, until_status};

const STOP: Duration = Duration::from_secs(10);

async fn current(events: &[&str]) -> (Database, Store) {
    let (database, store) = Database::with_schema().await;
    for tenant in events {
        append_all(&store, tenant, &generated_lines(tenant, 50, 8, 61), 100).await;
    }
    (database, store)
}

async fn runtime(database: &Database, store: &Store, owner: &str) -> Runtime {
    let settings = Settings { owner: owner.to_owned(), job_batch_size: 20, ..settings() };
    let runtime = Runtime::start(database.store(), settings).await.unwrap();
    until_applied(store, "a").await;
    runtime
}

/// A trigger that does this to the rows that a statement brings.
async fn meddle(database: &Database, when: &str, what: &str) {
    let sql = format!(
        "CREATE FUNCTION meddle() RETURNS trigger LANGUAGE plpgsql
            AS $$ BEGIN {what}; RETURN NEW; END $$;
         CREATE TRIGGER meddle BEFORE {when} FOR EACH ROW EXECUTE FUNCTION meddle()"
    );
    database.connect().await.batch_execute(&sql).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_run_that_says_it_is_alive_does_not_wait_for_its_own_switch() {
    let (database, store) = current(&["a"]).await;
    // Longer than between two heartbeats, with the run's row locked.
    let of = "UPDATE OF active_generation ON dg_projections";
    meddle(&database, of, "PERFORM pg_sleep(2.5)").await;
    let runtime = runtime(&database, &store, "one").await;
    let run = start(&runtime, request_of("a", RunMode::Rebuild, Projection::TraceSummary)).await;
    let run = completed(&store, &run.run.key.run_id).await;
    // Once, and not after a time-out of the storage.
    let took = run.steps[0].switch_ms.unwrap();
    assert!((2_500..10_000).contains(&took), "{took} ms");
    runtime.stop(STOP).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_run_that_was_taken_up_is_not_forgotten_when_the_next_one_cannot_be() {
    let (database, store) = current(&["a", "b"]).await;
    let runs = [request("a", RunMode::Rebuild), request("b", RunMode::Rebuild)];
    let mut admitted = Vec::new();
    let first = runtime(&database, &store, "one").await;
    let refuse =
        "IF NEW.status = 'running' THEN RAISE EXCEPTION 'x' USING ERRCODE = '40001'; END IF";
    meddle(&database, "UPDATE ON dg_projection_runs", refuse).await;
    for run in runs {
        admitted.push(start(&first, run).await.run.key);
    }
    first.stop(STOP).await;
    let only_b = "CREATE OR REPLACE FUNCTION meddle() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
        IF NEW.tenant_id = 'b' AND OLD.status = 'queued' AND NEW.status = 'running' THEN
            RAISE EXCEPTION 'x' USING ERRCODE = '40001'; END IF; RETURN NEW; END $$";
    let client = database.connect().await;
    client.batch_execute(only_b).await.unwrap();
    let second = runtime(&database, &store, "two").await;
    completed(&store, &admitted[0].run_id).await;
    client.batch_execute("DROP TRIGGER meddle ON dg_projection_runs").await.unwrap();
    completed(&store, &admitted[1].run_id).await;
    second.stop(STOP).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stall_of_the_database_is_no_silence_of_a_daemon() {
    let (database, store) = current(&["a"]).await;
    let one = runtime(&database, &store, "one").await;
    let two = runtime(&database, &store, "two").await;
    let client = database.connect().await;
    // The run is at work for a while, and its owner is late with his first word after the stall, before
    // he has the row.
    let slow = "CREATE FUNCTION slow() RETURNS trigger LANGUAGE plpgsql
            AS $$ BEGIN PERFORM pg_sleep(0.05); RETURN NEW; END $$;
        CREATE TRIGGER slow BEFORE UPDATE ON dg_projection_run_steps
            FOR EACH ROW EXECUTE FUNCTION slow();
        CREATE FUNCTION late() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
            IF (SELECT clock_timestamp() - seen_at > '5 seconds' FROM dg_projection_runs) THEN
                PERFORM pg_sleep(1);
            END IF;
            RETURN NULL;
        END $$;
        CREATE TRIGGER late BEFORE UPDATE OF seen_at ON dg_projection_runs
            EXECUTE FUNCTION late()";
    client.batch_execute(slow).await.unwrap();
    let run = start(&one, request("a", RunMode::Rebuild)).await.run.key;
    until_status(&store, &run.run_id, &[RunStatus::Running]).await;
    // For a while its owner is kept from saying anything while the other daemon looks; then nobody can
    // do either, for longer than a daemon may be silent. Who waits for the row while the table is taken
    // is in a deadlock, and by then has not looked for one yet: it is he who gives way, not the stall.
    let stall = "BEGIN; SET LOCAL deadlock_timeout = '1min';
        SELECT 1 FROM dg_projection_runs FOR UPDATE; SELECT pg_sleep(0.8);
        LOCK TABLE dg_projection_runs; SELECT pg_sleep(7); COMMIT";
    client.batch_execute(stall).await.unwrap();
    completed(&store, &run.run_id).await;
    assert_proven(&store, "a").await;
    one.stop(STOP).await;
    two.stop(STOP).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_shown_never_exceeds_what_there_is_and_never_goes_back() {
    let (database, store) = current(&["a"]).await;
    let runtime = runtime(&database, &store, "one").await;
    runtime.digests("a", false).await.unwrap();
    let slow = "IF NEW.digest_name = 'full_projection' THEN PERFORM pg_sleep(0.5); END IF";
    meddle(&database, "INSERT ON dg_projection_digests", slow).await;
    let run = start(&runtime, request("a", RunMode::Rebuild)).await.run.key;
    let mut shown = 0;
    loop {
        let now = runtime.run(None, &run.run_id).await.unwrap().unwrap().run;
        assert!(now.processed_events >= shown, "{} after {shown}", now.processed_events);
        assert!(now.processed_events <= now.total_events.unwrap(), "{now:?}");
        shown = now.processed_events;
        if now.status.is_finished() {
            break;
        }
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
    assert_eq!(shown, 1_200);
    runtime.stop(STOP).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_run_that_fails_of_an_event_names_it() {
    let (database, store) = current(&["a"]).await;
    let runtime = runtime(&database, &store, "one").await;
    let damage = "SET session_replication_role = replica;
        UPDATE dg_event_log SET payload_hash = sha256('x') WHERE log_seq = 77 AND tenant_id = 'a'";
    let client = database.connect().await;
    client.batch_execute(damage).await.unwrap();
    let sql = "SELECT event_id FROM dg_event_log WHERE log_seq = 77 AND tenant_id = 'a'";
    let event: String = client.query_one(sql, &[]).await.unwrap().get(0);
    let run = start(&runtime, request_of("a", RunMode::Rebuild, Projection::ContextGraph)).await;
    let run = until_status(&store, &run.run.key.run_id, &[RunStatus::Failed]).await;
    let message = run.error_message.unwrap();
    assert!(message.contains(&event) && message.contains("log_seq 77"), "{message}");
    runtime.stop(STOP).await;
}
