//! Runs: replays and rebuilds, each an actor under the replay supervisor.
//!
//! ```text
//! replays (dynamic) ── acme/5f0c... (temporary)     coordinator: takes up what waits, finds what was
//!                                                   left, has old generations cleared
//! ```
//! Invariants:
//! - what a run is and how far it is stands in the database; an actor can be cut off at any moment,
//!   and whoever goes on finds out from there ([`state`], [`work`]);
//! - readers and live workers never see less than a whole projection: a rebuild builds beside what is
//!   served, compares, and exchanges the two in one transaction ([`serve`]);
//! - a cancelled run has ended in the database before its actor is told: it can change nothing more.

mod actor;
mod coordinator;
mod lanes;
mod serve;
mod silence;
mod state;
mod view;
mod work;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use dg_projections::projection::Projection;
use dg_projections::{Code, Rejection};
use dg_store::{NewRun, Run, RunFilter, RunKey, RunMode, RunStatus, StoreError};

use time::OffsetDateTime;
use tokio::sync::Mutex;

use crate::Runtime;
use crate::metrics;
use crate::slot::Slot;
use crate::supervisor::{
    ChildSpec, Flags, Init, Parent, Refused, Report, Restart, Shutdown, StartFn, StartFuture,
    SupervisorMsg, SupervisorRef, Template,
};
use crate::tenants::Tenants;
use actor::{RunActor, RunOwners};
use coordinator::Coordinator;
pub(crate) use coordinator::RunsMsg;
pub use view::RunView;

/// What the actors of runs share. Cheap to clone.
#[derive(Debug, Clone)]
pub(crate) struct Runs {
    tenants: Tenants,
    owners: RunOwners,
    supervisor: Slot<SupervisorMsg<RunKey>>,
    coordinator: Slot<RunsMsg>,
    is_closing: Arc<AtomicBool>,
    /// Held by whoever clears what rebuilds have left, and makes its space fit for use again.
    clearing: Arc<Mutex<()>>,
    /// The daemon and this life of it: two containers may have the same name and process number.
    owner: Arc<str>,
}

impl Runs {
    pub(crate) fn new(tenants: Tenants) -> Runs {
        let life = OffsetDateTime::now_utc().unix_timestamp_nanos() / 1_000 % 0x1_0000_0000;
        let owner = format!("{}:{life:x}", tenants.settings.owner).into();
        Runs {
            owner,
            clearing: Arc::default(),
            tenants,
            owners: RunOwners::new(),
            supervisor: Slot::new(),
            coordinator: Slot::new(),
            is_closing: Arc::default(),
        }
    }

    /// Starts the dynamic supervisor of the runs.
    pub(crate) fn supervisor_start_fn(&self) -> StartFn {
        let runs = self.clone();
        Arc::new(move |parent| {
            let runs = runs.clone();
            Box::pin(async move {
                let (supervisor, started) = SupervisorRef::start(&parent, runs.dynamic()).await?;
                runs.supervisor.put(supervisor.actor().clone());
                Ok(started)
            })
        })
    }

    fn dynamic(&self) -> Init<RunKey> {
        let patience = Shutdown::Timeout(self.tenants.settings.stop_patience);
        let spec = Arc::new(move |key| {
            ChildSpec::worker(key).restart(Restart::Temporary).shutdown(patience)
        });
        let runs = self.clone();
        let start = Arc::new(move |key: RunKey, parent: Parent| {
            let runs = runs.clone();
            Box::pin(async move {
                parent.spawn(RunActor::default(), (key, runs)).await.map(|(_, started)| started)
            }) as StartFuture
        });
        let coordinator = self.coordinator.clone();
        let observer =
            metrics::counting(metrics::Label::Replays, move |report: &Report<RunKey>| {
                if let Report::Exited { id, exit, .. } = report {
                    let crash = exit.is_abnormal().then(|| exit.to_string());
                    coordinator.tell(RunsMsg::Ended(id.clone(), crash));
                }
            });
        // A run is temporary: there is nothing to restart.
        let template = Template { spec, start };
        Init { observer: Some(observer), ..Init::dynamic("replays", Flags::default(), template) }
    }

