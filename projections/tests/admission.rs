//! The four rules of append: their order, what each names, and which numbers events get.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod common;

use common::tenant::{Entry, event, started, view};
use dg_projections::admission::{Admission, LogView};
use dg_projections::event::{Event, EventType};
use dg_projections::json::Json;
use dg_projections::{Code, Rejection};
use serde_json::json;

/// A tenant with an open trace `a` (events 1 and 2) and a finished one `z` (3 and 4).
fn log() -> Vec<Entry> {
    let events = [
        started("a"),
        event("a", 1, EventType::InputObserved, &[]),
        started("z"),
        event("z", 1, EventType::TraceFinished, &[]),
    ];
    events.into_iter().zip(1..).map(|(event, log_seq)| (event, log_seq, false)).collect()
}

/// Checks a refusal's code and one of its details, and that the view stays as it was.
#[track_caller]
fn refused<D: Into<Json>>(
    view: &mut LogView,
    event: &Event,
    keep: Option<i64>,
    code: Code,
    (detail, value): (&str, D),
) {
    let before = format!("{:?}", sorted(view));
    let rejection = view.admit(event, keep).expect_err("it was admitted");
    assert_eq!(rejection.code, code, "{rejection}");
    assert_eq!(rejection.details.get(detail), Some(&value.into()), "{rejection}");
    assert_eq!(format!("{:?}", sorted(view)), before);
}

/// A view as something that can be compared.
fn sorted(view: &LogView) -> impl std::fmt::Debug {
    use std::collections::{BTreeMap, BTreeSet};
    let by_key: BTreeMap<_, _> = view.by_key.clone().into_iter().collect();
    let traces: BTreeMap<_, _> = view.traces.clone().into_iter().collect();
    let event_ids: BTreeSet<_> = view.event_ids.clone().into_iter().collect();
    (view.last_log_seq, view.takes_kept_numbers, by_key, traces, event_ids)
}

fn inserted(log_seq: i64) -> Result<Admission, Rejection> {
    Ok(Admission::Insert { log_seq })
}

fn reused(log_seq: i64, event_id: &str) -> Result<Admission, Rejection> {
    Ok(Admission::Reused { log_seq, event_id: event_id.to_owned() })
}

#[test]
fn the_rules_apply_in_the_order_of_the_contract() {
    let mut view = view(&log());
    // Each event breaks every later rule too.
    let reuse = [("/idempotency_key", json!("key a-0")), ("/event_id", json!("a-1"))];
    let changed = event("z", 9, EventType::InputObserved, &reuse);
    let fields = Json::from(["payload_hash", "trace_id", "event_type"].map(Json::from).to_vec());
    let conflict = Code::IdempotencyConflict;
    refused(&mut view, &changed, None, conflict, ("differing_fields", fields));
    refused(&mut view, &changed, None, conflict, ("stored_event_id", "a-0"));
    let taken = [("/event_id", json!("a-1"))];
    let after_end = event("z", 9, EventType::InputObserved, &taken);
    refused(&mut view, &after_end, None, Code::Conflict, ("trace_id", "z"));
    let gap = event("a", 3, EventType::InputObserved, &taken);
    let expected = ("expected_trace_seq", 2);
    refused(&mut view, &gap, None, Code::EventSequenceInvalid, expected);
    let known = event("a", 2, EventType::InputObserved, &taken);
    refused(&mut view, &known, None, Code::Conflict, ("field", "event_id"));
    assert_eq!(view.admit(&event("a", 2, EventType::InputObserved, &[]), None), inserted(5));
}

#[test]
fn trace_started_is_the_first_of_a_trace_and_nothing_else_is() {
    for (trace, seq, event_type, expected) in [
        ("new", 0, EventType::InputObserved, 0),
        ("new", 0, EventType::TraceFinished, 0),
        ("new", 1, EventType::InputObserved, 0),
        ("new", 1, EventType::TraceStarted, 0),
        ("a", 2, EventType::TraceStarted, 2),
        ("a", 0, EventType::InputObserved, 2),
        ("a", 1, EventType::InputObserved, 2),
        ("a", i64::MAX, EventType::InputObserved, 2),
    ] {
        let fresh = [("/idempotency_key", json!("fresh")), ("/event_id", json!("fresh"))];
        let event = event(trace, seq, event_type, &fresh);
        let detail = ("expected_trace_seq", expected);
        refused(&mut view(&log()), &event, None, Code::EventSequenceInvalid, detail);
    }
}

