//! One tenant's log as admission sees it.

use std::collections::{HashMap, HashSet};

use dg_projections::admission::{Identity, LogView, Stored, TraceEnd};
use dg_projections::event::{Event, EventType};
use serde_json::{Value, json};

use super::{accepted, envelope, put};

/// An event that is in the log, its number, and whether it kept it from elsewhere.
pub(crate) type Entry = (Event, i64, bool);

/// What the store would read of a log.
pub(crate) fn view(log: &[Entry]) -> LogView {
    let identity = |event: &Event| Identity {
        payload_hash: event.payload_hash,
        trace_id: event.trace_id.clone(),
        event_type: event.event_type.to_string(),
        source: (
            event.source.producer_id.clone(),
            event.source.system.clone(),
            event.source.subsystem.clone(),
        ),
        actor: (event.actor.actor_type.as_str().to_owned(), event.actor.actor_id.clone()),
        correlation_id: event.correlation_id.clone(),
        causation_event_id: event.causation_event_id.clone(),
        schema_version: event.schema_version,
        tags: event.tags.clone(),
    };
    let stored = |(event, log_seq, _): &Entry| {
        let key = (event.source.producer_id.clone(), event.idempotency_key.clone());
        let event_id = event.event_id.clone();
        (key, Stored { log_seq: *log_seq, event_id, identity: identity(event) })
    };
    let mut traces = HashMap::new();
    for (event, ..) in log {
        let finished = event.event_type == EventType::TraceFinished;
        let end = TraceEnd { next_seq: event.trace_seq + 1, finished };
        traces.insert(event.trace_id.clone(), end);
    }
    LogView {
        last_log_seq: log.last().map_or(0, |(_, log_seq, _)| *log_seq),
        takes_kept_numbers: log.iter().all(|(.., kept)| *kept),
        by_key: log.iter().map(stored).collect(),
        traces,
        event_ids: log.iter().map(|(event, ..)| event.event_id.clone()).collect::<HashSet<_>>(),
    }
}

/// An event of a trace with some envelope fields set; its identifier and key follow from its place.
pub(crate) fn event(
    trace: &str,
    seq: i64,
    event_type: EventType,
    fields: &[(&str, Value)],
) -> Event {
    let mut line = envelope(event_type);
    put(&mut line, "/trace_id", json!(trace));
    put(&mut line, "/trace_seq", json!(seq));
    put(&mut line, "/event_id", json!(format!("{trace}-{seq}")));
    put(&mut line, "/idempotency_key", json!(format!("key {trace}-{seq}")));
    for (pointer, value) in fields {
        put(&mut line, pointer, value.clone());
    }
    accepted(&line.to_string())
}

pub(crate) fn started(trace: &str) -> Event {
    event(trace, 0, EventType::TraceStarted, &[])
}
