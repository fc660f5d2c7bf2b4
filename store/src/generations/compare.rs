//! What was built against what is served, row by row, in one snapshot in which both stand at the
//! same cursor.
//!
//! The rows of both come in pages of the same range of keys: each query is short, memory is bounded,
//! and whoever compares can stop between two of them. The digests are taken on the way.

use std::collections::BTreeMap;

use deadpool_postgres::Transaction;
use dg_projections::compare::{Comparison as RowComparison, Difference};
use dg_projections::digest::{GraphDigest, OutOfOrder, PrecedentDigest, SummaryDigest};
use dg_projections::hash::Hash;
use dg_projections::projection::Projection;
use dg_projections::rows::{EdgeRow, NodeRow, PolicyEvalRow, PrecedentRow, SummaryRow};

use crate::cursors::Standing;
use crate::database::snapshot;
use crate::rows::StoredRow;
use crate::runs::Comparison;
use crate::{Store, StoreError};

/// Rows that are in memory at once, of each of the two.
const PAGE: i64 = 5_000;

/// What a comparison came to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Compared {
    /// Both, row by row.
    Whole(Box<Comparison>),
    /// They do not stand at one cursor now: where each is.
    Apart {
        /// The partitions of what is served; none where there is nothing yet.
        served: Option<Vec<i64>>,
        /// The partitions of what was built.
        built: Vec<i64>,
    },
}

impl Store {
    /// Compares a generation with the active one. `on_snapshot` is called once the snapshot is taken
    /// in which both stand at one cursor: whoever held them there may let go.
    ///
    /// # Errors
    /// `conflict` for a generation that is gone; otherwise when the database cannot be asked.
    pub async fn compare_generations(
        &self,
        tenant: &str,
        projection: Projection,
        generation: i32,
        on_snapshot: impl FnOnce(),
    ) -> Result<Compared, StoreError> {
        let mut client = self.client().await?;
        let transaction = snapshot(&mut client, false).await?;
        let served = Standing::read(&transaction, tenant, projection).await?;
        let built = Standing::of_generation(&transaction, tenant, projection, generation).await?;
        let built = built.ok_or_else(|| super::gone(projection, generation))?;
        let at = served.as_ref().and_then(|served| Some((served, served.common()?)));
        let Some((served, log_seq)) = at.filter(|(_, at)| built.common() == Some(*at)) else {
            let served = served.map(|served| served.places);
            return Ok(Compared::Apart { served, built: built.places });
        };
        on_snapshot();
        let mut pair = Pair {
            transaction: &transaction,
            tenant,
            built: generation,
            served: served.generation,
            difference: None,
        };
        let (digest, digest_before) = pair.compare(projection).await?;
        let mut difference = pair.difference;
        if let Some(difference) = &mut difference {
            name_event(&transaction, tenant, difference).await?;
        }
        Ok(Compared::Whole(Box::new(Comparison { log_seq, digest, digest_before, difference })))
    }
}

async fn name_event(
    transaction: &Transaction<'_>,
    tenant: &str,
    difference: &mut Difference,
) -> Result<(), StoreError> {
    let sql = "SELECT event_id FROM dg_event_log WHERE tenant_id = $1 AND log_seq = $2";
    let row = transaction.query_opt(sql, &[&tenant, &difference.log_seq]).await?;
    difference.event_id = row.map(|row| row.try_get(0)).transpose()?;
    Ok(())
}

/// Two generations of a projection.
struct Pair<'a> {
    transaction: &'a Transaction<'a>,
    tenant: &'a str,
    built: i32,
    served: i32,
    /// The first one.
    difference: Option<Difference>,
}

impl Pair<'_> {
    /// Both digests: of what was built, and of what is served.
    async fn compare(&mut self, projection: Projection) -> Result<(Hash, Hash), StoreError> {
        match projection {
            Projection::ContextGraph => {
                let (mut built, mut served) = (GraphDigest::new(), GraphDigest::new());
                // The order of the digest; a difference among the nodes comes first in that of tables.
                self.table::<EdgeRow>(|row| built.edge(row), |row| served.edge(row)).await?;
                let of_edges = self.difference.take();
                let (mut built, mut served) = (built.nodes(), served.nodes());
                self.table::<NodeRow>(|row| built.node(row), |row| served.node(row)).await?;
                self.difference = self.difference.take().or(of_edges);
                Ok((built.finish(), served.finish()))
            }
            Projection::TraceSummary => {
                let (mut built, mut served) = (SummaryDigest::new(), SummaryDigest::new());
                self.table::<SummaryRow>(|row| built.row(row), |row| served.row(row)).await?;
                Ok((built.finish(), served.finish()))
            }
            Projection::PrecedentIndex => {
                let (mut built, mut served) = (PrecedentDigest::new(), PrecedentDigest::new());
                self.table::<PolicyEvalRow>(|_| Ok(()), |_| Ok(())).await?;
                self.table::<PrecedentRow>(|row| built.row(row), |row| served.row(row)).await?;
                Ok((built.finish(), served.finish()))
            }
        }
    }

    async fn table<R: StoredRow>(
        &mut self,
        mut of_built: impl FnMut(&R) -> Result<(), OutOfOrder>,
        mut of_served: impl FnMut(&R) -> Result<(), OutOfOrder>,
    ) -> Result<(), StoreError> {
        let mut after = String::new();
        loop {
            let built: Vec<R> = self.page(self.built, &after, None, Some(PAGE)).await?;
            let end = (built.len() as i64 == PAGE).then(|| built.last().map(|row| row.key()));
            let end = end.flatten().map(str::to_owned);
            let served: Vec<R> = self.page(self.served, &after, end.as_deref(), None).await?;
            built.iter().try_for_each(&mut of_built)?;
            served.iter().try_for_each(&mut of_served)?;
            if self.difference.is_none() {
                self.difference = first_difference(built, &served).map(|found| *found);
            }
            match end {
                Some(end) => after = end,
                None => return Ok(()),
            }
        }
    }

    /// Rows of a range of keys, in order.
    async fn page<R: StoredRow>(
        &self,
        generation: i32,
        after: &str,
        up_to: Option<&str>,
        limit: Option<i64>,
    ) -> Result<Vec<R>, StoreError> {
        let (columns, table, key) = (R::COLUMNS, R::TABLE, R::KEY);
        let sql = format!(
            "SELECT {columns} FROM {table} WHERE tenant_id = $1 AND generation = $2 AND {key} > $3
                AND ($4::text IS NULL OR {key} <= $4) ORDER BY {key} LIMIT $5"
        );
        let statement = self.transaction.prepare_cached(&sql).await?;
        let rows = self
            .transaction
            .query(&statement, &[&self.tenant, &generation, &after, &up_to, &limit])
            .await?;
        rows.iter().map(R::decode).collect()
    }
}

fn first_difference<R: StoredRow>(expected: Vec<R>, found: &[R]) -> Option<Box<Difference>> {
    let expected: BTreeMap<String, R> =
        expected.into_iter().map(|row| (row.key().to_owned(), row)).collect();
    let mut comparison = RowComparison::new(&expected);
    let rows = found.iter().try_for_each(|row| comparison.row(row));
    rows.and_then(|()| comparison.finish().map(drop)).err()
}
