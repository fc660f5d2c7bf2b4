//! An event as the log holds it, whole, and its JSON.

use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use crate::hash::Hash;
use crate::json::{Json, Object, canonical_into, canonical_string};

/// A stored event: the envelope and what the store added. The strings are the stored ones.
#[derive(Debug, Clone, PartialEq, Eq)]
#[allow(missing_docs, reason = "the names are the contract's")]
pub struct RecordedEvent {
    pub tenant_id: String,
    pub log_seq: i64,
    pub recorded_at: OffsetDateTime,
    pub event_id: String,
    pub trace_id: String,
    pub trace_seq: i64,
    pub event_type: String,
    pub occurred_at: String,
    pub producer_id: String,
    pub source_system: String,
    pub source_subsystem: Option<String>,
    pub actor_type: String,
    pub actor_id: String,
    pub idempotency_key: String,
    pub correlation_id: Option<String>,
    pub causation_event_id: Option<String>,
    pub schema_version: i32,
    pub tags: Vec<String>,
    pub payload: String,
    pub payload_hash: Hash,
}

impl RecordedEvent {
    /// One line of an export: the envelope with `log_seq`, `recorded_at` and `payload_hash`, keys
    /// sorted, the payload byte for byte as stored.
    pub fn to_json(&self) -> String {
        let mut members = self.envelope();
        members.insert("recorded_at".to_owned(), Json::from(rfc3339(self.recorded_at)));
        self.with_payload(&members)
    }

    /// The same line without `recorded_at`: what a log's hash is of.
    pub fn to_timeless_json(&self) -> String {
        self.with_payload(&self.envelope())
    }

    fn with_payload(&self, members: &Object) -> String {
        let mut out = String::with_capacity(512 + self.payload.len());
        let payload_place = "payload";
        let mut written_payload = false;
        out.push('{');
        for (index, (key, value)) in members.iter().enumerate() {
            if !written_payload && key.as_str() > payload_place {
                push_key(&mut out, payload_place);
                out.push_str(&self.payload);
                out.push(',');
                written_payload = true;
            }
            push_key(&mut out, key);
            canonical_into(value, &mut out);
            if index + 1 < members.len() {
                out.push(',');
            }
        }
        out.push('}');
        out
    }

    /// Everything but the payload and the time of the store.
    fn envelope(&self) -> Object {
        let text = |value: &str| Json::from(value);
        let source = Object::from([
            ("producer_id".to_owned(), text(&self.producer_id)),
            ("subsystem".to_owned(), Json::from(self.source_subsystem.clone())),
            ("system".to_owned(), text(&self.source_system)),
        ]);
        let actor = Object::from([
            ("actor_id".to_owned(), text(&self.actor_id)),
            ("actor_type".to_owned(), text(&self.actor_type)),
        ]);
        let tags: Vec<Json> = self.tags.iter().map(|tag| text(tag)).collect();
        Object::from([
            ("tenant_id".to_owned(), text(&self.tenant_id)),
            ("log_seq".to_owned(), Json::from(self.log_seq)),
            ("event_id".to_owned(), text(&self.event_id)),
            ("trace_id".to_owned(), text(&self.trace_id)),
            ("trace_seq".to_owned(), Json::from(self.trace_seq)),
            ("event_type".to_owned(), text(&self.event_type)),
            ("occurred_at".to_owned(), text(&self.occurred_at)),
            ("source".to_owned(), Json::from(source)),
            ("actor".to_owned(), Json::from(actor)),
            ("idempotency_key".to_owned(), text(&self.idempotency_key)),
            ("correlation_id".to_owned(), Json::from(self.correlation_id.clone())),
            ("causation_event_id".to_owned(), Json::from(self.causation_event_id.clone())),
            ("schema_version".to_owned(), Json::from(i64::from(self.schema_version))),
            ("tags".to_owned(), Json::from(tags)),
            ("payload_hash".to_owned(), Json::from(self.payload_hash.to_string())),
        ])
    }
}

fn push_key(out: &mut String, key: &str) {
    canonical_string(key, out);
    out.push(':');
}

/// An instant as RFC 3339 in UTC.
pub fn rfc3339(instant: OffsetDateTime) -> String {
    // Formatting fails only for years beyond 9999, which neither our clock nor Postgres gives.
    instant.to_offset(time::UtcOffset::UTC).format(&Rfc3339).unwrap_or_default()
}
