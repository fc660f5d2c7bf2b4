//! The three projections on small logs written by hand.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod common;

use common::Log;
use dg_projections::event::EventType::{self, *};
use dg_projections::event::LogEvent;
use dg_projections::hash::Hash;
use dg_projections::model::{Model, Tables};
use dg_projections::projection::{Projection, SummaryChange, Traces, project};
use dg_projections::rows::{EdgeRow, NodeRow};
use dg_projections::{Code, Rejection};
use serde_json::{Value, json};

fn tables(log: &Log) -> Tables {
    let mut model = Model::new();
    model.apply_all(&log.events).unwrap();
    model.tables
}

/// Checks every node by key: kind, trace, owning event.
#[track_caller]
fn nodes(tables: &Tables, expected: &[(&str, &str, &str, i64)]) {
    let found: Vec<_> = tables
        .nodes
        .iter()
        .map(|(key, row)| (&**key, &*row.node_type, &*row.trace_id, row.log_seq))
        .collect();
    assert_eq!(found, expected);
}

/// Checks every edge by key.
#[track_caller]
fn edges(tables: &Tables, expected: &[&str]) {
    assert_eq!(tables.edges.keys().collect::<Vec<_>>(), expected);
}

fn exception(id: &str) -> Vec<(&str, Value)> {
    vec![("/exception_id", json!(id))]
}

#[test]
fn each_event_makes_the_nodes_and_edges_of_the_contract() {
    let mut log = Log::default();
    for event_type in EventType::ALL {
        log.add("t", event_type, &[]);
    }
    let tables = tables(&log);
    nodes(
        &tables,
        &[
            ("action:act-1", "action", "t", 8),
            ("actor:agent:bot", "actor", "t", 1),
            ("actor:person:ann", "actor", "t", 6),
            ("entity:order:o-1", "entity", "t", 1),
            ("exception:x-1", "exception", "t", 5),
            ("input:i-1", "input", "t", 2),
            ("policy:refund:v1", "policy", "t", 4),
            ("trace:t", "trace", "t", 1),
            ("trace:t-0", "trace", "t-0", 7),
        ],
    );
    edges(
        &tables,
        &[
            "action_targets_entity:action:act-1:entity:order:o-1:e8",
            "exception_approved_by:exception:x-1:actor:person:ann:e6",
            "trace_cited_precedent:trace:t:trace:t-0:e7",
            "trace_committed_action:trace:t:action:act-1:e9",
            "trace_evaluated_policy:trace:t:policy:refund:v1:e4",
            "trace_involves_entity:trace:t:entity:order:o-1:e1",
            "trace_involves_entity:trace:t:entity:order:o-1:e3",
            "trace_observed_input:trace:t:input:i-1:e2",
            "trace_proposed_action:trace:t:action:act-1:e8",
            "trace_requested_exception:trace:t:exception:x-1:e5",
        ],
    );
    let node = NodeRow {
        node_id: "input:i-1".to_owned(),
        node_type: "input".to_owned(),
        trace_id: "t".to_owned(),
        log_seq: 2,
        created_at: "2026-01-01T00:00:00.002Z".to_owned(),
        attrs: "{}".to_owned(),
    };
    assert_eq!(tables.nodes["input:i-1"], node);
    let edge = EdgeRow {
        edge_id: "trace_observed_input:trace:t:input:i-1:e2".to_owned(),
        edge_type: "trace_observed_input".to_owned(),
        from_node_id: "trace:t".to_owned(),
        to_node_id: "input:i-1".to_owned(),
        trace_id: "t".to_owned(),
        log_seq: 2,
        created_at: "2026-01-01T00:00:00.002Z".to_owned(),
        attrs: "{}".to_owned(),
    };
    assert_eq!(tables.edges[&edge.edge_id], edge);
}

#[test]
fn the_first_event_owns_a_node() {
    let mut log = Log::default();
    log.add("a", TraceStarted, &[]).add("b", TraceStarted, &[]).add("b", EntityObserved, &[]);
    nodes(
        &tables(&log),
        &[
            ("actor:agent:bot", "actor", "a", 1),
            ("entity:order:o-1", "entity", "a", 1),
            ("trace:a", "trace", "a", 1),
            ("trace:b", "trace", "b", 2),
        ],
    );
}

