//! One query for all tenants: whose log is ahead of a projection, or has lost what it applied.

use crate::{Store, StoreError};

/// A projection that has events to apply, or is beyond its log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Behind {
    /// The tenant.
    pub tenant_id: String,
    /// The projection.
    pub projection_name: String,
}

/// The end of a tenant's log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TenantHead {
    /// The tenant.
    pub tenant_id: String,
    /// Its last number.
    pub last_log_seq: i64,
    /// How many events it has.
    pub event_count: i64,
}

// A missing pointer or cursor is fully behind; a projection is where its hindmost partition is. One
// that is beyond the log is a worker's to find out: at rest, nobody would tell of it.
const BEHIND: &str = "SELECT DISTINCT head.tenant_id, name.projection_name
    FROM dg_tenant_heads AS head
    CROSS JOIN unnest($1::text[]) AS name (projection_name)
    LEFT JOIN dg_projections AS p
        ON p.tenant_id = head.tenant_id AND p.projection_name = name.projection_name
    LEFT JOIN dg_projection_cursors AS c
        ON c.tenant_id = p.tenant_id AND c.projection_name = p.projection_name
        AND c.generation = p.active_generation
    WHERE head.last_log_seq <> coalesce(c.last_log_seq, 0)
    ORDER BY head.tenant_id, name.projection_name";

const VISIBLE: &str = "SELECT p.tenant_id, min(c.last_log_seq)
    FROM dg_projections AS p
    JOIN dg_projection_cursors AS c ON c.tenant_id = p.tenant_id
        AND c.projection_name = p.projection_name AND c.generation = p.active_generation
    WHERE p.projection_name = ANY($1)
    GROUP BY p.tenant_id HAVING count(DISTINCT p.projection_name) = cardinality($1)";

impl Store {
    /// Every (tenant, projection) with a cursor that is not at its tenant's head.
    ///
    /// # Errors
    /// When the database cannot be asked.
    pub async fn behind(&self, projections: &[&str]) -> Result<Vec<Behind>, StoreError> {
        let client = self.client().await?;
        let statement = client.prepare_cached(BEHIND).await?;
        let rows = client.query(&statement, &[&projections]).await?;
        let behind = |row: &tokio_postgres::Row| {
            Ok(Behind { tenant_id: row.try_get(0)?, projection_name: row.try_get(1)? })
        };
        rows.iter().map(behind).collect()
    }

    /// How far all of these projections are, by tenant: the least of their cursors.
    ///
    /// # Errors
    /// When the database cannot be asked.
    pub async fn visible(&self, projections: &[&str]) -> Result<Vec<(String, i64)>, StoreError> {
        let client = self.client().await?;
        let statement = client.prepare_cached(VISIBLE).await?;
        let rows = client.query(&statement, &[&projections]).await?;
        rows.iter().map(|row| Ok((row.try_get(0)?, row.try_get(1)?))).collect()
    }

    /// Whether a tenant has events.
    ///
    /// # Errors
    /// When the database cannot be asked.
    pub async fn has_events(&self, tenant: &str) -> Result<bool, StoreError> {
        let client = self.client().await?;
        let sql = "SELECT 1 FROM dg_tenant_heads WHERE tenant_id = $1 AND event_count > 0";
        Ok(client.query_opt(sql, &[&tenant]).await?.is_some())
    }

    /// The heads of all tenants that have events, by name.
    ///
    /// # Errors
    /// When the database cannot be asked.
    pub async fn tenants(&self) -> Result<Vec<TenantHead>, StoreError> {
        let client = self.client().await?;
        let sql = "SELECT tenant_id, last_log_seq, event_count FROM dg_tenant_heads
                   WHERE event_count > 0 ORDER BY tenant_id";
        let rows = client.query(sql, &[]).await?;
        rows.iter().map(head_from).collect()
    }

    /// A page of them: those whose names begin so and come after this one, at most so many.
    ///
    /// # Errors
    /// When the database cannot be asked.
    pub async fn tenants_page(
        &self,
        prefix: &str,
        after: &str,
        most: i64,
    ) -> Result<Vec<TenantHead>, StoreError> {
        let client = self.client().await?;
        // The key's order finds where they begin; the limit ends the look, or the end of the key does.
        let sql = "SELECT tenant_id, last_log_seq, event_count FROM dg_tenant_heads
                   WHERE event_count > 0 AND tenant_id > $2 AND tenant_id >= $1
                       AND starts_with(tenant_id, $1)
                   ORDER BY tenant_id LIMIT $3";
        let rows = client.query(sql, &[&prefix, &after, &most]).await?;
        rows.iter().map(head_from).collect()
    }
}

fn head_from(row: &tokio_postgres::Row) -> Result<TenantHead, StoreError> {
    Ok(TenantHead {
        tenant_id: row.try_get(0)?,
        last_log_seq: row.try_get(1)?,
        event_count: row.try_get(2)?,
    })
}
