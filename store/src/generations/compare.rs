//! What was built against what is served, row by row, in one snapshot in which both stand at the
//! same cursor.
//!
//! The rows of both come in pages of the same range of keys: each query is short, memory is bounded,
//! and whoever compares can stop between two of them. The digests are taken on the way, one for both
//! as long as they are the same.

use std::collections::BTreeMap;

use deadpool_postgres::Transaction;
use dg_projections::compare::{Comparison as RowComparison, Difference};
use dg_projections::digest::{
    GraphDigest, GraphNodesDigest, OutOfOrder, PrecedentDigest, SummaryDigest,
};
use dg_projections::hash::Hash;
use dg_projections::projection::Projection;
use dg_projections::rows::{EdgeRow, NodeRow, PolicyEvalRow, PrecedentRow, SummaryRow};
use tokio_postgres::types::ToSql;

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

/// The digests of both: one for the two of them until they part.
struct Digests<D> {
    built: D,
    served: Option<D>,
}

impl<D: Clone> Digests<D> {
    const fn new(digest: D) -> Digests<D> {
        Digests { built: digest, served: None }
    }

    fn map<E>(self, next: impl Fn(D) -> E) -> Digests<E> {
        Digests { served: self.served.map(&next), built: next(self.built) }
    }

    fn finish(self, hash: impl Fn(D) -> Hash) -> (Hash, Hash) {
        let served = self.served.map(&hash);
        let built = hash(self.built);
        (built, served.unwrap_or(built))
    }

    fn feed<R>(
        &mut self,
        pages: &Pages<R>,
        feed: impl Fn(&mut D, &R) -> Result<(), OutOfOrder>,
    ) -> Result<(), OutOfOrder> {
        if self.served.is_none() && pages.served.is_some() {
            self.served = Some(self.built.clone());
        }
        if let Some(served) = &mut self.served {
            let rows = pages.served.as_ref().unwrap_or(&pages.built);
            rows.iter().try_for_each(|row| feed(served, row))?;
        }
        pages.built.iter().try_for_each(|row| feed(&mut self.built, row))
    }
}

/// The rows of both in one range of keys.
struct Pages<R> {
    built: Vec<R>,
    /// None where they are the same.
    served: Option<Vec<R>>,
    /// Where the range ends; none when no rows come after it.
    end: Option<String>,
}

impl Pair<'_> {
    /// Both digests: of what was built, and of what is served.
    async fn compare(&mut self, projection: Projection) -> Result<(Hash, Hash), StoreError> {
        match projection {
            Projection::ContextGraph => {
                // The order of the digest; a difference among the nodes comes first in that of tables.
                let mut digests = Digests::new(GraphDigest::new());
                self.table(&mut digests, |digest, row: &EdgeRow| digest.edge(row)).await?;
                let of_edges = self.difference.take();
                let mut digests = digests.map(GraphDigest::nodes);
                self.table(&mut digests, |digest, row: &NodeRow| digest.node(row)).await?;
                self.difference = self.difference.take().or(of_edges);
                Ok(digests.finish(GraphNodesDigest::finish))
            }
            Projection::TraceSummary => {
                let mut digests = Digests::new(SummaryDigest::new());
                self.table(&mut digests, |digest, row: &SummaryRow| digest.row(row)).await?;
                Ok(digests.finish(SummaryDigest::finish))
            }
            Projection::PrecedentIndex => {
                self.table(&mut Digests::new(()), |(), _: &PolicyEvalRow| Ok(())).await?;
                let mut digests = Digests::new(PrecedentDigest::new());
                self.table(&mut digests, |digest, row: &PrecedentRow| digest.row(row)).await?;
                Ok(digests.finish(PrecedentDigest::finish))
            }
        }
    }

    async fn table<R: StoredRow, D: Clone>(
        &mut self,
        digests: &mut Digests<D>,
        feed: impl Fn(&mut D, &R) -> Result<(), OutOfOrder>,
    ) -> Result<(), StoreError> {
        let mut next = Some(self.pages::<R>("").await?);
        while let Some(pages) = next {
            // The next rows are on their way while these are looked at.
            let (after, fed) = tokio::join!(
                async {
                    match &pages.end {
                        Some(end) => self.pages(end).await.map(Some),
                        None => Ok(None),
                    }
                },
                async { digests.feed(&pages, &feed) },
            );
            fed?;
            next = after?;
            if let Some(served) = pages.served
                && self.difference.is_none()
            {
                self.difference = first_difference(pages.built, &served).map(|found| *found);
            }
        }
        Ok(())
    }

    /// The rows of both after a key: a page of each, up to the lesser of their last keys.
    async fn pages<R: StoredRow>(&self, after: &str) -> Result<Pages<R>, StoreError> {
        let (mut built, mut served): (Vec<R>, Vec<R>) =
            tokio::try_join!(self.page(self.built, after), self.page(self.served, after))?;
        let is_full = |page: &&Vec<R>| page.len() as i64 == PAGE;
        let ends = [&built, &served].into_iter().filter(is_full).filter_map(|page| page.last());
        let end = ends.map(|row| row.key().to_owned()).min();
        if built == served {
            return Ok(Pages { built, served: None, end });
        }
        if let Some(end) = &end {
            built.retain(|row| row.key() <= end.as_str());
            served.retain(|row| row.key() <= end.as_str());
        }
        Ok(Pages { built, served: Some(served), end })
    }

    /// The next rows after a key, in order.
    async fn page<R: StoredRow>(&self, generation: i32, after: &str) -> Result<Vec<R>, StoreError> {
        let (columns, table, key) = (R::COLUMNS, R::TABLE, R::KEY);
        // Nothing comes before the empty key, which a row made by hand may have.
        let follows = if after.is_empty() { ">=" } else { ">" };
        let sql = format!(
            "SELECT {columns} FROM {table}
             WHERE tenant_id = $1 AND generation = $2 AND {key} {follows} $3
             ORDER BY {key} LIMIT {PAGE}"
        );
        let statement = self.transaction.prepare_cached(&sql).await?;
        let arguments: [&(dyn ToSql + Sync); 3] = [&self.tenant, &generation, &after];
        let rows = self.transaction.query(&statement, &arguments).await?;
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
