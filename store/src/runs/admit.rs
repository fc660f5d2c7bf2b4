//! Admission: who may begin, be cancelled, or go on.
//!
//! The tenant's pointers are locked, in the order of their names: of two runs that would overlap,
//! one finds the other. A run's row is locked after them, cursors last, here as everywhere.

use deadpool_postgres::Transaction;
use dg_projections::projection::Projection;
use dg_projections::{Code, Rejection};

use super::status::Turn;
use super::{ALL_PROJECTIONS, RUN, Run, RunKey, RunMode, RunStatus, status_of, with_steps};
use crate::cursors::Standing;
use crate::database::writing;
use crate::failpoint::{self, Point};
use crate::pointer::lock_pointers;
use crate::{Store, StoreError};

/// A run that somebody asks for.
#[derive(Debug, Clone, Copy)]
pub struct NewRun<'a> {
    /// The tenant.
    pub tenant: &'a str,
    /// What it does.
    pub mode: RunMode,
    /// One projection, or all that are kept.
    pub scope: Option<Projection>,
    /// The projections that are kept.
    pub kept: &'a [Projection],
    /// Whether a rebuild is only compared with what is served.
    pub dry_run: bool,
    /// Why.
    pub reason: &'a str,
    /// How far a replay goes; to the end of the log if nothing is said.
    pub until_log_seq: Option<i64>,
    /// Who asks.
    pub requested_by: Option<&'a str>,
}

impl NewRun<'_> {
    fn projection_name(&self) -> &'static str {
        self.scope.map_or(ALL_PROJECTIONS, Projection::as_str)
    }

    /// What it is done at, in the documented order.
    fn steps(&self) -> Vec<Projection> {
        let is_meant = |one: &Projection| {
            self.kept.contains(one) && self.scope.is_none_or(|scope| scope == *one)
        };
        Projection::ALL.into_iter().filter(is_meant).collect()
    }

    /// What is wrong with it, whatever is stored.
    fn check(&self) -> Result<(), Rejection> {
        let refuse = |message: &str| Err(Rejection::new(Code::InvalidArgument, message));
        if self.reason.trim().is_empty() {
            return refuse("a reason is missing: say why, for those who read the history");
        }
        if self.reason.len() > MAX_REASON {
            return refuse("a reason has at most 1000 bytes");
        }
        match (self.mode, self.dry_run, self.until_log_seq) {
            (RunMode::Rebuild, _, Some(_)) => {
                refuse("a rebuild goes to the end of the log; until_log_seq is for replays")
            }
            (RunMode::Replay, true, _) => refuse("dry_run is for rebuilds"),
            (RunMode::Replay, _, Some(until)) if until < 1 => {
                refuse("until_log_seq must be at least 1")
            }
            _ => Ok(()),
        }
    }
}

const MAX_REASON: usize = 1000;

const HEAD: &str = "SELECT last_log_seq, event_count, kept_numbers FROM dg_tenant_heads
    WHERE tenant_id = $1 AND event_count > 0";

const IN_THE_WAY: &str =
    "SELECT run_id::text, mode, projection_name, status FROM dg_projection_runs
    WHERE tenant_id = $1 AND status IN ('queued', 'running')
        AND (projection_name = $2 OR projection_name = 'all' OR $2 = 'all')
    ORDER BY requested_at LIMIT 1";

const INSERT: &str = "INSERT INTO dg_projection_runs (tenant_id, projection_name, mode, dry_run,
        reason, since_log_seq, until_log_seq, total_events, requested_by)
    VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9) RETURNING run_id::text";

const INSERT_STEPS: &str =
    "INSERT INTO dg_projection_run_steps (tenant_id, run_id, projection_name, step)
    SELECT $1, $2::text::uuid, name, place::integer - 1
    FROM unnest($3::text[]) WITH ORDINALITY AS step (name, place)";

/// The end of a tenant's log.
pub(crate) struct Head {
    pub(crate) last_log_seq: i64,
    pub(crate) event_count: i64,
    pub(crate) kept_numbers: bool,
}

/// None for a tenant without events.
pub(crate) async fn head(
    transaction: &Transaction<'_>,
    tenant: &str,
) -> Result<Option<Head>, StoreError> {
    let row = transaction.query_opt(HEAD, &[&tenant]).await?;
    let head = |row: tokio_postgres::Row| {
        Ok(Head {
            last_log_seq: row.try_get(0)?,
            event_count: row.try_get(1)?,
            kept_numbers: row.try_get(2)?,
        })
    };
    row.map(head).transpose()
}

