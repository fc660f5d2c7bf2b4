//! Digests of the tables: computed from one snapshot, stored with the cursor they stand for.

use deadpool_postgres::Transaction;
use dg_projections::Code;
use dg_projections::digest::{GraphDigest, OutOfOrder, PrecedentDigest, SummaryDigest, full};
use dg_projections::hash::Hash;
use dg_projections::projection::Projection;
use dg_projections::rows::{EdgeRow, NodeRow, PrecedentRow, SummaryRow};
use futures_util::{StreamExt as _, pin_mut};
use time::OffsetDateTime;

use crate::cursors::Standing;
use crate::database::snapshot;
use crate::rows::{hash, stream};
use crate::{Store, StoreError};

/// What a digest is of.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum DigestName {
    /// One projection.
    Of(Projection),
    /// All three, when they stand at one cursor.
    FullProjection,
}

impl DigestName {
    /// The stable name.
    pub const fn as_str(self) -> &'static str {
        match self {
            DigestName::Of(projection) => projection.as_str(),
            DigestName::FullProjection => "full_projection",
        }
    }
}

/// A digest and the cursor it stands for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoredDigest {
    /// What it is of.
    pub name: String,
    /// The value.
    pub digest: Hash,
    /// The cursor.
    pub log_seq: i64,
    /// When it was computed.
    pub updated_at: OffsetDateTime,
    /// Whether the rows have not moved since.
    pub is_current: bool,
}

impl From<OutOfOrder> for StoreError {
    fn from(error: OutOfOrder) -> StoreError {
        StoreError::internal(format!("digest: {error}"))
    }
}

// A digest is current while all active cursors of its projection are where they stood. The full one
// is current when each of the three is, at the same place.
const STORED: &str = "WITH cursors AS (
        SELECT p.projection_name, p.active_generation, min(c.last_log_seq) AS least,
            max(c.last_log_seq) AS foremost
        FROM dg_projections AS p
        JOIN dg_projection_cursors AS c ON c.tenant_id = p.tenant_id
            AND c.projection_name = p.projection_name AND c.generation = p.active_generation
        WHERE p.tenant_id = $1 GROUP BY p.projection_name, p.active_generation)
    SELECT d.digest_name, d.digest, d.log_seq, d.updated_at,
        CASE d.digest_name WHEN 'full_projection'
            THEN (SELECT count(*) = 3 AND bool_and(least = d.log_seq AND foremost = d.log_seq) FROM cursors)
            ELSE EXISTS (SELECT 1 FROM cursors AS c WHERE c.projection_name = d.digest_name
                AND c.active_generation = d.generation
                AND c.least = d.log_seq AND c.foremost = d.log_seq) END
    FROM dg_projection_digests AS d WHERE d.tenant_id = $1 ORDER BY d.digest_name";

const STORE: &str = "INSERT INTO dg_projection_digests AS kept (tenant_id, digest_name, digest, log_seq, generation)
    VALUES ($1, $2, $3, $4, $5)
    ON CONFLICT (tenant_id, digest_name) DO UPDATE SET digest = excluded.digest,
        log_seq = excluded.log_seq, generation = excluded.generation, updated_at = now()
    WHERE excluded.log_seq >= kept.log_seq OR excluded.generation IS DISTINCT FROM kept.generation";

impl Store {
    /// The digests as they were last computed, by name.
    ///
    /// # Errors
    /// When the database cannot be asked.
    pub async fn stored_digests(&self, tenant: &str) -> Result<Vec<StoredDigest>, StoreError> {
        let client = self.client().await?;
        let statement = client.prepare_cached(STORED).await?;
        let rows = client.query(&statement, &[&tenant]).await?;
        let stored = |row: &tokio_postgres::Row| {
            Ok(StoredDigest {
                name: row.try_get(0)?,
                digest: hash(row.try_get(1)?)?,
                log_seq: row.try_get(2)?,
                updated_at: row.try_get(3)?,
                is_current: row.try_get::<_, Option<bool>>(4)?.unwrap_or(false),
            })
        };
        rows.iter().map(stored).collect()
    }

    /// Computes the digests of a tenant from its rows, in one snapshot, and stores them. Left
    /// out are projections whose partitions stand at different places, since their rows are those of
    /// no cursor, and the full one when the three do not stand at one cursor.
    ///
    /// # Errors
    /// `not_found` for a tenant without projections; `internal` for rows out of order.
    pub async fn compute_digests(&self, tenant: &str) -> Result<Vec<StoredDigest>, StoreError> {
        let computed = self.digests_of_snapshot(tenant).await?;
        let client = self.client().await?;
        for (name, (generation, log_seq), digest) in &computed {
            let generation = match name {
                DigestName::Of(_) => Some(*generation),
                DigestName::FullProjection => None,
            };
            let bytes = digest.0.to_vec();
            client.execute(STORE, &[&tenant, &name.as_str(), &bytes, log_seq, &generation]).await?;
        }
        self.stored_digests(tenant).await
    }

    async fn digests_of_snapshot(
        &self,
        tenant: &str,
    ) -> Result<Vec<(DigestName, (i32, i64), Hash)>, StoreError> {
        let mut client = self.client().await?;
        let transaction = snapshot(&mut client, true).await?;
        let (mut computed, mut any) = (Vec::new(), false);
        for projection in Projection::ALL {
            let Some(standing) = Standing::read(&transaction, tenant, projection).await? else {
                continue;
            };
            any = true;
            if let Some(log_seq) = standing.common() {
                let generation = standing.generation;
                let digest = digest_of(&transaction, tenant, projection, generation).await?;
                computed.push((DigestName::Of(projection), (generation, log_seq), digest));
            }
        }
        if let [(_, at, graph), (_, second, summary), (_, third, precedent)] = computed[..]
            && at.1 == second.1
            && at.1 == third.1
        {
            computed.push((DigestName::FullProjection, at, full(graph, summary, precedent)));
        }
        if !any {
            let message = format!("tenant '{tenant}' has no projection yet");
            return Err(StoreError::new(Code::NotFound, message));
        }
        Ok(computed)
    }
}

async fn digest_of(
    transaction: &Transaction<'_>,
    tenant: &str,
    projection: Projection,
    generation: i32,
) -> Result<Hash, StoreError> {
    macro_rules! feed {
        ($row:ty, $digest:expr, $method:ident) => {{
            let rows = stream::<$row>(transaction, tenant, generation).await?;
            pin_mut!(rows);
            while let Some(row) = rows.next().await {
                $digest.$method(&row?)?;
            }
        }};
    }
    match projection {
        Projection::ContextGraph => {
            let mut digest = GraphDigest::new();
            feed!(EdgeRow, digest, edge);
            let mut digest = digest.nodes();
            feed!(NodeRow, digest, node);
            Ok(digest.finish())
        }
        Projection::TraceSummary => {
            let mut digest = SummaryDigest::new();
            feed!(SummaryRow, digest, row);
            Ok(digest.finish())
        }
        Projection::PrecedentIndex => {
            let mut digest = PrecedentDigest::new();
            feed!(PrecedentRow, digest, row);
            Ok(digest.finish())
        }
    }
}
