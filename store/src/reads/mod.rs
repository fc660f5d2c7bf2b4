//! Projection-backed reads. Each compares its projection's cursor with the log's end in the snapshot
//! it reads from, so an answer is never older than it claims.

mod graph;
mod latest;
mod precedents;
mod summary;

use deadpool_postgres::Transaction;
use dg_projections::Code;
use dg_projections::projection::Projection;

pub use graph::{Direction, EdgeCursor, EdgePage, EdgesQuery, Subgraph};
pub use latest::LatestTrace;
pub use precedents::{PrecedentHit, PrecedentQuery};

use crate::StoreError;
use crate::cursors::Standing;

/// The generation to read, when the projection has reached the end of the log, or what is enough.
///
/// A tenant without events has no generation and nothing to be behind: 0 matches no row.
async fn current_generation(
    transaction: &Transaction<'_>,
    tenant: &str,
    projection: Projection,
    enough: i64,
) -> Result<i32, StoreError> {
    let sql = "SELECT last_log_seq FROM dg_tenant_heads WHERE tenant_id = $1";
    let statement = transaction.prepare_cached(sql).await?;
    let head = transaction.query_opt(&statement, &[&tenant]).await?;
    let last: i64 = head.map(|row| row.try_get(0)).transpose()?.unwrap_or(0);
    let standing = Standing::read(transaction, tenant, projection).await?;
    let at = standing.as_ref().map_or(0, Standing::least);
    if at < last.min(enough) {
        let message = format!("{projection} is at log_seq {at}, the log ends at {last}");
        return Err(StoreError::new(Code::ProjectionOutOfDate, message));
    }
    Ok(standing.map_or(0, |standing| standing.generation))
}
