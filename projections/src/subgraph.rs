//! The breadth-first walk of a context subgraph, as steps between which edges are fetched.
//!
//! ```text
//! Walk::start(center) -> loop { frontier() -> fetch edges that touch it, by edge_id -> visit(edges) } -> finish()
//! ```

use std::collections::{BTreeMap, BTreeSet};

use crate::rows::EdgeRow;

/// The bounds of a walk.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Bounds {
    /// How many edges away from the centre: 0..=10.
    pub max_depth: u32,
    /// How many nodes at most, the centre included: 1 or more.
    pub max_nodes: usize,
    /// How many edges at most: 1 or more.
    pub max_edges: usize,
    /// Kinds of nodes to take; empty means all.
    pub node_types: BTreeSet<String>,
    /// Types of edges to visit; empty means all.
    pub edge_types: BTreeSet<String>,
}

/// A walk between two steps.
#[derive(Debug, Clone)]
pub struct Walk {
    bounds: Bounds,
    depth: u32,
    frontier: BTreeSet<String>,
    nodes: BTreeSet<String>,
    edges: BTreeMap<String, EdgeRow>,
    truncated: bool,
}

/// What a walk found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Found {
    /// Node keys, sorted.
    pub nodes: BTreeSet<String>,
    /// Edges by key.
    pub edges: BTreeMap<String, EdgeRow>,
    /// Whether a bound on nodes or edges cut it short.
    pub truncated: bool,
}

impl Walk {
    /// At the centre, whatever its kind.
    pub fn start(center: &str, bounds: Bounds) -> Walk {
        let only = BTreeSet::from([center.to_owned()]);
        Walk {
            bounds,
            depth: 0,
            frontier: only.clone(),
            nodes: only,
            edges: BTreeMap::new(),
            truncated: false,
        }
    }

    /// The nodes whose edges come next; `None` when the walk is over.
    pub fn frontier(&self) -> Option<&BTreeSet<String>> {
        let over =
            self.truncated || self.depth >= self.bounds.max_depth || self.frontier.is_empty();
        (!over).then_some(&self.frontier)
    }

    /// How many edges of the allowed types a step can look at before it is certain to be truncated.
    pub fn edge_budget(&self) -> usize {
        // Those taken at earlier depths may come up again, but with those taken now they are no
        // more than `max_edges`.
        self.bounds.max_edges.saturating_add(1)
    }

    /// Visits the edges that touch the frontier, in `edge_id` order, of the allowed types.
    pub fn visit(&mut self, edges: impl IntoIterator<Item = EdgeRow>) {
        let mut next = BTreeSet::new();
        for edge in edges {
            if self.edges.contains_key(&edge.edge_id) || !self.allows_edge(&edge) {
                continue;
            }
            if self.edges.len() >= self.bounds.max_edges {
                self.truncated = true;
                break;
            }
            let ends = [edge.from_node_id.clone(), edge.to_node_id.clone()];
            self.edges.insert(edge.edge_id.clone(), edge);
            if !ends.into_iter().all(|end| self.take_node(end, &mut next)) {
                self.truncated = true;
                break;
            }
        }
        self.frontier = next;
        self.depth += 1;
    }

    /// The result so far.
    pub fn finish(self) -> Found {
        Found { nodes: self.nodes, edges: self.edges, truncated: self.truncated }
    }

    /// False when there was no room for it.
    fn take_node(&mut self, node: String, next: &mut BTreeSet<String>) -> bool {
        let kind = node.split(':').next().unwrap_or_default();
        let allowed = self.bounds.node_types.is_empty() || self.bounds.node_types.contains(kind);
        if self.nodes.contains(&node) || !allowed {
            return true;
        }
        if self.nodes.len() >= self.bounds.max_nodes {
            return false;
        }
        self.nodes.insert(node.clone());
        next.insert(node);
        true
    }

    fn allows_edge(&self, edge: &EdgeRow) -> bool {
        self.bounds.edge_types.is_empty() || self.bounds.edge_types.contains(&edge.edge_type)
    }
}
