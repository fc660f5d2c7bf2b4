//! Reads of the context graph, against the plain walk over a model's tables.

#![allow(clippy::unwrap_used, reason = "tests")]

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use dg_projections::Code;
use dg_projections::event::Line;
use dg_projections::model::Tables;
use dg_projections::projection::Projection;
use dg_projections::rows::EdgeRow;
use dg_projections::subgraph::Bounds;
use dg_store::{Direction, EdgeCursor, EdgesQuery, PrecedentQuery, Share, Store};
use dg_tests::log::{
    append_all, apply_page, catch_up, generated_lines, model_of, parity, parsed, running,
};
use dg_tests::{Database, Random, events};

/// Generated traces, the parity vectors, and a trace that cites itself: all in the store, projected.
async fn graphs(store: &Store) -> BTreeMap<String, Tables> {
    let mut logs: Vec<(String, Vec<Line>)> = parity();
    logs.truncate(10);
    logs.push(("generated".to_owned(), generated_lines("generated", 12, 14, 7)));
    let cited = events::event("t", 1, "PrecedentCited", r#"{"cited_trace_id":"t","reason":"x"}"#);
    logs.push(("self".to_owned(), parsed("self", &[events::started("t"), cited])));
    let mut tables = BTreeMap::new();
    for (tenant, lines) in logs {
        append_all(store, &tenant, &lines, 100).await;
        catch_up(store, &tenant, 100).await;
        tables.insert(tenant, model_of(&lines).tables);
    }
    tables
}

/// The walk as the contract tells it.
fn walk(tables: &Tables, center: &str, bounds: &Bounds) -> (Vec<String>, Vec<String>, bool) {
    let (mut nodes, mut edges) = (BTreeSet::from([center.to_owned()]), BTreeSet::new());
    let mut frontier = nodes.clone();
    let kinds =
        |allowed: &BTreeSet<String>, kind: &String| allowed.is_empty() || allowed.contains(kind);
    let done = |nodes: BTreeSet<String>, edges: BTreeSet<String>, truncated| {
        (nodes.into_iter().collect(), edges.into_iter().collect(), truncated)
    };
    for _ in 0..bounds.max_depth {
        let mut next = BTreeSet::new();
        for (edge_id, edge) in &tables.edges {
            let ends = [&edge.from_node_id, &edge.to_node_id];
            if !ends.iter().any(|end| frontier.contains(*end))
                || !kinds(&bounds.edge_types, &edge.edge_type)
                || edges.contains(edge_id)
            {
                continue;
            }
            if edges.len() == bounds.max_edges {
                return done(nodes, edges, true);
            }
            edges.insert(edge_id.clone());
            for end in ends {
                if nodes.contains(end) || !kinds(&bounds.node_types, &tables.nodes[end].node_type) {
                    continue;
                }
                if nodes.len() == bounds.max_nodes {
                    return done(nodes, edges, true);
                }
                nodes.insert(end.clone());
                next.insert(end.clone());
            }
        }
        frontier = next;
    }
    done(nodes, edges, false)
}

fn bounds(random: &mut Random, tables: &Tables) -> Bounds {
    let edge_kinds: Vec<&String> = tables.edges.values().map(|edge| &edge.edge_type).collect();
    let node_kinds: Vec<&String> = tables.nodes.values().map(|node| &node.node_type).collect();
    let mut some = |kinds: &[&String]| -> BTreeSet<String> {
        let count = if random.once_in(2) { 0 } else { 1 + random.below(3) };
        (0..count).map(|_| (*random.pick(kinds)).clone()).collect()
    };
    let (node_types, edge_types) = (some(&node_kinds), some(&edge_kinds));
    Bounds {
        max_depth: random.below(6) as u32,
        max_nodes: 1 + random.below(30),
        max_edges: 1 + random.below(30),
        node_types,
        edge_types,
    }
}

#[tokio::test]
async fn subgraphs_are_those_of_the_plain_walk() {
    let (_database, store) = Database::with_schema().await;
    let mut random = Random::seeded(51);
    let mut truncated = 0;
    for (tenant, tables) in graphs(&store).await {
        let centers: Vec<&String> = tables.nodes.keys().collect();
        for _ in 0..25 {
            let (center, bounds) = (*random.pick(&centers), bounds(&mut random, &tables));
            let expected = walk(&tables, center, &bounds);
            let found = store.subgraph(&tenant, center, bounds.clone()).await.unwrap();
            let nodes: Vec<_> = found.nodes.iter().map(|node| node.node_id.clone()).collect();
            let edges: Vec<_> = found.edges.iter().map(|edge| edge.edge_id.clone()).collect();
            assert_eq!((nodes, edges, found.truncated), expected, "{tenant} {center} {bounds:?}");
            assert!(found.nodes.iter().all(|node| tables.nodes[&node.node_id] == *node));
            assert!(found.edges.iter().all(|edge| tables.edges[&edge.edge_id] == *edge));
            truncated += usize::from(found.truncated);
        }
    }
    assert!(truncated > 20, "{truncated} walks met a bound");
}

fn everything() -> Bounds {
    let (max_nodes, max_edges) = (100_000, 100_000);
    Bounds { max_depth: 10, max_nodes, max_edges, ..one_step() }
}

#[tokio::test(flavor = "multi_thread")]
async fn reads_beside_writers_and_workers_are_those_of_an_end_of_the_log() {
    let (database, store) = Database::with_schema().await;
    let lines = generated_lines("a", 12, 14, 7);
    let center = format!("trace:{}", lines[0].event.trace_id);
    let ends: Vec<Tables> = (1..=lines.len()).map(|end| model_of(&lines[..end]).tables).collect();
    let runtime = running(database.store()).await;
    let (writer, all) = (runtime.clone(), lines.clone());
    let reads = Arc::new(AtomicUsize::new(0));
    let answered = reads.clone();
    let writing = tokio::spawn(async move {
        for (number, batch) in all.chunks(5).enumerate() {
            writer.append("a", batch).await.unwrap();
            // Now and then the reader gets a look at where the log ends.
            let before = answered.load(Ordering::SeqCst);
            let has_looked = || answered.load(Ordering::SeqCst) > before + 1;
            while number % 6 == 5 && !has_looked() {
                tokio::task::yield_now().await;
            }
        }
    });
    let (mut at, mut answers) = (0, BTreeSet::new());
    let reading = async {
        loop {
            let found = match store.subgraph("a", &center, everything()).await {
                Ok(found) => found,
                Err(error) => {
                    let waits = [Code::ProjectionOutOfDate, Code::NotFound];
                    assert!(waits.contains(&error.code), "{error:?}");
                    continue;
                }
            };
            let nodes: Vec<_> = found.nodes.iter().map(|node| node.node_id.clone()).collect();
            let edges: Vec<_> = found.edges.iter().map(|edge| edge.edge_id.clone()).collect();
            let is_of = |end: &usize| {
                let (its_nodes, its_edges, _) = walk(&ends[*end], &center, &everything());
                (&its_nodes, &its_edges) == (&nodes, &edges)
            };
            // The graph of a trace may be that of several ends; never one of an earlier end.
            at = (at..ends.len()).find(is_of).unwrap_or_else(|| panic!("of no end from {at} on"));
            answers.insert(at);
            reads.fetch_add(1, Ordering::SeqCst);
            if is_of(&(ends.len() - 1)) && writing.is_finished() {
                break;
            }
        }
    };
    tokio::time::timeout(Duration::from_secs(60), reading).await.unwrap();
    writing.await.unwrap();
    assert!(answers.len() > 2, "ends were read on the way: {answers:?}");
    runtime.stop(Duration::from_secs(10)).await;
}

const DIRECTIONS: [Direction; 3] = [Direction::Incoming, Direction::Outgoing, Direction::Both];

#[tokio::test]
async fn pages_of_edges_neither_repeat_nor_drop_one() {
    let (_database, store) = Database::with_schema().await;
    for (tenant, tables) in graphs(&store).await {
        for node_id in tables.nodes.keys().step_by(3) {
            for direction in DIRECTIONS {
                let touches = |edge: &&EdgeRow| match direction {
                    Direction::Incoming => edge.to_node_id == *node_id,
                    Direction::Outgoing => edge.from_node_id == *node_id,
                    Direction::Both => edge.to_node_id == *node_id || edge.from_node_id == *node_id,
                };
                let mut expected: Vec<&EdgeRow> = tables.edges.values().filter(touches).collect();
                expected.sort_by_key(|edge| (edge.log_seq, &edge.edge_id));
                for limit in [1, 2, 5, 10_000] {
                    let found = all_pages(&store, &tenant, node_id, direction, limit).await;
                    let found: Vec<&EdgeRow> = found.iter().collect();
                    assert_eq!(found, expected, "{tenant} {node_id} {direction:?} by {limit}");
                }
            }
        }
    }
}

async fn all_pages(
    store: &Store,
    tenant: &str,
    node_id: &str,
    direction: Direction,
    limit: i64,
) -> Vec<EdgeRow> {
    let (node_id, mut all) = (node_id.to_owned(), Vec::new());
    let mut query = EdgesQuery { node_id, direction, limit, cursor: None };
    loop {
        query.check().unwrap();
        let page = store.edges_of(tenant, &query).await.unwrap();
        assert!(page.edges.len() as i64 <= limit);
        all.extend(page.edges);
        let Some(next) = page.next else { return all };
        // As a client sends it back.
        query.cursor = Some(EdgeCursor::from_text(&next.to_string()).unwrap());
        assert_eq!(query.cursor.as_ref(), Some(&next));
    }
}

#[test]
fn what_cannot_be_asked_is_an_invalid_argument() {
    let cursor = EdgeCursor { direction: Direction::Incoming, log_seq: 3, edge_id: "e".to_owned() };
    let of = |direction, limit| EdgesQuery {
        node_id: "n".to_owned(),
        direction,
        limit,
        cursor: Some(cursor.clone()),
    };
    assert_eq!(of(Direction::Incoming, 10_000).check(), Ok(()));
    for wrong in [
        of(Direction::Outgoing, 5),
        of(Direction::Both, 5),
        of(Direction::Incoming, 0),
        of(Direction::Incoming, 10_001),
    ] {
        assert_eq!(wrong.check().unwrap_err().code, Code::InvalidArgument, "{wrong:?}");
    }
    for text in ["", "incoming", "incoming:3", "incoming:x:e", "sideways:3:e"] {
        assert_eq!(EdgeCursor::from_text(text).unwrap_err().code, Code::InvalidArgument, "{text}");
    }
}

fn one_step() -> Bounds {
    Bounds {
        max_depth: 1,
        max_nodes: 100,
        max_edges: 100,
        node_types: BTreeSet::new(),
        edge_types: BTreeSet::new(),
    }
}

#[tokio::test]
async fn what_is_unknown_is_not_found() {
    let (_database, store) = Database::with_schema().await;
    append_all(&store, "a", &parsed("a", &events::whole_trace("t")), 10).await;
    catch_up(&store, "a", 10).await;
    for (tenant, node, trace) in [("a", "trace:x", "x"), ("b", "trace:t", "t")] {
        let subgraph = store.subgraph(tenant, node, one_step()).await.unwrap_err();
        let summary = store.trace_summary(tenant, trace).await.unwrap_err();
        assert_eq!((subgraph.code, summary.code), (Code::NotFound, Code::NotFound));
    }
    assert_eq!(store.trace_summary("a", "t").await.unwrap().event_count, 2);
}

#[tokio::test]
async fn a_projection_behind_the_log_refuses_with_both_numbers() {
    let (_database, store) = Database::with_schema().await;
    let lines = parsed("a", &events::whole_trace("t"));
    append_all(&store, "a", &lines[..4], 10).await;
    catch_up(&store, "a", 10).await;
    append_all(&store, "a", &lines[4..], 10).await;
    let query = EdgesQuery {
        node_id: "trace:t".to_owned(),
        direction: Direction::Both,
        limit: 10,
        cursor: None,
    };
    let answers = async || {
        [
            store.subgraph("a", "trace:t", one_step()).await.err(),
            store.edges_of("a", &query).await.err(),
            store.trace_summary("a", "t").await.err(),
            store.precedents("a", &PrecedentQuery::default()).await.err(),
        ]
    };
    for error in answers().await {
        let error = error.unwrap();
        assert_eq!(error.code, Code::ProjectionOutOfDate);
        assert!(error.message.contains(" 4,") && error.message.ends_with(" 6"), "{error}");
    }
    // Whoever has written up to there may be content with it.
    let content = store.as_of(4);
    assert!(content.subgraph("a", "trace:t", one_step()).await.is_ok());
    assert_eq!(content.trace_summary("a", "t").await.unwrap().last_log_seq, 1);
    assert!(content.precedents("a", &PrecedentQuery::default()).await.is_ok());
    let early = store.as_of(5).edges_of("a", &query).await.unwrap_err();
    assert_eq!(early.code, Code::ProjectionOutOfDate);
    // Each waits for what it reads from, and for no other: precedents need the summaries too.
    let order = [Projection::ContextGraph, Projection::TraceSummary, Projection::PrecedentIndex];
    for (projection, behind) in order.into_iter().zip([[0, 0, 1, 1], [0, 0, 0, 1], [0; 4]]) {
        let cursor = store.open_cursor("a", projection, Share::WHOLE, false).await.unwrap();
        apply_page(&store, "a", projection, cursor, 10).await;
        assert_eq!(answers().await.map(|error| i32::from(error.is_some())), behind);
    }
}
