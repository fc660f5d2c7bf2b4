//! The one transaction of a projection: from the expected cursor or not at all, and pages of any
//! size end in the same rows.

#![allow(clippy::unwrap_used, reason = "tests")]

use std::collections::BTreeSet;

use dg_projections::Code;
use dg_projections::event::{Line, LogEvent};
use dg_projections::projection::{Changes, Projection, Traces, project};
use dg_store::{Commit, Committed, Cursor, Failure, NewFailure, Share, Store, Timeline};
use dg_tests::log::{
    append_all, apply_page, assert_proven, catch_up, generated_lines, model_of, parsed,
};
use dg_tests::{Database, Random, events};
use tokio::task::JoinSet;

const GRAPH: Projection = Projection::ContextGraph;

/// What a transaction of a projection may touch, as text.
async fn image(database: &Database) -> Vec<String> {
    let client = database.connect().await;
    let mut image = Vec::new();
    for table in [
        "dg_projection_cursors",
        "dg_cg_nodes",
        "dg_cg_edges",
        "dg_trace_summary",
        "dg_policy_eval_index",
        "dg_precedent_index",
        "dg_projection_failures",
    ] {
        let sql = format!("SELECT t::text FROM {table} AS t ORDER BY 1");
        let rows = client.query(&sql, &[]).await.unwrap();
        image.extend(rows.iter().map(|row| row.get::<_, String>(0)));
    }
    image
}

#[tokio::test]
async fn a_commit_from_another_cursor_or_generation_writes_nothing() {
    let (database, store) = Database::with_schema().await;
    append_all(&store, "a", &generated_lines("a", 3, 8, 1), 100).await;
    for projection in Projection::ALL {
        let start = store.open_cursor("a", projection, Share::WHOLE, false).await.unwrap();
        let (_, moved) = apply_page(&store, "a", projection, start, 10).await;
        let before = image(&database).await;
        for from in [
            start,
            Cursor { last_log_seq: 11, ..moved },
            Cursor { generation: 2, ..moved },
            Cursor { generation: 2, ..start },
            Cursor { share: Share { partition: 0, partitions: 2 }, ..moved },
        ] {
            let (committed, _) = apply_page(&store, "a", projection, from, 5).await;
            assert_eq!(committed, Committed::Superseded, "{from:?}");
            assert_eq!(image(&database).await, before, "{from:?}");
        }
        assert_eq!(store.open_cursor("a", projection, Share::WHOLE, false).await.unwrap(), moved);
    }
}

#[tokio::test]
async fn what_was_read_from_another_history_of_the_database_is_not_committed() {
    let (database, store) = Database::with_schema().await;
    append_all(&store, "a", &generated_lines("a", 3, 8, 1), 100).await;
    let from = store.open_cursor("a", GRAPH, Share::WHOLE, false).await.unwrap();
    let page = store.read_page("a", GRAPH, from, 5).await.unwrap();
    let changes = project(GRAPH, &page.events, &mut Traces::new()).changes;
    let to = Cursor { last_log_seq: 5, applied_events: 5, ..from };
    let commit = async |timeline| {
        let (tenant, projection, changes) = ("a", GRAPH, &changes);
        let batch = Commit { tenant, projection, from, to, timeline, changes, is_live: true };
        store.commit(&batch).await.unwrap()
    };
    let before = image(&database).await;
    assert_eq!(commit(Timeline::default()).await, Committed::Superseded);
    assert_eq!(image(&database).await, before);
    assert_eq!(commit(page.timeline).await, Committed::Done { resolved: 0 });
}