#[test]
fn a_cited_trace_carries_its_own_identifier_and_keeps_its_row_when_it_starts() {
    for cited in ["later", "a:b:c", ":", "trace:x"] {
        let mut log = Log::default();
        log.add("t", TraceStarted, &[])
            .add("t", PrecedentCited, &[("/cited_trace_id", json!(cited))])
            .add(cited, TraceStarted, &[]);
        let row = &tables(&log).nodes[&format!("trace:{cited}")];
        assert_eq!((row.node_type.as_str(), row.trace_id.as_str()), ("trace", cited));
        assert_eq!((row.log_seq, row.created_at.as_str()), (2, "2026-01-01T00:00:00.002Z"));
    }
}

#[test]
fn ends_of_edges_that_nothing_else_made_belong_to_the_event() {
    let mut log = Log::default();
    log.add("t", TraceStarted, &[])
        .add("t", ApprovalRecorded, &[])
        .add("t", ActionCommitted, &[])
        .add("t", ExceptionRequested, &[])
        .add("t", ActionProposed, &[("/target_entity/entity_id", json!("o-2"))]);
    let tables = tables(&log);
    for (key, log_seq) in [
        ("exception:x-1", 2),
        ("actor:person:ann", 2),
        ("action:act-1", 3),
        ("entity:order:o-2", 5),
    ] {
        assert_eq!((tables.nodes[key].log_seq, &*tables.nodes[key].trace_id), (log_seq, "t"));
    }
}

#[test]
fn an_approval_of_anything_but_an_exception_makes_no_edge() {
    for subject_type in ["action", "Exception", "exception ", "exceptions"] {
        let mut log = Log::default();
        let subject = [("/subject/subject_type", json!(subject_type))];
        log.add("t", TraceStarted, &[]).add("t", ApprovalRecorded, &subject);
        let tables = tables(&log);
        assert!(tables.nodes.contains_key("actor:person:ann"));
        assert!(!tables.nodes.contains_key("exception:x-1"));
        edges(&tables, &["trace_involves_entity:trace:t:entity:order:o-1:e1"]);
    }
}

#[test]
fn a_summary_counts_the_start_and_the_end() {
    let mut log = Log::default();
    log.add("t", TraceStarted, &[("/primary_entity/system", json!("erp"))])
        .add("t", InputObserved, &[])
        .add("u", TraceStarted, &[])
        .add("t", TraceFinished, &[("/outcome", json!("abandoned"))]);
    let tables = tables(&log);
    let (done, open) = (&tables.summaries["t"], &tables.summaries["u"]);
    assert_eq!((done.event_count, done.last_log_seq), (2, 4));
    assert_eq!(done.outcome.as_deref(), Some("abandoned"));
    assert_eq!(done.started_at, "2026-01-01T00:00:00.001Z");
    assert_eq!(done.finished_at.as_deref(), Some("2026-01-01T00:00:00.004Z"));
    assert_eq!((&*done.workflow, &*done.title), ("refunds", "Refund"));
    assert_eq!((&*done.primary_entity_type, &*done.primary_entity_id), ("order", "o-1"));
    assert_eq!(done.primary_entity_system.as_deref(), Some("erp"));
    assert_eq!((open.event_count, open.last_log_seq), (1, 3));
    assert_eq!(
        (&open.outcome, &open.finished_at, &open.primary_entity_system),
        (&None, &None, &None)
    );
}

#[test]
fn a_trace_that_finishes_in_a_later_page_gets_its_end_alone() {
    let mut log = Log::default();
    log.add("t", TraceStarted, &[]).add("t", TraceFinished, &[]);
    let (mut traces, mut changes) = (Traces::new(), Vec::new());
    for page in log.events.chunks(1) {
        let projected = project(Projection::TraceSummary, page, &mut traces);
        changes.extend(projected.changes.summaries.into_values());
    }
    assert!(matches!(&changes[0], SummaryChange::Insert(row) if row.event_count == 1));
    assert!(matches!(&changes[1], SummaryChange::Finish(end) if end.last_log_seq == 2));
}

#[test]
fn precedents_appear_when_their_trace_finishes() {
    let mut log = Log::default();
    log.add("t", TraceStarted, &[("/primary_entity/system", json!("erp"))])
        .add("t", PolicyEvaluated, &[])
        .add("u", TraceStarted, &[])
        .add("u", PolicyEvaluated, &[])
        .add("t", ExceptionRequested, &exception("x-9"))
        .add("t", PolicyEvaluated, &[("/policy/policy_version", json!("v2"))]);
    assert!(tables(&log).precedents.is_empty());
    log.add("t", TraceFinished, &[]);
    let tables = tables(&log);
    let found: Vec<_> = tables
        .precedents
        .values()
        .map(|row| {
            assert_eq!((&*row.trace_id, &*row.policy_id), ("t", "refund"));
            assert_eq!((&*row.primary_entity_type, &*row.primary_entity_id), ("order", "o-1"));
            assert_eq!(row.primary_entity_system.as_deref(), Some("erp"));
            (&*row.source_event_id, row.log_seq, &*row.policy_version, row.exception_id.as_deref())
        })
        .collect();
    let expected = [("e2", 2, "v1", None), ("e5", 5, "v1", Some("x-9")), ("e6", 6, "v2", None)];
    assert_eq!(found, expected);
    let evals: Vec<_> = tables.policy_evals.keys().collect();
    assert_eq!(evals, ["t:refund:v1:e2", "t:refund:v2:e6", "u:refund:v1:e4"]);
    let eval = &tables.policy_evals["t:refund:v1:e2"];
    assert_eq!((eval.log_seq, &*eval.created_at), (2, "2026-01-01T00:00:00.002Z"));
}

