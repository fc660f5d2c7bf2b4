//! Events as producers write them: valid ones to start from, and ways to break them.
#![allow(dead_code, reason = "each test file uses a part of it")]

pub(crate) mod tenant;

use dg_projections::event::{Event, EventType, Keeping, Line, LogEvent, parse_line};
use dg_projections::{Code, Rejection};
use proptest::test_runner::{Config, RngSeed};
use serde_json::{Value, json};

/// The same cases in every run.
pub(crate) fn cases(count: u32) -> Config {
    Config {
        cases: count,
        rng_seed: RngSeed::Fixed(20_260_131),
        failure_persistence: None,
        ..Config::default()
    }
}

/// A payload with exactly the required fields.
pub(crate) fn payload(event_type: EventType) -> Value {
    let entity = json!({"entity_type": "order", "entity_id": "o-1"});
    let policy = json!({"policy_id": "refund", "policy_version": "v1"});
    match event_type {
        EventType::TraceStarted => {
            json!({"workflow": "refunds", "title": "Refund", "primary_entity": entity})
        }
        EventType::InputObserved => json!({
            "input_id": "i-1", "facts": [],
            "source": {"system": "crm", "object_type": "case", "object_id": "c-1"},
        }),
        EventType::EntityObserved => json!({"entity": entity, "role": "related", "facts": []}),
        EventType::PolicyEvaluated => json!({"policy": policy, "inputs": [], "decision": "allow"}),
        EventType::ExceptionRequested => {
            json!({"exception_id": "x-1", "policy": policy, "reason": "late"})
        }
        EventType::ApprovalRecorded => json!({
            "approval_id": "a-1", "decision": "approved",
            "subject": {"subject_type": "exception", "subject_id": "x-1"},
            "approver": {"actor_type": "person", "actor_id": "ann"},
        }),
        EventType::PrecedentCited => json!({"cited_trace_id": "t-0", "reason": "alike"}),
        EventType::ActionProposed => json!({
            "action_id": "act-1", "action_type": "refund", "target_entity": entity,
            "target_system": "billing", "changes": [],
        }),
        EventType::ActionCommitted => json!({"action_id": "act-1", "status": "success"}),
        EventType::TraceFinished => json!({"outcome": "success"}),
    }
}

/// A valid envelope with every field but the optional strings.
pub(crate) fn envelope(event_type: EventType) -> Value {
    json!({
        "tenant_id": "acme", "event_id": "e-1", "trace_id": "t-1", "trace_seq": 0,
        "event_type": event_type.as_str(), "occurred_at": "2026-01-31T12:00:00Z",
        "source": {"producer_id": "p-1", "system": "crm"},
        "actor": {"actor_type": "agent", "actor_id": "bot"},
        "idempotency_key": "k-1", "schema_version": 1, "tags": ["a"],
        "payload": payload(event_type),
    })
}

/// The envelope's text with the value at a pointer (such as `/source/system`) given as JSON text,
/// whatever it is.
pub(crate) fn with(envelope: &Value, pointer: &str, raw: &str) -> String {
    const MARK: &str = "\u{1}here";
    let mut envelope = envelope.clone();
    put(&mut envelope, pointer, json!(MARK));
    envelope.to_string().replace(&json!(MARK).to_string(), raw)
}

/// Sets the member at a pointer whose parent exists.
pub(crate) fn put(value: &mut Value, pointer: &str, member: Value) {
    let (parent, key) = pointer.rsplit_once('/').expect("a pointer begins with a slash");
    let parent = value.pointer_mut(parent).expect("the parent exists");
    parent.as_object_mut().expect("the parent is an object").insert(key.to_owned(), member);
}

/// The envelope's text without the member at a pointer.
pub(crate) fn without(envelope: &Value, pointer: &str) -> String {
    let mut envelope = envelope.clone();
    let (parent, key) = pointer.rsplit_once('/').expect("a pointer begins with a slash");
    let parent = envelope.pointer_mut(parent).and_then(Value::as_object_mut);
    parent.and_then(|members| members.remove(key)).expect("the member exists");
    envelope.to_string()
}

pub(crate) fn parse(text: &str) -> Result<Line, Rejection> {
    parse_line(text, "house", Keeping::NewNumbers)
}

/// Checks that a line is accepted, and gives its event.
#[track_caller]
pub(crate) fn accepted(text: &str) -> Event {
    match parse(text) {
        Ok(line) => line.event,
        Err(rejection) => panic!("{rejection}: {text}"),
    }
}

/// Checks code and path of a refusal, and gives it.
#[track_caller]
pub(crate) fn refused(text: &str, code: Code, path: &str) -> Rejection {
    let rejection = match parse(text) {
        Ok(_) => panic!("expected {code} at {path}, but it was accepted: {text}"),
        Err(rejection) => rejection,
    };
    assert_eq!((rejection.code, path_of(&rejection)), (code, Some(path)), "{rejection}: {text}");
    assert!(rejection.message.contains(path), "the message names the path: {rejection}");
    rejection
}

pub(crate) fn path_of(rejection: &Rejection) -> Option<&str> {
    rejection.details.get("path")?.as_str()
}

/// A log in the making: each trace gets its numbers, each event its place.
#[derive(Default)]
pub(crate) struct Log {
    pub(crate) events: Vec<LogEvent>,
}

impl Log {
    /// Appends an event whose payload is the minimal one with some members set (pointer, value).
    pub(crate) fn add(
        &mut self,
        trace_id: &str,
        event_type: EventType,
        members: &[(&str, Value)],
    ) -> &mut Log {
        let log_seq = self.events.len() + 1;
        let trace_seq = self.events.iter().filter(|event| event.trace_id == trace_id).count();
        let mut line = envelope(event_type);
        put(&mut line, "/event_id", json!(format!("e{log_seq}")));
        put(&mut line, "/trace_id", json!(trace_id));
        put(&mut line, "/trace_seq", json!(trace_seq));
        put(&mut line, "/occurred_at", json!(format!("2026-01-01T00:00:00.{log_seq:03}Z")));
        for (pointer, value) in members {
            put(&mut line, &format!("/payload{pointer}"), value.clone());
        }
        let event = accepted(&line.to_string());
        self.events.push(LogEvent::from_event(&event, log_seq as i64));
        self
    }
}
