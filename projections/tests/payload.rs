//! The payload of each event type: required and optional fields, closed values, what is kept.

mod common;

use common::{accepted, envelope, refused, with, without};
use dg_projections::Code::{self, InvalidArgument, SchemaViolation};
use dg_projections::event::EventType::{self, *};
use dg_projections::hash::Hash;

/// The required fields that are strings, as the contract lists them.
fn required_strings(event_type: EventType) -> &'static [&'static str] {
    match event_type {
        TraceStarted => {
            &["workflow", "title", "primary_entity/entity_type", "primary_entity/entity_id"]
        }
        InputObserved => &["input_id", "source/system", "source/object_type", "source/object_id"],
        EntityObserved => &["entity/entity_type", "entity/entity_id", "role"],
        PolicyEvaluated => &["policy/policy_id", "policy/policy_version", "decision"],
        ExceptionRequested => {
            &["exception_id", "policy/policy_id", "policy/policy_version", "reason"]
        }
        ApprovalRecorded => &[
            "approval_id",
            "subject/subject_type",
            "subject/subject_id",
            "approver/actor_type",
            "approver/actor_id",
            "decision",
        ],
        PrecedentCited => &["cited_trace_id", "reason"],
        ActionProposed => &[
            "action_id",
            "action_type",
            "target_entity/entity_type",
            "target_entity/entity_id",
            "target_system",
        ],
        ActionCommitted => &["action_id", "status"],
        TraceFinished => &["outcome"],
    }
}

const LISTS: [(EventType, &str); 4] = [
    (InputObserved, "facts"),
    (EntityObserved, "facts"),
    (PolicyEvaluated, "inputs"),
    (ActionProposed, "changes"),
];

const OBJECTS: [(EventType, &str); 8] = [
    (TraceStarted, "primary_entity"),
    (InputObserved, "source"),
    (EntityObserved, "entity"),
    (PolicyEvaluated, "policy"),
    (ExceptionRequested, "policy"),
    (ApprovalRecorded, "subject"),
    (ApprovalRecorded, "approver"),
    (ActionProposed, "target_entity"),
];

/// The strings that become columns, or parts of a node's or an edge's key.
const COLUMNS: [(EventType, &str); 21] = [
    (TraceStarted, "workflow"),
    (TraceStarted, "title"),
    (TraceStarted, "primary_entity/entity_type"),
    (TraceStarted, "primary_entity/entity_id"),
    (TraceStarted, "primary_entity/system"),
    (InputObserved, "input_id"),
    (EntityObserved, "entity/entity_type"),
    (EntityObserved, "entity/entity_id"),
    (PolicyEvaluated, "policy/policy_id"),
    (PolicyEvaluated, "policy/policy_version"),
    (ExceptionRequested, "exception_id"),
    (ExceptionRequested, "policy/policy_id"),
    (ExceptionRequested, "policy/policy_version"),
    (ApprovalRecorded, "subject/subject_id"),
    (ApprovalRecorded, "approver/actor_type"),
    (ApprovalRecorded, "approver/actor_id"),
    (PrecedentCited, "cited_trace_id"),
    (ActionProposed, "action_id"),
    (ActionProposed, "target_entity/entity_type"),
    (ActionProposed, "target_entity/entity_id"),
    (ActionCommitted, "action_id"),
];

fn pointer(field: &str) -> String {
    format!("/payload/{field}")
}

#[track_caller]
fn bad(event_type: EventType, field: &str, code: Code, values: &[&str]) {
    let path = format!("$.payload.{}", field.replace('/', "."));
    for value in values {
        refused(&with(&envelope(event_type), &pointer(field), value), code, &path);
    }
}

/// Checks that a value is accepted, and gives the canonical payload.
#[track_caller]
fn good(event_type: EventType, field: &str, value: &str) -> String {
    accepted(&with(&envelope(event_type), &pointer(field), value)).payload
}

#[track_caller]
fn required(event_type: EventType, field: &str) {
    let path = format!("$.payload.{}", field.replace('/', "."));
    let text = without(&envelope(event_type), &pointer(field));
    let rejection = refused(&text, SchemaViolation, &path);
    assert!(rejection.message.contains("is missing"), "{rejection}");
}

#[test]
fn required_strings_are_present_and_not_blank() {
    for event_type in EventType::ALL {
        for field in required_strings(event_type) {
            required(event_type, field);
            let values = ["null", "5", "true", "[]", "{}", "\"\"", "\" \\n\"", "\"\u{3000}\""];
            bad(event_type, field, SchemaViolation, &values);
        }
    }
}

#[test]
fn required_lists_and_objects_are_present_and_of_their_type() {
    for (event_type, field) in LISTS {
        required(event_type, field);
        bad(event_type, field, SchemaViolation, &["null", "{}", "\"a\"", "1"]);
        good(event_type, field, "[1, null, {\"a\": []}, \"\"]");
    }
    for (event_type, field) in OBJECTS {
        required(event_type, field);
        bad(event_type, field, SchemaViolation, &["null", "[]", "\"a\"", "1"]);
    }
}

#[test]
fn closed_values_are_the_contracts() {
    for (event_type, field, values) in [
        (EntityObserved, "role", &["primary", "related"][..]),
        (PolicyEvaluated, "decision", &["allow", "deny", "require_exception"]),
        (ApprovalRecorded, "decision", &["approved", "rejected"]),
        (ActionCommitted, "status", &["success", "failure", "partial"]),
        (TraceFinished, "outcome", &["success", "failure", "abandoned"]),
    ] {
        for value in values {
            let kept = good(event_type, field, &format!("\"{value}\""));
            assert!(kept.contains(&format!("\"{field}\":\"{value}\"")), "{kept}");
            let near = [format!("\"{value} \""), format!("\"{}\"", value.to_uppercase())];
            bad(event_type, field, SchemaViolation, &[&near[0], &near[1], "\"other\""]);
        }
    }
}

