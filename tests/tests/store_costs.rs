//! Costs that must not grow with the log: tuples read an event, counted by Postgres, on tables that
//! were never analyzed.

#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "tests")]

use std::collections::BTreeSet;

use dg_projections::event::Line;
use dg_projections::projection::Projection;
use dg_projections::subgraph::Bounds;
use dg_store::{Direction, EdgesQuery, EventFilter, Share, Store};
use dg_tests::by_hand::dg_append;
use dg_tests::log::{append_all, catch_up, generated_lines, parsed};
use dg_tests::{Database, events};

/// Tuples that scans of our tables and indexes gave so far, by relation.
async fn counted(database: &Database) -> Vec<(String, i64)> {
    let client = database.connect_alone().await;
    let sql = "SELECT relname::text, coalesce(seq_tup_read, 0) + coalesce(idx_tup_fetch, 0)
            FROM pg_stat_user_tables WHERE relname LIKE 'dg\\_%'
        UNION ALL SELECT indexrelname::text, idx_tup_read
            FROM pg_stat_user_indexes WHERE relname LIKE 'dg\\_%' ORDER BY 1";
    client.query(sql, &[]).await.unwrap().iter().map(|row| (row.get(0), row.get(1))).collect()
}

/// A fresh database whose tables nobody analyzes.
async fn fresh() -> Database {
    let (database, store) = Database::with_schema().await;
    store.close();
    let client = database.connect().await;
    let sql = "SELECT format('ALTER TABLE %I SET (autovacuum_enabled = false)', relname)
        FROM pg_class WHERE relname LIKE 'dg\\_%' AND relkind = 'r'";
    for row in client.query(sql, &[]).await.unwrap() {
        client.batch_execute(row.get(0)).await.unwrap();
    }
    database
}

/// Tuples read an event while `work` is done to a database, and by which relations.
async fn cost<F: Future<Output = ()>>(
    database: &Database,
    events: usize,
    work: impl FnOnce(Store) -> F,
) -> (f64, Vec<(String, i64)>) {
    let before = counted(database).await;
    let store = database.store();
    work(store.clone()).await;
    store.close();
    let after = counted(database).await;
    let read: Vec<_> = after
        .into_iter()
        .zip(before)
        .map(|((name, after), (_, before))| (name, after - before))
        .collect();
    let total: i64 = read.iter().map(|(_, tuples)| tuples).sum();
    (total as f64 / events as f64, read)
}

/// One trace, as long as the log.
fn one_trace(length: usize) -> Vec<Line> {
    let mut texts = vec![events::started("t")];
    texts.extend((1..length - 1).map(|seq| events::observed("t", seq)));
    texts.push(events::finished("t", length - 1));
    parsed("a", &texts)
}

/// The cost of appending `lines` in batches, and of projecting them in pages of the same size.
async fn costs(lines: Vec<Line>, batch: usize) -> [(f64, Vec<(String, i64)>); 2] {
    let (database, lines) = (fresh().await, &lines);
    let append =
        cost(&database, lines.len(), async |store| append_all(&store, "a", lines, batch).await);
    let append = append.await;
    let project =
        cost(&database, lines.len(), async |store| catch_up(&store, "a", batch as i64).await);
    [append, project.await]
}

