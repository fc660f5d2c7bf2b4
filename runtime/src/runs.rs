//! Runs: replays and rebuilds, each an actor under the replay supervisor.

use dg_projections::Rejection;
use dg_projections::projection::Projection;
use dg_store::{NewRun, Run, RunFilter, RunMode, StoreError};

use crate::Runtime;

/// A run that somebody asks for.
#[derive(Debug, Clone, Copy)]
pub struct RunRequest<'a> {
    /// The tenant.
    pub tenant: &'a str,
    /// What it does.
    pub mode: RunMode,
    /// One projection, or all that are kept.
    pub scope: Option<Projection>,
    /// Whether a rebuild is only compared with what is served.
    pub dry_run: bool,
    /// Why.
    pub reason: &'a str,
    /// How far a replay goes; to the end of the log if nothing is said.
    pub until_log_seq: Option<i64>,
    /// Who asks.
    pub requested_by: Option<&'a str>,
}

/// A run, and how it gets on.
#[derive(Debug, Clone, PartialEq)]
pub struct RunView {
    /// The run.
    pub run: Run,
    /// Events a second: of late while it runs here, else over all its lives; none before it began.
    pub events_per_second: Option<f64>,
    /// How long the rest takes at this rate; none where that cannot be told.
    pub eta_seconds: Option<f64>,
}

/// What may be refused, and what went wrong.
pub type Asked<T> = Result<Result<T, Rejection>, StoreError>;

impl Runtime {
    /// Admits a run, which begins when it is its turn; see [`dg_store::Store::start_run`].
    ///
    /// # Errors
    /// When the database cannot be asked.
    pub async fn start_run(&self, request: RunRequest<'_>) -> Asked<RunView> {
        let new = NewRun {
            tenant: request.tenant,
            mode: request.mode,
            scope: request.scope,
            kept: &self.settings().projections,
            dry_run: request.dry_run,
            reason: request.reason,
            until_log_seq: request.until_log_seq,
            requested_by: request.requested_by,
        };
        let new = &new;
        let run = self.gate().run(|store| async move { store.start_run(new).await }).await?;
        Ok(run.map(|run| self.view(run)))
    }

    /// Cancels a run; when this returns, nobody is at it any more and its workers are free.
    ///
    /// # Errors
    /// When the database cannot be asked.
    pub async fn cancel_run(&self, tenant: Option<&str>, run_id: &str) -> Asked<RunView> {
        let Some(run) = self.stored(tenant, run_id).await? else { return Ok(Err(unknown(run_id))) };
        let key = &run.key;
        let run = self.gate().run(|store| async move { store.cancel_run(key).await }).await?;
        Ok(run.map(|run| self.view(run)))
    }

    /// Lets a run go on that failed, was cancelled or interrupted.
    ///
    /// # Errors
    /// When the database cannot be asked.
    pub async fn resume_run(&self, tenant: Option<&str>, run_id: &str) -> Asked<RunView> {
        let Some(run) = self.stored(tenant, run_id).await? else { return Ok(Err(unknown(run_id))) };
        let key = &run.key;
        let run = self.gate().run(|store| async move { store.resume_run(key).await }).await?;
        Ok(run.map(|run| self.view(run)))
    }

    /// A run, of this tenant if one is named.
    ///
    /// # Errors
    /// When the database cannot be asked.
    pub async fn run(
        &self,
        tenant: Option<&str>,
        run_id: &str,
    ) -> Result<Option<RunView>, StoreError> {
        Ok(self.stored(tenant, run_id).await?.map(|run| self.view(run)))
    }

    /// Runs, the newest first.
    ///
    /// # Errors
    /// When the database cannot be asked.
    pub async fn runs(&self, filter: RunFilter<'_>) -> Result<Vec<RunView>, StoreError> {
        let runs = self.gate().run(|store| async move { store.runs(filter).await }).await?;
        Ok(runs.into_iter().map(|run| self.view(run)).collect())
    }

    async fn stored(&self, tenant: Option<&str>, run_id: &str) -> Result<Option<Run>, StoreError> {
        self.gate().run(|store| async move { store.run(tenant, run_id).await }).await
    }

    fn view(&self, run: Run) -> RunView {
        let seconds = run.work_ms as f64 / 1e3;
        let rate = (seconds > 0.0).then(|| run.processed_events as f64 / seconds);
        let left = run.total_events.map(|total| (total - run.processed_events).max(0) as f64);
        let eta = rate.filter(|rate| *rate > 0.0 && run.status.is_active());
        let eta_seconds = eta.zip(left).map(|(rate, left)| left / rate);
        RunView { run, events_per_second: rate, eta_seconds }
    }
}

fn unknown(run_id: &str) -> Rejection {
    Rejection::new(dg_projections::Code::NotFound, format!("there is no run {run_id}"))
}
