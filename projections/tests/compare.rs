//! Stored rows against the model's: each kind of difference in each table.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod common;

use std::collections::BTreeMap;

use common::Log;
use dg_projections::compare::{Comparison, Difference};
use dg_projections::event::EventType::*;
use dg_projections::json::{Json, canonical};
use dg_projections::model::{Model, Tables};
use dg_projections::rows::{EdgeRow, NodeRow, PolicyEvalRow, PrecedentRow, Row, SummaryRow};
use serde_json::json;

/// Three rows or more in each table.
fn tables() -> Tables {
    let mut log = Log::default();
    for trace in ["a", "b", "c"] {
        let started = [("/primary_entity/system", json!("erp"))];
        log.add(trace, TraceStarted, &started)
            .add(trace, PolicyEvaluated, &[])
            .add(trace, ExceptionRequested, &[])
            .add(trace, TraceFinished, &[]);
    }
    let mut model = Model::new();
    model.apply_all(&log.events).unwrap();
    model.tables
}

fn compare<R: Row>(model: &BTreeMap<String, R>, stored: &[R]) -> Result<u64, Box<Difference>> {
    let mut comparison = Comparison::new(model);
    for (at, row) in stored.iter().enumerate() {
        assert_eq!(comparison.compared(), at as u64);
        comparison.row(row)?;
    }
    comparison.finish()
}

