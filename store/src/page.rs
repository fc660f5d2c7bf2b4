//! A projector's page: the events after a cursor, and what the log says of the traces they continue.

use dg_projections::event::{EventType, LogEvent};
use dg_projections::projection::{Projection, Traces};
use tokio_postgres::Row;

use crate::rows::hash;
use crate::{Store, StoreError};

/// The next events of a tenant and their context; see [`Traces::load`].
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Page {
    /// In log order, from the first after the cursor.
    pub events: Vec<LogEvent>,
    /// Traces that the page continues, with the `trace_seq` of their first event in it, if the log
    /// holds its predecessor.
    pub resumed: Vec<(String, i64)>,
    /// Earlier events that the projection needs again, in log order.
    pub recalled: Vec<LogEvent>,
}

/// What a projection needs of an event, and no more: the payload is most of a page.
pub(crate) const LOG_EVENT_COLUMNS: &str = "log_seq, event_id, trace_id, trace_seq, event_type,
    occurred_at, actor_type, actor_id, payload_json, payload_hash";

// The predecessor by its unique key: one probe a trace, however long the trace is. The bound on
// log_seq stands outside, or the planner might walk the primary key.
const RESUMED: &str = "SELECT asked.trace_id, asked.trace_seq
    FROM unnest($2::text[], $3::bigint[]) AS asked (trace_id, trace_seq)
    CROSS JOIN LATERAL (SELECT l.log_seq FROM dg_event_log AS l
        WHERE l.tenant_id = $1 AND l.trace_id = asked.trace_id
          AND l.trace_seq = asked.trace_seq - 1 LIMIT 1) AS before
    WHERE before.log_seq <= $4";

impl Store {
    /// Up to `limit` events after `cursor`, with what `projection` must know of their traces.
    ///
    /// The log is append-only and read in commit order, so the three statements need no snapshot.
    ///
    /// # Errors
    /// When the database cannot be asked.
    pub async fn read_page(
        &self,
        tenant: &str,
        projection: Projection,
        cursor: i64,
        limit: i64,
    ) -> Result<Page, StoreError> {
        let client = self.client().await?;
        let sql = format!(
            "SELECT {LOG_EVENT_COLUMNS} FROM dg_event_log
             WHERE tenant_id = $1 AND log_seq > $2 ORDER BY log_seq LIMIT $3"
        );
        let statement = client.prepare_cached(&sql).await?;
        let rows = client.query(&statement, &[&tenant, &cursor, &limit]).await?;
        let events = rows.iter().map(log_event_from).collect::<Result<Vec<_>, _>>()?;

        let (traces, seqs): (Vec<&str>, Vec<i64>) = Traces::continued(&events).into_iter().unzip();
        let mut resumed = Vec::new();
        if !traces.is_empty() {
            let statement = client.prepare_cached(RESUMED).await?;
            let rows = client.query(&statement, &[&tenant, &traces, &seqs, &cursor]).await?;
            for row in &rows {
                resumed.push((row.try_get(0)?, row.try_get(1)?));
            }
        }
        let wanted: Vec<&str> = Traces::recalled(projection, &events).into_iter().collect();
        let recalled = if wanted.is_empty() {
            Vec::new()
        } else {
            recall(&client, tenant, &wanted, cursor).await?
        };
        Ok(Page { events, resumed, recalled })
    }
}

async fn recall(
    client: &deadpool_postgres::Object,
    tenant: &str,
    traces: &[&str],
    cursor: i64,
) -> Result<Vec<LogEvent>, StoreError> {
    // OFFSET 0 keeps the outer conditions outside: trace by trace, by the key of the trace.
    let sql = format!(
        "SELECT {LOG_EVENT_COLUMNS} FROM unnest($2::text[]) AS asked (asked_trace_id)
         CROSS JOIN LATERAL (SELECT * FROM dg_event_log AS l
            WHERE l.tenant_id = $1 AND l.trace_id = asked.asked_trace_id OFFSET 0) AS e
         WHERE e.log_seq <= $3 AND e.event_type = ANY($4) ORDER BY e.log_seq"
    );
    let types =
        [EventType::TraceStarted, EventType::PolicyEvaluated, EventType::ExceptionRequested]
            .map(EventType::as_str)
            .to_vec();
    let statement = client.prepare_cached(&sql).await?;
    let rows = client.query(&statement, &[&tenant, &traces, &cursor, &types]).await?;
    rows.iter().map(log_event_from).collect()
}

pub(crate) fn log_event_from(row: &Row) -> Result<LogEvent, StoreError> {
    Ok(LogEvent {
        log_seq: row.try_get(0)?,
        event_id: row.try_get(1)?,
        trace_id: row.try_get(2)?,
        trace_seq: row.try_get(3)?,
        event_type: row.try_get(4)?,
        occurred_at: row.try_get(5)?,
        actor_type: row.try_get(6)?,
        actor_id: row.try_get(7)?,
        payload: row.try_get(8)?,
        payload_hash: hash(row.try_get(9)?)?,
    })
}
