//! Digests of the tables: computed from one snapshot, stored with the cursor they stand for.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use deadpool_postgres::Transaction;
use dg_projections::Code;
use dg_projections::digest::{GraphDigest, OutOfOrder, PrecedentDigest, SummaryDigest, full};
use dg_projections::hash::Hash;
use dg_projections::projection::Projection;
use dg_projections::rows::{EdgeRow, NodeRow, PrecedentRow, SummaryRow};
use futures_util::{StreamExt as _, pin_mut};
use time::OffsetDateTime;

use crate::cursors::Standing;
use crate::database::{snapshot, writing};
use crate::failpoint::{self, Point};
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

/// Which generations are served, until the transaction ends.
const SERVED: &str = "SELECT projection_name, active_generation FROM dg_projections
    WHERE tenant_id = $1 ORDER BY projection_name FOR SHARE";

// Projections whose active cursor is not where their digest stands.
const TENANTS_WITHOUT: &str = "SELECT DISTINCT tenant_id FROM (
        SELECT p.tenant_id FROM dg_projections AS p
        JOIN dg_projection_cursors AS c ON c.tenant_id = p.tenant_id
            AND c.projection_name = p.projection_name AND c.generation = p.active_generation
        LEFT JOIN dg_projection_digests AS d ON d.tenant_id = p.tenant_id
            AND d.digest_name = p.projection_name AND d.generation = p.active_generation
        GROUP BY p.tenant_id, p.projection_name, d.log_seq
        HAVING d.log_seq IS DISTINCT FROM min(c.last_log_seq)) AS stale ORDER BY tenant_id";

/// What a refresh came to.
#[derive(Debug, Clone)]
pub struct Refreshed {
    /// All digests of the tenant, as they are stored now.
    pub digests: Vec<StoredDigest>,
    /// The projections whose rows were read for it, and how long each took.
    pub took: Vec<(Projection, Duration)>,
}

/// The generation and the `log_seq` that a digest stands for.
type At = (i32, i64);
/// What was computed of one snapshot.
struct Snapshot {
    computed: Vec<Computed>,
    took: Vec<(Projection, Duration)>,
    /// Those that were served then.
    generations: Vec<(Projection, i32)>,
}

/// A digest that is to be stored.
type Computed = (DigestName, At, Hash);

impl Store {
    /// The digests as they were last computed, by name.
    ///
    /// # Errors
    /// When the database cannot be asked.
    pub async fn stored_digests(&self, tenant: &str) -> Result<Vec<StoredDigest>, StoreError> {
        let client = self.client().await?;
        let statement = client.prepare_cached(STORED).await?;
        stored(&client.query(&statement, &[&tenant]).await?)
    }

    /// Tenants with a projection that has moved since its digest was computed, by name.
    ///
    /// # Errors
    /// When the database cannot be asked.
    pub async fn tenants_without_digests(&self) -> Result<Vec<String>, StoreError> {
        let client = self.client().await?;
        let rows = client.query(TENANTS_WITHOUT, &[]).await?;
        rows.iter().map(|row| Ok(row.try_get(0)?)).collect()
    }

    /// All digests of a tenant, computed anew; see [`Store::refresh_digests`].
    ///
    /// # Errors
    /// As [`Store::refresh_digests`].
    pub async fn compute_digests(&self, tenant: &str) -> Result<Vec<StoredDigest>, StoreError> {
        Ok(self.refresh_digests(tenant, true).await?.digests)
    }

    /// Computes the digests of a tenant from its rows, in one snapshot, and stores them; unless all
    /// are wanted `anew`, only those that are not current. Left out are projections whose partitions
    /// stand at different places, since their rows are those of no cursor, and the full one when the
    /// three do not stand at one cursor. Another daemon's digest of a later cursor stays.
    ///
    /// # Errors
    /// `not_found` for a tenant without projections; `internal` for rows out of order.
    pub async fn refresh_digests(&self, tenant: &str, anew: bool) -> Result<Refreshed, StoreError> {
        let Snapshot { computed, took, generations } =
            self.digests_of_snapshot(tenant, anew).await?;
        if !computed.is_empty() {
            self.store_digests(tenant, &computed, &generations).await?;
        }
        Ok(Refreshed { digests: self.stored_digests(tenant).await?, took })
    }

