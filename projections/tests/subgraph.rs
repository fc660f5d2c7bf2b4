//! The walk of a context subgraph against the contract's rule, read out loud.

mod common;

use std::collections::{BTreeMap, BTreeSet};

use dg_projections::rows::EdgeRow;
use dg_projections::subgraph::{Bounds, Found, Walk};
use proptest::prelude::*;

fn edge(edge_id: &str, edge_type: &str, from: &str, to: &str) -> EdgeRow {
    EdgeRow {
        edge_id: edge_id.to_owned(),
        edge_type: edge_type.to_owned(),
        from_node_id: from.to_owned(),
        to_node_id: to.to_owned(),
        trace_id: "t".to_owned(),
        log_seq: 1,
        created_at: "2026-01-01T00:00:00Z".to_owned(),
        attrs: "{}".to_owned(),
    }
}

fn bounds(max_depth: u32, max_nodes: usize, max_edges: usize) -> Bounds {
    let (node_types, edge_types) = (BTreeSet::new(), BTreeSet::new());
    Bounds { max_depth, max_nodes, max_edges, node_types, edge_types }
}

fn allows(types: &BTreeSet<String>, one: &str) -> bool {
    types.is_empty() || types.contains(one)
}

/// One step's edges: those that touch the frontier, by `edge_id`.
fn touching<'a>(
    graph: &'a [EdgeRow],
    frontier: &'a BTreeSet<String>,
) -> impl Iterator<Item = EdgeRow> + 'a {
    let sorted: BTreeMap<&str, &EdgeRow> =
        graph.iter().map(|edge| (edge.edge_id.as_str(), edge)).collect();
    let touches = |edge: &&EdgeRow| {
        frontier.contains(&edge.from_node_id) || frontier.contains(&edge.to_node_id)
    };
    sorted.into_values().filter(move |edge| touches(edge)).cloned()
}

/// Section 6 of the contract as it stands.
fn naive(graph: &[EdgeRow], center: &str, bounds: &Bounds) -> Found {
    let nodes = BTreeSet::from([center.to_owned()]);
    let mut found = Found { nodes: nodes.clone(), edges: BTreeMap::new(), truncated: false };
    deeper(graph, &nodes, 0, bounds, &mut found);
    found
}

fn deeper(
    graph: &[EdgeRow],
    frontier: &BTreeSet<String>,
    depth: u32,
    bounds: &Bounds,
    found: &mut Found,
) {
    if depth == bounds.max_depth {
        return;
    }
    let mut next = BTreeSet::new();
    for edge in touching(graph, frontier) {
        if !allows(&bounds.edge_types, &edge.edge_type) || found.edges.contains_key(&edge.edge_id) {
            continue;
        }
        if found.edges.len() == bounds.max_edges {
            found.truncated = true;
            return;
        }
        found.edges.insert(edge.edge_id.clone(), edge.clone());
        for end in [&edge.from_node_id, &edge.to_node_id] {
            let (kind, _) = end.split_once(':').expect("a node's key has a colon");
            if found.nodes.contains(end) || !allows(&bounds.node_types, kind) {
                continue;
            }
            if found.nodes.len() == bounds.max_nodes {
                found.truncated = true;
                return;
            }
            found.nodes.insert(end.clone());
            next.insert(end.clone());
        }
    }
    deeper(graph, &next, depth + 1, bounds, found);
}

/// A walk that is fed everything that touches the frontier.
fn walk(graph: &[EdgeRow], center: &str, bounds: &Bounds) -> Found {
    let mut walk = Walk::start(center, bounds.clone());
    while let Some(frontier) = walk.frontier().cloned() {
        walk.visit(touching(graph, &frontier));
    }
    walk.finish()
}

/// A walk as the store feeds it: the allowed types only, no more than the budget.
fn walk_on_a_budget(graph: &[EdgeRow], center: &str, bounds: &Bounds) -> Found {
    let mut walk = Walk::start(center, bounds.clone());
    let allowed = |edge: &EdgeRow| allows(&bounds.edge_types, &edge.edge_type);
    while let Some(frontier) = walk.frontier().cloned() {
        let budget = walk.edge_budget();
        walk.visit(touching(graph, &frontier).filter(allowed).take(budget));
    }
    walk.finish()
}

/// `trace:a` - `entity:b` - `actor:c` - `trace:d`, and a loop at `trace:a`.
fn chain() -> Vec<EdgeRow> {
    vec![
        edge("3", "x", "trace:a", "entity:b"),
        edge("1", "y", "actor:c", "entity:b"),
        edge("2", "x", "actor:c", "trace:d"),
        edge("4", "y", "trace:a", "trace:a"),
    ]
}

