//! Many writers at once, by every way into the log, and readers beside them: two stores stand for two
//! daemons.

#![allow(clippy::unwrap_used, reason = "tests")]

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use dg_projections::event::{Event, Line};
use dg_projections::projection::Projection;
use dg_store::{Cursor, EventFilter, Store};
use dg_tests::by_hand::{HandMade, insert};
use dg_tests::log::{
    assert_proven, generated_lines, inserted, parsed, until_applied, until_blocked,
};
use dg_tests::naive::{Outcome, admit};
use dg_tests::ways::ways;
use dg_tests::{Database, Random, events};
use tokio::task::JoinSet;

const STOP: Duration = Duration::from_secs(10);

/// The tenant's log, which is numbered without gaps and whose traces have no gap.
async fn whole_log(store: &Store, tenant: &str, lines: &[Line]) -> Vec<Event> {
    let stored = store.list_events(tenant, &EventFilter::default(), 100_000).await.unwrap();
    let mut log: Vec<Event> = Vec::new();
    for (at, event) in (1..).zip(&stored) {
        assert_eq!(event.log_seq, at, "{tenant}");
        let before = log.iter().filter(|other| other.trace_id == event.trace_id).count();
        assert_eq!(event.trace_seq, before as i64, "{tenant}, log_seq {at}");
        let line = lines.iter().find(|line| line.event.event_id == event.event_id);
        log.push(line.unwrap().event.clone());
    }
    log
}

/// Whether one writer's answers, in the order it got them, are those of a log that only grew.
fn assert_explained(log: &[Event], answers: &[(Line, Outcome)]) {
    let mut seen = 0;
    for (line, outcome) in answers {
        let explains = |at: &usize| admit(&log[..*at], &line.event) == *outcome;
        seen = (seen..=log.len())
            .find(explains)
            .unwrap_or_else(|| panic!("no order explains {outcome:?} for {:?}", line.event));
        if matches!(outcome, Outcome::Inserted(_)) {
            seen += 1;
        }
    }
}

/// Ten writers, two a way, that race through the same traces with events of their own.
async fn race(tenants: &'static [&'static str], seed: u64) {
    let (database, store) = Database::with_schema().await;
    let mut random = Random::seeded(seed);
    let (ways, runtime) = ways(&database).await;
    let mut writers = JoinSet::new();
    for writer in 0..10 {
        let (way, mut random) = (ways[writer % ways.len()].clone(), random.fork());
        writers.spawn(async move {
            let mut answers = Vec::new();
            for round in 0..10 {
                let tenant = *random.pick(tenants);
                let batch: Vec<Line> = (0..1 + random.below(4))
                    .map(|place| attempt(&mut random, tenant, &format!("{writer}.{round}.{place}")))
                    .collect();
                let given = way.append(tenant, &batch).await;
                answers.extend(batch.into_iter().zip(given.iter().map(Outcome::from)));
            }
            answers
        });
    }
    let answers = writers.join_all().await;
    let lines: Vec<Line> = answers.iter().flatten().map(|(line, _)| line.clone()).collect();
    let mut total = 0;
    for tenant in tenants {
        let log = whole_log(&store, tenant, &lines).await;
        for answers in &answers {
            let own = answers.iter().filter(|(line, _)| line.event.tenant_id == *tenant);
            assert_explained(&log, &own.cloned().collect::<Vec<_>>());
        }
        total += log.len();
        until_applied(&store, tenant).await;
        assert_proven(&store, tenant).await;
    }
    assert!(total > 20, "the race got somewhere: {total}");
    runtime.stop(STOP).await;
    drop((ways, store));
    assert_eq!(database.deadlocks().await, 0);
}

/// Some place of a trace that all writers share; keys sometimes meet.
fn attempt(random: &mut Random, tenant: &str, name: &str) -> Line {
    let (trace, seq) = (format!("t{}", random.below(4)), random.below(7));
    let text = match seq {
        0 => events::started(&trace),
        6 => events::finished(&trace, seq),
        _ => events::observed(&trace, seq),
    };
    let mut line = parsed(tenant, &[text]).remove(0);
    if !random.once_in(4) {
        line.event.idempotency_key.push_str(name);
    }
    line.event.event_id.push_str(name);
    line
}

