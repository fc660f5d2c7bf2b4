//! Where a projection is and where the log ends, in one look: for those who wait.

use dg_projections::projection::Projection;

use crate::{Store, StoreError};

/// A projection's place and the end of its tenant's log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Place {
    /// The least cursor of its partitions; 0 when there is none.
    pub cursor: i64,
    /// The last number of the log; 0 when the tenant is unknown.
    pub log_end: i64,
}

const PLACE: &str = "SELECT
    coalesce((SELECT min(c.last_log_seq) FROM dg_projections AS p
        JOIN dg_projection_cursors AS c ON c.tenant_id = p.tenant_id
            AND c.projection_name = p.projection_name AND c.generation = p.active_generation
        WHERE p.tenant_id = $1 AND p.projection_name = $2), 0),
    coalesce((SELECT last_log_seq FROM dg_tenant_heads WHERE tenant_id = $1), 0)";

impl Store {
    /// The place of a projection.
    ///
    /// # Errors
    /// When the database cannot be asked.
    pub async fn place(&self, tenant: &str, projection: Projection) -> Result<Place, StoreError> {
        let client = self.client().await?;
        let statement = client.prepare_cached(PLACE).await?;
        let row = client.query_one(&statement, &[&tenant, &projection.as_str()]).await?;
        Ok(Place { cursor: row.try_get(0)?, log_end: row.try_get(1)? })
    }
}
