//! Many writers over many tenants through one runtime: nothing lost, nothing locked up, and nobody
//! kept waiting by a neighbour.

#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "tests")]

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use dg_projections::event::Line;
use dg_runtime::{Runtime, Settings};
use dg_tests::log::{ALL, assert_proven, inserted, parsed, running, settings};
use dg_tests::{Database, events, eventually};
use tokio::task::JoinSet;

const STOP: Duration = Duration::from_secs(10);
const WRITERS: usize = 64;
const TENANTS: usize = 1_000;

/// Appends one request, all of it new; how long that took.
async fn append(runtime: &Runtime, tenant: &str, lines: &[Line]) -> Duration {
    let started = Instant::now();
    let answers = runtime.append(tenant, lines).await.unwrap();
    assert_eq!(answers.len(), lines.len());
    for answer in &answers {
        inserted(answer);
    }
    started.elapsed()
}

/// The slowest of these, the median, and what many times the median the slowest took.
fn fairness(mut took: Vec<Duration>) -> String {
    took.sort_unstable();
    let (median, slowest) = (took[took.len() / 2], took[took.len() - 1]);
    let ratio = slowest.as_secs_f64() / median.as_secs_f64();
    format!("{} appends: median {median:?}, slowest {slowest:?}, {ratio:.1} times", took.len())
}

/// A trace of this writer's own, one request each, in its share of the tenants and in some of another
/// writer's: what was answered, and how soon.
async fn write(runtime: Runtime, writer: usize) -> Vec<(String, Duration)> {
    let own = (writer..TENANTS).step_by(WRITERS);
    let others = ((writer + 1) % WRITERS..TENANTS).step_by(4 * WRITERS);
    let mut took = Vec::new();
    for tenant in own.chain(others) {
        let (tenant, trace) = (format!("t{tenant}"), format!("w{writer}"));
        let lines = parsed(&tenant, &[events::started(&trace), events::finished(&trace, 1)]);
        let answered = append(&runtime, &tenant, &lines).await;
        took.push((tenant, answered));
    }
    took
}

#[tokio::test(flavor = "multi_thread")]
async fn sixty_four_writers_over_a_thousand_tenants_lose_nothing_and_never_deadlock() {
    let (database, store) = Database::with_schema().await;
    let runtime = running(database.store()).await;
    let started = Instant::now();
    let writers: JoinSet<_> = (0..WRITERS).map(|writer| write(runtime.clone(), writer)).collect();
    let answered = writers.join_all().await.concat();
    println!("{}", fairness(answered.iter().map(|(_, took)| *took).collect()));
    println!("written in {:?}", started.elapsed());
    eventually("every projection of every tenant is current", || async {
        store.behind(&ALL).await.ok()?.is_empty().then_some(())
    })
    .await;
    println!("projected in {:?}", started.elapsed());
    let all = store.health(None, &ALL).await.unwrap();
    assert_eq!(all.len(), TENANTS);
    let mut expected: BTreeMap<&str, i64> = BTreeMap::new();
    for (tenant, _) in &answered {
        *expected.entry(tenant).or_default() += 2;
    }
    for health in &all {
        let events = expected[&*health.tenant_id];
        assert_eq!((health.event_count, health.event_log_last_seq), (events, events));
        assert!(health.projections.iter().all(|one| one.applied_events == events));
    }
    for tenant in (0..TENANTS).step_by(100) {
        assert_proven(&store, &format!("t{tenant}")).await;
    }
    runtime.stop(STOP).await;
    store.close();
    assert_eq!(database.deadlocks().await, 0);
}

const FLOOD: usize = 30;
const BATCH: usize = 500;

/// Appends single events to tenants of its own until the flood is over: how long each took, and how
/// many batches of the flood were answered meanwhile.
async fn trickle(
    runtime: Runtime,
    writer: usize,
    over: Arc<AtomicUsize>,
) -> Vec<(Duration, usize)> {
    let mut found = Vec::new();
    for round in 0.. {
        let before = over.load(Ordering::SeqCst);
        if before == FLOOD {
            break;
        }
        let tenant = format!("w{writer}.{}", round % 10);
        let line = parsed(&tenant, &[events::started(&format!("t{round}"))]);
        let took = append(&runtime, &tenant, &line).await;
        found.push((took, over.load(Ordering::SeqCst) - before));
    }
    found
}

#[tokio::test(flavor = "multi_thread")]
async fn a_flood_into_one_tenant_does_not_keep_the_others_waiting() {
    let (database, store) = Database::with_schema().await;
    let settings = Settings { append_batch_max_events: BATCH, ..settings() };
    let runtime = Runtime::start(store, settings).await.unwrap();
    let over = Arc::new(AtomicUsize::new(0));
    let batch =
        |number: usize| (0..BATCH).map(move |at| events::started(&format!("{number}.{at}")));
    let batches: Vec<_> =
        (0..FLOOD).map(|number| parsed("flood", &batch(number).collect::<Vec<_>>())).collect();
    let mut flood = JoinSet::new();
    for lines in batches {
        let (runtime, over) = (runtime.clone(), over.clone());
        flood.spawn(async move {
            append(&runtime, "flood", &lines).await;
            over.fetch_add(1, Ordering::SeqCst);
        });
    }
    let writers: JoinSet<_> =
        (0..8).map(|writer| trickle(runtime.clone(), writer, over.clone())).collect();
    let found = writers.join_all().await.concat();
    flood.join_all().await;
    let most = found.iter().map(|(_, batches)| *batches).max().unwrap();
    println!("beside a flood, {}", fairness(found.iter().map(|(took, _)| *took).collect()));
    println!("at most {most} of {FLOOD} batches of the flood came before a single append");
    // The gate gives its permits in the order they were asked for: before a single append comes
    // the batch in flight and the one that asked already. Twice as many for a slow machine.
    assert!(most <= 4, "{most} batches of the flood came before a single append");
    runtime.stop(STOP).await;
    assert_eq!(database.deadlocks().await, 0);
}
