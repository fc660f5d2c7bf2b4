//! The switch: pointer and cursors change over in one short transaction.

use deadpool_postgres::Transaction;
use dg_projections::projection::Projection;
use tokio_postgres::types::ToSql;

use super::{RETIRE, gone, lock_run};
use crate::cursors::Standing;
use crate::database::writing;
use crate::failpoint::{self, Point};
use crate::pointer::lock_pointer;
use crate::runs::RunKey;
use crate::runs::admit::{Head, head};
use crate::{Store, StoreError};

/// Which generation is to be served from now on.
#[derive(Debug, Clone, Copy)]
pub struct Switch<'a> {
    /// The run that built it.
    pub run: &'a RunKey,
    /// Who is at the run.
    pub owner: &'a str,
    /// The projection.
    pub projection: Projection,
    /// The generation.
    pub generation: i32,
}

/// What became of a switch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Switched {
    /// Readers have it, from this cursor on.
    Done {
        /// The cursor.
        log_seq: i64,
    },
    /// What is served is further: catch up first.
    Behind,
    /// The run is no longer this owner's.
    NotOurs,
}

const POINT: &str = "UPDATE dg_projections SET active_generation = $3
    WHERE tenant_id = $1 AND projection_name = $2";

const NOTE: &str = "UPDATE dg_projection_run_steps SET switched_at = clock_timestamp()
    WHERE tenant_id = $1 AND run_id = $2::text::uuid AND projection_name = $3";

/// The digest that the comparison found is that of the generation at its cursor then.
const DIGEST: &str = "INSERT INTO dg_projection_digests AS kept
        (tenant_id, digest_name, digest, log_seq, generation)
    SELECT s.tenant_id, s.projection_name, s.digest, s.compared_log_seq, s.generation
    FROM dg_projection_run_steps AS s
    WHERE s.tenant_id = $1 AND s.run_id = $2::text::uuid AND s.projection_name = $3
        AND s.digest IS NOT NULL
    ON CONFLICT (tenant_id, digest_name) DO UPDATE SET digest = excluded.digest,
        log_seq = excluded.log_seq, generation = excluded.generation, updated_at = now()";

/// The one over all three was made of what was served until now.
const FORGET_FULL: &str = "DELETE FROM dg_projection_digests
    WHERE tenant_id = $1 AND digest_name = 'full_projection'";

/// The new generation has passed whatever its predecessor failed of.
const RESOLVE: &str = "UPDATE dg_projection_failures SET status = 'resolved', resolved_at = now()
    WHERE tenant_id = $1 AND projection_name = $2 AND status = 'open'
        AND (log_seq IS NULL OR log_seq <= $3)";

impl Store {
    /// Gives readers and workers a generation that was built to where the active one is, or further.
    ///
    /// The counts are compared first: as many events applied as the log has up to there. Nothing
    /// moves either generation meanwhile, since all their cursors are locked.
    ///
    /// # Errors
    /// `internal` when the count is wrong or the log ends before it; otherwise when the database
    /// cannot be asked. After a broken connection, [`Store::prepare_generation`] tells whether it
    /// happened.
    pub async fn switch_generation(&self, switch: &Switch<'_>) -> Result<Switched, StoreError> {
        let Switch { run, owner, projection, generation } = *switch;
        let (tenant, name) = (&run.tenant_id, projection.as_str());
        let mut client = self.client().await?;
        let transaction = writing(&mut client).await?;
        let active = lock_pointer(&transaction, tenant, name).await?;
        if !lock_run(&transaction, run, owner).await? {
            return Ok(Switched::NotOurs);
        }
        let served = Standing::locked(&transaction, tenant, projection, active).await?;
        let built = Standing::locked(&transaction, tenant, projection, generation).await?;
        let built = built.ok_or_else(|| gone(projection, generation))?;
        if active == generation {
            return Ok(Switched::Done { log_seq: built.least() });
        }
        let Some(head) = head(&transaction, tenant).await? else {
            return Err(StoreError::internal("the log of a tenant is gone"));
        };
        // A cursor beyond the log is that of events that were lost: no reason to wait for them.
        let wanted = served.map_or(0, |served| served.foremost()).min(head.last_log_seq);
        let Some(log_seq) = built.common().filter(|at| *at >= wanted) else {
            return Ok(Switched::Behind);
        };
        if log_seq > head.last_log_seq {
            let end = head.last_log_seq;
            let message = format!(
                "generation {generation} was built to log_seq {log_seq}, but the log ends at {end}: \
                 not switched; cancel the run and start another"
            );
            return Err(StoreError::internal(message));
        }
        let expected = count_up_to(&transaction, tenant, &head, log_seq).await?;
        if built.applied_events() != expected {
            let applied = built.applied_events();
            let message = format!(
                "the log has {expected} events up to log_seq {log_seq}, but {applied} were applied: \
                 not switched; `verify` names the event"
            );
            return Err(StoreError::internal(message));
        }
        failpoint::pass_on(&*transaction, Point::SwitchDecideAfter, name).await?;
        built.make(&transaction, tenant, name).await?;
        transaction.execute(POINT, &[tenant, &name, &generation]).await?;
        transaction.execute(RETIRE, &[tenant, &name, &active]).await?;
        transaction.execute(NOTE, &[tenant, &run.run_id, &name]).await?;
        transaction.execute(DIGEST, &[tenant, &run.run_id, &name]).await?;
        transaction.execute(FORGET_FULL, &[tenant]).await?;
        transaction.execute(RESOLVE, &[tenant, &name, &log_seq]).await?;
        failpoint::pass_on(&*transaction, Point::SwitchCommitBefore, name).await?;
        transaction.commit().await?;
        failpoint::pass(Point::SwitchCommitAfter, name).await?;
        Ok(Switched::Done { log_seq })
    }
}

/// How many events the log has up to a number; by its last row where it is without gaps.
async fn count_up_to(
    transaction: &Transaction<'_>,
    tenant: &str,
    head: &Head,
    log_seq: i64,
) -> Result<i64, StoreError> {
    match (head.last_log_seq == log_seq, head.kept_numbers) {
        (true, _) => Ok(head.event_count),
        (false, false) => Ok(log_seq),
        (false, true) => {
            let sql = "SELECT count(*) FROM dg_event_log WHERE tenant_id = $1 AND log_seq <= $2";
            let arguments: [&(dyn ToSql + Sync); 2] = [&tenant, &log_seq];
            Ok(transaction.query_one(sql, &arguments).await?.try_get(0)?)
        }
    }
}