#[tokio::test(flavor = "multi_thread")]
async fn writers_on_one_tenant_get_answers_that_some_order_explains() {
    race(&["a"], 21).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn writers_on_many_tenants_get_answers_that_some_order_explains() {
    race(&["a", "b", "c"], 22).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn of_32_writers_on_one_trace_exactly_one_wins_each_place() {
    let (database, _store) = Database::with_schema().await;
    let (ways, runtime) = ways(&database).await;
    for (seq, text) in events::whole_trace("t").into_iter().enumerate() {
        let mut writers = JoinSet::new();
        for writer in 0..32 {
            let mut line = parsed("a", std::slice::from_ref(&text)).remove(0);
            line.event.event_id.push_str(&format!(".{writer}"));
            line.event.idempotency_key.push_str(&format!(".{writer}"));
            let way = ways[writer % ways.len()].clone();
            writers.spawn(async move { way.append("a", &[line]).await.remove(0) });
        }
        let answers = writers.join_all().await;
        let won = answers.iter().filter(|answer| answer.is_ok()).collect::<Vec<_>>();
        assert_eq!(won.len(), 1, "place {seq}");
        assert_eq!(inserted(won[0]), seq as i64 + 1);
    }
    runtime.stop(STOP).await;
}

/// Reads the log from both ends of the pipe until `done`, and sees only prefixes of it.
async fn read_prefixes(store: Store, done: Arc<AtomicBool>) -> i64 {
    let mut cursor = 0;
    let mut last_look = false;
    loop {
        let all = store.list_events("a", &EventFilter::default(), 100_000).await.unwrap();
        let numbers: Vec<i64> = all.iter().map(|event| event.log_seq).collect();
        assert_eq!(numbers, (1..=numbers.len() as i64).collect::<Vec<_>>());
        let page = store
            .read_page("a", Projection::ContextGraph, Cursor::whole(1, cursor, 0), 7)
            .await
            .unwrap();
        for event in &page.events {
            assert_eq!(event.log_seq, cursor + 1);
            cursor = event.log_seq;
        }
        if last_look && page.events.is_empty() {
            return cursor;
        }
        last_look = done.load(Ordering::SeqCst);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn readers_beside_writers_see_only_prefixes() {
    let (database, store) = Database::with_schema().await;
    let done = Arc::new(AtomicBool::new(false));
    let reader = tokio::spawn(read_prefixes(database.store(), done.clone()));
    let mut writers = JoinSet::new();
    for writer in 0..8 {
        let stores = [store.clone(), database.store()];
        writers.spawn(async move {
            let lines = generated_lines("a", 5, 8, writer);
            for (at, batch) in lines.chunks(3).enumerate() {
                for answer in stores[at % 2].append("a", batch).await.unwrap() {
                    answer.unwrap();
                }
            }
        });
    }
    writers.join_all().await;
    done.store(true, Ordering::SeqCst);
    assert_eq!(reader.await.unwrap(), 8 * 40);
}

#[tokio::test(flavor = "multi_thread")]
async fn no_reader_passes_a_writer_that_holds_its_number_open() {
    for end in ["COMMIT", "ROLLBACK"] {
        let (database, store) = Database::with_schema().await;
        let lines = parsed("a", &events::whole_trace("t"));
        store.append("a", &lines[..2]).await.unwrap();
        let other = database.connect().await;
        other.batch_execute("BEGIN").await.unwrap();
        insert(&other, &[HandMade::new(&lines[2], 3)]).await.unwrap();

        let (writing, next) = (store.clone(), parsed("a", &[events::started("u")]));
        let append =
            tokio::spawn(async move { writing.append("a", &next).await.unwrap().remove(0) });
        until_blocked(&database).await;
        // Another tenant is not held up, and nobody sees more than was committed.
        store.append("b", &parsed("b", &[events::started("t")])).await.unwrap()[0].clone().unwrap();
        let seen = store.list_events("a", &EventFilter::default(), 10).await.unwrap();
        assert_eq!(seen.len(), 2);
        let page = store
            .read_page("a", Projection::ContextGraph, Cursor::whole(1, 2, 0), 10)
            .await
            .unwrap();
        assert!(page.events.is_empty() && !append.is_finished());

        other.batch_execute(end).await.unwrap();
        let committed = end == "COMMIT";
        assert_eq!(inserted(&append.await.unwrap()), if committed { 4 } else { 3 });
        let page = store
            .read_page("a", Projection::ContextGraph, Cursor::whole(1, 2, 0), 10)
            .await
            .unwrap();
        let numbers: Vec<i64> = page.events.iter().map(|event| event.log_seq).collect();
        assert_eq!(numbers, if committed { vec![3, 4] } else { vec![3] });
    }
}

#[tokio::test]
async fn a_long_transaction_elsewhere_stalls_neither_writers_nor_readers() {
    let (database, store) = Database::with_schema().await;
    let idle = database.connect().await;
    // With a snapshot and a transaction number of its own, older than every event.
    idle.batch_execute("BEGIN ISOLATION LEVEL REPEATABLE READ; CREATE TABLE mine (x int)")
        .await
        .unwrap();
    for (at, line) in (1..).zip(generated_lines("a", 5, 8, 1)) {
        assert_eq!(inserted(&store.append("a", &[line]).await.unwrap()[0]), at);
        let page = store
            .read_page("a", Projection::TraceSummary, Cursor::whole(1, at - 1, 0), 10)
            .await
            .unwrap();
        assert_eq!(page.events.last().unwrap().log_seq, at);
    }
    idle.batch_execute("ROLLBACK").await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn atomic_batches_over_tenants_in_both_orders_do_not_deadlock() {
    let (database, store) = Database::with_schema().await;
    let stores = [store.clone(), database.store()];
    let mut writers = JoinSet::new();
    for writer in 0..8 {
        let store = stores[writer % 2].clone();
        writers.spawn(async move {
            for round in 0..12 {
                let start = events::started(&format!("{writer}.{round}"));
                let mut batch: Vec<Line> =
                    ["a", "B", "é", "z"].iter().flat_map(|t| parsed(t, &[&start])).collect();
                if writer % 2 == 1 {
                    batch.reverse();
                }
                store.append_atomic(&batch).await.unwrap().unwrap();
            }
        });
    }
    writers.join_all().await;
    let heads = store.tenants().await.unwrap();
    assert_eq!(heads.iter().map(|head| head.last_log_seq).collect::<Vec<_>>(), [96; 4]);
}
