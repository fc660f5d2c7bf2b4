//! A trace: its summary, its events one after another, and what it left in the context graph, drawn
//! and as a list.

use dg_projections::rows::SummaryRow;
use dg_store::RecordedEvent;

use super::{Region, region};
use crate::console::graph::{draw, layout, word};
use crate::console::html::{Html, el};
use crate::console::parts::{
    Clock, Column, code, empty, facts, headed, link, nothing, number, or_unseen, prose, state,
    table, tenant,
};
use crate::console::route::Page;
use crate::console::view::{Graph, Trace};
use crate::output::grouped;

/// Characters of a payload that are shown.
const MOST_PAYLOAD: usize = 4_000;

pub(super) fn regions(trace: &Trace, clock: Clock) -> Vec<Region> {
    if !trace.is_later && trace.events.as_ref().is_ok_and(Vec::is_empty) {
        let words = format!("No trace of this name is in the log of tenant {}.", trace.tenant);
        return vec![region("summary", el("p").class("quiet").text(words))];
    }
    let events = or_unseen(&trace.events, |events| timeline(events, trace, clock));
    let graph = or_unseen(&trace.graph, |found| graph(found, trace));
    vec![
        region("summary", or_unseen(&trace.summary, |row| summary(row, trace))),
        region("graph", headed("Context graph", graph)),
        region("events", headed("Events", events)),
    ]
}

fn summary(row: &SummaryRow, trace: &Trace) -> Html {
    let outcome = match &row.outcome {
        Some(outcome) => state(outcome),
        None => state("under way"),
    };
    let entity = format!("{} {}", row.primary_entity_type, row.primary_entity_id);
    let system = row.primary_entity_system.as_ref();
    let entity = system.map_or(entity.clone(), |system| format!("{entity} ({system})"));
    let facts = facts(vec![
        ("outcome", outcome),
        ("tenant", tenant(&trace.tenant)),
        ("workflow", Html::text(&row.workflow)),
        ("about", Html::text(entity)),
        ("started", Html::text(&row.started_at)),
        ("finished", row.finished_at.as_ref().map_or_else(nothing, Html::text)),
    ]);
    Html::from(el("p").class("lead").text(&row.title)).and(facts)
}

fn graph(graph: &Graph, trace: &Trace) -> Html {
    let center = format!("trace:{}", trace.trace);
    let drawing = el("div")
        .class("canvas")
        .attr("tabindex", "0")
        .attr("role", "region")
        .attr("aria-label", "Drawing of the context graph")
        .child(draw(graph, &layout(graph, &center), (&trace.tenant, &center)));
    let columns =
        [Column::Text("From"), Column::Text("Does"), Column::Text("To"), Column::Number("Event")];
    let end = |id: &str| match id.strip_prefix("trace:").filter(|_| id != center) {
        Some(other) => link(&Page::trace(&trace.tenant, other), id),
        None => code(id),
    };
    let rows = graph.edges.iter().map(|edge| {
        vec![
            end(&edge.from_node_id),
            Html::text(word(&edge.edge_type)),
            end(&edge.to_node_id),
            number(edge.log_seq),
        ]
    });
    let list = match graph.edges.is_empty() {
        true => empty("No edges yet."),
        false => table("Edges of the context graph", &columns, rows.collect()),
    };
    let cut = graph.truncated.then(|| {
        let words =
            "It is larger than what is drawn here; `decisiongraph graph trace ID` shows more.";
        el("p").class("notice warn").child(prose(words))
    });
    let summary = format!("{} nodes, {} edges as a list", graph.nodes.len(), graph.edges.len());
    let list = el("details").child(el("summary").text(summary)).child(list);
    Html::from(drawing).and(cut.into_iter().collect::<Html>()).and(list)
}

fn timeline(events: &[RecordedEvent], trace: &Trace, clock: Clock) -> Html {
    let next = events.last().filter(|_| trace.has_more).map(|last| {
        let next = Page::Trace {
            tenant: trace.tenant.clone(),
            trace: trace.trace.clone(),
            after: Some(last.log_seq),
        };
        el("p").class("pages").child(link(&next, "Later events"))
    });
    let hint = (!trace.has_payloads)
        .then(|| empty("Payloads are not shown; `console_payloads = true` shows them."));
    let events = events.iter().map(|one| event(one, trace.has_payloads, clock));
    let list = match events.len() {
        0 => empty("No later events."),
        _ => el("ol").class("timeline").children(events).into(),
    };
    hint.into_iter().collect::<Html>().and(list).and(next.into_iter().collect::<Html>())
}

fn event(event: &RecordedEvent, has_payload: bool, clock: Clock) -> Html {
    let head = el("h3")
        .child(el("span").class("seq").text(event.trace_seq.to_string()))
        .text(&event.event_type);
    let source = match &event.source_subsystem {
        Some(subsystem) => format!("{} / {subsystem}", event.source_system),
        None => event.source_system.clone(),
    };
    let mut said = vec![
        ("occurred", Html::text(&event.occurred_at)),
        ("recorded", clock.ago(event.recorded_at)),
        ("number", number(event.log_seq)),
        ("actor", Html::text(format!("{} {}", event.actor_type, event.actor_id))),
        ("source", Html::text(format!("{source}, by {}", event.producer_id))),
        ("event", code(&event.event_id)),
    ];
    let optional = [
        ("correlation", event.correlation_id.clone()),
        ("caused by", event.causation_event_id.clone()),
        ("tags", (!event.tags.is_empty()).then(|| event.tags.join(", "))),
    ];
    let given = |(name, value): (&'static str, Option<String>)| Some((name, code(&value?)));
    said.extend(optional.into_iter().filter_map(given));
    let payload = has_payload.then(|| payload(&event.payload));
    el("li").child(head).child(facts(said)).child(payload.into_iter().collect::<Html>()).into()
}

/// The payload, as far as it is shown; the whole is for the command line.
fn payload(text: &str) -> Html {
    let shown: String = text.chars().take(MOST_PAYLOAD).collect();
    let cut = (shown.len() < text.len()).then(|| {
        let all = grouped(i64::try_from(text.len()).unwrap_or(i64::MAX));
        el("p").class("quiet").text(format!("Cut: it has {all} bytes."))
    });
    el("details")
        .child(el("summary").text("Payload"))
        .child(el("pre").attr("tabindex", "0").text(shown))
        .child(cut.into_iter().collect::<Html>())
        .into()
}
