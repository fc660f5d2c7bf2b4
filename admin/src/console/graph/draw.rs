//! The drawing of a graph that has been laid out.

use std::collections::BTreeMap;

use super::super::html::{Html, el};
use super::super::route::Page;
use super::super::view::Graph;
use super::{Connection, Layout, Place};

/// A node's box, and the room around it.
const BOX: (f64, f64) = (216.0, 40.0);
const GAP: (f64, f64) = (104.0, 14.0);
const MARGIN: f64 = 12.0;
/// Characters of an identifier that fit into a box; the list has all of them.
const FITTING: usize = 27;
/// Edges into one box that can be labelled.
const LABELLED: usize = 3;

/// Kinds that have a colour of their own.
const KINDS: [(&str, &str); 7] = [
    ("trace", "node trace"),
    ("entity", "node entity"),
    ("actor", "node actor"),
    ("input", "node input"),
    ("policy", "node policy"),
    ("exception", "node exception"),
    ("action", "node action"),
];

/// What an edge says of its second end, which names its own kind.
pub(in crate::console) fn word(edge_type: &str) -> String {
    match edge_type {
        "trace_involves_entity" => "involves",
        "trace_observed_input" => "observed",
        "trace_evaluated_policy" => "evaluated",
        "trace_requested_exception" => "requested",
        "exception_approved_by" => "approved by",
        "trace_cited_precedent" => "cites",
        "trace_proposed_action" => "proposed",
        "trace_committed_action" => "committed",
        "action_targets_entity" => "targets",
        other => return other.replace('_', " "),
    }
    .to_owned()
}

/// Draws a graph.
pub(in crate::console) fn draw(
    graph: &Graph,
    layout: &Layout,
    (tenant, center): (&str, &str),
) -> Html {
    let spots = spots(layout);
    let tallest = layout.layers.iter().map(Vec::len).max().unwrap_or(0);
    let (wide, high) = (layout.layers.len() as f64, tallest as f64);
    let width = wide * BOX.0 + (wide - 1.0).max(0.0) * GAP.0 + 2.0 * MARGIN;
    let height = high * (BOX.1 + GAP.1) + 2.0 * MARGIN;
    let label = format!(
        "Context graph: {} nodes, {} edges; the list below has all of them",
        graph.nodes.len(),
        graph.edges.len()
    );
    let arrow = el("marker")
        .attr("id", "arrow")
        .attr("viewBox", "0 0 8 8")
        .attr("refX", "7")
        .attr("refY", "4")
        .attr("markerWidth", "7")
        .attr("markerHeight", "7")
        .attr("orient", "auto-start-reverse")
        .child(el("path").attr("d", "M0 0L8 4L0 8Z"));
    let edges = layout.connections.iter().enumerate();
    let (lines, labels): (Vec<Html>, Vec<Html>) =
        edges.map(|(at, one)| edge((at, one), layout, &spots)).unzip();
    let nodes = graph.nodes.iter().enumerate().map(|(at, node)| {
        let spot = spots.get(&Place::Node(at)).copied().unwrap_or_default();
        let drawn = node_box(&node.node_id, &node.node_type, node.node_id == center, spot);
        match node.node_id.strip_prefix("trace:").filter(|_| node.node_id != center) {
            Some(trace) => el("a").to(&Page::trace(tenant, trace).link()).child(drawn).into(),
            None => drawn,
        }
    });
    el("svg")
        .class("graph")
        .attr("width", width.to_string())
        .attr("height", height.to_string())
        .attr("viewBox", format!("0 0 {width} {height}"))
        .attr("role", "group")
        .attr("aria-label", label)
        .child(el("defs").child(arrow))
        .children(lines)
        .children(labels)
        .children(nodes)
        .into()
}

/// The upper left corner of each place. Layers stand in the middle of the drawing.
fn spots(layout: &Layout) -> BTreeMap<Place, (f64, f64)> {
    let tallest = layout.layers.iter().map(Vec::len).max().unwrap_or(0);
    let step = BOX.1 + GAP.1;
    let mut spots = BTreeMap::new();
    for (column, layer) in layout.layers.iter().enumerate() {
        let x = MARGIN + column as f64 * (BOX.0 + GAP.0);
        let top = MARGIN + (tallest - layer.len()) as f64 * step / 2.0 + GAP.1 / 2.0;
        for (row, place) in layer.iter().enumerate() {
            spots.insert(*place, (x, top + row as f64 * step));
        }
    }
    spots
}

/// Where on the side of a box the edge goes in: those of one box each have their own door, from top
/// to bottom as they come.
fn door(at: usize, layout: &Layout, spots: &BTreeMap<Place, (f64, f64)>) -> (f64, usize) {
    let to = layout.connections[at].to;
    let height = |other: &usize| {
        spots.get(&Place::Node(layout.connections[*other].from)).map_or(0.0, |spot| spot.1)
    };
    let mut all: Vec<usize> =
        (0..layout.connections.len()).filter(|other| layout.connections[*other].to == to).collect();
    all.sort_by(|a, b| height(a).total_cmp(&height(b)));
    let place = all.iter().position(|other| *other == at).unwrap_or(0);
    (BOX.1 * (place as f64 + 1.0) / (all.len() as f64 + 1.0), all.len())
}

