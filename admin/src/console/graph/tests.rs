//! The layout, held against graphs made by hand and at random.

use dg_projections::rows::{EdgeRow, NodeRow};
use proptest::prelude::*;

use super::*;

fn node(id: &str) -> NodeRow {
    NodeRow {
        node_id: id.to_owned(),
        node_type: id.split(':').next().unwrap_or_default().to_owned(),
        trace_id: "t".to_owned(),
        log_seq: 1,
        created_at: String::new(),
        attrs: "{}".to_owned(),
    }
}

fn edge((from, kind, to): (&str, &str, &str)) -> EdgeRow {
    EdgeRow {
        edge_id: format!("{kind}:{from}:{to}"),
        edge_type: kind.to_owned(),
        from_node_id: from.to_owned(),
        to_node_id: to.to_owned(),
        trace_id: "t".to_owned(),
        log_seq: 1,
        created_at: String::new(),
        attrs: "{}".to_owned(),
    }
}

fn graph(nodes: &[&str], edges: &[(&str, &str, &str)]) -> Graph {
    Graph {
        nodes: nodes.iter().map(|id| node(id)).collect(),
        edges: edges.iter().copied().map(edge).collect(),
        truncated: false,
    }
}

/// The names in each layer, from left to right and top to bottom.
fn shown(graph: &Graph) -> Vec<String> {
    let layout = layout(graph, "trace:t");
    let name = |place: &Place| match place {
        Place::Node(at) => graph.nodes[*at].node_id.clone(),
        Place::Passing(..) => "~".to_owned(),
    };
    layout.layers.iter().map(|layer| layer.iter().map(name).collect::<Vec<_>>().join(" ")).collect()
}

#[test]
fn a_trace_stands_between_who_cites_it_and_what_it_did() {
    let nodes = ["trace:t", "trace:later", "trace:before", "policy:p:1", "action:a", "entity:e:1"];
    let edges = [
        ("trace:t", "trace_involves_entity", "entity:e:1"),
        ("trace:later", "trace_cited_precedent", "trace:t"),
        ("trace:t", "trace_cited_precedent", "trace:before"),
        ("trace:t", "trace_evaluated_policy", "policy:p:1"),
        ("trace:t", "trace_proposed_action", "action:a"),
        ("trace:t", "trace_committed_action", "action:a"),
        ("action:a", "action_targets_entity", "entity:e:1"),
    ];
    let graph = graph(&nodes, &edges);
    assert_eq!(
        shown(&graph),
        ["trace:later", "trace:t", "trace:before policy:p:1 action:a ~", "entity:e:1"]
    );
    let both = layout(&graph, "trace:t").connections;
    let both = both.iter().find(|one| one.types.len() == 2).unwrap();
    assert_eq!(both.types, ["trace_proposed_action", "trace_committed_action"]);
}

#[test]
fn neighbours_stand_beside_each_other() {
    let nodes = ["trace:t", "action:1", "action:2", "entity:of:2", "entity:of:1"];
    let edges = [
        ("trace:t", "trace_proposed_action", "action:1"),
        ("trace:t", "trace_proposed_action", "action:2"),
        ("action:1", "action_targets_entity", "entity:of:1"),
        ("action:2", "action_targets_entity", "entity:of:2"),
    ];
    let layers = shown(&graph(&nodes, &edges));
    assert_eq!(layers, ["trace:t", "action:1 action:2", "entity:of:1 entity:of:2"]);
}

#[test]
fn an_empty_graph_and_a_lone_node_are_no_trouble() {
    assert_eq!(shown(&graph(&[], &[])), [""; 0]);
    assert_eq!(shown(&graph(&["trace:t"], &[("trace:t", "x", "trace:t")])), ["trace:t"]);
    let empty = graph(&[], &[]);
    draw(&empty, &layout(&empty, "trace:t"), ("a", "trace:t"));
}

proptest! {
    #[test]
    fn every_node_has_one_place_and_the_same_graph_the_same_layout(
        ends in proptest::collection::vec((0usize..12, 0usize..12), 0..30)
    ) {
        let kinds = ["trace", "entity", "actor", "policy", "action", "other"];
        let name = |at: usize| match at {
            0 => "trace:t".to_owned(),
            at => format!("{}:{at}", kinds[at % kinds.len()]),
        };
        let nodes: Vec<String> = (0..12).map(name).collect();
        let edges: Vec<(&str, &str, &str)> =
            ends.iter().map(|(from, to)| (&*nodes[*from], "x", &*nodes[*to])).collect();
        let nodes: Vec<&str> = nodes.iter().map(String::as_str).collect();
        let graph = graph(&nodes, &edges);
        let found = layout(&graph, "trace:t");
        let mut placed: Vec<usize> = found.layers.iter().flatten().filter_map(|place| match place {
            Place::Node(at) => Some(*at),
            Place::Passing(..) => None,
        }).collect();
        placed.sort_unstable();
        prop_assert_eq!(placed, (0..12).collect::<Vec<_>>());
        prop_assert_eq!(&found, &layout(&graph, "trace:t"));
        let drawn = draw(&graph, &found, ("a", "trace:t"));
        prop_assert!(!drawn.as_str().contains("NaN"));
    }
}
