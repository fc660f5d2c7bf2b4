//! The coordinator: takes up runs that wait, as many as may be at work at once; finds those without a
//! runner; and has what is left of generations cleared.
//!
//! Which runs there are, and which wait, is in the database: a new life of this actor looks there.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use dg_projections::Code;
use dg_projections::projection::Projection;
use dg_store::{Ending, Run, RunKey, RunStatus, StoreError};
use ractor::{Actor, ActorProcessingErr, ActorRef};

use super::Runs;
use super::silence::{SILENCE, Silences};
use super::work::SLICE;
use crate::in_flight::{InFlight, caught};

/// Runs that are at work at once: each reads and writes as fast as it may.
const AT_ONCE: usize = 2;
/// Poll intervals between two looks: what is asked for here is taken up at once anyway.
const LOOKS: u32 = 3;
/// What a run that was cancelled or failed has built is kept so long, to be resumed.
const KEPT: Duration = Duration::from_secs(24 * 60 * 60);
/// Between two looks for something to clear.
const CLEARING: Duration = Duration::from_secs(60);

pub(super) struct Coordinator;

pub(super) struct CoordinatorState {
    runs: Runs,
    /// The look that is under way.
    look: Option<InFlight>,
    /// Whether somebody has asked for another one meanwhile.
    again: bool,
    /// Of runs that have no actor here.
    silences: Silences,
    clearing: Option<InFlight>,
    cleared: Option<Instant>,
}

#[derive(Debug)]
pub(crate) enum RunsMsg {
    /// Look, then look again after a while.
    Tick,
    /// A run may wait.
    Look,
    /// What the look came to.
    Looked(Result<(Vec<Run>, Silences), StoreError>),
    /// A run has ended; of itself, or because it crashed.
    Ended(RunKey, Option<String>),
    /// Nothing is left to be cleared, for now.
    Cleared,
    /// A look panicked.
    Crashed(String),
}

impl Actor for Coordinator {
    type Msg = RunsMsg;
    type State = CoordinatorState;
    type Arguments = Runs;

    async fn pre_start(
        &self,
        myself: ActorRef<RunsMsg>,
        runs: Runs,
    ) -> Result<CoordinatorState, ActorProcessingErr> {
        runs.coordinator.put(myself.clone());
        myself.cast(RunsMsg::Tick)?;
        Ok(CoordinatorState {
            runs,
            look: None,
            again: false,
            silences: Silences::default(),
            clearing: None,
            cleared: None,
        })
    }

    async fn handle(
        &self,
        myself: ActorRef<RunsMsg>,
        message: RunsMsg,
        state: &mut CoordinatorState,
    ) -> Result<(), ActorProcessingErr> {
        match message {
            RunsMsg::Tick => {
                let pause = state.runs.tenants.settings.poll_interval.saturating_mul(LOOKS);
                myself.send_after(pause.min(SILENCE), || RunsMsg::Tick);
                state.look(&myself);
                state.clear(&myself);
            }
            RunsMsg::Look => state.look(&myself),
            RunsMsg::Looked(found) => {
                state.look = None;
                state.take_up(&myself, found).await;
            }
            RunsMsg::Ended(key, crash) => state.ended(&myself, key, crash),
            RunsMsg::Cleared => state.clearing = None,
            RunsMsg::Crashed(reason) => return Err(reason.into()),
        }
        Ok(())
    }
}

impl CoordinatorState {
    /// Finds runs without a runner, and takes up what waits while there is room.
    fn look(&mut self, myself: &ActorRef<RunsMsg>) {
        if self.look.is_some() {
            self.again = true;
            return;
        }
        self.again = false;
        let (runs, myself, silences) = (self.runs.clone(), myself.clone(), self.silences.clone());
        self.look = Some(InFlight::begin(async move {
            let outcome = caught(look(&runs, silences)).await;
            let _ = myself.cast(outcome.map_or_else(RunsMsg::Crashed, RunsMsg::Looked));
        }));
    }

    async fn take_up(
        &mut self,
        myself: &ActorRef<RunsMsg>,
        found: Result<(Vec<Run>, Silences), StoreError>,
    ) {
        if found.is_err() {
            self.silences.failed();
        }
        match found {
            Ok((claimed, silences)) => {
                self.silences = silences;
                for run in claimed {
                    self.runs.start(run.key).await;
                }
            }
            // While the database is away the gate says so.
            Err(error) if error.is_outage => {}
            Err(error) => {
                tracing::warn!(code = %error.code, reason = %error, "runs not looked for");
            }
        }
        if self.again {
            self.look(myself);
        }
    }

    fn ended(&mut self, myself: &ActorRef<RunsMsg>, key: RunKey, crash: Option<String>) {
        self.cleared = None;
        self.clear(myself);
        let Some(reason) = crash else { return self.look(myself) };
        let (runs, myself) = (self.runs.clone(), myself.clone());
        tokio::spawn(async move {
            fail(&runs, &key, &reason).await;
            // Not before: it would be found as one without a runner.
            let _ = myself.cast(RunsMsg::Look);
        });
    }