/// Checks that every projection stops at the third of four events and keeps the two before it.
#[track_caller]
fn poison(damage: fn(&mut LogEvent), code: Code) -> Rejection {
    let mut log = Log::default();
    log.add("t", TraceStarted, &[])
        .add("t", PolicyEvaluated, &[])
        .add("t", InputObserved, &[])
        .add("t", TraceFinished, &[]);
    damage(&mut log.events[2]);
    let mut reasons = Vec::new();
    for projection in Projection::ALL {
        let projected = project(projection, &log.events, &mut Traces::new());
        let prefix = project(projection, &log.events[..2], &mut Traces::new());
        assert_eq!((projected.applied, prefix.applied, prefix.poison), (2, 2, None));
        assert_eq!(projected.changes, prefix.changes);
        let poison = projected.poison.expect("it stops");
        assert_eq!((poison.log_seq, &*poison.event_id), (3, "e3"));
        assert_eq!(poison.trace_id, log.events[2].trace_id);
        assert_eq!(poison.reason.code, code, "{poison}");
        let mut model = Model::new();
        assert_eq!(model.apply(projection, &log.events), Err(poison.clone()));
        reasons.push(poison.reason);
    }
    reasons.dedup();
    assert_eq!(reasons.len(), 1, "{reasons:?}");
    reasons.remove(0)
}

fn rehash(event: &mut LogEvent, payload: &str) {
    event.payload = payload.to_owned();
    event.payload_hash = Hash::of(payload.as_bytes());
}

#[test]
fn an_event_that_cannot_be_applied_stops_each_projection_after_the_ones_before_it() {
    poison(|event| event.payload.push(' '), Code::Conflict);
    poison(|event| event.payload_hash = Hash([0; 32]), Code::Conflict);
    poison(|event| event.trace_seq = 3, Code::EventSequenceInvalid);
    poison(|event| event.trace_seq = 1, Code::EventSequenceInvalid);
    poison(|event| event.trace_seq = -1, Code::EventSequenceInvalid);
    poison(|event| event.trace_id = "unknown".to_owned(), Code::EventSequenceInvalid);
    poison(
        |event| {
            event.trace_id = "unknown".to_owned();
            event.trace_seq = 0; // and yet not a TraceStarted
        },
        Code::EventSequenceInvalid,
    );
    poison(|event| event.event_type = "InputForgotten".to_owned(), Code::SchemaViolation);
    poison(|event| event.event_type = "PolicyEvaluated".to_owned(), Code::SchemaViolation);
    poison(|event| rehash(event, "{"), Code::SchemaViolation);
    poison(|event| rehash(event, "[]"), Code::SchemaViolation);
    let rejection = poison(|event| rehash(event, "{\"input_id\":\"i\"}"), Code::SchemaViolation);
    assert_eq!(common::path_of(&rejection), Some("$.payload.source"));
}

#[test]
fn a_row_under_another_key_gives_no_digest() {
    let mut log = Log::default();
    log.add("t", TraceStarted, &[]).add("t", PolicyEvaluated, &[]).add("t", TraceFinished, &[]);
    let good = tables(&log);
    let digests = good.digests().unwrap();
    let text =
        format!("{}:{}:{}", digests.context_graph, digests.trace_summary, digests.precedent_index);
    assert_eq!(digests.full_projection(), Hash::of(text.as_bytes()));
    let mut wrong = good.clone();
    let row = wrong.nodes.remove("trace:t").unwrap();
    wrong.nodes.insert("0".to_owned(), row);
    assert!(wrong.digests().unwrap_err().to_string().contains("trace:t"));
    wrong = good;
    let row = wrong.nodes["trace:t"].clone();
    wrong.nodes.insert("trace:u".to_owned(), row); // twice the same key
    assert!(wrong.digests().is_err());
}
