//! What the watchdog asks is answered whatever becomes of the database: an outage, however long, is no
//! reason to be ended by systemd.

#![allow(clippy::unwrap_used, reason = "tests")]

use std::time::Duration;

use dg_runtime::{Runtime, Settings};
use dg_store::{Options, Store, Target};
use dg_tests::events::started;
use dg_tests::log::{parsed, settings, until_applied};
use dg_tests::{Postgres, eventually};

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
