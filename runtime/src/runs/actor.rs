//! The shell around a run: an actor that owns the run's key, and a task beside it that does the work.
//!
//! Cutting the task off is always safe: what it did stands in the database, the pause of the live
//! workers ends with it, and a switch that is under way either was made or was not.

use std::sync::OnceLock;
use std::time::{Duration, Instant};

use dg_store::{Ending, Run, RunKey};
use ractor::{Actor, ActorProcessingErr, ActorRef};
use tokio::sync::watch;

use super::Runs;
use super::state::{Effect, Input, Machine, Outcome, State, step};
use super::view::{Meter, RunProgress};
use super::work::{Work, told};
use crate::in_flight::{InFlight, caught};
use crate::metrics;
use crate::registry::{AlreadyOwned, Lease, Registry};
use crate::worker::RetryPolicy;

/// How often a run says that somebody is at it.
const HEARTBEAT: Duration = Duration::from_secs(1);
/// A run does not wait longer for the database than this between two tries.
const LONGEST_WAIT: Duration = Duration::from_secs(5);

/// The runs that are at work here, and how each gets on.
pub(super) type RunOwners = Registry<RunKey, watch::Receiver<RunProgress>>;

/// The handler holds the run's key: it is dropped when the actor's task has ended.
#[derive(Default)]
pub(super) struct RunActor {
    lease: OnceLock<Lease<RunKey, watch::Receiver<RunProgress>>>,
}

pub(super) struct RunState {
    runs: Runs,
    key: RunKey,
    work: Option<InFlight>,
    is_over: bool,
}

#[derive(Debug)]
pub(super) enum RunMsg {
    /// The work is over.
    Over,
    /// It panicked, or met what cannot be.
    Crashed(String),
}

impl Actor for RunActor {
    type Msg = RunMsg;
    type State = RunState;
    type Arguments = (RunKey, Runs);

    async fn pre_start(
        &self,
        myself: ActorRef<RunMsg>,
        (key, runs): (RunKey, Runs),
    ) -> Result<RunState, ActorProcessingErr> {
        let (publish, progress) = watch::channel(RunProgress::default());
        let lease = runs
            .owners
            .register(key.clone(), progress)
            .map_err(|AlreadyOwned(_)| format!("{key} has a live owner"))?;
        let _ = self.lease.set(lease);
        let (at_work, which) = (runs.clone(), key.clone());
        let work = InFlight::begin(async move {
            let told = match caught(drive(at_work, which, publish)).await {
                Ok(Ok(())) => RunMsg::Over,
                Ok(Err(reason)) | Err(reason) => RunMsg::Crashed(reason),
            };
            let _ = myself.cast(told);
        });
        Ok(RunState { runs, key, work: Some(work), is_over: false })
    }

    async fn handle(
        &self,
        myself: ActorRef<RunMsg>,
        message: RunMsg,
        state: &mut RunState,
    ) -> Result<(), ActorProcessingErr> {
        match message {
            RunMsg::Over => {
                state.is_over = true;
                myself.stop(None);
                Ok(())
            }
            RunMsg::Crashed(reason) => Err(reason.into()),
        }
    }

    /// Cut off where it is; what it is then depends on whether this daemon goes on.
    async fn post_stop(
        &self,
        _: ActorRef<RunMsg>,
        state: &mut RunState,
    ) -> Result<(), ActorProcessingErr> {
        if let Some(work) = state.work.take() {
            work.cut().await;
        }
        if !state.is_over {
            state.leave().await;
        }
        Ok(())
    }
}

impl RunState {
    /// A run that was cancelled is not ours any more, and nothing changes.
    async fn leave(&self) {
        let (key, owner) = (&self.key, self.runs.owner());
        let ending = &if self.runs.is_closing() { Ending::Interrupted } else { Ending::Queued };
        let gate = &self.runs.tenants.gate;
        match gate.run(|store| async move { store.end_run(key, owner, ending).await }).await {
            Ok(true) => tracing::info!(run = %key, status = %ending.status(), "run left"),
            Ok(false) => {}
            // Nobody says any more that somebody is at it: whoever looks finds it.
            Err(error) => tracing::warn!(run = %key, reason = %error, "run left without a word"),
        }
    }
}