/// Whoever makes a run active does it behind these.
/// The refusal that names the active run at the same projection, if there is one.
async fn in_the_way(
    transaction: &Transaction<'_>,
    tenant: &str,
    projection_name: &str,
) -> Result<Option<Rejection>, StoreError> {
    let row = transaction.query_opt(IN_THE_WAY, &[&tenant, &projection_name]).await?;
    let refusal = |row: tokio_postgres::Row| {
        let (run_id, mode): (&str, &str) = (row.try_get(0)?, row.try_get(1)?);
        let (scope, status): (&str, &str) = (row.try_get(2)?, row.try_get(3)?);
        let message =
            format!("the {mode} of {scope} {run_id} is {status}; wait for it, or cancel it");
        Ok(Rejection::new(Code::Conflict, message).with("run_id", run_id))
    };
    row.map(refusal).transpose()
}

impl Store {
    /// Admits a run: its row, queued.
    ///
    /// Refused: `invalid_argument` for a reason or a bound that makes no sense, `not_found` for a
    /// tenant without events or a projection that is not kept, `conflict` when another run is in
    /// the way, which the details name.
    ///
    /// # Errors
    /// When the database cannot be asked.
    pub async fn start_run(&self, new: &NewRun<'_>) -> Result<Result<Run, Rejection>, StoreError> {
        if let Err(refusal) = new.check() {
            return Ok(Err(refusal));
        }
        let steps = new.steps();
        if steps.is_empty() {
            let message = match new.scope {
                Some(projection) => format!("{projection} is not kept by this daemon"),
                None => "this daemon keeps no projections".to_owned(),
            };
            return Ok(Err(Rejection::new(Code::NotFound, message)));
        }
        let mut client = self.client().await?;
        let transaction = writing(&mut client).await?;
        let Some(head) = head(&transaction, new.tenant).await? else {
            let message = format!("tenant '{}' has no events", new.tenant);
            return Ok(Err(Rejection::new(Code::NotFound, message)));
        };
        if let Some(until) = new.until_log_seq.filter(|until| *until > head.last_log_seq) {
            let last = head.last_log_seq;
            let message = format!("until_log_seq {until} is beyond the log, which ends at {last}");
            let refusal = Rejection::new(Code::InvalidArgument, message);
            return Ok(Err(refusal.with("last_log_seq", last)));
        }
        lock_pointers(&transaction, new.tenant).await?;
        let scope = new.projection_name();
        if let Some(refusal) = in_the_way(&transaction, new.tenant, scope).await? {
            return Ok(Err(refusal));
        }
        let (since, total) = extent(&transaction, new, &steps, &head).await?;
        let row = transaction
            .query_one(
                INSERT,
                &[
                    &new.tenant,
                    &scope,
                    &new.mode.as_str(),
                    &new.dry_run,
                    &new.reason,
                    &since,
                    &new.until_log_seq,
                    &total,
                    &new.requested_by,
                ],
            )
            .await?;
        let run_id: String = row.try_get(0)?;
        let names: Vec<&str> = steps.iter().map(|step| step.as_str()).collect();
        transaction.execute(INSERT_STEPS, &[&new.tenant, &run_id, &names]).await?;
        let run =
            reread(&transaction, &RunKey { tenant_id: new.tenant.to_owned(), run_id }).await?;
        failpoint::pass_on(&*transaction, Point::RunAdmitBefore, new.tenant).await?;
        transaction.commit().await?;
        failpoint::pass(Point::RunAdmitAfter, new.tenant).await?;
        Ok(Ok(run))
    }

    /// Cancels a run that is queued, running or interrupted. What it has built stays for a while, so
    /// that it can be resumed; that of an interrupted one is dropped.
    ///
    /// Refused: `conflict` for one that has ended, or has nothing left to do but to say so.
    ///
    /// # Errors
    /// When the database cannot be asked.
    pub async fn cancel_run(&self, key: &RunKey) -> Result<Result<Run, Rejection>, StoreError> {
        let mut client = self.client().await?;
        let transaction = writing(&mut client).await?;
        let run = match locked(&transaction, key, Turn::Cancel).await? {
            Ok(run) => run,
            Err(refusal) => return Ok(Err(refusal)),
        };
        let has_switched = run.mode == RunMode::Rebuild
            && !run.dry_run
            && run.steps.iter().all(|step| step.switched_at.is_some());
        if has_switched {
            let message =
                format!("run {} has switched to what it built and is about to end", run.key.run_id);
            return Ok(Err(Rejection::new(Code::Conflict, message)));
        }
        if run.status == RunStatus::Interrupted {
            transaction.execute(DROP_BUILT, &[&key.tenant_id, &key.run_id]).await?;
        }
        transaction.execute(CANCEL, &[&key.tenant_id, &key.run_id]).await?;
        let run = reread(&transaction, key).await?;
        failpoint::pass_on(&*transaction, Point::RunCancelBefore, &key.tenant_id).await?;
        transaction.commit().await?;
        failpoint::pass(Point::RunCancelAfter, &key.tenant_id).await?;
        Ok(Ok(run))
    }

