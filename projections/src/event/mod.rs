//! Events: what a producer hands in, checked, guarded and hashed, and what the log gives back.
//!
//! Invariant: an [`Event`] exists only if every rule of the envelope and of its payload holds, so
//! nothing behind this module checks them again; a [`LogEvent`] comes from storage and is trusted
//! for nothing: [`crate::projection`] recomputes its hash and its facts.

mod envelope;
mod facts;
mod guard;
mod kind;
mod recorded;

pub use envelope::{DEFAULT_TENANT, Keeping, Line, parse_line, tenant_name};
pub use facts::{Entity, Facts};
pub use guard::PATTERNS;
pub use kind::{ActorType, EventType};
pub use recorded::{RecordedEvent, rfc3339};

use time::OffsetDateTime;

use crate::hash::Hash;

/// Who produced an event.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Source {
    /// The producer; idempotency keys are unique within it.
    pub producer_id: String,
    /// The system it runs in.
    pub system: String,
    /// Part of the system.
    pub subsystem: Option<String>,
}

/// On whose behalf an event happened.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Actor {
    /// What kind of actor.
    pub actor_type: ActorType,
    /// Which one.
    pub actor_id: String,
}

/// A valid event, ready to be appended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Event {
    /// The tenant: trimmed, not empty.
    pub tenant_id: String,
    /// The caller's identifier, unique within the tenant.
    pub event_id: String,
    /// The trace it belongs to.
    pub trace_id: String,
    /// Its place in the trace: 0, 1, 2, ...
    pub trace_seq: i64,
    /// Its type.
    pub event_type: EventType,
    /// When it happened, byte for byte as given: RFC 3339 with an offset.
    pub occurred_at: String,
    /// The same instant in UTC, for filters.
    pub occurred_instant: OffsetDateTime,
    /// Who produced it.
    pub source: Source,
    /// On whose behalf.
    pub actor: Actor,
    /// The producer's key against double delivery: 1..=200 bytes.
    pub idempotency_key: String,
    /// Free for the caller.
    pub correlation_id: Option<String>,
    /// The event that caused this one.
    pub causation_event_id: Option<String>,
    /// Version of the payload's shape, from 1.
    pub schema_version: i32,
    /// Trimmed words.
    pub tags: Vec<String>,
    /// Canonical JSON of the payload.
    pub payload: String,
    /// SHA-256 of `payload`.
    pub payload_hash: Hash,
}

/// What a projection needs of a stored event.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LogEvent {
    /// Its place in the tenant's log.
    pub log_seq: i64,
    /// The caller's identifier.
    pub event_id: String,
    /// The trace.
    pub trace_id: String,
    /// Its place in the trace.
    pub trace_seq: i64,
    /// Its type, as stored.
    pub event_type: String,
    /// When it happened, as given.
    pub occurred_at: String,
    /// The kind of its actor, as stored.
    pub actor_type: String,
    /// The actor.
    pub actor_id: String,
    /// The payload, as stored.
    pub payload: String,
    /// The hash stored with it.
    pub payload_hash: Hash,
}

impl LogEvent {
    /// The event as the log would give it back at this place.
    pub fn from_event(event: &Event, log_seq: i64) -> LogEvent {
        LogEvent {
            log_seq,
            event_id: event.event_id.clone(),
            trace_id: event.trace_id.clone(),
            trace_seq: event.trace_seq,
            event_type: event.event_type.as_str().to_owned(),
            occurred_at: event.occurred_at.clone(),
            actor_type: event.actor.actor_type.as_str().to_owned(),
            actor_id: event.actor.actor_id.clone(),
            payload: event.payload.clone(),
            payload_hash: event.payload_hash,
        }
    }
}