    /// Has what is left of generations cleared, beside everything else.
    fn clear(&mut self, myself: &ActorRef<RunsMsg>) {
        let is_due = self.cleared.is_none_or(|at| at.elapsed() >= CLEARING);
        if self.clearing.is_some() || !is_due {
            return;
        }
        self.cleared = Some(Instant::now());
        let (runs, myself) = (self.runs.clone(), myself.clone());
        self.clearing = Some(InFlight::begin(async move {
            let told = match caught(clear(&runs)).await {
                Ok(Ok(())) => RunsMsg::Cleared,
                Ok(Err(error)) => {
                    tracing::debug!(reason = %error, "generations not cleared; trying again");
                    RunsMsg::Cleared
                }
                Err(panic) => RunsMsg::Crashed(panic),
            };
            let _ = myself.cast(told);
        }));
    }
}

async fn look(runs: &Runs, silences: Silences) -> Result<(Vec<Run>, Silences), StoreError> {
    let mut silences = find_abandoned(runs, silences).await?;
    let (gate, owner) = (&runs.tenants.gate, runs.owner());
    if runs.tenants.settings.resume_interrupted_runs {
        let resumed =
            gate.run(|store| async move { store.resume_interrupted_runs().await }).await?;
        for key in resumed {
            tracing::info!(run = %key, "run resumed");
        }
    }
    let kept: Vec<&str> =
        runs.tenants.settings.projections.iter().map(|one| one.as_str()).collect();
    let (kept, mut claimed) = (kept.as_slice(), Vec::new());
    while !runs.is_closing() && runs.owners.owners().len() + claimed.len() < AT_ONCE {
        match gate.run(|store| async move { store.claim_run(owner, kept).await }).await {
            Ok(Some(run)) => claimed.push(run),
            Ok(None) => break,
            // Those before it are ours, and must not be left.
            Err(_) if !claimed.is_empty() => break,
            Err(error) => return Err(error),
        }
    }
    silences.ended(Instant::now());
    Ok((claimed, silences))
}

/// Gives up runs that nobody is at: whose owner is silent. One of its own that crashed is at work until
/// that is written down.
async fn find_abandoned(runs: &Runs, mut silences: Silences) -> Result<Silences, StoreError> {
    let (gate, owner) = (&runs.tenants.gate, runs.owner());
    let asked = Instant::now();
    let mut running = gate.run(|store| async move { store.running_runs().await }).await?;
    running.retain(|(key, _)| runs.owners.owner(key).is_none());
    for (key, seen) in silences.look(running, asked) {
        let key = &key;
        match gate.run(|store| async move { store.abandon_run(key, owner, seen).await }).await? {
            Some(RunStatus::Queued) => {
                tracing::warn!(run = %key, "run queued again: this daemon had lost it");
            }
            Some(_) => {
                tracing::warn!(run = %key, "run interrupted: nobody is at it any more; resume or cancel it");
            }
            None => {}
        }
    }
    Ok(silences)
}

/// A run that crashed is not tried again by itself: the same would happen.
async fn fail(runs: &Runs, key: &RunKey, reason: &str) {
    let (gate, owner) = (&runs.tenants.gate, runs.owner());
    let message = format!("the run crashed: {reason}; `resume` lets it go on");
    let ending = &Ending::Failed(Code::Internal, &message);
    match gate.run(|store| async move { store.end_run(key, owner, ending).await }).await {
        Ok(true) => {}
        Ok(false) => tracing::info!(run = %key, reason, "a run crashed that was not ours any more"),
        // Nobody says any more that somebody is at it: it is queued again after a silence.
        Err(error) => {
            tracing::error!(run = %key, reason, %error, "the end of a run could not be recorded");
        }
    }
}

/// Clears slice by slice, giving way to live workers; then the space is used again.
async fn clear(runs: &Runs) -> Result<(), StoreError> {
    let (gate, _clearing) = (&runs.tenants.gate, runs.clearing.lock().await);
    gate.run(|store| async move { store.retire_abandoned(KEPT).await }).await?;
    let mut cleared_of = BTreeSet::new();
    loop {
        let slice = gate.job(|store| async move { store.clear_retired(None, SLICE).await });
        let Some(cleared) = slice.await? else { break };
        if cleared.is_done {
            let (tenant, projection) = (&cleared.tenant_id, cleared.projection);
            tracing::info!(%tenant, %projection, generation = cleared.generation, "generation cleared");
            cleared_of.insert(projection);
        }
    }
    for projection in cleared_of {
        reclaim(runs, projection).await;
    }
    Ok(())
}

/// Autovacuum does it otherwise, only later.
pub(super) async fn reclaim(runs: &Runs, projection: Projection) {
    if let Err(error) = runs.tenants.gate.store().reclaim(projection).await {
        tracing::warn!(%projection, reason = %error, "the space of cleared rows is not reclaimed yet");
    }
}