#[track_caller]
fn check(bounds: &Bounds, nodes: &[&str], edges: &[&str], truncated: bool) {
    for found in [walk(&chain(), "trace:a", bounds), walk_on_a_budget(&chain(), "trace:a", bounds)]
    {
        assert_eq!(found.nodes.iter().collect::<Vec<_>>(), nodes);
        assert_eq!(found.edges.keys().collect::<Vec<_>>(), edges);
        assert_eq!(found.truncated, truncated);
    }
}

#[test]
fn depth_counts_edges_from_the_centre_in_both_directions() {
    check(&bounds(0, 9, 9), &["trace:a"], &[], false);
    check(&bounds(1, 9, 9), &["entity:b", "trace:a"], &["3", "4"], false);
    check(&bounds(2, 9, 9), &["actor:c", "entity:b", "trace:a"], &["1", "3", "4"], false);
    let all = ["actor:c", "entity:b", "trace:a", "trace:d"];
    check(&bounds(3, 9, 9), &all, &["1", "2", "3", "4"], false);
    check(&bounds(10, 4, 4), &all, &["1", "2", "3", "4"], false);
}

#[test]
fn a_bound_that_is_reached_truncates_only_when_there_is_more() {
    check(&bounds(1, 2, 2), &["entity:b", "trace:a"], &["3", "4"], false);
    check(&bounds(1, 9, 1), &["entity:b", "trace:a"], &["3"], true);
    check(&bounds(2, 9, 2), &["entity:b", "trace:a"], &["3", "4"], true);
    // The edge is taken, its end finds no room.
    check(&bounds(1, 1, 9), &["trace:a"], &["3"], true);
    check(&bounds(3, 3, 9), &["actor:c", "entity:b", "trace:a"], &["1", "2", "3", "4"], true);
}

#[test]
fn types_bound_what_is_taken_and_where_it_goes_on() {
    let types = |list: &[&str]| list.iter().map(|name| (*name).to_owned()).collect();
    let only = |node_types: &[&str], edge_types: &[&str]| Bounds {
        node_types: types(node_types),
        edge_types: types(edge_types),
        ..bounds(10, 9, 9)
    };
    check(&only(&[], &["x"]), &["entity:b", "trace:a"], &["3"], false);
    check(&only(&[], &["other"]), &["trace:a"], &[], false);
    // The edge to a node of another kind is taken, the node is not, nor what lies behind it.
    check(&only(&["trace"], &[]), &["trace:a"], &["3", "4"], false);
    // The centre is there whatever its kind.
    check(&only(&["entity"], &[]), &["entity:b", "trace:a"], &["1", "3", "4"], false);
}

#[test]
fn a_bound_without_end_is_a_bound() {
    let all = ["actor:c", "entity:b", "trace:a", "trace:d"];
    check(&bounds(u32::MAX, usize::MAX, usize::MAX), &all, &["1", "2", "3", "4"], false);
}

fn graphs() -> impl Strategy<Value = Vec<EdgeRow>> {
    const NODES: [&str; 7] =
        ["trace:a", "trace:b", "entity:a:1", "entity:b", "actor:a", "actor:b", "policy:p:1"];
    let node = || prop::sample::select(NODES.to_vec());
    let ends = (prop::sample::select(vec!["x", "y", "z"]), node(), node());
    prop::collection::btree_map(0..99u8, ends, 0..16).prop_map(|edges| {
        let row = |(id, (kind, from, to)): (u8, (&str, &str, &str))| {
            edge(&id.to_string(), kind, from, to)
        };
        edges.into_iter().map(row).collect()
    })
}

fn any_bounds() -> impl Strategy<Value = Bounds> {
    let some_of = |names: &[&str]| {
        let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
        let all = names.len();
        prop_oneof![Just(Vec::new()), prop::sample::subsequence(names, 1..=all)]
    };
    let types = (some_of(&["trace", "entity", "actor"]), some_of(&["x", "y"]));
    (0..5u32, 1..8usize, 1..14usize, types).prop_map(|(depth, nodes, edges, types)| Bounds {
        node_types: types.0.into_iter().collect(),
        edge_types: types.1.into_iter().collect(),
        ..bounds(depth, nodes, edges)
    })
}

proptest! {
    #![proptest_config(common::cases(2000))]

    #[test]
    fn a_walk_follows_the_rule_fed_everything_or_on_its_budget(
        graph in graphs(),
        bounds in any_bounds(),
    ) {
        let expected = naive(&graph, "trace:a", &bounds);
        prop_assert_eq!(&walk(&graph, "trace:a", &bounds), &expected);
        prop_assert_eq!(&walk_on_a_budget(&graph, "trace:a", &bounds), &expected);
        prop_assert!(expected.nodes.len() <= bounds.max_nodes);
        prop_assert!(expected.edges.len() <= bounds.max_edges);
    }
}
