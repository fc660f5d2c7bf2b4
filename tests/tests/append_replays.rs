//! Requests sent again while others are under way, by every way into the log: each event gets one
//! number, whoever sends it and however often.

#![allow(clippy::unwrap_used, reason = "tests")]

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use dg_projections::Code;
use dg_projections::admission::Admission;
use dg_projections::event::Line;
use dg_store::{Answer, EventFilter};
use dg_tests::log::{assert_proven, generated_lines, until_applied};
use dg_tests::ways::{Way, ways};
use dg_tests::{Database, Random};
use tokio::task::JoinSet;

/// What producers have handed over, answered or not, and the number that each event was given.
#[derive(Default)]
struct Sent {
    lines: Mutex<Vec<Line>>,
    numbers: Mutex<BTreeMap<String, i64>>,
}

impl Sent {
    /// The number of an event, which is the same in every answer.
    fn note(&self, line: &Line, answer: &Answer) {
        let (Admission::Insert { log_seq } | Admission::Reused { log_seq, .. }) =
            answer.as_ref().unwrap();
        let id = line.event.event_id.clone();
        let first = *self.numbers.lock().unwrap().entry(id).or_insert(*log_seq);
        assert_eq!(*log_seq, first, "{:?}", line.event);
    }

    /// Some of it, in any order, some of it twice.
    fn draw(&self, random: &mut Random) -> Vec<Line> {
        let lines = self.lines.lock().unwrap();
        let count = if lines.is_empty() { 0 } else { 1 + random.below(8) };
        (0..count).map(|_| random.pick(&lines).clone()).collect()
    }
}

/// Sends each batch once, and gets a number for each event.
async fn produce(way: Arc<Way>, sent: Arc<Sent>, lines: Vec<Line>, mut random: Random) {
    let mut rest = &lines[..];
    while !rest.is_empty() {
        let (batch, after) = rest.split_at((1 + random.below(4)).min(rest.len()));
        sent.lines.lock().unwrap().extend_from_slice(batch);
        for (line, answer) in batch.iter().zip(way.append("a", batch).await) {
            sent.note(line, &answer);
        }
        rest = after;
    }
}

/// Sends again what anybody has sent, until `done` and once more; how often.
async fn repeat(
    ways: Vec<Arc<Way>>,
    sent: Arc<Sent>,
    done: Arc<AtomicBool>,
    mut random: Random,
) -> u64 {
    let mut repeated = 0;
    loop {
        let is_last = done.load(Ordering::SeqCst);
        let batch = sent.draw(&mut random);
        let answers = random.pick(&ways).append("a", &batch).await;
        for (line, answer) in batch.iter().zip(&answers) {
            match answer {
                // Overtook the first delivery of what comes before it.
                Err(refusal) if !is_last => assert_eq!(refusal.code, Code::EventSequenceInvalid),
                answer => sent.note(line, answer),
            }
        }
        repeated += batch.len() as u64;
        if is_last {
            return repeated;
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn any_request_sent_again_at_any_time_changes_nothing() {
    let (database, store) = Database::with_schema().await;
    let (ways, runtime) = ways(&database).await;
    let mut random = Random::seeded(41);
    let (sent, done) = (Arc::new(Sent::default()), Arc::new(AtomicBool::new(false)));
    let (mut producers, mut repeaters) = (JoinSet::new(), JoinSet::new());
    let mut whole = Vec::new();
    for (at, way) in ways.iter().enumerate() {
        let lines = generated_lines("a", 6, 8, at as u64);
        whole.extend(lines.clone());
        producers.spawn(produce(way.clone(), sent.clone(), lines, random.fork()));
        repeaters.spawn(repeat(ways.clone(), sent.clone(), done.clone(), random.fork()));
    }
    producers.join_all().await;
    done.store(true, Ordering::SeqCst);
    let repeated: u64 = repeaters.join_all().await.iter().sum();
    assert!(repeated > 100, "{repeated} sent again");

    let log = store.list_events("a", &EventFilter::default(), 100_000).await.unwrap();
    let numbers = sent.numbers.lock().unwrap().clone();
    assert_eq!((log.len(), numbers.len()), (whole.len(), whole.len()));
    for (at, event) in (1..).zip(&log) {
        let line = whole.iter().find(|line| line.event.event_id == event.event_id).unwrap();
        assert_eq!((event.log_seq, numbers[&event.event_id]), (at, at));
        let stored = (event.trace_seq, &event.occurred_at, &event.payload);
        assert_eq!(stored, (line.event.trace_seq, &line.event.occurred_at, &line.event.payload));
    }
    until_applied(&store, "a").await;
    assert_proven(&store, "a").await;
    runtime.stop(Duration::from_secs(10)).await;
}
