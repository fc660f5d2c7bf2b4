//! Where the nodes of a trace's graph stand: layers from left to right, the same for the same graph.
//!
//! ```text
//! who cites it | the trace | what it did: inputs, policies, exceptions, actions | whom that concerns
//! ```
//! Within a layer nodes are ordered so that few edges cross: each comes to where its neighbours are,
//! some times over, ties by the order of the log. An edge that passes a layer has a place in it, so
//! that it runs between nodes and not across them.

mod draw;

use std::collections::BTreeMap;

pub(super) use draw::{draw, word};

use super::view::Graph;

/// How often each layer is put in order.
const SWEEPS: usize = 4;
const LAYERS: usize = 4;

/// A place in a layer: of a node, or of an edge that passes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Place {
    /// By its position among the nodes.
    Node(usize),
    /// By its position among the connections, and the layer.
    Passing(usize, usize),
}

/// All edges from one node to another.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Connection {
    pub(super) from: usize,
    pub(super) to: usize,
    /// Types of edges, in the order of the log.
    pub(super) types: Vec<String>,
}

/// What stands where.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Layout {
    /// From left to right; each from top to bottom.
    pub(super) layers: Vec<Vec<Place>>,
    pub(super) connections: Vec<Connection>,
}

/// Places the nodes of a graph around its centre.
pub(super) fn layout(graph: &Graph, center: &str) -> Layout {
    let connections = connections(graph);
    let layer = layers(graph, &connections, center);
    let mut places: Vec<Vec<Place>> = vec![Vec::new(); LAYERS];
    for (at, layer) in layer.iter().enumerate() {
        places[*layer].push(Place::Node(at));
    }
    for (at, connection) in connections.iter().enumerate() {
        for passed in between(layer[connection.from], layer[connection.to]) {
            places[passed].push(Place::Passing(at, passed));
        }
    }
    let neighbours = neighbours(&connections, &layer);
    for sweep in 0..SWEEPS {
        // There and back again.
        for step in 1..LAYERS {
            let (at, beside) = match sweep % 2 {
                0 => (step, step - 1),
                _ => (LAYERS - 1 - step, LAYERS - step),
            };
            let order = positions(&places[beside]);
            order_by(&mut places[at], &neighbours, &order);
        }
    }
    places.retain(|layer| !layer.is_empty());
    Layout { layers: places, connections }
}

/// Layers strictly between two.
fn between(a: usize, b: usize) -> std::ops::Range<usize> {
    a.min(b) + 1..a.max(b).max(a.min(b) + 1)
}

fn connections(graph: &Graph) -> Vec<Connection> {
    let place: BTreeMap<&str, usize> =
        graph.nodes.iter().enumerate().map(|(at, node)| (node.node_id.as_str(), at)).collect();
    let mut found: Vec<Connection> = Vec::new();
    for edge in &graph.edges {
        let ends = (place.get(&*edge.from_node_id), place.get(&*edge.to_node_id));
        let (Some(&from), Some(&to)) = ends else { continue };
        match found.iter_mut().find(|one| (one.from, one.to) == (from, to)) {
            Some(one) if one.types.contains(&edge.edge_type) => {}
            Some(one) => one.types.push(edge.edge_type.clone()),
            None => found.push(Connection { from, to, types: vec![edge.edge_type.clone()] }),
        }
    }
    found
}

/// The layer of each node.
fn layers(graph: &Graph, connections: &[Connection], center: &str) -> Vec<usize> {
    let is_center = |at: usize| graph.nodes[at].node_id == center;
    let goes = |from: &dyn Fn(usize) -> bool, to: &dyn Fn(usize) -> bool| {
        connections.iter().any(|one| from(one.from) && to(one.to))
    };
    let layer = |at: usize| match graph.nodes[at].node_type.as_str() {
        _ if is_center(at) => 1,
        "trace" if !goes(&is_center, &|to| to == at) && goes(&|from| from == at, &is_center) => 0,
        // Whom only the trace itself names stands beside what it did.
        "entity" | "actor" if goes(&|from| !is_center(from), &|to| to == at) => 3,
        _ => 2,
    };
    (0..graph.nodes.len()).map(layer).collect()
}

/// What stands beside a place, in the layers next to it.
fn neighbours(connections: &[Connection], layer: &[usize]) -> BTreeMap<Place, Vec<Place>> {
    let mut found: BTreeMap<Place, Vec<Place>> = BTreeMap::new();
    for (at, one) in connections.iter().enumerate() {
        let (mut left, mut right) = (one.from, one.to);
        if layer[left] > layer[right] {
            std::mem::swap(&mut left, &mut right);
        }
        let passing = between(layer[left], layer[right]).map(|passed| Place::Passing(at, passed));
        let ends = [Place::Node(left)].into_iter().chain(passing).chain([Place::Node(right)]);
        let way: Vec<Place> = ends.collect();
        for pair in way.windows(2) {
            found.entry(pair[0]).or_default().push(pair[1]);
            found.entry(pair[1]).or_default().push(pair[0]);
        }
    }
    found
}

/// How far down each place of a layer is, from its middle.
fn positions(layer: &[Place]) -> BTreeMap<Place, f64> {
    let middle = (layer.len() as f64 - 1.0) / 2.0;
    layer.iter().enumerate().map(|(at, place)| (*place, at as f64 - middle)).collect()
}

/// Puts each place where its neighbours in the ordered layer are on the average. Those without any
/// stay where they were.
fn order_by(
    layer: &mut Vec<Place>,
    neighbours: &BTreeMap<Place, Vec<Place>>,
    order: &BTreeMap<Place, f64>,
) {
    let own = positions(layer);
    let wish = |place: &Place| {
        let beside = neighbours.get(place).into_iter().flatten();
        let found: Vec<f64> = beside.filter_map(|one| order.get(one).copied()).collect();
        match found.len() {
            0 => own[place],
            count => found.iter().sum::<f64>() / count as f64,
        }
    };
    let mut wished: Vec<(f64, Place)> = layer.iter().map(|place| (wish(place), *place)).collect();
    // Stable: ties stay in the order they had.
    wished.sort_by(|a, b| a.0.total_cmp(&b.0));
    *layer = wished.into_iter().map(|(_, place)| place).collect();
}

#[cfg(test)]
mod tests;
