//! What the watchdog asks is answered whatever becomes of the database: an outage, however long, is no
//! reason to be ended by systemd.

#![allow(clippy::unwrap_used, reason = "tests")]

use std::time::Duration;

use dg_runtime::{Runtime, Settings};
use dg_store::{Options, Store, Target};
use dg_tests::events::started;
use dg_tests::log::{append_all, parsed, settings, until_applied};
use dg_tests::{Database, Postgres, events, eventually};

const STOP: Duration = Duration::from_secs(10);
/// How long each question may take; a quarter of the shipped `WatchdogSec=`.
const BOUND: Duration = Duration::from_millis(7500);
/// Questions in a row, with appends, runs and looks under way.
const ASKED: usize = 30;

/// Asks again and again while everything wants the database.
async fn ask(runtime: &Runtime, name: &str) {
    for round in 0..ASKED {
        let tenant = format!("{name}-{round}");
        let appending = runtime.clone();
        tokio::spawn(async move {
            let _ = appending.append(&tenant, parsed(&tenant, &[started("t")])).await;
            let _ = appending.lags(10).await;
        });
        assert_eq!(runtime.answers(BOUND).await, Ok(()), "{name}, round {round}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

#[test]
fn a_database_that_hangs_or_is_away_silences_no_part_of_the_tree() {
    let threads = tokio::runtime::Runtime::new().unwrap();
    let mut postgres = Postgres::start();
    let url = format!("postgres://decisiongraph@{}/postgres?sslmode=disable", postgres.address());
    let timeout = Duration::from_secs(2);
    let options = Options { pool_size: 8, timeout, application_name: "x".to_owned(), role: None };
    let store = Store::new(Target::parse(&url).unwrap(), &options).unwrap();
    let runtime = threads.block_on(async {
        store.migrate("test", Duration::from_secs(30)).await.unwrap();
        // Tenants come to rest and are started again all the while.
        let tenant_idle_stop = Duration::from_millis(100);
        let settings = Settings { storage_timeout: timeout, tenant_idle_stop, ..settings() };
        Runtime::start(store.clone(), settings).await.unwrap()
    });
    threads.block_on(ask(&runtime, "there"));

    postgres.freeze();
    threads.block_on(ask(&runtime, "hangs"));
    postgres.thaw();

    postgres.stop();
    threads.block_on(ask(&runtime, "away"));
    postgres.start_again();
    threads.block_on(async {
        eventually("events are taken again", || async {
            runtime.append("back", parsed("back", &[started("t")])).await.ok()
        })
        .await;
        until_applied(&store, "back").await;
        runtime.stop(STOP).await;
    });
}

#[tokio::test(flavor = "multi_thread")]
async fn failures_that_cannot_be_written_down_silence_nobody_where_places_are_few() {
    let (database, store) = Database::with_schema().await;
    for number in 0..16 {
        let tenant = format!("t{number}");
        append_all(&store, &tenant, &parsed(&tenant, &events::whole_trace("t")), 10).await;
    }
    let poison = "UPDATE dg_event_log SET payload_json = replace(payload_json, 'good', 'evil')";
    database.connect().await.execute(poison, &[]).await.unwrap();
    let held = database.connect().await;
    let sql = "CREATE FUNCTION wait() RETURNS trigger LANGUAGE plpgsql AS
            $$ BEGIN PERFORM pg_advisory_xact_lock_shared(7); RETURN NEW; END $$;
        CREATE TRIGGER wait BEFORE INSERT ON dg_projection_failures
            FOR EACH ROW EXECUTE FUNCTION wait();
        SELECT pg_advisory_lock(7)";
    held.batch_execute(sql).await.unwrap();
    let (tenant_turn, stop_patience) = (Duration::from_millis(20), Duration::from_secs(5));
    let settings = Settings { max_workers: 12, tenant_turn, stop_patience, ..settings() };
    let runtime = Runtime::start(database.store(), settings).await.unwrap();
    eventually("workers are writing down that they have failed, and others wait", || async {
        let snapshot = runtime.snapshot().await.ok()?;
        let failed = snapshot.workers.iter().any(|(worker, _)| worker.status == "failed");
        (failed && snapshot.waiting > 0).then_some(())
    })
    .await;
    ask(&runtime, "locked").await;
    held.batch_execute("SELECT pg_advisory_unlock(7)").await.unwrap();
    eventually("nobody waits", || async {
        (runtime.snapshot().await.ok()?.waiting == 0).then_some(())
    })
    .await;
    let open = store.newest_failures(None, false, 1_000).await.unwrap();
    assert_eq!(open.len(), 3 * 16, "each has its dead letter");
    runtime.stop(STOP).await;
}
