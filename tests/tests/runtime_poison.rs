//! An event changed under a running worker, and fifty tenants beside it.

#![allow(clippy::unwrap_used, reason = "tests")]

use std::time::{Duration, Instant};

use dg_projections::projection::Projection;
use dg_runtime::{Runtime, Settings};
use dg_store::Store;
use dg_tests::log::{ALL, append_all, assert_proven, parsed, settings, until_applied};
use dg_tests::{Database, events, eventually};
use tokio::task::JoinSet;

const TENANTS: usize = 50;
const STOP: Duration = Duration::from_secs(10);

fn tenant(number: usize) -> String {
    format!("tenant-{number:02}")
}

/// Appends a trace for every tenant at once; how long each took to be visible, sorted.
async fn all_go_on(runtime: &Runtime, store: &Store, trace: &str) -> Vec<Duration> {
    let mut tenants = JoinSet::new();
    for number in 0..TENANTS {
        let (runtime, store, trace) = (runtime.clone(), store.clone(), trace.to_owned());
        tenants.spawn(async move {
            let tenant = tenant(number);
            let started = Instant::now();
            let answers = runtime.append(&tenant, parsed(&tenant, &events::whole_trace(&trace)));
            assert!(answers.await.unwrap().iter().all(Result::is_ok));
            eventually("a tenant's events are visible", || async {
                let health = store.health(Some(&tenant), &ALL).await.ok()?.pop()?;
                (!health.is_stale()).then_some(())
            })
            .await;
            started.elapsed()
        });
    }
    let mut took = tenants.join_all().await;
    took.sort();
    took
}

#[tokio::test(flavor = "multi_thread")]
async fn a_poison_event_is_named_and_fifty_other_tenants_do_not_notice() {
    let (database, store) = Database::with_schema().await;
    // Nobody looks by itself: the changed event is found when its worker is woken.
    let unasked = Settings { poll_interval: Duration::from_secs(3_600), ..settings() };
    let runtime = Runtime::start(database.store(), unasked).await.unwrap();
    let lines = parsed("bad", &events::whole_trace("t"));
    runtime.append("bad", &lines[..2]).await.unwrap();
    until_applied(&store, "bad").await;
    let before = all_go_on(&runtime, &store, "before").await;

    append_all(&store, "bad", &lines[2..4], 2).await;
    let sql = "UPDATE dg_event_log SET payload_json = $1 WHERE tenant_id = 'bad' AND log_seq = 3";
    let client = database.connect().await;
    client.execute(sql, &[&"{}"]).await.unwrap();
    runtime.append("bad", &lines[4..]).await.unwrap();
    let letters = eventually("each projection has its dead letter", || async {
        let letters = store.failures("bad", false).await.ok()?;
        (letters.len() == 3).then_some(letters)
    })
    .await;
    for letter in &letters {
        let event = (letter.log_seq, letter.trace_id.as_deref(), letter.event_id.as_deref());
        assert_eq!(event, (Some(3), Some("t"), Some("t.2")), "{letter:?}");
    }

    let beside = all_go_on(&runtime, &store, "beside").await;
    let median = |took: &[Duration]| took[took.len() / 2];
    println!(
        "50 tenants: median {:?}, slowest {:?}; beside a poisoned one {:?}, {:?}",
        median(&before),
        before[TENANTS - 1],
        median(&beside),
        beside[TENANTS - 1]
    );

    client.execute(sql, &[&lines[2].event.payload]).await.unwrap();
    for projection in Projection::ALL {
        assert!(runtime.retry("bad", projection).await.unwrap());
    }
    until_applied(&store, "bad").await;
    assert_proven(&store, "bad").await;
    runtime.stop(STOP).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_poison_event_among_pages_that_come_together_is_named_and_passed_by_nobody() {
    let (database, store) = Database::with_schema().await;
    let texts: Vec<_> = (0..500).flat_map(|t| events::whole_trace(&format!("t{t}"))).collect();
    let lines = parsed("a", &texts);
    append_all(&store, "a", &lines, 1_000).await;
    let client = database.connect().await;
    let sql = "UPDATE dg_event_log SET payload_json = $1 WHERE log_seq = 1777";
    client.execute(sql, &[&"{}"]).await.unwrap();

    // Sixty pages: while one is committed, those after it come together.
    let runtime = Runtime::start(database.store(), settings()).await.unwrap();
    let letters = eventually("each projection has its dead letter", || async {
        let letters = store.failures("a", false).await.ok()?;
        (letters.len() == 3).then_some(letters)
    })
    .await;
    let event = &lines[1_776].event;
    for letter in &letters {
        let found = (letter.log_seq, letter.event_id.as_deref());
        assert_eq!(found, (Some(1_777), Some(&*event.event_id)), "{letter:?}");
    }
    for projection in Projection::ALL {
        let at = &store.live_cursors("a", projection).await.unwrap()[0];
        assert_eq!((at.last_log_seq, at.applied_events), (1_776, 1_776), "{projection}");
    }
    client.execute(sql, &[&event.payload]).await.unwrap();
    for projection in Projection::ALL {
        assert!(runtime.retry("a", projection).await.unwrap());
    }
    until_applied(&store, "a").await;
    assert_proven(&store, "a").await;
    runtime.stop(STOP).await;
}