#[test]
fn a_key_used_for_something_else_names_every_field_that_differs() {
    let original = started("a");
    for (pointer, value, field) in [
        ("/payload/title", json!("Another"), "payload_hash"),
        ("/trace_id", json!("b"), "trace_id"),
        ("/source/system", json!("other"), "source"),
        ("/source/subsystem", json!("part"), "source"),
        ("/actor/actor_type", json!("person"), "actor"),
        ("/actor/actor_id", json!("other"), "actor"),
        ("/correlation_id", json!("c"), "correlation_id"),
        ("/causation_event_id", json!("c"), "causation_event_id"),
        ("/schema_version", json!(2), "schema_version"),
        ("/tags", json!(["a", "b"]), "tags"),
        ("/tags", json!([]), "tags"),
    ] {
        let mut view = view(&[(original.clone(), 1, false)]);
        let again = event("a", 0, EventType::TraceStarted, &[(pointer, value)]);
        let fields = Json::from(vec![Json::from(field)]);
        let detail = ("differing_fields", fields);
        refused(&mut view, &again, None, Code::IdempotencyConflict, detail);
        let rejection = view.admit(&again, None).unwrap_err();
        assert!(rejection.message.contains(field), "{rejection}");
    }
    let mut view = view(&[(original, 1, false)]);
    let again = event("a", 0, EventType::TraceFinished, &[]);
    let fields = Json::from(vec![Json::from("payload_hash"), Json::from("event_type")]);
    refused(&mut view, &again, None, Code::IdempotencyConflict, ("differing_fields", fields));
}

#[test]
fn a_second_delivery_may_be_numbered_named_and_stamped_anew_even_after_the_end() {
    let mut view = view(&log());
    let renewed = [
        ("/trace_seq", json!(7)),
        ("/event_id", json!("other")),
        ("/occurred_at", json!("2030-01-01T00:00:00Z")),
    ];
    let before = format!("{:?}", sorted(&view));
    for (trace, seq, event_type, log_seq) in [
        ("a", 0, EventType::TraceStarted, 1),
        ("a", 1, EventType::InputObserved, 2),
        ("z", 0, EventType::TraceStarted, 3),
        ("z", 1, EventType::TraceFinished, 4),
    ] {
        let id = format!("{trace}-{seq}");
        assert_eq!(view.admit(&event(trace, seq, event_type, &[]), None), reused(log_seq, &id));
        let mut fields = vec![("/idempotency_key", json!(format!("key {id}")))];
        fields.extend(renewed.clone());
        let again = event(trace, seq, event_type, &fields);
        assert_eq!(view.admit(&again, None), reused(log_seq, &id));
    }
    assert_eq!(format!("{:?}", sorted(&view)), before);
}

#[test]
fn a_key_belongs_to_its_producer() {
    let mut view = view(&log());
    let fields = [
        ("/source/producer_id", json!("p-2")),
        ("/idempotency_key", json!("key a-0")),
        ("/event_id", json!("b-0")),
    ];
    assert_eq!(view.admit(&event("b", 0, EventType::TraceStarted, &fields), None), inserted(5));
}

#[test]
fn the_events_of_a_batch_continue_one_another() {
    let mut view = LogView::default();
    let end = event("b", 1, EventType::TraceFinished, &[]);
    assert_eq!(view.admit(&started("b"), None), inserted(1));
    assert_eq!(view.admit(&started("c"), None), inserted(2));
    assert_eq!(view.admit(&started("b"), None), reused(1, "b-0"));
    assert_eq!(view.admit(&end, None), inserted(3));
    assert_eq!(view.admit(&end, None), reused(3, "b-1"));
    let late = event("b", 2, EventType::InputObserved, &[]);
    refused(&mut view, &late, None, Code::Conflict, ("trace_id", "b"));
    let same_id = event("c", 1, EventType::InputObserved, &[("/event_id", json!("b-0"))]);
    refused(&mut view, &same_id, None, Code::Conflict, ("field", "event_id"));
}

#[test]
fn numbers_are_kept_in_a_tenant_that_holds_only_kept_ones() {
    let mut view = LogView { takes_kept_numbers: true, ..LogView::default() };
    let later = event("a", 1, EventType::InputObserved, &[]);
    assert_eq!(view.admit(&started("a"), Some(10)), inserted(10));
    for taken in [10, 9, 0, -1, i64::MIN] {
        let rejection = view.clone().admit(&later, Some(taken)).unwrap_err();
        assert_eq!(rejection.code, Code::Conflict, "{rejection}");
    }
    assert_eq!(view.admit(&later, Some(15)), inserted(15));
    // A second delivery has the number of the first.
    assert_eq!(view.admit(&started("a"), Some(10)), reused(10, "a-0"));
    assert_eq!(view.admit(&started("a"), None), reused(10, "a-0"));
    refused(&mut view, &started("a"), Some(11), Code::Conflict, ("log_seq", 10));
    // The first event without a number ends it.
    assert_eq!(view.admit(&started("b"), None), inserted(16));
    let rejection = view.admit(&started("c"), Some(20)).unwrap_err();
    assert_eq!(rejection.code, Code::Conflict, "{rejection}");
}

#[test]
fn a_tenant_with_events_of_its_own_keeps_no_numbers() {
    let mut view = view(&log());
    let rejection = view.admit(&started("b"), Some(100)).unwrap_err();
    assert_eq!(rejection.code, Code::Conflict, "{rejection}");
    assert_eq!(view.admit(&started("a"), Some(1)), reused(1, "a-0"));
}

#[test]
fn after_the_last_number_there_is_no_other() {
    let mut view = LogView { takes_kept_numbers: true, ..LogView::default() };
    assert_eq!(view.admit(&started("a"), Some(i64::MAX)), inserted(i64::MAX));
    for keep in [None, Some(i64::MAX)] {
        let rejection = view.admit(&started("b"), keep).unwrap_err();
        assert_eq!(rejection.code, Code::Conflict, "{rejection}");
    }
}
