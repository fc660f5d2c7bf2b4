//! One line of JSON to one valid [`Event`].
//!
//! The checks run in the order of the contract: envelope, payload, guard, hash. The first refusal
//! is the answer. A key that the envelope does not have is refused too, since a misspelt
//! `correlation_id` would otherwise be lost without a word; the three fields that an export adds
//! are understood.

use time::format_description::well_known::Rfc3339;
use time::{OffsetDateTime, UtcOffset};

use super::{Actor, ActorType, Event, EventType, Facts, Source, guard};
use crate::error::{Code, Rejection};
use crate::hash::Hash;
use crate::json::{self, Borrowed, Json, Object, Piece, Problem};

/// The tenant of an event that names none.
pub const DEFAULT_TENANT: &str = "default";

const MAX_KEY_BYTES: usize = 200;

/// The longest identifier. Keys of rows are made of up to four of them and the tenant, and an index
/// of Postgres takes 2,704 bytes: a longer one could enter the log and never be projected.
const MAX_IDENTIFIER_BYTES: usize = 512;

/// What most payloads fit into.
const USUAL_PAYLOAD_BYTES: usize = 512;

const FIELDS: [&str; 16] = [
    "tenant_id",
    "event_id",
    "trace_id",
    "trace_seq",
    "event_type",
    "occurred_at",
    "source",
    "actor",
    "idempotency_key",
    "correlation_id",
    "causation_event_id",
    "schema_version",
    "tags",
    "payload",
    "recorded_at", // an export's: the store's own clock decides
    "payload_hash",
];

/// Whether a line's own `log_seq` counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Keeping {
    /// The store numbers the event; a `log_seq` in the line is ignored.
    NewNumbers,
    /// The line must carry the `log_seq` it had elsewhere, and keeps it.
    LogSeq,
}

/// A line that holds a valid event.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Line {
    /// The event.
    pub event: Event,
    /// The number it must keep, under [`Keeping::LogSeq`].
    pub log_seq: Option<i64>,
}

/// Reads one event.
///
/// `default_tenant` is used when the line names no tenant.
///
/// # Errors
/// `invalid_argument`, `schema_violation` or `pii_policy_violation`, with the JSON path, for the
/// first rule that does not hold; `conflict` when the line carries a `payload_hash` that is not the
/// hash of its payload.
pub fn parse_line(text: &str, default_tenant: &str, keeping: Keeping) -> Result<Line, Rejection> {
    let value = json::borrow(text).map_err(|error| not_json(&error))?;
    let Json::Object(members) = value else {
        return Err(invalid("$", "an event is a JSON object"));
    };
    let envelope = Envelope(members);
    envelope.refuse_unknown_fields()?;
    let log_seq = envelope.log_seq(keeping)?;
    let event = envelope.into_event(default_tenant)?;
    Ok(Line { event, log_seq })
}

fn not_json(error: &json::ParseError) -> Rejection {
    let path = error.path();
    match error.problem {
        Problem::LoneSurrogate => Rejection::at(Code::SchemaViolation, &path, error),
        Problem::Syntax(_) | Problem::TooDeep => Rejection::at(Code::InvalidArgument, &path, error),
    }
}

fn invalid(path: &str, message: impl std::fmt::Display) -> Rejection {
    Rejection::at(Code::InvalidArgument, path, message)
}

fn schema(path: &str, message: impl std::fmt::Display) -> Rejection {
    Rejection::at(Code::SchemaViolation, path, message)
}

/// Refuses a NUL, which no column can hold. Where the text stands is asked for only then: most hold none.
pub(super) fn no_nul<P: AsRef<str>>(text: &str, path: impl FnOnce() -> P) -> Result<(), Rejection> {
    if text.contains('\0') {
        return Err(invalid(path().as_ref(), "contains a NUL character"));
    }
    Ok(())
}

/// The members of an event, as pieces of its text.
type Members<'t> = Object<Piece<'t>>;

struct Envelope<'t>(Members<'t>);

