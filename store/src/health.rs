//! How far each projection of a tenant is: lag in events and seconds, digests, open failures.
//!
//! Nothing here believes a worker: a missing row counts as fully behind, and lag is computed from
//! the log whenever it is asked for.

use std::collections::BTreeMap;

use dg_projections::hash::Hash;
use time::OffsetDateTime;

use crate::rows::hash;
use crate::{Store, StoreError};

/// A tenant's health.
#[derive(Debug, Clone, PartialEq)]
#[allow(missing_docs, reason = "the names are the contract's")]
pub struct Health {
    pub tenant_id: String,
    pub event_log_last_seq: i64,
    pub event_count: i64,
    /// The digest over all projections, when it stands for the log's end.
    pub full_digest: Option<Hash>,
    pub projections: Vec<ProjectionHealth>,
}

impl Health {
    /// Whether any projection is behind the log.
    pub fn is_stale(&self) -> bool {
        self.projections.iter().any(|projection| projection.is_stale)
    }
}

/// The health of one projection.
#[derive(Debug, Clone, PartialEq)]
#[allow(missing_docs, reason = "the names are the contract's")]
pub struct ProjectionHealth {
    pub projection_name: String,
    pub generation: Option<i32>,
    /// The least of its partitions.
    pub last_log_seq: i64,
    pub applied_events: i64,
    pub pending_events: i64,
    /// Age of the oldest event not applied; 0 when there is none.
    pub lag_seconds: f64,
    /// Since the cursor last moved; none before it ever did.
    pub cursor_age_seconds: Option<f64>,
    pub is_stale: bool,
    pub digest: Option<Hash>,
    pub digest_log_seq: Option<i64>,
    pub digest_updated_at: Option<OffsetDateTime>,
    pub open_failures: i64,
    pub partitions: Vec<PartitionHealth>,
}

/// The place of one partition.
#[derive(Debug, Clone, PartialEq)]
#[allow(missing_docs, reason = "the names are the contract's")]
pub struct PartitionHealth {
    pub partition: i32,
    pub last_log_seq: i64,
    pub applied_events: i64,
}

// A server's clock may have been set back since: no age is less than nothing. `greatest` passes over NULL.
const HEALTH: &str = "SELECT head.tenant_id, head.last_log_seq, head.event_count,
        full_digest.digest, name.projection_name, p.active_generation,
        c.partition, coalesce(c.last_log_seq, 0), coalesce(c.applied_events, 0),
        CASE WHEN c.updated_at IS NOT NULL
            THEN greatest(extract(epoch FROM clock_timestamp() - c.updated_at), 0)::float8 END,
        greatest((SELECT extract(epoch FROM clock_timestamp() - l.recorded_at)::float8
            FROM dg_event_log AS l
            WHERE l.tenant_id = head.tenant_id AND l.log_seq > coalesce(c.last_log_seq, 0)
            ORDER BY l.log_seq LIMIT 1), 0),
        d.digest, d.log_seq, d.updated_at,
        (SELECT count(*) FROM dg_projection_failures AS f
            WHERE f.tenant_id = head.tenant_id AND f.projection_name = name.projection_name
              AND f.status = 'open')
    FROM dg_tenant_heads AS head
    CROSS JOIN unnest($2::text[]) WITH ORDINALITY AS name (projection_name, place)
    LEFT JOIN dg_projections AS p
        ON p.tenant_id = head.tenant_id AND p.projection_name = name.projection_name
    LEFT JOIN dg_projection_cursors AS c
        ON c.tenant_id = p.tenant_id AND c.projection_name = p.projection_name
        AND c.generation = p.active_generation
    LEFT JOIN dg_projection_digests AS d
        ON d.tenant_id = head.tenant_id AND d.digest_name = name.projection_name
        AND d.generation = p.active_generation
    LEFT JOIN dg_projection_digests AS full_digest
        ON full_digest.tenant_id = head.tenant_id AND full_digest.digest_name = 'full_projection'
        AND full_digest.log_seq = head.last_log_seq
    WHERE ($1::text IS NULL OR head.tenant_id = $1) AND head.event_count > 0
    ORDER BY head.tenant_id, name.place, c.partition";

