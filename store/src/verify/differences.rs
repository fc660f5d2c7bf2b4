//! What a proof may find, in the words of the tables.

use dg_projections::Code;
use dg_projections::compare::Difference;
use dg_projections::projection::Poison;

/// A log whose tenant has no head.
pub(super) fn headless(tenant: &str) -> Box<Difference> {
    Box::new(Difference {
        table: "dg_tenant_heads".to_owned(),
        key: tenant.to_owned(),
        field: None,
        expected: Some("a row".to_owned()),
        found: None,
        log_seq: None,
        event_id: None,
    })
}

pub(super) fn damaged(poison: &Poison) -> Box<Difference> {
    let (field, found) = match poison.reason.code {
        Code::Conflict => ("payload_json", poison.reason.message.clone()),
        Code::EventSequenceInvalid => ("trace_seq", poison.reason.message.clone()),
        _ => ("payload_json", poison.reason.to_string()),
    };
    let expected = match poison.reason.code {
        Code::Conflict => "the payload whose hash the log has",
        Code::EventSequenceInvalid => "the next event of its trace",
        _ => "a valid event",
    };
    let mut difference = log_difference(poison.log_seq, field, expected, Some(found));
    difference.event_id = Some(poison.event_id.clone());
    difference
}

pub(super) fn log_difference(
    log_seq: i64,
    field: &str,
    expected: &str,
    found: Option<String>,
) -> Box<Difference> {
    Box::new(Difference {
        table: "dg_event_log".to_owned(),
        key: log_seq.to_string(),
        field: Some(field.to_owned()),
        expected: Some(expected.to_owned()),
        found,
        log_seq: Some(log_seq),
        event_id: None,
    })
}

pub(super) fn cursor_difference(
    (name, at): (&str, i64),
    (field, expected, found): (&str, i64, i64),
) -> Box<Difference> {
    Box::new(Difference {
        table: "dg_projection_cursors".to_owned(),
        key: name.to_owned(),
        field: Some(field.to_owned()),
        expected: Some(expected.to_string()),
        found: Some(found.to_string()),
        log_seq: Some(at),
        event_id: None,
    })
}

pub(super) fn digest_difference(
    name: &str,
    log_seq: i64,
    (field, expected, found): (&str, String, String),
) -> Box<Difference> {
    Box::new(Difference {
        table: "dg_projection_digests".to_owned(),
        key: name.to_owned(),
        field: Some(field.to_owned()),
        expected: Some(expected),
        found: Some(found),
        log_seq: Some(log_seq),
        event_id: None,
    })
}

pub(super) fn head_difference(
    tenant: &str,
    field: &str,
    expected: i64,
    found: i64,
) -> Box<Difference> {
    Box::new(Difference {
        table: "dg_tenant_heads".to_owned(),
        key: tenant.to_owned(),
        field: Some(field.to_owned()),
        expected: Some(expected.to_string()),
        found: Some(found.to_string()),
        log_seq: None,
        event_id: None,
    })
}
