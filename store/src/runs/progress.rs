//! What a daemon writes of the runs it is at: each statement names the daemon, and changes nothing
//! where the run is no longer its own.

use std::time::Duration;

use dg_projections::Code;
use dg_projections::json::canonical;
use dg_projections::projection::Projection;
use time::OffsetDateTime;
use tokio_postgres::types::ToSql;

use super::{Comparison, RUN, Run, RunKey, RunStatus, with_steps};
use crate::database::writing;
use crate::failpoint::{self, Point};
use crate::pointer::lock_pointers;
use crate::{Store, StoreError};

/// A checkpoint.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Progress<'a> {
    /// What the run is at.
    pub phase: &'a str,
    /// The projection whose step it is.
    pub projection: Projection,
    /// Events of this step.
    pub processed_events: i64,
    /// How far this step is.
    pub last_log_seq: i64,
    /// For how long the run has been at work since its last checkpoint.
    pub worked: Duration,
}

/// How a daemon leaves a run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ending<'a> {
    /// Its work is done.
    Completed,
    /// Its work cannot be done: the code and what to do about it.
    Failed(Code, &'a str),
    /// The daemon stops.
    Interrupted,
    /// It goes on in another life.
    Queued,
}

impl Ending<'_> {
    /// The status that follows.
    pub const fn status(&self) -> RunStatus {
        match self {
            Ending::Completed => RunStatus::Completed,
            Ending::Failed(..) => RunStatus::Failed,
            Ending::Interrupted => RunStatus::Interrupted,
            Ending::Queued => RunStatus::Queued,
        }
    }
}

// Of those that nobody is at, the one that waits longest; two daemons take two.
const CLAIM: &str = "WITH next AS (
        SELECT tenant_id, run_id FROM dg_projection_runs AS q WHERE status = 'queued'
            AND NOT EXISTS (SELECT 1 FROM dg_projection_run_steps AS s
                WHERE s.tenant_id = q.tenant_id AND s.run_id = q.run_id
                    AND s.projection_name <> ALL ($2))
        ORDER BY requested_at, run_id LIMIT 1 FOR UPDATE SKIP LOCKED),
    claimed AS (
        UPDATE dg_projection_runs AS r SET status = 'running', phase = 'starting', owner = $1,
            seen_at = clock_timestamp(), started_at = coalesce(r.started_at, clock_timestamp())
        FROM next WHERE r.tenant_id = next.tenant_id AND r.run_id = next.run_id
        RETURNING r.*)";

// A rebuild is about the whole log, however long it has grown meanwhile. The step is written after its
// run and through it: not when the run was cancelled while this waited for its row.
const CHECKPOINT: &str = "WITH others AS (
        SELECT coalesce(sum(processed_events), 0)::bigint AS processed,
            coalesce(sum(processed_events) FILTER (WHERE finished_at IS NOT NULL), 0)::bigint AS done,
            count(*) FILTER (WHERE finished_at IS NULL) AS left
        FROM dg_projection_run_steps
        WHERE tenant_id = $1 AND run_id = $2::text::uuid AND projection_name <> $5),
    run AS (
        UPDATE dg_projection_runs AS r SET phase = $4, seen_at = clock_timestamp(),
            work_ms = work_ms + $8, processed_events = others.processed + $6, last_log_seq = $7,
            total_events = greatest(others.processed + $6, CASE r.mode WHEN 'rebuild'
                THEN others.done + (others.left + 1)
                    * (SELECT event_count FROM dg_tenant_heads WHERE tenant_id = $1)
                ELSE r.total_events END)
        FROM others WHERE r.tenant_id = $1 AND r.run_id = $2::text::uuid AND r.status = 'running'
            AND r.owner = $3
        RETURNING r.tenant_id, r.run_id)
    UPDATE dg_projection_run_steps AS s SET processed_events = $6, last_log_seq = $7
    FROM run WHERE s.tenant_id = run.tenant_id AND s.run_id = run.run_id AND s.projection_name = $5";

const SEEN: &str = "UPDATE dg_projection_runs SET seen_at = clock_timestamp(), phase = $4
    WHERE tenant_id = $1 AND run_id = $2::text::uuid AND status = 'running' AND owner = $3";

// Whatever was appended since its last step ended is the live workers' part.
const END: &str = "UPDATE dg_projection_runs SET status = $4, phase = NULL, error_code = $5,
        error_message = $6,
        total_events = CASE $4 WHEN 'completed' THEN processed_events ELSE total_events END,
        finished_at = CASE WHEN $4 IN ('completed', 'failed') THEN clock_timestamp() END
    WHERE tenant_id = $1 AND run_id = $2::text::uuid AND status = 'running' AND owner = $3";

const RUNNING: &str = "SELECT tenant_id, run_id::text, seen_at FROM dg_projection_runs
    WHERE status = 'running'";

// One that is the asking daemon's own was taken up and lost on the way: it was not even begun.
const ABANDON: &str = "UPDATE dg_projection_runs
    SET status = CASE WHEN owner = $3 THEN 'queued' ELSE 'interrupted' END, phase = NULL
    WHERE tenant_id = $1 AND run_id = $2::text::uuid AND status = 'running' AND seen_at = $4
    RETURNING status";