    /// All or none, in the order of [`Projection::ALL`]: two daemons do not wait for each other. None
    /// where another generation is served by now: they are of what was served before.
    async fn store_digests(
        &self,
        tenant: &str,
        computed: &[Computed],
        generations: &[(Projection, i32)],
    ) -> Result<(), StoreError> {
        let mut client = self.client().await?;
        let transaction = writing(&mut client).await?;
        let mut served = BTreeMap::new();
        for row in &transaction.query(SERVED, &[&tenant]).await? {
            served.insert(row.try_get::<_, String>(0)?, row.try_get::<_, i32>(1)?);
        }
        let is_served = |(projection, generation): &(Projection, i32)| {
            served.get(projection.as_str()) == Some(generation)
        };
        if !generations.iter().all(is_served) {
            return Ok(());
        }
        for (name, (generation, log_seq), digest) in computed {
            let generation = match name {
                DigestName::Of(_) => Some(*generation),
                DigestName::FullProjection => None,
            };
            let (name, bytes) = (name.as_str(), digest.0.to_vec());
            transaction.execute(STORE, &[&tenant, &name, &bytes, log_seq, &generation]).await?;
        }
        failpoint::pass_on(&*transaction, Point::DigestBefore, tenant).await?;
        transaction.commit().await?;
        failpoint::pass(Point::DigestAfter, tenant).await
    }

    async fn digests_of_snapshot(&self, tenant: &str, anew: bool) -> Result<Snapshot, StoreError> {
        let mut client = self.client().await?;
        let transaction = snapshot(&mut client, true).await?;
        let kept = if anew { Vec::new() } else { current(&transaction, tenant).await? };
        let kept = |name: DigestName| kept.iter().find(|one| one.name == name.as_str());
        let (mut parts, mut computed, mut took) = (Vec::new(), Vec::new(), Vec::new());
        let mut generations = Vec::new();
        for projection in Projection::ALL {
            let name = DigestName::Of(projection);
            let Some(standing) = Standing::read(&transaction, tenant, projection).await? else {
                continue;
            };
            generations.push((projection, standing.generation));
            let Some(at) = standing.common().map(|log_seq| (standing.generation, log_seq)) else {
                continue;
            };
            if let Some(kept) = kept(name) {
                parts.push((at, kept.digest));
                continue;
            }
            let started = Instant::now();
            let digest = digest_of(&transaction, tenant, projection, standing.generation).await?;
            took.push((projection, started.elapsed()));
            computed.push((name, at, digest));
            parts.push((at, digest));
        }
        if generations.is_empty() {
            let message = format!("tenant '{tenant}' has no projection yet");
            return Err(StoreError::new(Code::NotFound, message));
        }
        // One that stood for other rows than those that were read now is not the one over them.
        if (kept(DigestName::FullProjection).is_none() || !took.is_empty())
            && let Some((at, digest)) = full_of(&parts)
        {
            computed.push((DigestName::FullProjection, at, digest));
        }
        Ok(Snapshot { computed, took, generations })
    }
}

/// The digest over all three, if they stand at one cursor.
fn full_of(parts: &[(At, Hash)]) -> Option<(At, Hash)> {
    let [(at, graph), (second, summary), (third, precedent)] = *parts else { return None };
    let is_one = at.1 == second.1 && at.1 == third.1;
    is_one.then(|| (at, full(graph, summary, precedent)))
}

/// The stored digests that stand where their projections do.
async fn current(
    transaction: &Transaction<'_>,
    tenant: &str,
) -> Result<Vec<StoredDigest>, StoreError> {
    let statement = transaction.prepare_cached(STORED).await?;
    let mut stored = stored(&transaction.query(&statement, &[&tenant]).await?)?;
    stored.retain(|digest| digest.is_current);
    Ok(stored)
}

fn stored(rows: &[tokio_postgres::Row]) -> Result<Vec<StoredDigest>, StoreError> {
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