impl Envelope<'_> {
    fn refuse_unknown_fields(&self) -> Result<(), Rejection> {
        let known = |key: &str| FIELDS.contains(&key) || key == "log_seq";
        match self.0.keys().find(|key| !known(key.as_ref())) {
            None => Ok(()),
            Some(key) => Err(schema(
                &json::member_path("$", key),
                format!("is not a field of an event; fields are {}", FIELDS[..14].join(", ")),
            )),
        }
    }

    fn log_seq(&self, keeping: Keeping) -> Result<Option<i64>, Rejection> {
        if keeping == Keeping::NewNumbers {
            return Ok(None);
        }
        match self.0.get("log_seq").and_then(Json::as_i64) {
            Some(log_seq) if log_seq > 0 => Ok(Some(log_seq)),
            _ => Err(invalid("$.log_seq", "must be a positive integer to be kept")),
        }
    }

    fn into_event(mut self, default_tenant: &str) -> Result<Event, Rejection> {
        let tenant_id = self.tenant(default_tenant)?;
        let event_id = identifier_in(&self.0, "$", "event_id")?;
        let trace_id = identifier_in(&self.0, "$", "trace_id")?;
        let trace_seq = self.trace_seq()?;
        let event_type = self.event_type()?;
        let (occurred_at, occurred_instant) = self.occurred_at()?;
        let source = self.source()?;
        let actor = self.actor()?;
        let idempotency_key = self.idempotency_key()?;
        let correlation_id = self.optional_text("correlation_id")?;
        let causation_event_id = self.optional_text("causation_event_id")?;
        let schema_version = self.schema_version()?;
        let tags = self.tags()?;
        let payload = self.0.remove("payload").unwrap_or(Json::Null);
        Facts::of(event_type, &payload)?;
        if let Some(below) = payload.first_non_integer() {
            let path = format!("$.payload{below}");
            return Err(schema(&path, "a number must be an integer; write a fraction as a string"));
        }
        let mut event = Event {
            tenant_id,
            event_id,
            trace_id,
            trace_seq,
            event_type,
            occurred_at,
            occurred_instant,
            source,
            actor,
            idempotency_key,
            correlation_id,
            causation_event_id,
            schema_version,
            tags,
            payload: String::with_capacity(USUAL_PAYLOAD_BYTES),
            payload_hash: Hash([0; 32]),
        };
        guard_all(&event, &payload)?;
        json::canonical_into(&payload, &mut event.payload);
        event.payload_hash = Hash::of(event.payload.as_bytes());
        self.check_given_hash(event.payload_hash)?;
        Ok(event)
    }

    /// A required string: not blank, no NUL, kept as given.
    fn text(&self, parent: &str, field: &str) -> Result<String, Rejection> {
        text_in(&self.0, parent, field)
    }

    fn tenant(&self, default_tenant: &str) -> Result<String, Rejection> {
        let given = match self.0.get("tenant_id") {
            None | Some(Json::Null) => default_tenant,
            Some(Json::String(text)) => text,
            Some(_) => return Err(schema("$.tenant_id", "must be a string")),
        };
        tenant_name(given)
    }

    fn trace_seq(&self) -> Result<i64, Rejection> {
        match self.0.get("trace_seq").and_then(Json::as_i64) {
            Some(seq) if seq >= 0 => Ok(seq),
            _ => Err(invalid("$.trace_seq", "must be an integer of 0 or more")),
        }
    }

    fn event_type(&self) -> Result<EventType, Rejection> {
        let name = self.text("$", "event_type")?;
        EventType::from_name(&name).ok_or_else(|| {
            let names: Vec<_> = EventType::ALL.iter().map(|kind| kind.as_str()).collect();
            schema("$.event_type", format!("is not one of {}", names.join(", ")))
        })
    }

    fn occurred_at(&self) -> Result<(String, OffsetDateTime), Rejection> {
        let text = self.0.get("occurred_at").and_then(Json::as_str).unwrap_or_default();
        // The parser also takes a space for the T, which RFC 3339 merely tolerates.
        let instant = OffsetDateTime::parse(text, &Rfc3339).ok();
        // The end of the year 9999 west of Greenwich has no UTC: whoever converts it would panic.
        let instant = instant.and_then(|instant| instant.checked_to_offset(UtcOffset::UTC));
        match instant.filter(|_| matches!(text.as_bytes().get(10), Some(b'T' | b't'))) {
            Some(instant) => Ok((text.to_owned(), instant)),
            None => Err(invalid(
                "$.occurred_at",
                "must be an RFC 3339 time with an offset, such as 2026-01-31T12:00:00Z",
            )),
        }
    }

    fn source(&self) -> Result<Source, Rejection> {
        let members = self.object("source", &["producer_id", "system", "subsystem"])?;
        Ok(Source {
            producer_id: identifier_in(members, "$.source", "producer_id")?,
            system: text_in(members, "$.source", "system")?,
            subsystem: optional_text_in(members, "$.source", "subsystem")?,
        })
    }

    fn actor(&self) -> Result<Actor, Rejection> {
        let members = self.object("actor", &["actor_type", "actor_id"])?;
        let actor_id = identifier_in(members, "$.actor", "actor_id")?;
        let name = text_in(members, "$.actor", "actor_type")?;
        let actor_type = ActorType::from_name(&name).ok_or_else(|| {
            schema("$.actor.actor_type", "is not one of agent, person, role, system")
        })?;
        Ok(Actor { actor_type, actor_id })
    }

    fn object(&self, field: &str, known: &[&str]) -> Result<&Members<'_>, Rejection> {
        let path = || json::member_path("$", field);
        let Some(Json::Object(members)) = self.0.get(field) else {
            return Err(schema(&path(), "must be an object"));
        };
        match members.keys().find(|key| !known.contains(&key.as_ref())) {
            None => Ok(members),
            Some(key) => Err(schema(
                &json::member_path(&path(), key),
                format!("is not a field of {field}; fields are {}", known.join(", ")),
            )),
        }
    }

    fn idempotency_key(&self) -> Result<String, Rejection> {
        let path = "$.idempotency_key";
        let Some(Json::String(key)) = self.0.get("idempotency_key") else {
            return Err(invalid(path, "must be a string"));
        };
        no_nul(key, || path)?;
        if key.is_empty() || key.len() > MAX_KEY_BYTES {
            return Err(invalid(
                path,
                format!("must have 1 to {MAX_KEY_BYTES} bytes of UTF-8, not {}", key.len()),
            ));
        }
        Ok(key.to_string())
    }

    fn optional_text(&self, field: &str) -> Result<Option<String>, Rejection> {
        optional_text_in(&self.0, "$", field)
    }

    fn schema_version(&self) -> Result<i32, Rejection> {
        match self.0.get("schema_version") {
            None => Ok(1),
            Some(value) => value
                .as_i64()
                .and_then(|version| i32::try_from(version).ok())
                .filter(|version| *version > 0)
                .ok_or_else(|| schema("$.schema_version", "must be an integer in 1..=2147483647")),
        }
    }

    fn tags(&self) -> Result<Vec<String>, Rejection> {
        let items = match self.0.get("tags") {
            None => return Ok(Vec::new()),
            Some(Json::Array(items)) => items,
            Some(_) => return Err(schema("$.tags", "must be a list of strings")),
        };
        let tag = |(index, item): (usize, &Borrowed<'_>)| {
            let path = || format!("$.tags[{index}]");
            let text = item.as_str().map(str::trim).filter(|text| !text.is_empty());
            let text = text.ok_or_else(|| schema(&path(), "must be a string that is not blank"))?;
            no_nul(text, path)?;
            Ok(text.to_owned())
        };
        items.iter().enumerate().map(tag).collect()
    }

    fn check_given_hash(&self, computed: Hash) -> Result<(), Rejection> {
        match self.0.get("payload_hash") {
            None | Some(Json::Null) => Ok(()),
            Some(Json::String(text)) if Hash::from_text(text) == Some(computed) => Ok(()),
            Some(_) => Err(Rejection::at(
                Code::Conflict,
                "$.payload_hash",
                format!("is not the hash of the payload, which is {computed}"),
            )),
        }
    }
}