const INTERRUPTED_TENANTS: &str = "SELECT DISTINCT tenant_id FROM dg_projection_runs
    WHERE status = 'interrupted' ORDER BY tenant_id";

const RESUME_INTERRUPTED: &str = "UPDATE dg_projection_runs AS r SET status = 'queued'
    WHERE r.tenant_id = $1 AND status = 'interrupted' AND NOT EXISTS (SELECT 1 FROM dg_projection_runs AS o
        WHERE o.tenant_id = r.tenant_id AND o.run_id <> r.run_id
            AND (o.status IN ('queued', 'running') OR o.status = 'interrupted'
                AND (o.requested_at, o.run_id) > (r.requested_at, r.run_id))
            AND (o.projection_name = r.projection_name
                OR 'all' IN (o.projection_name, r.projection_name)))
    RETURNING tenant_id, run_id::text";

/// The step that a statement is about, while the run is its owner's: `$1` to `$4`. The run's row is
/// locked first, as by whoever takes the run away.
macro_rules! own_step {
    ($set:literal, $returning:literal) => {
        concat!(
            "WITH run AS (SELECT tenant_id, run_id FROM dg_projection_runs
                WHERE tenant_id = $1 AND run_id = $2::text::uuid AND status = 'running' AND owner = $3
                FOR UPDATE)
             UPDATE dg_projection_run_steps AS s SET ",
            $set,
            " FROM run WHERE s.tenant_id = run.tenant_id AND s.run_id = run.run_id
                AND s.projection_name = $4 ",
            $returning
        )
    };
}

const BEGAN_AT: &str =
    own_step!("since_applied = coalesce(s.since_applied, $5)", "RETURNING s.since_applied");

const FINISH_STEP: &str = own_step!(
    "finished_at = coalesce(s.finished_at, clock_timestamp()), switch_ms = coalesce($5, s.switch_ms)",
    ""
);

const COMPARED: &str = own_step!(
    "compared_log_seq = $6, digest = $7, digest_before = $8, difference = $9, not_compared = NULL",
    "AND s.generation = $5"
);

const NOT_COMPARED: &str = own_step!(
    "compared_log_seq = NULL, digest = NULL, digest_before = NULL, difference = NULL,
        not_compared = $6",
    "AND s.generation = $5"
);

impl Store {
    /// Takes up the run that has waited longest of those over projections that are kept; none when none
    /// waits.
    ///
    /// # Errors
    /// When the database cannot be asked.
    pub async fn claim_run(&self, owner: &str, kept: &[&str]) -> Result<Option<Run>, StoreError> {
        let client = self.client().await?;
        let sql = format!("{CLAIM} {}", RUN.replace("dg_projection_runs", "claimed"));
        let rows = client.query(&sql, &[&owner, &kept]).await?;
        Ok(with_steps(&client, &rows).await?.pop())
    }

    /// Writes a checkpoint down, and that somebody is at the run; false when it is no longer the
    /// owner's.
    ///
    /// # Errors
    /// When the database cannot be asked.
    pub async fn checkpoint_run(
        &self,
        key: &RunKey,
        owner: &str,
        progress: &Progress<'_>,
    ) -> Result<bool, StoreError> {
        let client = self.client().await?;
        let statement = client.prepare_cached(CHECKPOINT).await?;
        let worked = i64::try_from(progress.worked.as_millis()).unwrap_or(i64::MAX);
        let name = progress.projection.as_str();
        let arguments: [&(dyn ToSql + Sync); 8] = [
            &key.tenant_id,
            &key.run_id,
            &owner,
            &progress.phase,
            &name,
            &progress.processed_events,
            &progress.last_log_seq,
            &worked,
        ];
        failpoint::pass_on(&***client, Point::RunCheckpointBefore, name).await?;
        Ok(client.execute(&statement, &arguments).await? > 0)
    }

    /// Says that somebody is at the run; false when it is no longer the owner's.
    ///
    /// # Errors
    /// When the database cannot be asked.
    pub async fn see_run(
        &self,
        key: &RunKey,
        owner: &str,
        phase: &str,
    ) -> Result<bool, StoreError> {
        let client = self.client().await?;
        let statement = client.prepare_cached(SEEN).await?;
        let arguments: [&(dyn ToSql + Sync); 4] = [&key.tenant_id, &key.run_id, &owner, &phase];
        Ok(client.execute(&statement, &arguments).await? > 0)
    }

    /// Leaves a run; false when it is no longer the owner's.
    ///
    /// # Errors
    /// When the database cannot be asked.
    pub async fn end_run(
        &self,
        key: &RunKey,
        owner: &str,
        ending: &Ending<'_>,
    ) -> Result<bool, StoreError> {
        let (code, message) = match ending {
            Ending::Failed(code, message) => (Some(code.as_str()), Some(*message)),
            Ending::Completed | Ending::Interrupted | Ending::Queued => (None, None),
        };
        let status = ending.status().as_str();
        let arguments: [&(dyn ToSql + Sync); 6] =
            [&key.tenant_id, &key.run_id, &owner, &status, &code, &message];
        let is_ours = self.client().await?.execute(END, &arguments).await? > 0;
        failpoint::pass(Point::RunEndAfter, status).await?;
        Ok(is_ours)
    }