#[tokio::test(flavor = "multi_thread")]
async fn of_committers_from_one_cursor_exactly_one_wins() {
    let (database, store) = Database::with_schema().await;
    append_all(&store, "a", &generated_lines("a", 6, 8, 1), 100).await;
    let stores = [store.clone(), database.store()];
    let mut cursor = store.open_cursor("a", GRAPH, Share::WHOLE, false).await.unwrap();
    while cursor.last_log_seq < 48 {
        let mut committers = JoinSet::new();
        for committer in 0..6 {
            let store = stores[committer % 2].clone();
            // Pages of different sizes: what a loser read is of no use.
            let limit = 3 + committer as i64;
            committers.spawn(async move { apply_page(&store, "a", GRAPH, cursor, limit).await });
        }
        let outcomes = committers.join_all().await;
        let won: Vec<_> =
            outcomes.iter().filter(|(outcome, _)| *outcome != Committed::Superseded).collect();
        assert_eq!(won.len(), 1);
        cursor = store.open_cursor("a", GRAPH, Share::WHOLE, false).await.unwrap();
        assert_eq!(cursor, won[0].1);
    }
    assert_eq!(cursor.applied_events, 48);
    catch_up(&store, "a", 100).await;
    assert_proven(&store, "a").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cursor_is_opened_once_by_many() {
    let (database, store) = Database::with_schema().await;
    let mut openers = JoinSet::new();
    for opener in 0..8 {
        let store = if opener % 2 == 0 { store.clone() } else { database.store() };
        openers.spawn(
            async move { store.open_cursor("a", GRAPH, Share::WHOLE, false).await.unwrap() },
        );
    }
    let start = Cursor::whole(1, 0, 0);
    assert_eq!(openers.join_all().await, [start; 8]);
}

/// The changes of some traces of a log, as a worker of a partition makes them, page by page.
fn partition(
    projection: Projection,
    log: &[Line],
    traces: &BTreeSet<&str>,
    size: usize,
) -> Vec<(i64, Changes)> {
    let own = (1..).zip(log).filter(|(_, line)| traces.contains(&*line.event.trace_id));
    let own: Vec<LogEvent> = own.map(|(at, line)| LogEvent::from_event(&line.event, at)).collect();
    let mut state = Traces::new();
    own.chunks(size)
        .map(|page| (page[page.len() - 1].log_seq, project(projection, page, &mut state).changes))
        .collect()
}

async fn commit_partition(
    store: &Store,
    projection: Projection,
    share: Share,
    last: i64,
    changes: &Changes,
) {
    let from = store.open_cursor("a", projection, share, false).await.unwrap();
    let to = Cursor { last_log_seq: last, applied_events: from.applied_events + 1, ..from };
    let timeline = store.read_page("a", projection, from, 1).await.unwrap().timeline;
    let batch = Commit { tenant: "a", projection, from, to, timeline, changes, is_live: true };
    assert_eq!(store.commit(&batch).await.unwrap(), Committed::Done { resolved: 0 });
}

#[tokio::test]
async fn partitions_committed_in_any_order_give_the_rows_of_the_first_events() {
    let mut random = Random::seeded(31);
    // Small pages, and some whose rows are copied.
    for (traces, size) in [(10, 7), (10, 7), (10, 7), (90, 300)] {
        let log = generated_lines("a", traces, 14, 5);
        let model = model_of(&log).tables;
        let all: Vec<&str> = log.iter().map(|line| &*line.event.trace_id).collect();
        let (_database, store) = Database::with_schema().await;
        let (left, right): (BTreeSet<&str>, BTreeSet<&str>) =
            all.iter().partition(|trace| trace.as_bytes()[0] % 2 == 0);
        for projection in Projection::ALL {
            let mut parts = [&left, &right].map(|traces| partition(projection, &log, traces, size));
            parts.iter_mut().for_each(|part| part.reverse());
            while parts.iter().any(|part| !part.is_empty()) {
                let turn = random.below(2);
                if let Some((last, changes)) = parts[turn].pop() {
                    let share = Share { partition: turn as i32, partitions: 2 };
                    commit_partition(&store, projection, share, last, &changes).await;
                }
            }
        }
        assert_eq!(store.tables("a").await.unwrap(), model);
    }
}

/// Traces that share their actor, their policy and their approver, one after the other.
fn sharing(traces: usize) -> Vec<Line> {
    let texts: Vec<_> =
        (0..traces).flat_map(|t| events::whole_trace(&format!("t{t:04}"))).collect();
    parsed("a", &texts)
}

#[tokio::test]
async fn large_pages_share_rows() {
    let (_database, store) = Database::with_schema().await;
    let log = sharing(300);
    append_all(&store, "a", &log, 600).await;
    catch_up(&store, "a", 600).await;
    assert_eq!(store.tables("a").await.unwrap(), model_of(&log).tables);
    assert_proven(&store, "a").await;
}

#[tokio::test]
async fn large_pages_that_meet_their_rows_again_change_nothing() {
    let (database, store) = Database::with_schema().await;
    let (client, log) = (database.connect().await, sharing(200));
    append_all(&store, "a", &log, 600).await;
    catch_up(&store, "a", 600).await;
    let model = model_of(&log).tables;
    // All rows are there; then all but the first edges, which a copy finds out in the middle; then
    // all but some nodes.
    for taken in [
        "SELECT 1",
        "DELETE FROM dg_cg_edges WHERE edge_id IN (SELECT edge_id FROM dg_cg_edges ORDER BY 1 LIMIT 40)",
        "DELETE FROM dg_cg_nodes WHERE node_type = 'actor'",
        "UPDATE dg_cg_nodes SET log_seq = 1000000 WHERE node_type = 'exception'",
    ] {
        client.batch_execute(taken).await.unwrap();
        let back = "UPDATE dg_projection_cursors SET last_log_seq = 0, applied_events = 0
            WHERE projection_name = 'context_graph'";
        client.batch_execute(back).await.unwrap();
        catch_up(&store, "a", 600).await;
        assert_eq!(store.tables("a").await.unwrap(), model, "{taken}");
        assert_proven(&store, "a").await;
    }
}

/// The graph's page of the whole log.
async fn graph_of(store: &Store, from: Cursor) -> (Cursor, Timeline, Changes) {
    let page = store.read_page("a", GRAPH, from, 10_000).await.unwrap();
    let projected = project(GRAPH, &page.events, &mut Traces::new());
    let applied_events = projected.applied as i64;
    let to = Cursor { last_log_seq: page.end, applied_events, ..from };
    (to, page.timeline, projected.changes)
}

#[tokio::test]
async fn nodes_that_are_taken_for_new_go_in_and_where_one_is_not_nothing_does() {
    let (database, store) = Database::with_schema().await;
    let (client, log) = (database.connect().await, sharing(200));
    append_all(&store, "a", &log, 600).await;
    let from = store.open_cursor("a", GRAPH, Share::WHOLE, true).await.unwrap();
    let (to, timeline, changes) = graph_of(&store, from).await;
    let batch = &Commit {
        tenant: "a",
        projection: GRAPH,
        from,
        to,
        timeline,
        changes: &changes,
        is_live: true,
    };
    let one = "INSERT INTO dg_cg_nodes
        (tenant_id, generation, node_id, node_type, trace_id, log_seq, created_at, attrs)
        VALUES ('a', 1, $1, 'x', 'x', 1000000, 'x', '{}')";
    let last = changes.nodes.keys().next_back().unwrap();
    client.execute(one, &[last]).await.unwrap();
    assert_eq!(store.commit_new(batch).await.unwrap(), None);
    let count = "SELECT count(*) FROM dg_cg_nodes";
    assert_eq!(client.query_one(count, &[]).await.unwrap().get::<_, i64>(0), 1);
    let at = store.open_cursor("a", GRAPH, Share::WHOLE, true).await.unwrap();
    assert_eq!(at.last_log_seq, 0);

    client.execute("DELETE FROM dg_cg_nodes", &[]).await.unwrap();
    assert_eq!(store.commit_new(batch).await.unwrap(), Some(Committed::Done { resolved: 0 }));
    assert_eq!(store.commit_new(batch).await.unwrap(), None, "its edges are there");
    catch_up(&store, "a", 600).await;
    assert_eq!(store.tables("a").await.unwrap(), model_of(&log).tables);
    assert_proven(&store, "a").await;
}

#[tokio::test]
async fn pages_of_any_size_give_the_tables_of_the_model() {
    let mut random = Random::seeded(32);
    let (_database, store) = Database::with_schema().await;
    for (at, (traces, per_trace)) in [(1, 1), (2, 2), (3, 8), (4, 13), (2, 30)].iter().enumerate() {
        let seed = random.below(1_000_000) as u64;
        for limit in [1, 2, 3, 5, 8, 1000] {
            let tenant = format!("t{at}-{limit}");
            let log = generated_lines(&tenant, *traces, *per_trace, seed);
            append_all(&store, &tenant, &log, 1 + random.below(40)).await;
            catch_up(&store, &tenant, limit).await;
            let model = model_of(&log).tables;
            assert_eq!(store.tables(&tenant).await.unwrap(), model, "{tenant}, seed {seed}");
            store.compute_digests(&tenant).await.unwrap();
            assert_proven(&store, &tenant).await;
        }
    }
}

async fn failures(store: &Store) -> Vec<Failure> {
    store.failures("a", true).await.unwrap()
}

#[tokio::test]
async fn a_failure_is_one_row_that_counts_its_retries() {
    let (_database, store) = Database::with_schema().await;
    let failure = NewFailure {
        tenant: "a",
        projection: GRAPH,
        partition: 0,
        event: Some((4, "t", "t.3")),
        code: Code::Conflict,
        message: "first",
        retries: 0,
    };
    for _ in 0..3 {
        store.record_failure(&failure).await.unwrap();
    }
    let again = NewFailure { message: "second", ..failure.clone() };
    store.record_failure(&again).await.unwrap();
    let found = failures(&store).await;
    assert_eq!((found.len(), found[0].retry_count, &*found[0].error_message), (1, 3, "second"));
    assert!(!found[0].recoverable && found[0].status == "open");
    // Another event or another code is another failure: nothing was retried yet.
    store.record_failure(&NewFailure { event: Some((5, "t", "t.4")), ..failure }).await.unwrap();
    let other = failures(&store).await;
    assert_eq!((other.len(), other[0].retry_count, other[0].log_seq), (1, 0, Some(5)));
    assert!(other[0].recorded_at >= found[0].recorded_at);
}

#[tokio::test]
async fn a_failure_is_resolved_by_the_commit_that_passes_it_and_by_no_other() {
    let (_database, store) = Database::with_schema().await;
    append_all(&store, "a", &parsed("a", &events::whole_trace("t")), 10).await;
    for projection in [GRAPH, Projection::TraceSummary] {
        let failure = NewFailure {
            tenant: "a",
            projection,
            partition: 0,
            event: Some((4, "t", "t.3")),
            code: Code::Conflict,
            message: "x",
            retries: 0,
        };
        store.record_failure(&failure).await.unwrap();
    }
    let start = store.open_cursor("a", GRAPH, Share::WHOLE, false).await.unwrap();
    let (before, cursor) = apply_page(&store, "a", GRAPH, start, 3).await;
    assert_eq!(before, Committed::Done { resolved: 0 });
    let (passed, cursor) = apply_page(&store, "a", GRAPH, cursor, 1).await;
    assert_eq!((passed, cursor.last_log_seq), (Committed::Done { resolved: 1 }, 4));
    let found = failures(&store).await;
    for failure in &found {
        let of_graph = failure.projection_name == GRAPH.as_str();
        assert_eq!(failure.status, if of_graph { "resolved" } else { "open" });
        assert_eq!(failure.resolved_at.is_some(), of_graph);
    }
    assert_eq!(store.failures("a", false).await.unwrap().len(), 1);
}
