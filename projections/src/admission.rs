//! Whether an event may enter the log: the four rules of append, as a pure function of what the
//! log already says.
//!
//! The store reads a [`LogView`] under the tenant's head lock, asks [`LogView::admit`] for each
//! event in order, and writes what was admitted. Since each admission updates the view, a batch
//! behaves exactly as its events one after the other.

use std::collections::{HashMap, HashSet};

use crate::error::{Code, Rejection};
use crate::event::{Event, EventType};
use crate::hash::Hash;
use crate::json::Json;

/// What the idempotency rule compares. `trace_seq`, `event_id` and `occurred_at` are deliberately
/// absent: a producer that retries may number or stamp anew.
#[derive(Debug, Clone, PartialEq, Eq)]
#[allow(missing_docs, reason = "the names are the contract's")]
pub struct Identity {
    pub payload_hash: Hash,
    pub trace_id: String,
    pub event_type: String,
    pub source: (String, String, Option<String>),
    pub actor: (String, String),
    pub correlation_id: Option<String>,
    pub causation_event_id: Option<String>,
    pub schema_version: i32,
    pub tags: Vec<String>,
}

impl Identity {
    fn of(event: &Event) -> Identity {
        let (source, actor) = (&event.source, &event.actor);
        Identity {
            payload_hash: event.payload_hash,
            trace_id: event.trace_id.clone(),
            event_type: event.event_type.as_str().to_owned(),
            source: (source.producer_id.clone(), source.system.clone(), source.subsystem.clone()),
            actor: (actor.actor_type.as_str().to_owned(), actor.actor_id.clone()),
            correlation_id: event.correlation_id.clone(),
            causation_event_id: event.causation_event_id.clone(),
            schema_version: event.schema_version,
            tags: event.tags.clone(),
        }
    }

    fn differences(&self, other: &Identity) -> Vec<&'static str> {
        [
            ("payload_hash", self.payload_hash == other.payload_hash),
            ("trace_id", self.trace_id == other.trace_id),
            ("event_type", self.event_type == other.event_type),
            ("source", self.source == other.source),
            ("actor", self.actor == other.actor),
            ("correlation_id", self.correlation_id == other.correlation_id),
            ("causation_event_id", self.causation_event_id == other.causation_event_id),
            ("schema_version", self.schema_version == other.schema_version),
            ("tags", self.tags == other.tags),
        ]
        .into_iter()
        .filter_map(|(field, same)| (!same).then_some(field))
        .collect()
    }
}

/// An event that is in the log under an idempotency key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stored {
    /// Its number.
    pub log_seq: i64,
    /// Its identifier.
    pub event_id: String,
    /// What a second delivery must repeat.
    pub identity: Identity,
}

/// The end of a trace's events so far.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TraceEnd {
    /// The `trace_seq` that comes next.
    pub next_seq: i64,
    /// Whether it has a `TraceFinished`.
    pub finished: bool,
}

/// What the log of one tenant says of the events of a batch.
#[derive(Debug, Clone, Default)]
pub struct LogView {
    /// The tenant's last `log_seq`, 0 for none.
    pub last_log_seq: i64,
    /// Whether the tenant may take events that keep their numbers: it is empty, or all it holds
    /// came so.
    pub takes_kept_numbers: bool,
    /// By (`producer_id`, `idempotency_key`).
    pub by_key: HashMap<(String, String), Stored>,
    /// By `trace_id`; absent means that no event of the trace is in the log.
    pub traces: HashMap<String, TraceEnd>,
    /// Which of the batch's `event_id`s are taken.
    pub event_ids: HashSet<String>,
}

/// What becomes of an event.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Admission {
    /// It is new and gets this number.
    Insert {
        /// Its place in the tenant's log.
        log_seq: i64,
    },
    /// It was delivered before; this is the stored event.
    Reused {
        /// The stored event's number.
        log_seq: i64,
        /// The stored event's identifier.
        event_id: String,
    },
}

