//! Partitions at the store: pages that cover the log, cursors that change their number at one place
//! only, and digests of rows that stand for one cursor.

#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "tests")]

use std::collections::BTreeMap;

use dg_projections::projection::Projection;
use dg_store::{Committed, Cursor, Share, Store};
use dg_tests::log::{append_all, apply_page, assert_proven, catch_up, generated_lines};
use dg_tests::{Database, Random};

const GRAPH: Projection = Projection::ContextGraph;

fn share(partition: i32, partitions: i32) -> Share {
    Share { partition, partitions }
}

async fn open(store: &Store, share: Share) -> Cursor {
    store.open_cursor("a", GRAPH, share, false).await.unwrap()
}

async fn claim(store: &Store, share: Share) -> Cursor {
    store.open_cursor("a", GRAPH, share, true).await.unwrap()
}

#[tokio::test]
async fn pages_of_a_partition_skip_none_of_its_events_and_pages_of_all_cover_the_log() {
    let mut random = Random::seeded(41);
    let (database, store) = Database::with_schema().await;
    let log = generated_lines("a", 60, 7, 41);
    append_all(&store, "a", &log, 100).await;
    // Some payloads so large that a page ends by its bytes; nobody looks at their hashes here.
    let large = "SET session_replication_role = replica;
        UPDATE dg_event_log SET payload_json = repeat('x', 3000000) WHERE log_seq % 40 = 7";
    database.connect().await.batch_execute(large).await.unwrap();
    for partitions in [1, 2, 3, 8, 64] {
        let mut seen: BTreeMap<i64, i32> = BTreeMap::new();
        for partition in 0..partitions {
            let mut at = Cursor { share: share(partition, partitions), ..Cursor::whole(1, 0, 0) };
            loop {
                let limit = 1 + random.below(60) as i64;
                let page = store.read_page("a", GRAPH, at, limit).await.unwrap();
                assert!(page.events.len() as i64 <= limit && page.end >= at.last_log_seq);
                for event in &page.events {
                    assert!(event.log_seq > at.last_log_seq && event.log_seq <= page.end);
                    assert_eq!(seen.insert(event.log_seq, partition), None);
                }
                assert!(page.more || page.end == log.len() as i64, "{} of {partitions}", page.end);
                if !page.more {
                    break;
                }
                at.last_log_seq = page.end;
            }
        }
        assert_eq!(seen.len(), log.len(), "{partitions} partitions");
        let mut of_trace: BTreeMap<&str, i32> = BTreeMap::new();
        for (line, partition) in log.iter().zip(seen.values()) {
            assert_eq!(of_trace.entry(&line.event.trace_id).or_insert(*partition), partition);
        }
    }
}

/// The hash decides what a cursor has passed: another one would skip and double events.
#[tokio::test]
async fn a_trace_falls_to_the_same_partition_for_ever() {
    let (_database, store) = Database::with_schema().await;
    let log = generated_lines("a", 8, 2, 1);
    append_all(&store, "a", &log, 100).await;
    for line in &log {
        let hash = dg_projections::hash::Hash::of(line.event.trace_id.as_bytes()).0[0];
        let at = Cursor { share: share(i32::from(hash % 64), 64), ..Cursor::whole(1, 0, 0) };
        let page = store.read_page("a", GRAPH, at, 100).await.unwrap();
        assert!(page.events.iter().any(|event| event.event_id == line.event.event_id));
    }
}

#[tokio::test]
async fn a_page_that_is_divided_is_what_each_partition_reads_by_itself() {
    let mut random = Random::seeded(43);
    let (_database, store) = Database::with_schema().await;
    let log = generated_lines("a", 40, 8, 43);
    append_all(&store, "a", &log, 100).await;
    let sorted = |mut traces: Vec<(String, i64)>| {
        traces.sort_unstable();
        traces
    };
    for partitions in [2, 3, 8] {
        for projection in Projection::ALL {
            let after = random.below(log.len()) as i64;
            let from = Cursor::whole(1, after, 0);
            let whole = store.read_page("a", projection, from, 50).await.unwrap();
            let until = Some(whole.end);
            for (partition, part) in (0..).zip(whole.divide(partitions)) {
                let from = Cursor { share: share(partition, partitions), until, ..from };
                let read = store.read_page("a", projection, from, 1_000).await.unwrap();
                assert_eq!((&part.events, part.end), (&read.events, read.end));
                assert_eq!(
                    (sorted(part.resumed), part.recalled),
                    (sorted(read.resumed), read.recalled)
                );
                assert_eq!(part.timeline, read.timeline);
            }
        }
    }
}

