//! How far the projections of all tenants are, for those who watch: one query, a bounded answer.
//!
//! The most lagging tenants are told one by one, all others as one sum, so the answer does not grow
//! with the number of tenants. As in [`crate::Health`], nothing here believes a worker, and a missing
//! row counts as fully behind.

use crate::database::looking;
use crate::{Store, StoreError};

/// How far a projection of a tenant is, or that of all tenants that are not told one by one.
#[derive(Debug, Clone, PartialEq)]
pub struct Lag {
    /// The tenant; none for the others together.
    pub tenant_id: Option<String>,
    /// The projection.
    pub projection_name: String,
    /// Events not applied.
    pub pending_events: i64,
    /// Age of the oldest event not applied, of the others the greatest; 0 when there is none.
    pub lag_seconds: f64,
    /// The least of its partitions; none for the others, whose numbers have no common meaning.
    pub last_log_seq: Option<i64>,
    /// Dead letters.
    pub open_failures: i64,
}

// A tenant's rank is that of its most lagging projection. Of what is behind, the log is asked for
// the first event after the cursor, by its key; of what is not, nothing.
const LAGS: &str = "WITH place AS (
        SELECT head.tenant_id, name.projection_name,
            coalesce(min(c.last_log_seq), 0) AS last_log_seq,
            greatest(head.event_count - coalesce(sum(c.applied_events), 0), 0)::bigint AS pending,
            head.last_log_seq > coalesce(min(c.last_log_seq), 0) AS is_behind
        FROM dg_tenant_heads AS head
        CROSS JOIN unnest($1::text[]) AS name (projection_name)
        LEFT JOIN dg_projections AS p
            ON p.tenant_id = head.tenant_id AND p.projection_name = name.projection_name
        LEFT JOIN dg_projection_cursors AS c
            ON c.tenant_id = p.tenant_id AND c.projection_name = p.projection_name
            AND c.generation = p.active_generation
        WHERE head.event_count > 0
        GROUP BY head.tenant_id, head.event_count, head.last_log_seq, name.projection_name),
    worst AS (
        SELECT *, max(pending) OVER (PARTITION BY tenant_id) AS worst FROM place),
    ranked AS (
        SELECT *, dense_rank() OVER (ORDER BY tenant_id = $3, worst DESC, tenant_id) AS rank
        FROM worst),
    failed AS (
        SELECT tenant_id, projection_name, count(*) AS failures
        FROM dg_projection_failures WHERE status = 'open' GROUP BY tenant_id, projection_name)
    SELECT CASE WHEN rank <= $2 AND tenant_id <> $3 THEN tenant_id END AS tenant,
        projection_name, sum(pending)::bigint,
        coalesce(max(extract(epoch FROM clock_timestamp() - oldest.recorded_at)), 0)::float8,
        min(last_log_seq), coalesce(sum(failures), 0)::bigint
    FROM ranked
    LEFT JOIN failed USING (tenant_id, projection_name)
    LEFT JOIN LATERAL (SELECT l.recorded_at FROM dg_event_log AS l
        WHERE is_behind AND l.tenant_id = ranked.tenant_id AND l.log_seq > ranked.last_log_seq
        ORDER BY l.log_seq LIMIT 1) AS oldest ON true
    GROUP BY tenant, projection_name ORDER BY tenant, projection_name";

impl Store {
    /// The lag of the given projections: of the `most` most lagging tenants, by name, and of all
    /// others together, last. A tenant named `others` is never told by itself: whoever shows the
    /// others under that name could not tell them apart.
    ///
    /// # Errors
    /// When the database cannot be asked.
    pub async fn lags(
        &self,
        projections: &[&str],
        most: i64,
        others: &str,
    ) -> Result<Vec<Lag>, StoreError> {
        let mut client = self.client().await?;
        let transaction = looking(&mut client).await?; // writes nothing, and ends with this call
        let statement = transaction.prepare_cached(LAGS).await?;
        let rows = transaction.query(&statement, &[&projections, &most, &others]).await?;
        rows.iter().map(lag_from).collect()
    }
}

fn lag_from(row: &tokio_postgres::Row) -> Result<Lag, StoreError> {
    let tenant_id: Option<String> = row.try_get(0)?;
    let least: i64 = row.try_get(4)?;
    Ok(Lag {
        last_log_seq: tenant_id.is_some().then_some(least),
        tenant_id,
        projection_name: row.try_get(1)?,
        pending_events: row.try_get(2)?,
        lag_seconds: row.try_get::<_, f64>(3)?.max(0.0),
        open_failures: row.try_get(5)?,
    })
}
