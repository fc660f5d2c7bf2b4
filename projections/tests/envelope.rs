//! The envelope, rule by rule: what is refused, with which code, at which path.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod common;

use common::{accepted, envelope, parse, refused, with, without};
use dg_projections::Code::{self, Conflict, InvalidArgument, PiiPolicyViolation, SchemaViolation};
use dg_projections::event::{ActorType, DEFAULT_TENANT, Event, EventType, Keeping, parse_line};
use serde_json::Value;

fn base() -> Value {
    envelope(EventType::TraceStarted)
}

fn path_of(pointer: &str) -> String {
    format!("${}", pointer.replace('/', "."))
}

/// Checks that each JSON text at a pointer is refused there.
#[track_caller]
fn bad(pointer: &str, code: Code, values: &[&str]) {
    for value in values {
        refused(&with(&base(), pointer, value), code, &path_of(pointer));
    }
}

#[track_caller]
fn good(pointer: &str, value: &str) -> Event {
    accepted(&with(&base(), pointer, value))
}

#[track_caller]
fn required(pointer: &str, code: Code) {
    refused(&without(&base(), pointer), code, &path_of(pointer));
}

#[test]
fn a_valid_line_keeps_every_field() {
    let event = accepted(&base().to_string());
    assert_eq!(event.tenant_id, "acme");
    assert_eq!((event.event_id.as_str(), event.trace_id.as_str()), ("e-1", "t-1"));
    assert_eq!((event.trace_seq, event.event_type), (0, EventType::TraceStarted));
    assert_eq!(event.occurred_at, "2026-01-31T12:00:00Z");
    assert_eq!((event.source.producer_id.as_str(), event.source.system.as_str()), ("p-1", "crm"));
    assert_eq!((event.actor.actor_type, event.actor.actor_id.as_str()), (ActorType::Agent, "bot"));
    assert_eq!((event.idempotency_key.as_str(), event.schema_version), ("k-1", 1));
    assert_eq!(event.tags, ["a"]);
}

#[test]
fn an_event_is_a_json_object_with_the_fields_of_the_contract() {
    for text in ["[]", "null", "5", "\"x\"", "true"] {
        refused(text, InvalidArgument, "$");
    }
    for text in ["", " ", "{", "{\"tenant_id\":}", "{} {}"] {
        assert_eq!(parse(text).unwrap_err().code, InvalidArgument, "{text}");
    }
    bad("/extra", SchemaViolation, &["1", "null"]);
    bad("/source/extra", SchemaViolation, &["1", "null"]);
    bad("/actor/extra", SchemaViolation, &["1", "null"]);
    refused(&with(&base(), "/two words", "1"), SchemaViolation, "$[\"two words\"]");
    // An export's own field is understood and not believed.
    assert_eq!(good("/recorded_at", "\"whenever\""), accepted(&base().to_string()));
}

#[test]
fn required_strings_are_present_not_blank_and_free_of_nul() {
    for pointer in [
        "/event_id",
        "/trace_id",
        "/event_type",
        "/source/producer_id",
        "/source/system",
        "/actor/actor_id",
        "/actor/actor_type",
    ] {
        required(pointer, SchemaViolation);
        bad(pointer, SchemaViolation, &["null", "5", "[]", "\"\"", "\" \\t\"", "\"\u{a0}\""]);
        bad(pointer, InvalidArgument, &["\"a\\u0000b\"", "\"\\u0000\""]);
    }
    assert_eq!(good("/event_id", "\" as given \"").event_id, " as given ");
    for pointer in ["/source", "/actor", "/payload"] {
        required(pointer, SchemaViolation);
        bad(pointer, SchemaViolation, &["null", "[]", "\"x\"", "1"]);
    }
}

#[test]
fn types_of_events_and_actors_are_closed() {
    bad("/event_type", SchemaViolation, &["\"traceStarted\"", "\"TraceStarted \"", "\"Other\""]);
    bad("/actor/actor_type", SchemaViolation, &["\"robot\"", "\"Agent\"", "\" agent\""]);
    for kind in ActorType::ALL {
        let event = good("/actor/actor_type", &format!("\"{}\"", kind.as_str()));
        assert_eq!(event.actor.actor_type, kind);
    }
    for kind in EventType::ALL {
        assert_eq!(accepted(&envelope(kind).to_string()).event_type, kind);
    }
}