/// A tenant's name: trimmed, not empty, no NUL.
///
/// # Errors
/// `schema_violation` when nothing is left of it, `invalid_argument` for a NUL.
pub fn tenant_name(given: &str) -> Result<String, Rejection> {
    no_nul(given, || "$.tenant_id")?;
    match given.trim() {
        "" => Err(schema("$.tenant_id", "must not be blank")),
        name => short_enough(name, || "$.tenant_id").map(|()| name.to_owned()),
    }
}

fn text_in(members: &Members<'_>, parent: &str, field: &str) -> Result<String, Rejection> {
    let path = || json::member_path(parent, field);
    match members.get(field).and_then(Json::as_str) {
        Some(text) if !text.trim().is_empty() => {
            no_nul(text, path)?;
            Ok(text.to_owned())
        }
        _ => Err(schema(&path(), "must be a string that is not blank")),
    }
}

/// Refuses a part of a key that is too long for one.
pub(super) fn short_enough<P: AsRef<str>>(
    text: &str,
    path: impl FnOnce() -> P,
) -> Result<(), Rejection> {
    if text.len() <= MAX_IDENTIFIER_BYTES {
        return Ok(());
    }
    let bytes = text.len();
    Err(invalid(
        path().as_ref(),
        format!("must have at most {MAX_IDENTIFIER_BYTES} bytes of UTF-8, not {bytes}"),
    ))
}

/// A required string that becomes part of a key.
fn identifier_in(members: &Members<'_>, parent: &str, field: &str) -> Result<String, Rejection> {
    let text = text_in(members, parent, field)?;
    short_enough(&text, || json::member_path(parent, field))?;
    Ok(text)
}

fn optional_text_in(
    members: &Members<'_>,
    parent: &str,
    field: &str,
) -> Result<Option<String>, Rejection> {
    let path = || json::member_path(parent, field);
    match members.get(field) {
        None | Some(Json::Null) => Ok(None),
        Some(Json::String(text)) => {
            no_nul(text, path)?;
            Ok(Some(text.to_string()))
        }
        Some(_) => Err(schema(&path(), "must be a string or null")),
    }
}

/// Every string that a caller controls, in the order of the contract.
fn guard_all(event: &Event, payload: &Borrowed<'_>) -> Result<(), Rejection> {
    guard::check(payload, "$.payload")?;
    for (index, tag) in event.tags.iter().enumerate() {
        guard::check_text(tag, || format!("$.tags[{index}]"))?;
    }
    let texts = [
        ("$.actor.actor_id", Some(&event.actor.actor_id)),
        ("$.source.producer_id", Some(&event.source.producer_id)),
        ("$.source.system", Some(&event.source.system)),
        ("$.source.subsystem", event.source.subsystem.as_ref()),
        ("$.correlation_id", event.correlation_id.as_ref()),
        ("$.causation_event_id", event.causation_event_id.as_ref()),
        ("$.idempotency_key", Some(&event.idempotency_key)),
    ];
    texts
        .into_iter()
        .filter_map(|(path, text)| Some((path, text?)))
        .try_for_each(|(path, text)| guard::check_text(text, || path))
}