    /// The runs that somebody says to be at, and when each last said so.
    ///
    /// # Errors
    /// When the database cannot be asked.
    pub async fn running_runs(&self) -> Result<Vec<(RunKey, OffsetDateTime)>, StoreError> {
        let rows = self.client().await?.query(RUNNING, &[]).await?;
        rows.iter().map(|row| Ok((key_from(row)?, row.try_get(2)?))).collect()
    }

    /// Ends the running of a run that nobody is at: nobody has said since `seen` that he is. One of the
    /// `asking` daemon's own is queued again, one of another's is interrupted; the status after it,
    /// none where somebody has said something.
    ///
    /// # Errors
    /// When the database cannot be asked.
    pub async fn abandon_run(
        &self,
        key: &RunKey,
        asking: &str,
        seen: OffsetDateTime,
    ) -> Result<Option<RunStatus>, StoreError> {
        let arguments: [&(dyn ToSql + Sync); 4] = [&key.tenant_id, &key.run_id, &asking, &seen];
        let row = self.client().await?.query_opt(ABANDON, &arguments).await?;
        row.map(|row| super::status_of(&row, 0)).transpose()
    }

    /// Queues every interrupted run again that no other is in the way of: the newest of those that
    /// overlap.
    ///
    /// # Errors
    /// When the database cannot be asked.
    pub async fn resume_interrupted_runs(&self) -> Result<Vec<RunKey>, StoreError> {
        let mut client = self.client().await?;
        let mut resumed = Vec::new();
        for row in client.query(INTERRUPTED_TENANTS, &[]).await? {
            let tenant: &str = row.try_get(0)?;
            let transaction = writing(&mut client).await?;
            lock_pointers(&transaction, tenant).await?;
            let rows = transaction.query(RESUME_INTERRUPTED, &[&tenant]).await?;
            transaction.commit().await?;
            for row in &rows {
                resumed.push(key_from(row)?);
            }
        }
        Ok(resumed)
    }

    /// Notes how many events were applied when a replay began, unless it had begun before: how many
    /// it was then; none when the run is no longer the owner's.
    ///
    /// # Errors
    /// When the database cannot be asked.
    pub async fn begin_replay(
        &self,
        (key, owner): (&RunKey, &str),
        projection: Projection,
        applied: i64,
    ) -> Result<Option<i64>, StoreError> {
        let name = projection.as_str();
        let arguments: [&(dyn ToSql + Sync); 5] =
            [&key.tenant_id, &key.run_id, &owner, &name, &applied];
        let row = self.client().await?.query_opt(BEGAN_AT, &arguments).await?;
        Ok(row.map(|row| row.try_get(0)).transpose()?)
    }

    /// Notes that a step is done, and for how long its switch kept the workers; false when the run is
    /// no longer the owner's.
    ///
    /// # Errors
    /// When the database cannot be asked.
    pub async fn finish_step(
        &self,
        (key, owner): (&RunKey, &str),
        projection: Projection,
        switch: Option<Duration>,
    ) -> Result<bool, StoreError> {
        let name = projection.as_str();
        let switch = switch.map(|took| took.as_millis() as i64);
        let arguments: [&(dyn ToSql + Sync); 5] =
            [&key.tenant_id, &key.run_id, &owner, &name, &switch];
        Ok(self.client().await?.execute(FINISH_STEP, &arguments).await? > 0)
    }

    /// Notes what a comparison of a generation came to, or why there was none; false when the run is
    /// no longer the owner's, or builds another generation.
    ///
    /// # Errors
    /// When the database cannot be asked.
    pub async fn record_comparison(
        &self,
        (key, owner): (&RunKey, &str),
        (projection, generation): (Projection, i32),
        outcome: Result<&Comparison, &str>,
    ) -> Result<bool, StoreError> {
        let (client, name) = (self.client().await?, projection.as_str());
        let mut arguments: Vec<&(dyn ToSql + Sync)> =
            vec![&key.tenant_id, &key.run_id, &owner, &name, &generation];
        let changed = match &outcome {
            Ok(found) => {
                let (digest, before) = (found.digest.0.to_vec(), found.digest_before.0.to_vec());
                let difference = found.difference.as_ref().map(|one| canonical(&one.to_json()));
                let mut arguments = arguments;
                arguments.extend::<[&(dyn ToSql + Sync); 4]>([
                    &found.log_seq,
                    &digest,
                    &before,
                    &difference,
                ]);
                client.execute(COMPARED, &arguments).await?
            }
            Err(why) => {
                arguments.push(why);
                client.execute(NOT_COMPARED, &arguments).await?
            }
        };
        Ok(changed > 0)
    }
}

fn key_from(row: &tokio_postgres::Row) -> Result<RunKey, StoreError> {
    Ok(RunKey { tenant_id: row.try_get(0)?, run_id: row.try_get(1)? })
}