#[tokio::test]
async fn the_number_changes_where_all_cursors_stand_and_nowhere_else() {
    let (_database, store) = Database::with_schema().await;
    append_all(&store, "a", &generated_lines("a", 30, 8, 42), 100).await;
    // One partition stands at one place: the change is made at once.
    let start = open(&store, Share::WHOLE).await;
    let (_, at) = apply_page(&store, "a", GRAPH, start, 40).await;
    let own = claim(&store, share(0, 4)).await;
    assert_eq!((own.share, own.last_log_seq, own.applied_events), (share(0, 4), 40, 40));
    assert_eq!((own.lent, own.until), (false, None));
    assert_eq!(open(&store, share(3, 4)).await.applied_events, 0);
    // Who knows the old number only writes nothing.
    assert_eq!(apply_page(&store, "a", GRAPH, at, 10).await.0, Committed::Superseded);

    // Apart: announced, and nobody passes the foremost any more.
    let (_, foremost) = apply_page(&store, "a", GRAPH, own, 10).await;
    let held = claim(&store, share(0, 2)).await;
    assert_eq!((held.until, held.lent), (Some(foremost.last_log_seq), true));
    assert_eq!((held.share, held.last_log_seq), (share(2, 4), 40));
    let (beyond, _) = apply_page(&store, "a", GRAPH, foremost, 10).await;
    assert_eq!(beyond, Committed::Superseded);
    // Any other comes up with them, and the last to ask makes the change.
    for _ in 0..3 {
        let behind = open(&store, share(0, 1)).await;
        assert_eq!(behind.last_log_seq, 40);
        let (done, to) = apply_page(&store, "a", GRAPH, behind, 100).await;
        assert_eq!(
            (done, to.last_log_seq),
            (Committed::Done { resolved: 0 }, foremost.last_log_seq)
        );
    }
    for partition in 0..2 {
        let own = open(&store, share(partition, 2)).await;
        assert_eq!((own.share, own.until, own.lent), (share(partition, 2), None, false));
        assert_eq!(own.last_log_seq, foremost.last_log_seq);
    }
    catch_up(&store, "a", 20).await;
    assert_proven(&store, "a").await;
}

#[tokio::test]
async fn digests_are_of_partitions_that_stand_at_one_place() {
    let (_database, store) = Database::with_schema().await;
    append_all(&store, "a", &generated_lines("a", 30, 8, 43), 100).await;
    for projection in Projection::ALL {
        store.open_cursor("a", projection, share(0, 2), true).await.unwrap();
    }
    catch_up(&store, "a", 500).await;
    assert_eq!(store.compute_digests("a").await.unwrap().len(), 4);
    append_all(&store, "a", &generated_lines("a", 20, 8, 44), 100).await;
    let own = open(&store, share(0, 2)).await;
    apply_page(&store, "a", GRAPH, own, 500).await;
    // The least is where it was, but the rows are not; and it counts as behind for its hindmost.
    let behind = store.behind(&["context_graph"]).await.unwrap();
    assert_eq!(behind.iter().map(|one| &*one.tenant_id).collect::<Vec<_>>(), ["a"]);
    let stored = store.compute_digests("a").await.unwrap();
    let current: Vec<_> = stored.iter().filter(|one| one.is_current).collect();
    let current: Vec<_> = current.iter().map(|one| (&*one.name, one.log_seq)).collect();
    assert_eq!(current, [("precedent_index", 240), ("trace_summary", 240)]);
    assert_proven(&store, "a").await;
    catch_up(&store, "a", 500).await;
    let stored = store.compute_digests("a").await.unwrap();
    assert!(stored.iter().all(|one| one.is_current && one.log_seq == 400), "{stored:?}");
    assert_proven(&store, "a").await;
}
