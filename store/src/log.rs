//! Reads of the log: lists by filter, traces, both keyset paged.

use dg_projections::event::EventType;
use dg_projections::{Code, Rejection};
use time::OffsetDateTime;
use tokio_postgres::Row;
use tokio_postgres::types::ToSql;

pub use dg_projections::event::RecordedEvent;

use crate::page::within_bytes;
use crate::rows::{hash, tags_from};
use crate::{Store, StoreError};

/// Which events of a tenant to list; the default is all of them.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct EventFilter {
    /// Only of this trace.
    pub trace_id: Option<String>,
    /// Only of this type.
    pub event_type: Option<EventType>,
    /// Exclusive.
    pub since_log_seq: Option<i64>,
    /// Inclusive.
    pub until_log_seq: Option<i64>,
    /// Exclusive, as an instant.
    pub since_occurred_at: Option<OffsetDateTime>,
    /// Inclusive, as an instant.
    pub until_occurred_at: Option<OffsetDateTime>,
}

impl EventFilter {
    /// Refuses bounds the wrong way round.
    ///
    /// # Errors
    /// `invalid_argument`, naming the bounds.
    pub fn check(&self) -> Result<(), Rejection> {
        let wrong = |what| {
            Err(Rejection::new(
                Code::InvalidArgument,
                format!("since_{what} is after until_{what}"),
            ))
        };
        if matches!((self.since_log_seq, self.until_log_seq), (Some(since), Some(until)) if since > until)
        {
            return wrong("log_seq");
        }
        if matches!((self.since_occurred_at, self.until_occurred_at), (Some(since), Some(until)) if since > until)
        {
            return wrong("occurred_at");
        }
        Ok(())
    }
}

/// A trace, or the rest of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TraceSlice {
    /// Its events by `trace_seq`.
    pub events: Vec<RecordedEvent>,
    /// The `trace_seq` that comes next.
    pub next_trace_seq: i64,
    /// Whether it has finished.
    pub finished: bool,
}

pub(crate) const COLUMNS: &str =
    "tenant_id, log_seq, recorded_at, event_id, trace_id, trace_seq, event_type,
    occurred_at, producer_id, source_system, source_subsystem, actor_type, actor_id,
    idempotency_key, correlation_id, causation_event_id, schema_version, tags::text, payload_json,
    payload_hash";

impl Store {
    /// The first events after the filter's `since_log_seq`, by `log_seq`: up to `limit`, and fewer
    /// when they are large, but one at least if there is any. The next page continues from the last
    /// event's number: nothing is dropped or repeated, whatever is appended meanwhile.
    ///
    /// # Errors
    /// When the database cannot be asked.
    pub async fn list_events(
        &self,
        tenant: &str,
        filter: &EventFilter,
        limit: i64,
    ) -> Result<Vec<RecordedEvent>, StoreError> {
        let since = filter.since_log_seq.unwrap_or(0);
        let event_type = filter.event_type.map(EventType::as_str);
        let mut sql =
            format!("SELECT {COLUMNS} FROM dg_event_log WHERE tenant_id = $1 AND log_seq > $2");
        let mut arguments: Vec<&(dyn ToSql + Sync)> = vec![&tenant, &since];
        // Only what is asked for: a condition that may be absent would hide its index.
        let conditions: [(&str, Option<&(dyn ToSql + Sync)>); 5] = [
            ("trace_id =", filter.trace_id.as_ref().map(|value| value as _)),
            ("event_type =", event_type.as_ref().map(|value| value as _)),
            ("log_seq <=", filter.until_log_seq.as_ref().map(|value| value as _)),
            ("occurred_at_utc >", filter.since_occurred_at.as_ref().map(|value| value as _)),
            ("occurred_at_utc <=", filter.until_occurred_at.as_ref().map(|value| value as _)),
        ];
        for (condition, value) in conditions {
            if let Some(value) = value {
                arguments.push(value);
                sql.push_str(&format!(" AND {condition} ${}", arguments.len()));
            }
        }
        arguments.push(&limit);
        // Within a trace both orders are one, and each has its index.
        let order = if filter.trace_id.is_some() { "trace_seq" } else { "log_seq" };
        sql.push_str(&format!(" ORDER BY {order} LIMIT ${}", arguments.len()));
        let sql = within_bytes(&sql, order);
        let client = self.client().await?;
        let statement = client.prepare_cached(&sql).await?;
        let rows = client.query(&statement, &arguments).await?;
        rows.iter().map(recorded_from).collect()
    }

    /// The events of a trace after `since_trace_seq`, and where it continues.
    ///
    /// # Errors
    /// `not_found` for a trace that the log does not know.
    pub async fn trace(
        &self,
        tenant: &str,
        trace_id: &str,
        since_trace_seq: Option<i64>,
    ) -> Result<TraceSlice, StoreError> {
        let since = since_trace_seq.unwrap_or(-1);
        let client = self.client().await?;
        let sql = format!(
            "SELECT {COLUMNS} FROM dg_event_log
             WHERE tenant_id = $1 AND trace_id = $2 AND trace_seq > $3 ORDER BY trace_seq"
        );
        let end = "SELECT trace_seq, event_type FROM dg_event_log
             WHERE tenant_id = $1 AND trace_id = $2 ORDER BY trace_seq DESC LIMIT 1";
        let Some(last) = client.query_opt(end, &[&tenant, &trace_id]).await? else {
            let message = format!("trace '{trace_id}' is not in the log of tenant '{tenant}'");
            return Err(StoreError::new(Code::NotFound, message));
        };
        let statement = client.prepare_cached(&sql).await?;
        let rows = client.query(&statement, &[&tenant, &trace_id, &since]).await?;
        let events = rows.iter().map(recorded_from).collect::<Result<Vec<_>, _>>()?;
        let (mut last_seq, mut last_type): (i64, String) = (last.try_get(0)?, last.try_get(1)?);
        if let Some(event) = events.last() {
            (last_seq, last_type) = (event.trace_seq, event.event_type.clone());
        }
        let finished = last_type == EventType::TraceFinished.as_str();
        Ok(TraceSlice { events, next_trace_seq: last_seq + 1, finished })
    }
}

pub(crate) fn recorded_from(row: &Row) -> Result<RecordedEvent, StoreError> {
    Ok(RecordedEvent {
        tenant_id: row.try_get(0)?,
        log_seq: row.try_get(1)?,
        recorded_at: row.try_get(2)?,
        event_id: row.try_get(3)?,
        trace_id: row.try_get(4)?,
        trace_seq: row.try_get(5)?,
        event_type: row.try_get(6)?,
        occurred_at: row.try_get(7)?,
        producer_id: row.try_get(8)?,
        source_system: row.try_get(9)?,
        source_subsystem: row.try_get(10)?,
        actor_type: row.try_get(11)?,
        actor_id: row.try_get(12)?,
        idempotency_key: row.try_get(13)?,
        correlation_id: row.try_get(14)?,
        causation_event_id: row.try_get(15)?,
        schema_version: row.try_get(16)?,
        tags: tags_from(row.try_get(17)?)?,
        payload: row.try_get(18)?,
        payload_hash: hash(row.try_get(19)?)?,
    })
}