/// How to change one field of a row.
type Change<R> = (&'static str, fn(&mut R));

/// Checks a table: equal, a row missing, a row too many, each field changed.
#[track_caller]
fn check<R: Row + Clone>(name: &str, model: &BTreeMap<String, R>, changes: &[Change<R>]) {
    assert_eq!(R::TABLE, name);
    let rows: Vec<R> = model.values().cloned().collect();
    assert!(rows.len() >= 3, "{name} has {} rows", rows.len());
    assert_eq!(compare(model, &rows), Ok(rows.len() as u64));
    for at in 0..rows.len() {
        missing_and_unexpected(name, model, &rows, at);
        changed(model, &rows, at, changes);
    }
    let fields: Vec<&str> = rows[0].fields().into_iter().map(|(field, _)| field).collect();
    let tried: Vec<&str> = changes.iter().map(|(field, _)| *field).collect();
    assert_eq!(tried, fields, "{name}: each field has its change");
}

fn missing_and_unexpected<R: Row + Clone>(
    name: &str,
    model: &BTreeMap<String, R>,
    rows: &[R],
    at: usize,
) {
    let row = &rows[at];
    let whole = Difference {
        table: name.to_owned(),
        key: row.key().to_owned(),
        field: None,
        expected: Some("a row".to_owned()),
        found: None,
        log_seq: Some(row.log_seq()),
        event_id: None,
    };
    let mut fewer = rows.to_vec();
    fewer.remove(at);
    let difference = compare(model, &fewer).unwrap_err();
    assert_eq!(*difference, whole);
    let text = format!("{name} '{}': expected 'a row', found nothing", row.key());
    assert_eq!(difference.to_string(), format!("{text} (log_seq {})", row.log_seq()));

    let mut smaller = model.clone();
    smaller.remove(row.key());
    let difference = compare(&smaller, rows).unwrap_err();
    let found = Some("a row".to_owned());
    assert_eq!(*difference, Difference { expected: None, found, ..whole });
    let text = format!("{name} '{}': expected nothing, found 'a row'", row.key());
    assert_eq!(difference.to_string(), format!("{text} (log_seq {})", row.log_seq()));
}

fn changed<R: Row + Clone>(
    model: &BTreeMap<String, R>,
    rows: &[R],
    at: usize,
    changes: &[Change<R>],
) {
    for (field, change) in changes {
        let mut stored = rows.to_vec();
        change(&mut stored[at]);
        let difference = *compare(model, &stored).unwrap_err();
        let value = |row: &R| {
            let named = row.fields().into_iter().find(|(name, _)| name == field);
            named.and_then(|(_, value)| Some(value?.into_owned()))
        };
        assert_eq!(
            (difference.table.as_str(), difference.key.as_str()),
            (R::TABLE, rows[at].key())
        );
        assert_eq!(difference.field.as_deref(), Some(*field));
        assert_eq!(
            (&difference.expected, &difference.found),
            (&value(&rows[at]), &value(&stored[at]))
        );
        assert_ne!(difference.expected, difference.found);
        assert_eq!(difference.log_seq, Some(rows[at].log_seq()));
        assert!(difference.to_string().contains(&format!(" field {field}: expected ")));
    }
}

#[test]
fn nodes_are_compared_field_by_field() {
    let changes: [Change<NodeRow>; 5] = [
        ("node_type", |row| row.node_type.push('x')),
        ("trace_id", |row| row.trace_id.push('x')),
        ("log_seq", |row| row.log_seq += 1),
        ("created_at", |row| row.created_at.push('x')),
        ("attrs", |row| row.attrs = "{\"a\":1}".to_owned()),
    ];
    check("dg_cg_nodes", &tables().nodes, &changes);
}

#[test]
fn edges_are_compared_field_by_field() {
    let changes: [Change<EdgeRow>; 7] = [
        ("edge_type", |row| row.edge_type.push('x')),
        ("from_node_id", |row| row.from_node_id.push('x')),
        ("to_node_id", |row| row.to_node_id.push('x')),
        ("trace_id", |row| row.trace_id.push('x')),
        ("log_seq", |row| row.log_seq += 1),
        ("created_at", |row| row.created_at.push('x')),
        ("attrs", |row| row.attrs = "{ }".to_owned()),
    ];
    check("dg_cg_edges", &tables().edges, &changes);
}

#[test]
fn summaries_are_compared_field_by_field() {
    let changes: [Change<SummaryRow>; 10] = [
        ("workflow", |row| row.workflow.push('x')),
        ("title", |row| row.title.push('x')),
        ("primary_entity_type", |row| row.primary_entity_type.push('x')),
        ("primary_entity_system", |row| row.primary_entity_system = None),
        ("primary_entity_id", |row| row.primary_entity_id.push('x')),
        ("outcome", |row| row.outcome = None),
        ("started_at", |row| row.started_at.push('x')),
        ("finished_at", |row| row.finished_at = None),
        ("event_count", |row| row.event_count = 1),
        ("last_log_seq", |row| row.last_log_seq += 1),
    ];
    check("dg_trace_summary", &tables().summaries, &changes);
}

#[test]
fn policy_evaluations_are_compared_field_by_field() {
    let changes: [Change<PolicyEvalRow>; 5] = [
        ("trace_id", |row| row.trace_id.push('x')),
        ("policy_id", |row| row.policy_id.push('x')),
        ("policy_version", |row| row.policy_version.push('x')),
        ("log_seq", |row| row.log_seq += 1),
        ("created_at", |row| row.created_at.push('x')),
    ];
    check("dg_policy_eval_index", &tables().policy_evals, &changes);
}

#[test]
fn precedents_are_compared_field_by_field() {
    let changes: [Change<PrecedentRow>; 8] = [
        ("log_seq", |row| row.log_seq += 1),
        ("trace_id", |row| row.trace_id.push('x')),
        ("policy_id", |row| row.policy_id.push('x')),
        ("policy_version", |row| row.policy_version.push('x')),
        ("exception_id", |row| {
            row.exception_id = row.exception_id.take().xor(Some("x".to_owned()));
        }),
        ("primary_entity_type", |row| row.primary_entity_type.push('x')),
        ("primary_entity_system", |row| row.primary_entity_system = Some(String::new())),
        ("primary_entity_id", |row| row.primary_entity_id.push('x')),
    ];
    check("dg_precedent_index", &tables().precedents, &changes);
}

#[test]
fn the_first_difference_by_key_is_the_one_that_is_named() {
    let nodes = tables().nodes;
    let mut stored: Vec<NodeRow> = nodes.values().cloned().collect();
    stored[1].attrs = "[]".to_owned();
    stored.truncate(2);
    assert_eq!(compare(&nodes, &stored).unwrap_err().field.as_deref(), Some("attrs"));
    stored.remove(0);
    let difference = compare(&nodes, &stored).unwrap_err();
    assert_eq!((difference.key.as_str(), difference.field), ("actor:agent:bot", None));
    let none = compare(&nodes, &[]).unwrap_err();
    assert_eq!(none.key, "actor:agent:bot");
    assert_eq!(compare::<NodeRow>(&BTreeMap::new(), &[]), Ok(0));
}

#[test]
fn a_difference_names_the_event_as_text_and_as_json() {
    let mut difference = Difference {
        table: "dg_trace_summary".to_owned(),
        key: "t-1".to_owned(),
        field: Some("outcome".to_owned()),
        expected: Some("success".to_owned()),
        found: None,
        log_seq: Some(7),
        event_id: Some("e7".to_owned()),
    };
    let text = "dg_trace_summary 't-1' field outcome: expected 'success', found nothing";
    assert_eq!(difference.to_string(), format!("{text} (event e7, log_seq 7)"));
    assert_eq!(
        canonical(&difference.to_json()),
        concat!(
            r#"{"event_id":"e7","expected":"success","field":"outcome","found":null,"#,
            r#""key":"t-1","log_seq":7,"table":"dg_trace_summary"}"#
        )
    );
    difference.event_id = None;
    assert_eq!(difference.to_string(), format!("{text} (log_seq 7)"));
    difference.log_seq = None;
    assert_eq!(difference.to_string(), text);
    assert_eq!(difference.to_json().get("log_seq"), Some(&Json::Null));
}
