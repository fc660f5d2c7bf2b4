//! Rows of the log on their way in: one statement for all of them, a column an array.

use deadpool_postgres::{ClientWrapper, Transaction};
use dg_projections::event::Event;
use dg_projections::json::{Json, canonical};
use tokio_postgres::types::ToSql;

use crate::StoreError;

/// The columns of a tenant's new events.
#[derive(Default)]
pub(super) struct Rows<'a> {
    log_seq: Vec<i64>,
    trace_seq: Vec<i64>,
    occurred_at_utc: Vec<time::OffsetDateTime>,
    schema_version: Vec<i32>,
    event_id: Vec<&'a str>,
    trace_id: Vec<&'a str>,
    event_type: Vec<&'static str>,
    occurred_at: Vec<&'a str>,
    producer_id: Vec<&'a str>,
    source_system: Vec<&'a str>,
    source_subsystem: Vec<Option<&'a str>>,
    actor_type: Vec<&'static str>,
    actor_id: Vec<&'a str>,
    idempotency_key: Vec<&'a str>,
    correlation_id: Vec<Option<&'a str>>,
    causation_event_id: Vec<Option<&'a str>>,
    tags: Vec<String>,
    payload_json: Vec<&'a str>,
    payload_hash: Vec<&'a [u8]>,
}

const INSERT: &str = "INSERT INTO dg_event_log (tenant_id, log_seq, trace_seq, occurred_at_utc,
        schema_version, event_id, trace_id, event_type, occurred_at, producer_id, source_system,
        source_subsystem, actor_type, actor_id, idempotency_key, correlation_id, causation_event_id,
        tags, payload_json, payload_hash)
    SELECT $1::text, log_seq, trace_seq, occurred_at_utc, schema_version, event_id, trace_id, event_type,
        occurred_at, producer_id, source_system, source_subsystem, actor_type, actor_id,
        idempotency_key, correlation_id, causation_event_id, tags::jsonb, payload_json, payload_hash
    FROM unnest($2::bigint[], $3::bigint[], $4::timestamptz[], $5::integer[], $6::text[], $7::text[],
        $8::text[], $9::text[], $10::text[], $11::text[], $12::text[], $13::text[], $14::text[],
        $15::text[], $16::text[], $17::text[], $18::text[], $19::text[], $20::bytea[])
        AS rows (log_seq, trace_seq, occurred_at_utc, schema_version, event_id, trace_id,
        event_type, occurred_at, producer_id, source_system, source_subsystem, actor_type, actor_id,
        idempotency_key, correlation_id, causation_event_id, tags, payload_json, payload_hash)";

/// The head as it must be, locked until the statement's transaction ends. One that somebody moves
/// meanwhile is waited for and looked at again.
const AT_HEAD: &str = "CROSS JOIN (SELECT FROM dg_tenant_heads
        WHERE tenant_id = $1 AND last_log_seq = $21 FOR UPDATE) AS head";

impl<'a> Rows<'a> {
    pub(super) fn push(&mut self, event: &'a Event, log_seq: i64) {
        self.log_seq.push(log_seq);
        self.trace_seq.push(event.trace_seq);
        self.occurred_at_utc.push(event.occurred_instant);
        self.schema_version.push(event.schema_version);
        self.event_id.push(&event.event_id);
        self.trace_id.push(&event.trace_id);
        self.event_type.push(event.event_type.as_str());
        self.occurred_at.push(&event.occurred_at);
        self.producer_id.push(&event.source.producer_id);
        self.source_system.push(&event.source.system);
        self.source_subsystem.push(event.source.subsystem.as_deref());
        self.actor_type.push(event.actor.actor_type.as_str());
        self.actor_id.push(&event.actor.actor_id);
        self.idempotency_key.push(&event.idempotency_key);
        self.correlation_id.push(event.correlation_id.as_deref());
        self.causation_event_id.push(event.causation_event_id.as_deref());
        let tags = event.tags.iter().map(|tag| Json::from(tag.as_str())).collect();
        self.tags.push(canonical(&Json::Array(tags)));
        self.payload_json.push(&event.payload);
        self.payload_hash.push(&event.payload_hash.0);
    }

    /// Inserts them in a transaction that holds the tenant's head.
    pub(super) async fn insert(
        &self,
        transaction: &Transaction<'_>,
        tenant: &str,
    ) -> Result<(), StoreError> {
        if self.log_seq.is_empty() {
            return Ok(());
        }
        let insert = transaction.prepare_cached(INSERT).await?;
        transaction.execute(&insert, &self.columns(&tenant)).await?;
        Ok(())
    }

    /// Inserts them as a transaction of their own if the tenant's log ends at `head`; how many rows
    /// went in.
    pub(super) async fn insert_at(
        &self,
        client: &ClientWrapper,
        tenant: &str,
        head: i64,
    ) -> Result<u64, tokio_postgres::Error> {
        let insert = client.prepare_cached(&format!("{INSERT} {AT_HEAD}")).await?;
        let mut arguments = self.columns(&tenant).to_vec();
        arguments.push(&head);
        client.execute(&insert, &arguments).await
    }

    fn columns<'b>(&'b self, tenant: &'b &str) -> [&'b (dyn ToSql + Sync); 20] {
        [
            tenant,
            &self.log_seq,
            &self.trace_seq,
            &self.occurred_at_utc,
            &self.schema_version,
            &self.event_id,
            &self.trace_id,
            &self.event_type,
            &self.occurred_at,
            &self.producer_id,
            &self.source_system,
            &self.source_subsystem,
            &self.actor_type,
            &self.actor_id,
            &self.idempotency_key,
            &self.correlation_id,
            &self.causation_event_id,
            &self.tags,
            &self.payload_json,
            &self.payload_hash,
        ]
    }
}
