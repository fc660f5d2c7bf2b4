//! Generations: a projection built anew beside the one that is served, and the change from one to
//! the other.
//!
//! Invariants:
//! - readers and live workers use the active generation, which the pointer names; it is whole at
//!   its cursors at any moment;
//! - a generation that is built belongs to a step of a run ([`Store::prepare_generation`]), has
//!   cursors of its own, and is nobody else's business until the [`switch`];
//! - what is not needed any more is retired: whoever still writes it is stopped by its cursors. Its
//!   rows are cleared in slices, its cursors last, so what is left of it can always be found
//!   ([`clear`]).
//!
//! Locks are taken in one order: pointer, run, cursors.

mod clear;
mod compare;
mod switch;

use deadpool_postgres::Transaction;
use dg_projections::projection::Projection;
use tokio_postgres::types::ToSql;

pub use clear::Cleared;
pub use compare::Compared;
pub use switch::{Switch, Switched};

use crate::cursors::{BEYOND, Cursor, Standing};
use crate::database::writing;
use crate::failpoint::{self, Point};
use crate::pointer::lock_pointer;
use crate::runs::RunKey;
use crate::{Store, StoreError};

/// Over how many partitions a generation is spread.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Spread {
    /// While it is built.
    pub building: i32,
    /// Once it is served.
    pub serving: i32,
}

impl From<i32> for Spread {
    fn from(partitions: i32) -> Spread {
        Spread { building: partitions, serving: partitions }
    }
}

/// What a rebuild finds of its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Prepared {
    /// Readers have it already.
    Switched,
    /// A generation to be built, or to be built on.
    Building {
        /// Its number.
        generation: i32,
        /// Whether it was compared with what is served.
        is_compared: bool,
    },
    /// The run is no longer this owner's.
    NotOurs,
}

const LOCK_RUN: &str = "SELECT 1 FROM dg_projection_runs
    WHERE tenant_id = $1 AND run_id = $2::text::uuid AND status = 'running' AND owner = $3
    FOR UPDATE";

const OWN: &str = "SELECT s.generation, s.switched_at IS NOT NULL,
        s.compared_log_seq IS NOT NULL OR s.not_compared IS NOT NULL,
        (SELECT count(*) = max(c.partitions) FROM dg_projection_cursors AS c
            WHERE c.tenant_id = s.tenant_id AND c.projection_name = s.projection_name
                AND c.generation = s.generation AND NOT c.retired) IS TRUE
    FROM dg_projection_run_steps AS s
    WHERE s.tenant_id = $1 AND s.run_id = $2::text::uuid AND s.projection_name = $3";

const RETIRE_OTHERS: &str = "UPDATE dg_projection_cursors SET retired = true
    WHERE tenant_id = $1 AND projection_name = $2 AND generation <> $3 AND NOT retired";

// A number is given once, also when nothing is left of what had it: a run that is resumed must not
// take what another one builds for its own.
const BEGIN: &str = "WITH next AS (
        SELECT greatest(max(generation), $3) + 1 AS generation FROM (
            SELECT generation FROM dg_projection_cursors
            WHERE tenant_id = $1 AND projection_name = $2
            UNION ALL SELECT generation FROM dg_projection_run_steps
            WHERE tenant_id = $1 AND projection_name = $2) AS given)
    INSERT INTO dg_projection_cursors (tenant_id, projection_name, generation, partition, partitions)
    SELECT $1, $2, next.generation, partition, $4 FROM next, generate_series(0, $4 - 1) AS partition
    RETURNING generation";

// As many as whoever is at it now wants: announced beyond any log, and made by the switch.
const SERVE_IN: &str = "UPDATE dg_projection_cursors
    SET respread_at = CASE WHEN partitions <> $4 THEN $5::bigint END,
        respread_to = nullif($4, partitions)
    WHERE tenant_id = $1 AND projection_name = $2 AND generation = $3 AND NOT retired
        AND respread_to IS DISTINCT FROM nullif($4, partitions)";

const OWN_IT: &str = "UPDATE dg_projection_run_steps SET generation = $4, processed_events = 0,
        last_log_seq = 0, compared_log_seq = NULL, digest = NULL, digest_before = NULL,
        difference = NULL, not_compared = NULL
    WHERE tenant_id = $1 AND run_id = $2::text::uuid AND projection_name = $3";

const RETIRE: &str = "UPDATE dg_projection_cursors SET retired = true
    WHERE tenant_id = $1 AND projection_name = $2 AND generation = $3";