/// Does the work of a run, from wherever it was left.
async fn drive(runs: Runs, key: RunKey, publish: watch::Sender<RunProgress>) -> Result<(), String> {
    let Some(run) = load(&runs, &key).await else { return Ok(()) };
    let RetryPolicy { base, max, max_retries } = runs.tenants.settings.retry;
    let policy = RetryPolicy { base, max: max.min(LONGEST_WAIT), max_retries };
    let who = key.to_string();
    tracing::info!(run = %key, mode = %run.mode, projection = run.projection_name, reason = run.reason, "run at work");
    let left = run.steps.iter().filter(|step| step.finished_at.is_none());
    let left = left.map(|step| step.projection).collect();
    let done: i64 = run
        .steps
        .iter()
        .filter(|step| step.finished_at.is_some())
        .map(|step| step.processed_events)
        .sum();
    let (mut machine, mut effect) = Machine::start(run.mode, run.dry_run, left);
    let mut meter = Meter::new(done, Instant::now());
    let mut work = Work::new(runs.clone(), run);
    while let Some(doing) = effect {
        work.phase = machine.state.phase(machine.mode);
        publish.send_replace(meter.progress(&work));
        let input = beside_heartbeats(&runs, &key, &mut work, doing).await;
        meter.note(&input, &work, Instant::now());
        log(&key, &input, machine.attempt);
        (machine, effect) = step(machine, input, &policy, &who).map_err(|e| e.to_string())?;
    }
    tell_end(&key, &machine, work.run.mode, work.worked());
    Ok(())
}

/// The row of a run, however long the database is away.
async fn load(runs: &Runs, key: &RunKey) -> Option<Run> {
    loop {
        let (tenant, run_id) = (Some(&*key.tenant_id), &*key.run_id);
        match runs.tenants.gate.run(|store| async move { store.run(tenant, run_id).await }).await {
            Ok(run) => return run,
            Err(error) => {
                tracing::debug!(run = %key, reason = %error, "run not loaded");
                tokio::time::sleep(HEARTBEAT).await;
            }
        }
    }
}

/// Performs an effect, and says meanwhile that somebody is at the run; cut off when it is no longer
/// ours.
async fn beside_heartbeats(runs: &Runs, key: &RunKey, work: &mut Work, effect: Effect) -> Input {
    let phase = work.phase;
    tokio::select! {
        biased;
        input = work.perform(effect) => input,
        () = until_lost(runs, key, phase) => Input::Lost,
    }
}

/// Beside the work and never instead of it: the row that this writes may be locked by the work itself.
async fn until_lost(runs: &Runs, key: &RunKey, phase: &str) {
    let owner = runs.owner();
    loop {
        tokio::time::sleep(HEARTBEAT).await;
        let see = |store: dg_store::Store| async move { store.see_run(key, owner, phase).await };
        // While the database is away nothing can be said, nor be heard.
        if let Ok(false) = runs.tenants.gate.run(see).await {
            return;
        }
    }
}

/// Once for each trouble: what is tried again says no more of it.
fn log(key: &RunKey, input: &Input, attempt: u32) {
    let Input::Failed(failure) = input else { return };
    if attempt == 0 {
        tracing::warn!(run = %key, code = %failure.code, reason = told(failure), "run in trouble");
    } else {
        tracing::debug!(run = %key, attempt, reason = failure.message, "run still in trouble");
    }
}

fn tell_end(key: &RunKey, machine: &Machine, mode: dg_store::RunMode, worked: Duration) {
    match &machine.state {
        State::Over(Outcome::Completed) => {
            metrics::time_run(mode, worked);
            tracing::info!(run = %key, seconds = worked.as_secs_f64(), "run completed");
        }
        State::Over(Outcome::Failed(failure)) => {
            tracing::error!(run = %key, code = %failure.code, reason = told(failure), "run failed");
        }
        _ => tracing::info!(run = %key, "run ended: it was cancelled, or is another daemon's"),
    }
}
