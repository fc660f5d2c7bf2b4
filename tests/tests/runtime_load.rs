//! The runtime under load: connections cut, runtimes stopped in the middle, two on one database.

#![allow(clippy::unwrap_used, reason = "tests")]

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use dg_projections::event::Line;
use dg_runtime::Runtime;
use dg_store::Store;
use dg_tests::log::{
    ALL, append_all, assert_proven, generated_lines, running, settings, until_applied,
};
use dg_tests::{Database, eventually};

const STOP: Duration = Duration::from_secs(10);

/// Appends as a producer does: what was not answered is sent again.
async fn produce(runtime: &Runtime, tenant: &str, lines: &[Line], batch: usize) {
    for batch in lines.chunks(batch) {
        eventually("the append is answered", || async {
            let answers = runtime.append(tenant, batch).await.ok()?;
            assert!(answers.iter().all(Result::is_ok), "{answers:?}");
            Some(())
        })
        .await;
    }
}

async fn assert_whole(store: &Store, tenant: &str, events: usize) {
    until_applied(store, tenant).await;
    let health = store.health(Some(tenant), &ALL).await.unwrap().remove(0);
    assert_eq!(health.event_count, events as i64);
    for projection in &health.projections {
        assert_eq!(projection.applied_events, events as i64, "{}", projection.projection_name);
    }
    assert_proven(store, tenant).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn cut_connections_leave_no_dead_letter_and_no_gap() {
    let (database, store) = Database::with_schema().await;
    let runtime = running(database.store()).await;
    let admin = database.connect().await;
    let done = Arc::new(AtomicBool::new(false));
    let finished = done.clone();
    let cutting = tokio::spawn(async move {
        let mut cut = 0_i64;
        while !finished.load(Ordering::SeqCst) {
            // Only those at work, so that each cut hits something.
            let sql =
                "SELECT count(*) FILTER (WHERE pg_terminate_backend(pid)) FROM pg_stat_activity
                WHERE datname = current_database() AND pid <> pg_backend_pid()
                  AND state <> 'idle' AND application_name = 'decisiongraph-test'";
            cut += admin.query_one(sql, &[]).await.unwrap().get::<_, i64>(0);
            tokio::time::sleep(Duration::from_millis(15)).await; // the pace of the trouble
        }
        cut
    });
    let lines = [generated_lines("a", 40, 8, 1), generated_lines("b", 40, 8, 2)];
    tokio::join!(produce(&runtime, "a", &lines[0], 10), produce(&runtime, "b", &lines[1], 10));
    done.store(true, Ordering::SeqCst);
    let cut = cutting.await.unwrap();
    for tenant in ["a", "b"] {
        assert_whole(&store, tenant, 320).await;
        // Retries that went on for long are told, and over by themselves.
        for failure in store.failures(tenant, true).await.unwrap() {
            let is_over = failure.recoverable && failure.status == "resolved";
            assert!(is_over, "after {cut} cuts: {failure:?}");
        }
    }
    assert!(cut > 0, "something was cut");
    runtime.stop(STOP).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stop_under_load_is_quick_and_another_runtime_goes_on() {
    let (database, store) = Database::with_schema().await;
    let lines = generated_lines("a", 150, 8, 3);
    append_all(&store, "a", &lines, 400).await;
    let mut stopped_on_the_way = 0;
    for _ in 0..4 {
        let settings = dg_runtime::Settings { batch_size: 10, ..settings() };
        let runtime = Runtime::start(database.store(), settings).await.unwrap();
        let before = applied(&store).await;
        eventually("it gets somewhere", || async {
            (applied(&store).await > before || before == 3_600).then_some(())
        })
        .await;
        let started = Instant::now();
        runtime.stop(STOP).await;
        assert!(started.elapsed() < STOP, "{:?}", started.elapsed());
        // Nothing moves any more, and what is there is whole.
        let after = applied(&store).await;
        assert_proven(&store, "a").await;
        assert_eq!(applied(&store).await, after);
        stopped_on_the_way += i32::from(after < 3_600);
    }
    assert!(stopped_on_the_way > 0, "the load outlasted a stop");
    let runtime = running(database.store()).await;
    assert_whole(&store, "a", 1_200).await;
    runtime.stop(STOP).await;
}

async fn applied(store: &Store) -> i64 {
    let health = store.health(Some("a"), &ALL).await.unwrap().remove(0);
    health.projections.iter().map(|projection| projection.applied_events).sum()
}

/// Looks at every cursor again and again: none ever moves back.
async fn watch(store: Store, done: Arc<AtomicBool>) {
    let mut last = [(0, 0); 3];
    while !done.load(Ordering::SeqCst) {
        let Some(health) = store.health(Some("a"), &ALL).await.unwrap().pop() else { continue };
        for (last, now) in last.iter_mut().zip(&health.projections) {
            let now = (now.last_log_seq, now.applied_events);
            assert!(now.0 >= last.0 && now.1 >= last.1, "{last:?} -> {now:?}");
            assert_eq!(now.0, now.1, "as many applied as the cursor passed");
            *last = now;
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn two_runtimes_on_one_database_apply_nothing_twice() {
    let (database, store) = Database::with_schema().await;
    let runtimes = [running(database.store()).await, running(database.store()).await];
    let done = Arc::new(AtomicBool::new(false));
    let watching = tokio::spawn(watch(store.clone(), done.clone()));
    // Both take appends of the one tenant, so both are woken all the time.
    let lines = [generated_lines("a", 40, 8, 4), generated_lines("a", 40, 8, 5)];
    tokio::join!(
        produce(&runtimes[0], "a", &lines[0], 3),
        produce(&runtimes[1], "a", &lines[1], 3)
    );
    assert_whole(&store, "a", 640).await;
    done.store(true, Ordering::SeqCst);
    watching.await.unwrap();
    assert_eq!(store.failures("a", true).await.unwrap(), []);
    for runtime in runtimes {
        runtime.stop(STOP).await;
    }
}
