//! Events appended with SQL, as an operator or another program would: rows inserted, `dg_append` called.

use std::collections::BTreeMap;

use dg_projections::admission::Admission;
use dg_projections::event::Line;
use dg_projections::json::{Json, canonical};
use dg_store::StoreError;
use tokio_postgres::Client;
use tokio_postgres::types::ToSql;

/// A row of `dg_event_log`, column by column.
#[derive(Debug, Clone)]
pub struct HandMade(BTreeMap<String, Json>);

impl HandMade {
    /// The row of an event at this place.
    pub fn new(line: &Line, log_seq: i64) -> HandMade {
        let event = &line.event;
        let hash = event.payload_hash.to_string().replace("sha256:", "\\x");
        let columns: [(&str, Json); 19] = [
            ("tenant_id", event.tenant_id.as_str().into()),
            ("log_seq", log_seq.into()),
            ("trace_seq", event.trace_seq.into()),
            ("occurred_at_utc", event.occurred_at.as_str().into()),
            ("recorded_at", "2026-05-05T00:00:00Z".into()),
            ("schema_version", i64::from(event.schema_version).into()),
            ("event_id", event.event_id.as_str().into()),
            ("trace_id", event.trace_id.as_str().into()),
            ("event_type", event.event_type.as_str().into()),
            ("occurred_at", event.occurred_at.as_str().into()),
            ("producer_id", event.source.producer_id.as_str().into()),
            ("source_system", event.source.system.as_str().into()),
            ("actor_type", event.actor.actor_type.as_str().into()),
            ("actor_id", event.actor.actor_id.as_str().into()),
            ("idempotency_key", event.idempotency_key.as_str().into()),
            ("correlation_id", event.correlation_id.clone().into()),
            ("tags", Vec::new().into()),
            ("payload_json", event.payload.as_str().into()),
            ("payload_hash", hash.into()),
        ];
        HandMade(columns.map(|(column, value)| (column.to_owned(), value)).into())
    }

    /// The same with another value.
    #[must_use]
    pub fn with(mut self, column: &str, value: impl Into<Json>) -> HandMade {
        self.0.insert(column.to_owned(), value.into());
        self
    }
}

/// Inserts rows in one statement.
///
/// # Errors
/// As the store would report them.
pub async fn insert(client: &Client, rows: &[HandMade]) -> Result<u64, StoreError> {
    let rows = rows.iter().map(|row| Json::from(row.0.clone())).collect::<Vec<_>>();
    let sql = "INSERT INTO dg_event_log
        SELECT * FROM jsonb_populate_recordset(NULL::dg_event_log, $1::text::jsonb)";
    Ok(client.execute(sql, &[&canonical(&Json::from(rows))]).await?)
}

/// Appends an event with `dg_append`; its number.
///
/// # Errors
/// As the store would report them.
pub async fn dg_append(client: &Client, line: &Line) -> Result<i64, StoreError> {
    let (event, source, actor) = (&line.event, &line.event.source, &line.event.actor);
    let sql = "SELECT dg_append(tenant_id => $1, trace_id => $2, trace_seq => $3, event_type => $4,
        occurred_at => $5, producer_id => $6, source_system => $7, source_subsystem => $8,
        actor_type => $9, actor_id => $10, idempotency_key => $11, correlation_id => $12,
        causation_event_id => $13, schema_version => $14, tags => $15, payload => $16, event_id => $17)";
    let arguments: [&(dyn ToSql + Sync); 17] = [
        &event.tenant_id,
        &event.trace_id,
        &event.trace_seq,
        &event.event_type.as_str(),
        &event.occurred_at,
        &source.producer_id,
        &source.system,
        &source.subsystem,
        &actor.actor_type.as_str(),
        &actor.actor_id,
        &event.idempotency_key,
        &event.correlation_id,
        &event.causation_event_id,
        &event.schema_version,
        &event.tags,
        &event.payload,
        &event.event_id,
    ];
    Ok(client.query_one(sql, &arguments).await?.try_get(0)?)
}

/// The same; the identifier of the event that has the number tells an inserted one from a reused one.
///
/// # Errors
/// As the store would report them.
pub async fn call_append(client: &Client, line: &Line) -> Result<Admission, StoreError> {
    let log_seq = dg_append(client, line).await?;
    let sql = "SELECT event_id FROM dg_event_log WHERE tenant_id = $1 AND log_seq = $2";
    let row = client.query_one(sql, &[&line.event.tenant_id, &log_seq]).await?;
    let event_id: String = row.try_get(0)?;
    Ok(if event_id == line.event.event_id {
        Admission::Insert { log_seq }
    } else {
        Admission::Reused { log_seq, event_id }
    })
}
