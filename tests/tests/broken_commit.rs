//! A connection that breaks after the database has committed and before it has said so.

#![allow(clippy::unwrap_used, reason = "tests")]

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use dg_projections::admission::Admission;
use dg_runtime::{Runtime, Settings};
use dg_tests::Database;
use dg_tests::events::whole_trace;
use dg_tests::log::{parsed, settings};
use dg_tests::proxy::{Proxy, Speaker};

/// What a server says last when a transaction is over: it is idle.
const IDLE: &[u8] = b"Z\0\0\0\x05I";
/// What it says of the two ways that six events are appended: taken to be new, and looked at first.
const COMMITTED: [&[u8]; 2] = [b"INSERT 0 6\0", b"COMMIT\0"];

#[tokio::test(flavor = "multi_thread")]
async fn events_whose_commit_was_never_answered_count_as_inserted_once() {
    let (database, _) = Database::with_schema().await;
    let cut = Arc::new(Mutex::new(BTreeSet::new()));
    let cuts = cut.clone();
    // The answer to the first commit of each kind is lost.
    let proxy = Proxy::start(&database, move |speaker, said| {
        let says = |wanted: &[u8]| said.windows(wanted.len()).any(|text| text == wanted);
        let kind = COMMITTED.into_iter().find(|tag| said.ends_with(IDLE) && says(tag));
        speaker == Speaker::Server && kind.is_some_and(|kind| cuts.lock().unwrap().insert(kind))
    });
    let proxy = match proxy {
        Ok(proxy) => proxy,
        Err(why) => return dg_tests::skip(why),
    };
    // Workers have commits of their own.
    let settings = Settings { projections: Vec::new(), ..settings() };
    let runtime = Runtime::start(proxy.store(), settings).await.unwrap();

    // What has an event twice is not what it is taken for.
    let traces = [("taken-to-be-new", 0), ("looked-at", 1), ("undisturbed", 0)];
    for (round, (trace, repeated)) in (0..).zip(traces) {
        let lines = parsed("acme", &whole_trace(trace));
        let sent = [&lines[..], &lines[..repeated]].concat();
        let mut answers = runtime.append("acme", sent).await.unwrap();
        assert_eq!(cut.lock().unwrap().len(), COMMITTED.len().min(round + 1), "{trace}");
        let again = answers.split_off(lines.len());
        assert!(again.iter().all(|one| matches!(one, Ok(Admission::Reused { .. }))), "{again:?}");
        for (number, answer) in answers.iter().enumerate() {
            let log_seq = (round * lines.len() + number) as i64 + 1;
            let inserted = Admission::Insert { log_seq };
            assert_eq!(answer.as_ref().ok(), Some(&inserted), "{trace}: {answers:?}");
        }
    }
    // Sent once more, they are what they are.
    let lines = parsed("acme", &whole_trace("taken-to-be-new"));
    let again = runtime.append("acme", &lines[..]).await.unwrap();
    assert!(again.iter().all(|one| matches!(one, Ok(Admission::Reused { .. }))), "{again:?}");
    let sql = "SELECT count(*) FROM dg_event_log";
    let count: i64 = database.connect().await.query_one(sql, &[]).await.unwrap().get(0);
    assert_eq!(count, 3 * lines.len() as i64);
    runtime.stop(Duration::from_secs(5)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_commit_of_several_tenants_that_was_never_answered_counts_as_theirs() {
    const TENANTS: usize = 30;
    let (database, _) = Database::with_schema().await;
    // The answer to the first statement that inserted one event of each of several tenants is lost.
    let lost = Arc::new(AtomicUsize::new(0));
    let loses = lost.clone();
    let proxy = Proxy::start(&database, move |speaker, said| {
        let rows = (2..=TENANTS).find(|rows| {
            let tag = format!("INSERT 0 {rows}\0");
            said.windows(tag.len()).any(|text| text == tag.as_bytes())
        });
        let Some(rows) = rows.filter(|_| speaker == Speaker::Server) else { return false };
        loses.compare_exchange(0, rows, Ordering::SeqCst, Ordering::SeqCst).is_ok()
    });
    let proxy = match proxy {
        Ok(proxy) => proxy,
        Err(why) => return dg_tests::skip(why),
    };
    // Workers have statements of several rows, too.
    let settings = Settings { projections: Vec::new(), ..settings() };
    let runtime = Runtime::start(proxy.store(), settings).await.unwrap();
    let mut round: i64 = 0;
    while lost.load(Ordering::SeqCst) == 0 {
        assert!(round < 100, "no transaction was shared");
        round += 1;
        let line = |number: usize| {
            let tenant = format!("tenant-{number}");
            let line = parsed(&tenant, &whole_trace(&format!("t{round}"))[..1]);
            (tenant, line)
        };
        let appends: Vec<_> = (0..TENANTS)
            .map(|number| {
                let (runtime, (tenant, line)) = (runtime.clone(), line(number));
                tokio::spawn(async move { runtime.append(&tenant, line).await })
            })
            .collect();
        let mut inserted = 0;
        for (number, append) in appends.into_iter().enumerate() {
            if let Ok(answers) = append.await.unwrap() {
                assert_eq!(answers, [Ok(Admission::Insert { log_seq: round })]);
                inserted += 1;
                continue;
            }
            // Who had not gone yet may be told that the database is away, and comes again.
            let again = dg_tests::eventually("the database is back", || async {
                let (tenant, line) = line(number);
                runtime.append(&tenant, line).await.ok()
            });
            let (Admission::Insert { log_seq } | Admission::Reused { log_seq, .. }) =
                again.await.remove(0).unwrap();
            assert_eq!(log_seq, round);
        }
        assert!(inserted >= lost.load(Ordering::SeqCst), "{inserted} of {lost:?} in round {round}");
    }
    let sql = "SELECT count(*) FROM dg_event_log";
    let count: i64 = database.connect().await.query_one(sql, &[]).await.unwrap().get(0);
    assert_eq!(count, round * TENANTS as i64);
    runtime.stop(Duration::from_secs(5)).await;
}