/// The line of an edge and what it says, which stands above all lines.
fn edge(
    (at, one): (usize, &Connection),
    layout: &Layout,
    spots: &BTreeMap<Place, (f64, f64)>,
) -> (Html, Html) {
    let spot = |place| spots.get(&place).copied().unwrap_or_default();
    let (from, to) = (spot(Place::Node(one.from)), spot(Place::Node(one.to)));
    let (door, doors) = door(at, layout, spots);
    let is_back = to.0 < from.0;
    // From the right side of a box to the left one of the next; between boxes of one layer, around.
    let start = (from.0 + if is_back { 0.0 } else { BOX.0 }, from.1 + BOX.1 / 2.0);
    let is_beside = to.0 == from.0;
    let end = (to.0 + if is_back || is_beside { BOX.0 } else { 0.0 }, to.1 + door);
    let mut passed: Vec<(f64, f64)> = spots
        .iter()
        .filter(|(place, _)| matches!(place, Place::Passing(connection, _) if *connection == at))
        .map(|(_, spot)| *spot)
        .collect();
    passed.sort_by(|a, b| a.0.total_cmp(&b.0));
    if is_back {
        passed.reverse();
    }
    let mut path = format!("M{:.1} {:.1}", start.0, start.1);
    let mut last = start;
    for (x, y) in passed {
        let y = y + BOX.1 / 2.0;
        let (near, far) = if is_back { (x + BOX.0, x) } else { (x, x + BOX.0) };
        path += &curve(last, (near, y), is_beside);
        path += &format!("L{far:.1} {y:.1}");
        last = (far, y);
    }
    path += &curve(last, end, is_beside);
    let line = el("path").class("edge").attr("d", path).attr("marker-end", "url(#arrow)");
    let words: Vec<String> = one.types.iter().map(|kind| word(kind)).collect();
    let text = el("text")
        .class("edge-label")
        .attr("x", format!("{:.1}", end.0 + if is_back || is_beside { 10.0 } else { -10.0 }))
        .attr("y", format!("{:.1}", end.1 - 3.0))
        .attr("text-anchor", if is_back || is_beside { "start" } else { "end" })
        .text(words.join(", "));
    let label = if doors <= LABELLED { text.into() } else { Html::default() };
    (line.into(), label)
}

fn curve(from: (f64, f64), to: (f64, f64), is_beside: bool) -> String {
    let bend = if is_beside { GAP.0 * 0.7 } else { (to.0 - from.0) / 2.0 };
    let second = if is_beside { to.0 + bend } else { to.0 - bend };
    format!("C{:.1} {:.1} {second:.1} {:.1} {:.1} {:.1}", from.0 + bend, from.1, to.1, to.0, to.1)
}

fn node_box(id: &str, kind: &str, is_center: bool, (x, y): (f64, f64)) -> Html {
    let known = KINDS.iter().find(|(name, _)| *name == kind);
    let class = match (is_center, known) {
        (true, _) => "node center",
        (false, Some((_, class))) => class,
        (false, None) => "node",
    };
    let shape = el("rect")
        .attr("x", x.to_string())
        .attr("y", y.to_string())
        .attr("width", BOX.0.to_string())
        .attr("height", BOX.1.to_string())
        .attr("rx", "8");
    let text = |class, dy: f64, text: &str| {
        el("text")
            .class(class)
            .attr("x", (x + 12.0).to_string())
            .attr("y", (y + dy).to_string())
            .text(text)
    };
    let name = id.strip_prefix(kind).and_then(|rest| rest.strip_prefix(':')).unwrap_or(id);
    el("g")
        .class(class)
        .child(shape)
        .child(text("kind", 15.0, kind))
        .child(text("name", 31.0, &fitting(name)))
        .into()
}

/// As much of a name as fits: its end tells it from others as a rule.
fn fitting(name: &str) -> String {
    let count = name.chars().count();
    if count <= FITTING {
        return name.to_owned();
    }
    let head: String = name.chars().take(FITTING / 2).collect();
    let tail: String = name.chars().skip(count - (FITTING - FITTING / 2 - 1)).collect();
    format!("{head}…{tail}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_long_name_keeps_its_head_and_its_tail() {
        assert_eq!(fitting("short"), "short");
        let long = format!("{}{}", "a".repeat(40), "z".repeat(40));
        let cut = fitting(&long);
        assert_eq!(cut.chars().count(), FITTING);
        assert!(cut.starts_with("aaa") && cut.ends_with("zzz") && cut.contains('…'), "{cut}");
    }
}
