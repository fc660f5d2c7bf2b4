//! The content guard: where it looks, what it names, what it keeps to itself.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod common;

use common::{accepted, envelope, path_of, refused, with};
use dg_projections::Code::PiiPolicyViolation;
use dg_projections::event::{EventType, PATTERNS};
use serde_json::{Value, json};

/// Every pattern that the contract lists.
const CONTRACT: [&str; 21] = [
    "Bearer ",
    "xoxb-",
    "xoxp-",
    "xoxa-",
    "xoxr-",
    "sk-",
    "ghp_",
    "gho_",
    "ghu_",
    "ghs_",
    "ghr_",
    "-----BEGIN",
    "AKIA",
    "ASIA",
    "api_key=",
    "apikey=",
    "api-key:",
    "password=",
    "passwd=",
    "secret=",
    "token=",
];

/// Checks that a value at a pointer of a `TraceStarted` is a hit at a path, and that the refusal
/// names the pattern and nothing of what stands around it.
#[track_caller]
fn hit(pointer: &str, value: &Value, pattern: &str, path: &str) {
    let text = with(&envelope(EventType::TraceStarted), pointer, &value.to_string());
    let rejection = refused(&text, PiiPolicyViolation, path);
    assert_eq!(rejection.details["pattern"].as_str(), Some(pattern));
    assert!(rejection.message.contains(pattern), "{rejection}");
    let shown = format!("{rejection} {:?}", rejection.details);
    assert!(!shown.contains("hush"), "the value leaks: {shown}");
}

#[track_caller]
fn pass(pointer: &str, value: &Value) {
    accepted(&with(&envelope(EventType::TraceStarted), pointer, &value.to_string()));
}

#[test]
fn the_patterns_are_the_contracts_and_each_is_found_in_any_case() {
    assert_eq!(PATTERNS, CONTRACT);
    for pattern in CONTRACT {
        for text in [
            format!("{pattern}hush"),
            format!("hush {}hush", pattern.to_uppercase()),
            format!("hush\u{0}é🚀{}hush", pattern.to_lowercase()),
        ] {
            hit("/payload/note", &json!(text), pattern, "$.payload.note");
        }
    }
}

#[test]
fn every_guarded_place_is_looked_at() {
    let secret = json!("hush sk-hush");
    for (pointer, path) in [
        ("/payload/workflow", "$.payload.workflow"),
        ("/payload/primary_entity/entity_id", "$.payload.primary_entity.entity_id"),
        ("/payload/unknown", "$.payload.unknown"),
        ("/actor/actor_id", "$.actor.actor_id"),
        ("/source/producer_id", "$.source.producer_id"),
        ("/source/system", "$.source.system"),
        ("/source/subsystem", "$.source.subsystem"),
        ("/correlation_id", "$.correlation_id"),
        ("/causation_event_id", "$.causation_event_id"),
        ("/idempotency_key", "$.idempotency_key"),
    ] {
        hit(pointer, &secret, "sk-", path);
    }
    hit("/tags", &json!(["a", secret]), "sk-", "$.tags[1]");
    hit("/payload/deep", &json!([0, {"a": ["ok", secret]}]), "sk-", "$.payload.deep[1].a[1]");
    hit("/payload/deep", &json!({"a key": secret}), "sk-", "$.payload.deep[\"a key\"]");
    hit("/payload/deep", &json!({"": {"é": secret}}), "sk-", "$.payload.deep[\"\"][\"\\u00e9\"]");
}

#[test]
fn identifiers_of_the_log_itself_are_not_guarded() {
    for pointer in ["/tenant_id", "/event_id", "/trace_id"] {
        pass(pointer, &json!("task-1"));
    }
}

#[test]
fn keys_numbers_and_near_misses_pass() {
    pass("/payload/note", &json!({"sk-": 1, "token=": {"password=": []}, "Bearer x": null}));
    for text in ["bearer", "Bearer\t", "sk_", "ghx_", "token =", "-----", "aki a", "apikey"] {
        pass("/payload/note", &json!(text));
    }
}

#[test]
fn the_first_hit_counts_payload_before_tags_before_actor_before_source() {
    let mut line = envelope(EventType::TraceStarted);
    for (pointer, value, path) in [
        ("/idempotency_key", json!("AKIA"), "$.idempotency_key"),
        ("/causation_event_id", json!("AKIA"), "$.causation_event_id"),
        ("/correlation_id", json!("AKIA"), "$.correlation_id"),
        ("/source/producer_id", json!("AKIA"), "$.source.producer_id"),
        ("/actor/actor_id", json!("AKIA"), "$.actor.actor_id"),
        ("/tags", json!(["AKIA"]), "$.tags[0]"),
        ("/payload/title", json!("AKIA"), "$.payload.title"),
        ("/payload/note", json!(["x", "AKIA"]), "$.payload.note[1]"),
    ] {
        common::put(&mut line, pointer, value);
        let rejection = common::parse(&line.to_string()).unwrap_err();
        assert_eq!((rejection.code, path_of(&rejection)), (PiiPolicyViolation, Some(path)));
    }
}