impl Store {
    /// The health of one tenant, or of all that have events, by name; for the given projections.
    ///
    /// # Errors
    /// When the database cannot be asked. An unknown tenant gives an empty list.
    pub async fn health(
        &self,
        tenant: Option<&str>,
        projections: &[&str],
    ) -> Result<Vec<Health>, StoreError> {
        let client = self.client().await?;
        let statement = client.prepare_cached(HEALTH).await?;
        let rows = client.query(&statement, &[&tenant, &projections]).await?;
        let mut tenants: BTreeMap<String, Health> = BTreeMap::new();
        for row in &rows {
            let tenant_id: String = row.try_get(0)?;
            let health = match tenants.entry(tenant_id) {
                std::collections::btree_map::Entry::Occupied(entry) => entry.into_mut(),
                std::collections::btree_map::Entry::Vacant(entry) => {
                    entry.insert(tenant_from(row)?)
                }
            };
            let name: &str = row.try_get(4)?;
            if health.projections.last().is_none_or(|last| last.projection_name != name) {
                health.projections.push(projection_from(row)?);
            }
            if let Some(projection) = health.projections.last_mut() {
                add_partition(projection, row)?;
            }
        }
        let mut tenants: Vec<Health> = tenants.into_values().collect();
        for tenant in &mut tenants {
            let (end, count) = (tenant.event_log_last_seq, tenant.event_count);
            for projection in &mut tenant.projections {
                projection.pending_events = (count - projection.applied_events).max(0);
                let is_beyond = |partition: &PartitionHealth| partition.last_log_seq > end;
                projection.is_stale = projection.last_log_seq < end
                    || projection.pending_events > 0
                    || projection.partitions.iter().any(is_beyond);
            }
            // Stored when all were there; a cursor may be lost since.
            if tenant.is_stale() {
                tenant.full_digest = None;
            }
        }
        Ok(tenants)
    }
}

fn tenant_from(row: &tokio_postgres::Row) -> Result<Health, StoreError> {
    Ok(Health {
        tenant_id: row.try_get(0)?,
        event_log_last_seq: row.try_get(1)?,
        event_count: row.try_get(2)?,
        full_digest: row.try_get::<_, Option<&[u8]>>(3)?.map(hash).transpose()?,
        projections: Vec::new(),
    })
}

fn projection_from(row: &tokio_postgres::Row) -> Result<ProjectionHealth, StoreError> {
    Ok(ProjectionHealth {
        projection_name: row.try_get(4)?,
        generation: row.try_get(5)?,
        last_log_seq: i64::MAX,
        applied_events: 0,
        pending_events: 0,
        lag_seconds: 0.0,
        cursor_age_seconds: None,
        is_stale: false,
        digest: row.try_get::<_, Option<&[u8]>>(11)?.map(hash).transpose()?,
        digest_log_seq: row.try_get(12)?,
        digest_updated_at: row.try_get(13)?,
        open_failures: row.try_get(14)?,
        partitions: Vec::new(),
    })
}

/// A row without a cursor counts as a partition at 0, but is not listed.
fn add_partition(
    projection: &mut ProjectionHealth,
    row: &tokio_postgres::Row,
) -> Result<(), StoreError> {
    let (last_log_seq, applied_events): (i64, i64) = (row.try_get(7)?, row.try_get(8)?);
    projection.last_log_seq = projection.last_log_seq.min(last_log_seq);
    projection.applied_events += applied_events;
    let age: Option<f64> = row.try_get(9)?;
    projection.cursor_age_seconds = match (projection.cursor_age_seconds, age) {
        (Some(known), Some(age)) => Some(known.max(age)),
        (known, age) => known.or(age),
    };
    projection.lag_seconds = projection.lag_seconds.max(row.try_get(10)?);
    if let Some(partition) = row.try_get(6)? {
        projection.partitions.push(PartitionHealth { partition, last_log_seq, applied_events });
    }
    Ok(())
}