#[test]
fn optional_strings_may_be_absent_or_null() {
    let read = |event: Event, pointer: &str| match pointer {
        "/correlation_id" => event.correlation_id,
        "/causation_event_id" => event.causation_event_id,
        _ => event.source.subsystem,
    };
    for pointer in ["/correlation_id", "/causation_event_id", "/source/subsystem"] {
        assert_eq!(read(accepted(&base().to_string()), pointer), None);
        assert_eq!(read(good(pointer, "null"), pointer), None);
        assert_eq!(read(good(pointer, "\"\""), pointer).as_deref(), Some(""));
        assert_eq!(read(good(pointer, "\" c \""), pointer).as_deref(), Some(" c "));
        bad(pointer, SchemaViolation, &["1", "false", "[]", "{}"]);
        bad(pointer, InvalidArgument, &["\"\\u0000\""]);
    }
}

#[test]
fn the_tenant_is_trimmed_and_has_a_default() {
    assert_eq!(good("/tenant_id", "\" acme \\n\"").tenant_id, "acme");
    assert_eq!(good("/tenant_id", "null").tenant_id, "house");
    assert_eq!(accepted(&without(&base(), "/tenant_id")).tenant_id, "house");
    bad("/tenant_id", SchemaViolation, &["\"\"", "\"  \"", "1", "[]"]);
    bad("/tenant_id", InvalidArgument, &["\"a\\u0000\""]);
    let by_default = |tenant| {
        let line = parse_line(&without(&base(), "/tenant_id"), tenant, Keeping::NewNumbers);
        line.map(|line| line.event.tenant_id).map_err(|rejection| rejection.code)
    };
    assert_eq!(by_default(DEFAULT_TENANT), Ok("default".to_owned()));
    assert_eq!(by_default(" spaced "), Ok("spaced".to_owned()));
    assert_eq!(by_default(" "), Err(SchemaViolation));
}

#[test]
fn trace_seq_is_an_integer_of_zero_or_more() {
    for (text, seq) in [("0", 0), ("-0", 0), ("7", 7), ("9223372036854775807", i64::MAX)] {
        assert_eq!(good("/trace_seq", text).trace_seq, seq);
    }
    required("/trace_seq", InvalidArgument);
    let values =
        ["-1", "1.0", "1e0", "\"0\"", "null", "9223372036854775808", "-99999999999999999999"];
    bad("/trace_seq", InvalidArgument, &values);
}

#[test]
fn schema_version_is_a_positive_32_bit_integer_and_1_when_absent() {
    assert_eq!(accepted(&without(&base(), "/schema_version")).schema_version, 1);
    assert_eq!(good("/schema_version", "2").schema_version, 2);
    assert_eq!(good("/schema_version", "2147483647").schema_version, i32::MAX);
    let values = ["0", "-1", "2147483648", "1.0", "\"1\"", "null", "99999999999999999999"];
    bad("/schema_version", SchemaViolation, &values);
}

#[test]
fn an_idempotency_key_has_1_to_200_bytes() {
    let quoted = |text: String| format!("\"{text}\"");
    for key in ["k".to_owned(), " ".to_owned(), "k".repeat(200), "é".repeat(100), "🚀".repeat(50)]
    {
        assert_eq!(good("/idempotency_key", &quoted(key.clone())).idempotency_key, key);
    }
    let long = ["k".repeat(201), "é".repeat(101), "🚀".repeat(50) + "k"].map(quoted);
    for text in &long {
        bad("/idempotency_key", InvalidArgument, &[text]);
    }
    required("/idempotency_key", InvalidArgument);
    bad("/idempotency_key", InvalidArgument, &["\"\"", "null", "5", "\"a\\u0000\""]);
}

#[test]
fn tags_are_trimmed_strings_that_are_not_blank() {
    let tags = |value: &str| good("/tags", value).tags;
    assert!(accepted(&without(&base(), "/tags")).tags.is_empty());
    assert!(tags("[]").is_empty());
    assert_eq!(tags("[\" b \", \"a\", \"a\"]"), ["b", "a", "a"]);
    bad("/tags", SchemaViolation, &["null", "\"a\"", "{}", "5"]);
    for item in ["\"\"", "\" \"", "null", "5", "[\"a\"]"] {
        let text = with(&base(), "/tags", &format!("[\"a\",{item}]"));
        refused(&text, SchemaViolation, "$.tags[1]");
    }
    refused(&with(&base(), "/tags", "[\"a\\u0000\"]"), InvalidArgument, "$.tags[0]");
}