/// Keeps a run as it is until the transaction ends; false when it is no longer the owner's.
async fn lock_run(
    transaction: &Transaction<'_>,
    run: &RunKey,
    owner: &str,
) -> Result<bool, StoreError> {
    let row = transaction.query_opt(LOCK_RUN, &[&run.tenant_id, &run.run_id, &owner]).await?;
    Ok(row.is_some())
}

/// Begins a generation; what other runs had begun is retired.
async fn begin(
    transaction: &Transaction<'_>,
    (run, name): (&RunKey, &str),
    active: i32,
    partitions: i32,
) -> Result<i32, StoreError> {
    let tenant = &run.tenant_id;
    transaction.execute(RETIRE_OTHERS, &[tenant, &name, &active]).await?;
    let begin: [&(dyn ToSql + Sync); 4] = [tenant, &name, &active, &partitions];
    let generation = match transaction.query(BEGIN, &begin).await?.first() {
        Some(row) => row.try_get::<_, i32>(0)?,
        None => return Err(StoreError::internal("a generation without partitions")),
    };
    transaction.execute(OWN_IT, &[tenant, &run.run_id, &name, &generation]).await?;
    Ok(generation)
}

impl Store {
    /// The generation that a step of a run builds: the one that it began, if that is still there, in
    /// the partitions that it began with; or a new one, and what other runs had begun of the projection
    /// is retired. It is served in as many partitions as are wanted now.
    ///
    /// # Errors
    /// When the database cannot be asked.
    pub async fn prepare_generation(
        &self,
        run: &RunKey,
        owner: &str,
        projection: Projection,
        spread: impl Into<Spread>,
    ) -> Result<Prepared, StoreError> {
        let Spread { building, serving } = spread.into();
        let (tenant, name) = (&run.tenant_id, projection.as_str());
        let mut client = self.client().await?;
        let transaction = writing(&mut client).await?;
        let active = lock_pointer(&transaction, tenant, name).await?;
        if !lock_run(&transaction, run, owner).await? {
            return Ok(Prepared::NotOurs);
        }
        let row = transaction.query_one(OWN, &[tenant, &run.run_id, &name]).await?;
        let (is_switched, is_compared, is_there) =
            (row.try_get(1)?, row.try_get(2)?, row.try_get(3)?);
        let prepared = match row.try_get(0)? {
            _ if is_switched => return Ok(Prepared::Switched),
            Some(generation) if is_there => (generation, is_compared),
            Some(_) | None => (begin(&transaction, (run, name), active, building).await?, false),
        };
        let (generation, is_compared) = prepared;
        let serve_in: [&(dyn ToSql + Sync); 5] = [tenant, &name, &generation, &serving, &BEYOND];
        transaction.execute(SERVE_IN, &serve_in).await?;
        failpoint::pass_on(&*transaction, Point::RunOpenBefore, name).await?;
        transaction.commit().await?;
        Ok(Prepared::Building { generation, is_compared })
    }

    /// The cursors of a generation by partition, and how far the active one is.
    ///
    /// # Errors
    /// When the database cannot be asked.
    pub async fn building(
        &self,
        tenant: &str,
        projection: Projection,
        generation: i32,
    ) -> Result<Building, StoreError> {
        let mut client = self.client().await?;
        let transaction = crate::database::snapshot(&mut client, false).await?;
        let built = Standing::of_generation(&transaction, tenant, projection, generation).await?;
        let built = built.ok_or_else(|| gone(projection, generation))?;
        let active = Standing::read(&transaction, tenant, projection).await?;
        Ok(Building { cursors: built.cursors(), active: active.map(|active| active.places) })
    }

    /// Retires a generation, unless it is the active one, or has become that until the pointer is had.
    ///
    /// # Errors
    /// When the database cannot be asked.
    pub async fn retire_generation(
        &self,
        tenant: &str,
        projection: Projection,
        generation: i32,
    ) -> Result<(), StoreError> {
        let mut client = self.client().await?;
        let transaction = writing(&mut client).await?;
        if lock_pointer(&transaction, tenant, projection.as_str()).await? != generation {
            let name = projection.as_str();
            transaction.execute(RETIRE, &[&tenant, &name, &generation]).await?;
        }
        Ok(transaction.commit().await?)
    }
}

/// A generation that is being built.
#[derive(Debug, Clone)]
pub struct Building {
    /// Its cursors, by partition.
    pub cursors: Vec<Cursor>,
    /// Where the partitions of the active generation are; none where there is nothing yet.
    pub active: Option<Vec<i64>>,
}

/// A generation that somebody has retired and cleared.
fn gone(projection: Projection, generation: i32) -> StoreError {
    let message = format!("generation {generation} of {projection} is gone; resume the run");
    StoreError::new(dg_projections::Code::Conflict, message)
}
