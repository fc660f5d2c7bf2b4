//! The traces that a tenant's log ends with.

use time::OffsetDateTime;

use crate::{Store, StoreError};

/// A trace, and the last that happened in it. What comes from its summary is none while that is
/// behind the trace's first event.
#[derive(Debug, Clone, PartialEq, Eq)]
#[allow(missing_docs, reason = "the names are the contract's")]
pub struct LatestTrace {
    pub trace_id: String,
    pub last_log_seq: i64,
    pub last_event_type: String,
    pub recorded_at: OffsetDateTime,
    pub title: Option<String>,
    pub workflow: Option<String>,
    pub outcome: Option<String>,
}

/// Events at the end of the log that are looked at: the answer costs the same however long the log is.
const EVENTS: i64 = 1000;

const LATEST: &str = "SELECT last.trace_id, last.log_seq, last.event_type, last.recorded_at,
        s.title, s.workflow, s.outcome
    FROM (SELECT DISTINCT ON (trace_id) trace_id, log_seq, event_type, recorded_at
        FROM (SELECT trace_id, log_seq, event_type, recorded_at FROM dg_event_log
            WHERE tenant_id = $1 ORDER BY log_seq DESC LIMIT $2) AS tail
        ORDER BY trace_id, log_seq DESC) AS last
    LEFT JOIN dg_projections AS p
        ON p.tenant_id = $1 AND p.projection_name = 'trace_summary'
    LEFT JOIN dg_trace_summary AS s ON s.tenant_id = $1 AND s.generation = p.active_generation
        AND s.trace_id = last.trace_id
    ORDER BY last.log_seq DESC LIMIT $3";

impl Store {
    /// The traces of the last thousand events of a tenant, the latest first, at most so many. As the
    /// log is read, it refuses nothing while projections are behind; the summaries are those there are.
    ///
    /// # Errors
    /// When the database cannot be asked.
    pub async fn latest_traces(
        &self,
        tenant: &str,
        most: i64,
    ) -> Result<Vec<LatestTrace>, StoreError> {
        let client = self.client().await?;
        let statement = client.prepare_cached(LATEST).await?;
        let rows = client.query(&statement, &[&tenant, &EVENTS, &most]).await?;
        let latest = |row: &tokio_postgres::Row| {
            Ok(LatestTrace {
                trace_id: row.try_get(0)?,
                last_log_seq: row.try_get(1)?,
                last_event_type: row.try_get(2)?,
                recorded_at: row.try_get(3)?,
                title: row.try_get(4)?,
                workflow: row.try_get(5)?,
                outcome: row.try_get(6)?,
            })
        };
        rows.iter().map(latest).collect()
    }
}
