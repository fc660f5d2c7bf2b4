//! Clearing what is left of generations that nobody needs: in slices, so that no transaction is long
//! and whoever clears can be stopped at any moment.

use std::time::Duration;

use dg_projections::projection::Projection;

use crate::database::{Object, writing};
use crate::failpoint::{self, Point};
use crate::pointer::lock_pointer;
use crate::{Store, StoreError};

/// What a slice came to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cleared {
    /// The tenant.
    pub tenant_id: String,
    /// The projection.
    pub projection: Projection,
    /// The generation.
    pub generation: i32,
    /// Rows that were deleted.
    pub rows: u64,
    /// Whether nothing is left of it.
    pub is_done: bool,
}

/// The tables that hold the rows of a projection.
const fn tables(projection: Projection) -> &'static [&'static str] {
    match projection {
        Projection::ContextGraph => &["dg_cg_nodes", "dg_cg_edges"],
        Projection::TraceSummary => &["dg_trace_summary"],
        Projection::PrecedentIndex => &["dg_policy_eval_index", "dg_precedent_index"],
    }
}

// Locked, and waited for: of two who clear, the second deletes the next slice. Else it would find its
// own slice deleted under it, take that for the end, and forget where the rest is.
const RETIRED: &str = "SELECT c.tenant_id, c.projection_name, c.generation
    FROM dg_projection_cursors AS c
    JOIN dg_projections AS p USING (tenant_id, projection_name)
    WHERE c.retired AND c.generation <> p.active_generation
        AND ($1::text IS NULL OR c.tenant_id = $1) AND ($2::text IS NULL OR c.projection_name = $2)
    ORDER BY c.tenant_id, c.projection_name, c.generation, c.partition LIMIT 1 FOR UPDATE OF c";

const FORGET: &str = "DELETE FROM dg_projection_cursors
    WHERE tenant_id = $1 AND projection_name = $2 AND generation = $3 AND retired";

// Built by a run that has ended for good, or so long ago that nobody will resume it.
const IS_ABANDONED: &str = "p.tenant_id = c.tenant_id AND p.projection_name = c.projection_name
        AND c.generation <> p.active_generation AND NOT c.retired
        AND NOT EXISTS (SELECT 1 FROM dg_projection_run_steps AS s
            JOIN dg_projection_runs AS r USING (tenant_id, run_id)
            WHERE s.tenant_id = c.tenant_id AND s.projection_name = c.projection_name
                AND s.generation = c.generation
                AND (r.status IN ('queued', 'running', 'interrupted')
                    OR r.status IN ('cancelled', 'failed')
                        AND r.finished_at > clock_timestamp() - $1 * interval '1 ms'))";

fn known(name: &str) -> Result<Projection, StoreError> {
    Projection::from_name(name)
        .ok_or_else(|| StoreError::internal("a cursor of an unknown projection"))
}

impl Store {
    /// Deletes up to `slice` rows of a retired generation, of one projection or of any; none when
    /// nothing is retired.
    ///
    /// # Errors
    /// When the database cannot be asked.
    pub async fn clear_retired(
        &self,
        of: Option<(&str, Projection)>,
        slice: i64,
    ) -> Result<Option<Cleared>, StoreError> {
        let (tenant, name) = (of.map(|(tenant, _)| tenant), of.map(|(_, name)| name.as_str()));
        let mut client = self.client().await?;
        let transaction = writing(&mut client).await?;
        let Some(row) = transaction.query_opt(RETIRED, &[&tenant, &name]).await? else {
            return Ok(None);
        };
        let (tenant_id, name, generation): (String, &str, i32) =
            (row.try_get(0)?, row.try_get(1)?, row.try_get(2)?);
        let projection = known(name)?;
        let mut rows = 0;
        for table in tables(projection) {
            let left = slice - rows as i64;
            if left > 0 {
                let delete = format!(
                    "DELETE FROM {table} WHERE ctid = ANY (ARRAY(SELECT ctid FROM {table}
                     WHERE tenant_id = $1 AND generation = $2 LIMIT $3))"
                );
                let statement = transaction.prepare_cached(&delete).await?;
                rows += transaction.execute(&statement, &[&tenant_id, &generation, &left]).await?;
            }
        }
        let is_done = (rows as i64) < slice;
        if is_done {
            transaction.execute(FORGET, &[&tenant_id, &name, &generation]).await?;
        }
        failpoint::pass_on(&*transaction, Point::ClearBefore, name).await?;
        transaction.commit().await?;
        failpoint::pass(Point::ClearAfter, name).await?;
        Ok(Some(Cleared { tenant_id, projection, generation, rows, is_done }))
    }

    /// Lets the space be used again that cleared rows of a projection took. Without it that would be
    /// for autovacuum, which looks once a minute: rebuilds in a row would each take new space.
    ///
    /// Vacuum is the owner's: done as the login role, whatever role the session acts as. Where that is
    /// not the owner, Postgres skips the tables and says so in its log, and autovacuum does it later.
    ///
    /// # Errors
    /// When the database cannot be asked.
    pub async fn reclaim(&self, projection: Projection) -> Result<(), StoreError> {
        let session = Dirty(Some(self.client().await?));
        let Some(client) = &session.0 else { return Ok(()) };
        // As gently as autovacuum.
        client.batch_execute("SET ROLE NONE").await?;
        client.batch_execute("SET statement_timeout = 0; SET vacuum_cost_delay = '2ms'").await?;
        for table in tables(projection) {
            let vacuum = format!("VACUUM (SKIP_LOCKED, INDEX_CLEANUP ON, TRUNCATE OFF) {table}");
            client.batch_execute(&vacuum).await?;
        }
        Ok(())
    }

    /// Retires what runs began to build that nobody will go on with: those that completed without a
    /// switch, and those that ended longer than `kept` ago; how many cursors.
    ///
    /// # Errors
    /// When the database cannot be asked.
    pub async fn retire_abandoned(&self, kept: Duration) -> Result<u64, StoreError> {
        let kept = kept.as_millis() as f64;
        let mut client = self.client().await?;
        let find = format!(
            "SELECT DISTINCT c.tenant_id, c.projection_name
             FROM dg_projection_cursors AS c, dg_projections AS p WHERE {IS_ABANDONED}"
        );
        // Looked at again with the pointer locked: neither a switch nor a resumption comes between.
        let retire = format!(
            "UPDATE dg_projection_cursors AS c SET retired = true FROM dg_projections AS p
             WHERE c.tenant_id = $2 AND c.projection_name = $3 AND {IS_ABANDONED}"
        );
        let mut retired = 0;
        for row in client.query(&find, &[&kept]).await? {
            let (tenant, name): (&str, &str) = (row.try_get(0)?, row.try_get(1)?);
            let transaction = writing(&mut client).await?;
            lock_pointer(&transaction, tenant, name).await?;
            retired += transaction.execute(&retire, &[&kept, &tenant, &name]).await?;
            transaction.commit().await?;
        }
        Ok(retired)
    }
}

/// A session that acts as another role: it ends with its use, and nobody else gets it.
struct Dirty(Option<Object>);

impl Drop for Dirty {
    fn drop(&mut self) {
        if let Some(object) = self.0.take() {
            drop(Object::take(object));
        }
    }
}