#[test]
fn optional_fields_are_checked_for_their_type_only() {
    for (event_type, field) in [(ExceptionRequested, "evidence"), (ApprovalRecorded, "evidence")] {
        for value in ["null", "[]", "[1]"] {
            good(event_type, field, value);
        }
        bad(event_type, field, SchemaViolation, &["{}", "\"a\"", "1", "false"]);
    }
    for (event_type, field) in [
        (ApprovalRecorded, "reason"),
        (PrecedentCited, "similarity_score"),
        (ActionCommitted, "external_reference"),
        (ActionCommitted, "error"),
        (TraceFinished, "summary"),
        (TraceStarted, "primary_entity/system"),
    ] {
        for value in ["null", "\"\"", "\" \"", "\"0.93\""] {
            good(event_type, field, value);
        }
        bad(event_type, field, SchemaViolation, &["[]", "{}", "1", "false", "0.93"]);
    }
    // A name that is optional for one type is free for the others.
    good(TraceFinished, "evidence", "\"a\"");
    good(InputObserved, "error", "{}");
}

#[test]
fn unknown_keys_are_kept_whatever_they_hold() {
    let kept = good(TraceFinished, "zz", "{\"b\":[true,{\"é\":-0}],\"a\":null,\"a\":\"\\u0001\"}");
    assert_eq!(kept, r#"{"outcome":"success","zz":{"a":"\u0001","b":[true,{"é":0}]}}"#);
    // Only the primary entity's system is a column: elsewhere it is one of the unknown keys.
    for (event_type, field) in
        [(EntityObserved, "entity/system"), (ActionProposed, "target_entity/system")]
    {
        for value in ["null", "\"erp\"", "7", "[]", "\"a\\u0000\""] {
            let kept = good(event_type, field, value);
            assert!(kept.contains(&format!("\"system\":{value}")), "{kept}");
        }
    }
}

#[test]
fn nul_is_refused_in_columns_and_kept_escaped_elsewhere() {
    for (event_type, field) in COLUMNS {
        bad(event_type, field, InvalidArgument, &["\"\\u0000\"", "\"a\\u0000b\""]);
    }
    for (event_type, field) in [
        (InputObserved, "source/system"),
        (ExceptionRequested, "reason"),
        (ApprovalRecorded, "approval_id"),
        (ApprovalRecorded, "subject/subject_type"),
        (ApprovalRecorded, "reason"),
        (PrecedentCited, "similarity_score"),
        (ActionProposed, "target_system"),
        (TraceFinished, "summary"),
        (TraceFinished, "free"),
    ] {
        let kept = good(event_type, field, "\"a\\u0000b\"");
        assert!(kept.contains("\"a\\u0000b\""), "{kept}");
    }
    let deep = good(TraceFinished, "list", "[{\"k\\u0000\":\"\\u0000\"}]");
    assert!(deep.contains("[{\"k\\u0000\":\"\\u0000\"}]"), "{deep}");
}

#[test]
fn the_subject_of_an_approval_is_a_column_only_when_it_is_an_exception() {
    let mut line = envelope(ApprovalRecorded);
    common::put(&mut line, "/payload/subject/subject_type", "order".into());
    accepted(&with(&line, "/payload/subject/subject_id", "\"a\\u0000\""));
    let text = with(&line, "/payload/subject/subject_id", "\" \"");
    refused(&text, SchemaViolation, "$.payload.subject.subject_id");
}

#[test]
fn numbers_in_a_payload_are_integers_of_any_size() {
    let big = "123456789012345678901234567890";
    let kept = good(TraceFinished, "n", &format!("[0,-0,-1,{big},-{big}]"));
    assert!(kept.contains(&format!("\"n\":[0,0,-1,{big},-{big}]")), "{kept}");
    for (value, below) in [
        ("1.5", ""),
        ("1.0", ""),
        ("-0.0", ""),
        ("1e3", ""),
        ("1E+3", ""),
        ("[1,{\"a b\":[2,3e0]}]", "[1][\"a b\"][1]"),
        ("{\"a\":{\"b\":0.1}}", ".a.b"),
    ] {
        let text = with(&envelope(TraceFinished), "/payload/n", value);
        refused(&text, SchemaViolation, &format!("$.payload.n{below}"));
    }
    // Of a repeated key the last counts, also when the first held a fraction.
    assert!(good(TraceFinished, "n", "{\"a\":1.5,\"a\":1}").contains("{\"a\":1}"));
}

#[test]
fn strings_in_a_payload_are_unicode() {
    let pair = good(TraceFinished, "s", "\"\\ud83d\\ude80\\u00e9\"");
    assert!(pair.contains("\"s\":\"🚀é\""), "{pair}");
    for (value, below) in [("\"\\ud83d\"", ""), ("[\"\\ude80\"]", "[0]"), ("{\"\\ud800\":1}", "")] {
        let text = with(&envelope(TraceFinished), "/payload/s", value);
        refused(&text, SchemaViolation, &format!("$.payload.s{below}"));
    }
}

#[test]
fn the_hash_is_of_the_canonical_payload_alone() {
    let text = envelope(TraceFinished).to_string();
    let expected = Hash::of(br#"{"outcome":"success"}"#);
    assert_eq!(accepted(&text).payload_hash, expected);
    let spaced = text.replace("{\"outcome\":\"success\"}", "{ \"outcome\" : \"succes\\u0073\" }");
    assert_ne!(spaced, text);
    assert_eq!(accepted(&spaced).payload_hash, expected);
    assert_eq!(accepted(&with(&envelope(TraceFinished), "/tags", "[]")).payload_hash, expected);
}