    /// Starts the coordinator.
    pub(crate) fn coordinator_start_fn(&self) -> StartFn {
        let runs = self.clone();
        Arc::new(move |parent| {
            let runs = runs.clone();
            Box::pin(
                async move { parent.spawn(Coordinator, runs).await.map(|(_, started)| started) },
            )
        })
    }

    /// The runs' supervisor; none while it is starting.
    pub(crate) fn supervisor(&self) -> Option<SupervisorRef<RunKey>> {
        self.supervisor.get().map(SupervisorRef::of)
    }

    /// From now on runs that are left are not taken up again by this daemon.
    pub(crate) fn close(&self) {
        self.is_closing.store(true, Ordering::SeqCst);
    }

    fn owner(&self) -> &str {
        &self.owner
    }

    fn is_closing(&self) -> bool {
        self.is_closing.load(Ordering::SeqCst)
    }

    /// Starts the actor of a run that was taken up.
    async fn start(&self, key: RunKey) {
        let Some(supervisor) = self.supervisor() else { return };
        match supervisor.start_dynamic(key.clone()).await {
            Ok(Ok(_) | Err(Refused::AlreadyStarted(_))) => {}
            // Nobody says that somebody is at it: it is queued again after a silence.
            Ok(Err(refusal)) => tracing::error!(run = %key, reason = %refusal, "run not started"),
            Err(gone) => tracing::error!(run = %key, reason = %gone, "run not started"),
        }
    }

    /// Ends the actor of a run, if it has one here, and waits for that.
    async fn stop(&self, key: &RunKey) {
        if let Some(supervisor) = self.supervisor() {
            // One that is gone already has nothing to stop.
            let _ = supervisor.terminate_child(key.clone()).await;
        }
    }

    /// How many there are of each kind.
    pub(crate) async fn count(&self) -> Result<Vec<(RunMode, RunStatus, i64)>, StoreError> {
        self.tenants.gate.run(|store| async move { store.count_runs().await }).await
    }

    fn view(&self, run: Run) -> RunView {
        let progress = self.owners.owner(&run.key);
        RunView::new(run, progress.as_ref().map(|progress| progress.borrow().clone()).as_ref())
    }
}

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
        self.runs.coordinator.tell(RunsMsg::Look);
        Ok(run.map(|run| self.runs.view(run)))
    }

    /// Cancels a run; when this returns, nobody is at it any more and its workers are free.
    ///
    /// # Errors
    /// When the database cannot be asked.
    pub async fn cancel_run(&self, tenant: Option<&str>, run_id: &str) -> Asked<RunView> {
        let Some(run) = self.stored(tenant, run_id).await? else { return Ok(Err(unknown(run_id))) };
        let key = &run.key;
        let run = self.gate().run(|store| async move { store.cancel_run(key).await }).await?;
        if run.is_ok() {
            self.runs.stop(key).await;
            self.runs.coordinator.tell(RunsMsg::Look);
        }
        Ok(run.map(|run| self.runs.view(run)))
    }

    /// Lets a run go on that failed, was cancelled or interrupted.
    ///
    /// # Errors
    /// When the database cannot be asked.
    pub async fn resume_run(&self, tenant: Option<&str>, run_id: &str) -> Asked<RunView> {
        let Some(run) = self.stored(tenant, run_id).await? else { return Ok(Err(unknown(run_id))) };
        let key = &run.key;
        let run = self.gate().run(|store| async move { store.resume_run(key).await }).await?;
        self.runs.coordinator.tell(RunsMsg::Look);
        Ok(run.map(|run| self.runs.view(run)))
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
        Ok(self.stored(tenant, run_id).await?.map(|run| self.runs.view(run)))
    }

    /// Runs, the newest first.
    ///
    /// # Errors
    /// When the database cannot be asked.
    pub async fn runs(&self, filter: RunFilter<'_>) -> Result<Vec<RunView>, StoreError> {
        let runs = self.gate().run(|store| async move { store.runs(filter).await }).await?;
        Ok(runs.into_iter().map(|run| self.runs.view(run)).collect())
    }

    async fn stored(&self, tenant: Option<&str>, run_id: &str) -> Result<Option<Run>, StoreError> {
        self.gate().run(|store| async move { store.run(tenant, run_id).await }).await
    }
}

fn unknown(run_id: &str) -> Rejection {
    Rejection::new(Code::NotFound, format!("there is no run {run_id}"))
}