#[test]
fn occurred_at_is_rfc_3339_with_an_offset_and_kept_as_given() {
    let noon = 1_769_860_800; // 2026-01-31T12:00:00Z
    for (text, second) in [
        ("2026-01-31T12:00:00Z", noon),
        ("2026-01-31t12:00:00z", noon),
        ("2026-01-31T12:00:00.1Z", noon),
        ("2026-01-31T12:00:00.123456789012Z", noon),
        ("2026-01-31T12:00:00+00:00", noon),
        ("2026-01-31T12:00:00-00:00", noon),
        ("2026-01-31T14:30:00+02:30", noon),
        ("2026-01-30T13:01:00-22:59", noon),
        ("2016-12-31T23:59:60Z", 1_483_228_799),
        ("2024-02-29T00:00:00Z", 1_709_164_800),
        ("0000-01-01T00:00:00+23:59", -62_167_305_540),
        ("9999-12-31T23:59:59Z", 253_402_300_799),
    ] {
        let event = good("/occurred_at", &format!("\"{text}\""));
        assert_eq!(event.occurred_at, text);
        assert_eq!(event.occurred_instant.unix_timestamp(), second, "{text}");
    }
    required("/occurred_at", InvalidArgument);
    for text in [
        "",
        "2026-01-31",
        "2026-01-31T12:00:00",
        "2026-01-31T12:00Z",
        "2026-01-31 12:00:00Z",
        "2026-01-31_12:00:00Z",
        "2026-01-31T12:00:00 Z",
        " 2026-01-31T12:00:00Z",
        "2026-01-31T12:00:00Z ",
        "2026-01-31T12:00:00.Z",
        "2026-01-31T12:00:00,5Z",
        "2026-01-31T12:00:00+0200",
        "2026-01-31T12:00:00+24:00",
        "2026-01-31T12:00:60Z",
        "2026-01-31T24:00:00Z",
        "2026-02-29T12:00:00Z",
        "2026-00-10T12:00:00Z",
        "26-01-31T12:00:00Z",
        "+2026-01-31T12:00:00Z",
        "2026-01-31T12:00:00Z\\u0000",
        "9999-12-31T23:59:59-00:01", // in UTC the year 10000
        "2026-01-31T12:00:0\u{661}Z",
    ] {
        bad("/occurred_at", InvalidArgument, &[&format!("\"{text}\"")]);
    }
    bad("/occurred_at", InvalidArgument, &["null", "1769860800", "{}"]);
}

#[test]
fn a_given_payload_hash_must_be_the_payloads() {
    let hash = accepted(&base().to_string()).payload_hash.to_string();
    assert_eq!(good("/payload_hash", &format!("\"{hash}\"")).payload_hash.to_string(), hash);
    assert_eq!(good("/payload_hash", "null").payload_hash.to_string(), hash);
    let other = format!("\"sha256:{}\"", "0".repeat(64));
    let upper = format!("\"{}\"", hash.to_uppercase());
    bad("/payload_hash", Conflict, &[&other, &upper, &format!("\"{}\"", &hash[7..]), "\"\"", "5"]);
}

#[test]
fn log_seq_counts_only_when_it_is_to_be_kept() {
    let read = |text: &str, keeping| {
        parse_line(text, "house", keeping).map(|line| line.log_seq).map_err(|rejection| {
            (rejection.code, common::path_of(&rejection).map(ToOwned::to_owned))
        })
    };
    let refusal = Err((InvalidArgument, Some("$.log_seq".to_owned())));
    let (plain, top) = (base().to_string(), "9223372036854775807");
    assert_eq!(read(&plain, Keeping::NewNumbers), Ok(None));
    assert_eq!(read(&plain, Keeping::LogSeq), refusal);
    for (value, kept) in [("1", 1), ("42", 42), (top, i64::MAX)] {
        let line = with(&base(), "/log_seq", value);
        assert_eq!(read(&line, Keeping::LogSeq), Ok(Some(kept)));
        assert_eq!(read(&line, Keeping::NewNumbers), Ok(None));
    }
    for value in ["0", "-1", "1.0", "\"1\"", "null", "9223372036854775808"] {
        let line = with(&base(), "/log_seq", value);
        assert_eq!(read(&line, Keeping::LogSeq), refusal, "{value}");
        assert_eq!(read(&line, Keeping::NewNumbers), Ok(None));
    }
}

#[test]
fn envelope_comes_before_payload_before_guard_before_hash() {
    let mut line = base();
    let breaks = [
        ("/payload_hash", "\"sha256:0\"", Conflict, "$.payload_hash"),
        ("/correlation_id", "\"token=1\"", PiiPolicyViolation, "$.correlation_id"),
        ("/payload/note", "1.5", SchemaViolation, "$.payload.note"),
        ("/payload/title", "\" \"", SchemaViolation, "$.payload.title"),
        ("/tags", "[5]", SchemaViolation, "$.tags[0]"),
        ("/event_id", "\"\\u0000\"", InvalidArgument, "$.event_id"),
        ("/unknown", "0", SchemaViolation, "$.unknown"),
    ];
    for (pointer, value, code, path) in breaks {
        refused(&with(&line, pointer, value), code, path);
        common::put(&mut line, pointer, serde_json::from_str(value).unwrap());
    }
}