impl LogView {
    /// Admits the next event of the batch and takes note of it.
    ///
    /// `keep` is the number that the event must keep, for a log that moves house.
    ///
    /// # Errors
    /// In this order: `idempotency_conflict`, `conflict` (the trace has finished),
    /// `event_sequence_invalid`, `conflict` (the identifier or the kept number is taken). A refused
    /// event leaves the view as it was.
    pub fn admit(&mut self, event: &Event, keep: Option<i64>) -> Result<Admission, Rejection> {
        let key = (event.source.producer_id.clone(), event.idempotency_key.clone());
        if let Some(stored) = self.by_key.get(&key) {
            return reuse(stored, event, keep);
        }
        let end = self.traces.get(&event.trace_id);
        check_place(event, end.copied().unwrap_or(TraceEnd { next_seq: 0, finished: false }))?;
        if self.event_ids.contains(&event.event_id) {
            let message = format!("event_id '{}' exists already", event.event_id);
            return Err(Rejection::new(Code::Conflict, message).with("field", "event_id"));
        }
        let log_seq = self.number(keep)?;
        self.takes_kept_numbers &= keep.is_some();
        self.note(event, key, log_seq);
        Ok(Admission::Insert { log_seq })
    }

    fn number(&self, keep: Option<i64>) -> Result<i64, Rejection> {
        match keep {
            None => self.last_log_seq.checked_add(1).ok_or_else(|| {
                let message = format!("no log_seq comes after {}", self.last_log_seq);
                Rejection::new(Code::Conflict, message)
            }),
            Some(_) if !self.takes_kept_numbers => Err(Rejection::new(
                Code::Conflict,
                "log numbers can be kept only in an empty tenant; this one has events of its own",
            )),
            Some(log_seq) if log_seq <= self.last_log_seq => Err(Rejection::new(
                Code::Conflict,
                format!("log_seq {log_seq} does not come after {}", self.last_log_seq),
            )),
            Some(log_seq) => Ok(log_seq),
        }
    }

    fn note(&mut self, event: &Event, key: (String, String), log_seq: i64) {
        self.last_log_seq = log_seq;
        let finished = event.event_type == EventType::TraceFinished;
        let end = TraceEnd { next_seq: event.trace_seq + 1, finished };
        self.traces.insert(event.trace_id.clone(), end);
        self.event_ids.insert(event.event_id.clone());
        let identity = Identity::of(event);
        self.by_key.insert(key, Stored { log_seq, event_id: event.event_id.clone(), identity });
    }
}

fn reuse(stored: &Stored, event: &Event, keep: Option<i64>) -> Result<Admission, Rejection> {
    let differing = stored.identity.differences(&Identity::of(event));
    if !differing.is_empty() {
        let message = format!(
            "idempotency_key '{}' was used for event '{}', which differs in {}",
            event.idempotency_key,
            stored.event_id,
            differing.join(", ")
        );
        let fields: Vec<Json> = differing.into_iter().map(Json::from).collect();
        return Err(Rejection::new(Code::IdempotencyConflict, message)
            .with("differing_fields", fields)
            .with("stored_event_id", stored.event_id.as_str()));
    }
    match keep {
        Some(log_seq) if log_seq != stored.log_seq => {
            let message = format!("is stored as log_seq {}, not {log_seq}", stored.log_seq);
            Err(Rejection::new(Code::Conflict, message).with("log_seq", stored.log_seq))
        }
        _ => Ok(Admission::Reused { log_seq: stored.log_seq, event_id: stored.event_id.clone() }),
    }
}

fn check_place(event: &Event, end: TraceEnd) -> Result<(), Rejection> {
    if end.finished {
        let message = format!("trace '{}' has finished", event.trace_id);
        return Err(Rejection::new(Code::Conflict, message).with("trace_id", &*event.trace_id));
    }
    let starts = event.event_type == EventType::TraceStarted;
    let message = if event.trace_seq != end.next_seq {
        format!("trace_seq is {}, the trace continues with {}", event.trace_seq, end.next_seq)
    } else if starts && event.trace_seq != 0 {
        "TraceStarted has trace_seq 0 and is the first of its trace".to_owned()
    } else if !starts && event.trace_seq == 0 {
        format!("a trace begins with TraceStarted, not with {}", event.event_type)
    } else {
        return Ok(());
    };
    Err(Rejection::new(Code::EventSequenceInvalid, message)
        .with("expected_trace_seq", end.next_seq))
}