    /// Queues a run again that failed, was cancelled or interrupted; it goes on from its checkpoint.
    ///
    /// Refused: `conflict` for any other, or when another run is in the way.
    ///
    /// # Errors
    /// When the database cannot be asked.
    pub async fn resume_run(&self, key: &RunKey) -> Result<Result<Run, Rejection>, StoreError> {
        let mut client = self.client().await?;
        let transaction = writing(&mut client).await?;
        lock_pointers(&transaction, &key.tenant_id).await?;
        let run = match locked(&transaction, key, Turn::Resume).await? {
            Ok(run) => run,
            Err(refusal) => return Ok(Err(refusal)),
        };
        if let Some(refusal) =
            in_the_way(&transaction, &key.tenant_id, &run.projection_name).await?
        {
            return Ok(Err(refusal));
        }
        transaction.execute(RESUME, &[&key.tenant_id, &key.run_id]).await?;
        let run = reread(&transaction, key).await?;
        transaction.commit().await?;
        Ok(Ok(run))
    }
}

const CANCEL: &str = "UPDATE dg_projection_runs
    SET status = 'cancelled', finished_at = clock_timestamp(), phase = NULL
    WHERE tenant_id = $1 AND run_id = $2::text::uuid";

const RESUME: &str = "UPDATE dg_projection_runs
    SET status = 'queued', finished_at = NULL, error_code = NULL, error_message = NULL
    WHERE tenant_id = $1 AND run_id = $2::text::uuid";

/// The generations that a run was building.
const DROP_BUILT: &str = "UPDATE dg_projection_cursors AS c SET retired = true
    FROM dg_projection_run_steps AS s
    WHERE s.tenant_id = $1 AND s.run_id = $2::text::uuid AND s.switched_at IS NULL
        AND c.tenant_id = s.tenant_id AND c.projection_name = s.projection_name
        AND c.generation = s.generation AND NOT c.retired
        AND c.generation <> (SELECT active_generation FROM dg_projections AS p
            WHERE p.tenant_id = c.tenant_id AND p.projection_name = c.projection_name)";

/// A run whose row nobody else changes until the transaction ends, if it may take this turn.
async fn locked(
    transaction: &Transaction<'_>,
    key: &RunKey,
    turn: Turn,
) -> Result<Result<Run, Rejection>, StoreError> {
    let lock = "SELECT status FROM dg_projection_runs
        WHERE tenant_id = $1 AND run_id = $2::text::uuid FOR UPDATE";
    let Some(row) = transaction.query_opt(lock, &[&key.tenant_id, &key.run_id]).await? else {
        return Ok(Err(Rejection::new(Code::NotFound, format!("there is no run {}", key.run_id))));
    };
    let status = status_of(&row, 0)?;
    if status.after(turn).is_none() {
        let verb = match turn {
            Turn::Cancel => "cancelled",
            _ => "resumed",
        };
        let message = format!("run {} is {status} and cannot be {verb}", key.run_id);
        return Ok(Err(Rejection::new(Code::Conflict, message).with("status", status.as_str())));
    }
    Ok(Ok(reread(transaction, key).await?))
}

async fn reread(transaction: &Transaction<'_>, key: &RunKey) -> Result<Run, StoreError> {
    let sql = format!("{RUN} WHERE tenant_id = $1 AND run_id = $2::text::uuid");
    let rows = transaction.query(&sql, &[&key.tenant_id, &key.run_id]).await?;
    let run = with_steps(transaction.client(), &rows).await?.pop();
    run.ok_or_else(|| StoreError::internal("a run that is not there"))
}

const UP_TO: &str = "SELECT count(*) FROM dg_event_log WHERE tenant_id = $1 AND log_seq <= $2";

/// Where a run begins, and how many events it is about.
async fn extent(
    transaction: &Transaction<'_>,
    new: &NewRun<'_>,
    steps: &[Projection],
    head: &Head,
) -> Result<(i64, i64), StoreError> {
    if new.mode == RunMode::Rebuild {
        return Ok((0, head.event_count * steps.len() as i64));
    }
    let until = new.until_log_seq.unwrap_or(head.last_log_seq);
    let events = match (until == head.last_log_seq, head.kept_numbers) {
        (true, _) => head.event_count,
        (false, false) => until,
        (false, true) => transaction.query_one(UP_TO, &[&new.tenant, &until]).await?.try_get(0)?,
    };
    let (mut since, mut total) = (until, 0);
    for step in steps {
        let standing = Standing::read(transaction, new.tenant, *step).await?;
        let (least, applied) =
            standing.map_or((0, 0), |standing| (standing.least(), standing.applied_events()));
        since = since.min(least);
        total += (events - applied).max(0);
    }
    Ok((since, total))
}