async fn assert_constant(
    make: impl Fn(usize) -> Vec<Line>,
    sizes: [usize; 2],
    batch: usize,
    most: [f64; 2],
) {
    let (small, large) = (costs(make(sizes[0]), batch).await, costs(make(sizes[1]), batch).await);
    for (what, at) in [("appended", 0), ("projected", 1)] {
        let ((few, read_by_few), (many, read)) = (&small[at], &large[at]);
        println!(
            "{what} by {batch}: {few:.2} tuples an event of {}, {many:.2} of {}",
            sizes[0], sizes[1]
        );
        assert!(
            *few <= most[at] && *many <= most[at],
            "{what}: {few:.1}, {many:.1}: {read_by_few:?} {read:?}"
        );
        assert!(*many <= few * 1.5, "{what}: grew from {few:.1} to {many:.1}: {read:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn batches_of_short_traces_cost_the_same_in_a_long_log() {
    assert_constant(
        |events| generated_lines("a", events as u64 / 8, 8, 1),
        [480, 4_800],
        100,
        [12.0, 20.0],
    )
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn large_batches_cost_the_same_in_a_long_log() {
    // The first batch finds an empty log, which costs nothing: it is to be a small part of either.
    assert_constant(
        |events| generated_lines("a", events as u64 / 8, 8, 2),
        [4_800, 12_800],
        800,
        [12.0, 20.0],
    )
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn single_events_cost_the_same_in_a_long_log() {
    assert_constant(
        |events| generated_lines("a", events as u64 / 8, 8, 3),
        [80, 640],
        1,
        [18.0, 40.0],
    )
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_long_trace_costs_no_more_than_many_short_ones() {
    assert_constant(one_trace, [400, 2_400], 100, [12.0, 20.0]).await;
}

/// Each partition looks through the whole log, and reads no more of it than that.
#[tokio::test(flavor = "multi_thread")]
async fn partitions_cost_the_same_in_a_long_log() {
    let mut found = Vec::new();
    for events in [480, 4_800] {
        let (database, lines) = (fresh().await, generated_lines("a", events as u64 / 8, 8, 6));
        let store = database.store();
        append_all(&store, "a", &lines, 400).await;
        for projection in Projection::ALL {
            let four = Share { partition: 0, partitions: 4 };
            store.open_cursor("a", projection, four, true).await.unwrap();
        }
        store.close();
        found.push(cost(&database, events, async |store| catch_up(&store, "a", 100).await).await);
    }
    println!("by four partitions: {:.2} and {:.2} tuples an event", found[0].0, found[1].0);
    assert!(found.iter().all(|(tuples, _)| *tuples <= 80.0), "{found:?}");
    assert!(found[1].0 <= found[0].0 * 1.5, "{found:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_append_by_sql_costs_the_same_in_a_long_log() {
    for make in [one_trace, |events| generated_lines("a", events as u64 / 8, 8, 3)] {
        let mut found = Vec::new();
        for events in [80, 640] {
            let (database, lines) = (fresh().await, make(events));
            let appended = cost(&database, events, async |_| {
                // A session plans once: as operators do, many short ones.
                for lines in lines.chunks(8) {
                    let client = database.connect().await;
                    for line in lines {
                        dg_append(&client, line).await.unwrap();
                    }
                }
            });
            found.push(appended.await);
        }
        println!("by SQL: {:.2} and {:.2} tuples an event", found[0].0, found[1].0);
        assert!(found.iter().all(|(tuples, _)| *tuples <= 20.0), "{found:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_page_of_a_filtered_list_costs_what_it_shows() {
    let database = fresh().await;
    let lines = generated_lines("a", 400, 8, 4);
    let store = database.store();
    append_all(&store, "a", &lines, 400).await;
    store.close();
    let trace_id = Some(lines[lines.len() - 1].event.trace_id.clone());
    for (filter, limit, most) in [
        (EventFilter { trace_id, ..EventFilter::default() }, 5, 40.0),
        (EventFilter { since_log_seq: Some(3_000), ..EventFilter::default() }, 5, 20.0),
    ] {
        let (tuples, read) = cost(&database, 1, async |store| {
            assert_eq!(store.list_events("a", &filter, limit).await.unwrap().len(), 5);
        })
        .await;
        assert!(tuples <= most, "{filter:?}: {tuples} tuples: {read:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn reads_of_the_graph_cost_what_they_show() {
    let database = fresh().await;
    let lines = generated_lines("a", 300, 8, 5);
    let store = database.store();
    append_all(&store, "a", &lines, 400).await;
    catch_up(&store, "a", 400).await;
    store.close();
    let trace = &*lines[lines.len() - 1].event.trace_id;
    let center = format!("trace:{trace}");
    let none = BTreeSet::new();
    let bounds = Bounds {
        max_depth: 1,
        max_nodes: 50,
        max_edges: 50,
        node_types: none.clone(),
        edge_types: none,
    };
    let query =
        EdgesQuery { node_id: center.clone(), direction: Direction::Both, limit: 5, cursor: None };
    const TIMES: usize = 10; // a plan is kept after the fifth
    let subgraph = cost(&database, TIMES, async |store| {
        for _ in 0..TIMES {
            assert!(store.subgraph("a", &center, bounds.clone()).await.unwrap().edges.len() > 4);
        }
    });
    let subgraph = subgraph.await;
    let edges = cost(&database, TIMES, async |store| {
        for _ in 0..TIMES {
            assert_eq!(store.edges_of("a", &query).await.unwrap().edges.len(), 5);
        }
    });
    let edges = edges.await;
    let summary = cost(&database, TIMES, async |store| {
        for _ in 0..TIMES {
            store.trace_summary("a", trace).await.unwrap();
        }
    });
    for (what, (tuples, read), most) in
        [("subgraph", subgraph, 80.0), ("edges", edges, 60.0), ("summary", summary.await, 20.0)]
    {
        println!("{what}: {tuples} tuples");
        assert!(tuples <= most, "{what}: {tuples} tuples: {read:?}");
    }
}
