//! How far the projections of all tenants are, for those who watch: one query, a bounded answer.
//!
//! The most lagging tenants are told one by one, all others as one sum, so the answer does not grow
//! with the number of tenants. As in [`crate::Health`], nothing here believes a worker, and a missing
//! row counts as fully behind.

use crate::database::writing;
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
// the first event after the cursor, by its key, once for all projections that stand there; of what
// is not, nothing. Each part is one pass over the tenants and small tables beside it: a window over
// all of them, or a look-up for each projection, takes as long again. A server's clock may have been set
// back since an event was recorded: no age is less than nothing.
const LAGS: &str = "WITH place AS MATERIALIZED (
        SELECT head.tenant_id, name.projection_name,
            coalesce(at.last_log_seq, 0) AS last_log_seq,
            greatest(head.event_count - coalesce(at.applied_events, 0), 0)::bigint AS pending,
            head.last_log_seq > coalesce(at.last_log_seq, 0) AS is_behind
        FROM dg_tenant_heads AS head
        CROSS JOIN unnest($1::text[]) AS name (projection_name)
        LEFT JOIN (SELECT p.tenant_id, p.projection_name, min(c.last_log_seq) AS last_log_seq,
                sum(c.applied_events) AS applied_events
            FROM dg_projections AS p
            JOIN dg_projection_cursors AS c
                ON c.tenant_id = p.tenant_id AND c.projection_name = p.projection_name
                AND c.generation = p.active_generation
            GROUP BY p.tenant_id, p.projection_name) AS at
            ON at.tenant_id = head.tenant_id AND at.projection_name = name.projection_name
        WHERE head.event_count > 0),
    named AS (
        SELECT tenant_id FROM place WHERE tenant_id <> $3
        GROUP BY tenant_id ORDER BY max(pending) DESC, tenant_id LIMIT $2),
    oldest AS (
        SELECT place.tenant_id, place.last_log_seq, first.recorded_at
        FROM (SELECT DISTINCT tenant_id, last_log_seq FROM place WHERE is_behind) AS place
        CROSS JOIN LATERAL (SELECT l.recorded_at FROM dg_event_log AS l
            WHERE l.tenant_id = place.tenant_id AND l.log_seq > place.last_log_seq
            ORDER BY l.log_seq LIMIT 1) AS first),
    failed AS (
        SELECT tenant_id, projection_name, count(*) AS failures
        FROM dg_projection_failures WHERE status = 'open' GROUP BY tenant_id, projection_name)
    SELECT named.tenant_id AS tenant, projection_name, sum(pending)::bigint,
        greatest(extract(epoch FROM clock_timestamp() - min(oldest.recorded_at)), 0)::float8,
        min(place.last_log_seq), coalesce(sum(failures), 0)::bigint
    FROM place
    LEFT JOIN named USING (tenant_id)
    LEFT JOIN failed USING (tenant_id, projection_name)
    LEFT JOIN oldest ON is_behind AND oldest.tenant_id = place.tenant_id
        AND oldest.last_log_seq = place.last_log_seq
    GROUP BY tenant, projection_name ORDER BY tenant, projection_name";

/// The places of ten thousand tenants fit, rather than go to a file.
const ROOM: &str = "SET LOCAL work_mem = '16MB'";

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
        let transaction = writing(&mut client).await?; // writes nothing, and ends with this call
        transaction.batch_execute(ROOM).await?;
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
