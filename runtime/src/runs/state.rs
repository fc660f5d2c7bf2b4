//! A run as a pure state machine: `step(machine, input) -> machine, effect`, total over every pair of
//! state and input. One effect is in flight at any time, until the run is over.
//!
//! ```text
//! replay   Opening ─► Applying ⟲ ─► Closing ─► next projection ... ─► Digesting ─► Ending ─► Over
//! rebuild  Opening ─► Applying ⟲ ─► Comparing ─► Applying ⟲ ─► Switching ─► Closing ─► ...
//! ```
//! Whatever went wrong, `Opening` finds out from the database what was done: a run that was cut off
//! anywhere goes on from there.

use std::time::Duration;

use dg_projections::projection::Projection;
use dg_store::RunMode;

use crate::worker::{Failure, RetryPolicy, Verdict, decide};

/// What a run is at.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum State {
    /// Finding out how far its step is.
    Opening,
    /// Applying pages.
    Applying,
    /// Holding what was built against what is served.
    Comparing,
    /// Giving readers what was built.
    Switching,
    /// Noting that the step is done.
    Closing,
    /// Refreshing the tenant's digests.
    Digesting,
    /// The database did not do its part.
    Waiting {
        /// What it said.
        failure: Failure,
    },
    /// Writing down how it ended.
    Ending(Outcome),
    /// Nothing is left to do.
    Over(Outcome),
}

/// How a run ends by itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Outcome {
    /// Its work is done.
    Completed,
    /// Its work cannot be done.
    Failed(Failure),
    /// It is somebody else's now, or was cancelled.
    Lost,
}

impl State {
    /// The word that people are shown.
    pub(super) const fn phase(&self, mode: RunMode) -> &'static str {
        match (self, mode) {
            (State::Opening, _) => "opening",
            (State::Applying, RunMode::Replay) => "replaying",
            (State::Applying, RunMode::Rebuild) => "building",
            (State::Comparing, _) => "comparing",
            (State::Switching, _) => "switching",
            (State::Closing, _) => "closing",
            (State::Digesting, _) => "digesting",
            (State::Waiting { .. }, _) => "waiting for the database",
            (State::Ending(_) | State::Over(_), _) => "ending",
        }
    }
}

/// What happened.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Input {
    /// The step is open: whether what it builds was compared already.
    Opened {
        /// Always for a replay, which compares nothing.
        is_compared: bool,
    },
    /// The step was done before.
    AlreadyDone,
    /// Pages were applied.
    Applied {
        /// How many events.
        events: i64,
        /// Whether the goal is reached: the bound, the end of the log, or what is served.
        is_there: bool,
    },
    /// Somebody else moved a cursor.
    Superseded,
    /// What was built was compared, or there was nothing to compare it with.
    Compared,
    /// Readers have what was built.
    Switched,
    /// What is served is further than what was built.
    Behind,
    /// It is written down that the step is done.
    Closed,
    /// The digests are refreshed.
    Digested,
    /// The wait is over.
    Waited,
    /// It is written down how the run ended.
    Ended,
    /// The effect in flight failed.
    Failed(Failure),
    /// The run is no longer this daemon's.
    Lost,
}

/// What is to be done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Effect {
    /// Find out how far a step is.
    Open(Projection),
    /// Apply a page of each partition.
    Apply {
        /// Of this step.
        projection: Projection,
        /// Not beyond what is served: the two are compared there.
        to_served: bool,
        /// Fewer events than usual, while one of them is looked for.
        limit: Option<i64>,
    },
    /// Compare.
    Compare(Projection),
    /// Switch.
    Switch(Projection),
    /// Note that a step is done.
    Close(Projection),
    /// Refresh the digests.
    Digest,
    /// Let some time pass.
    Wait(Duration),
    /// Write down how the run ended.
    End(Outcome),
}

/// A run's state, and what outlives its states.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Machine {
    /// What it does.
    pub(super) mode: RunMode,
    /// Whether a rebuild ends with the comparison.
    pub(super) dry_run: bool,
    /// What is left to be done at which projections, in order; never empty before the end.
    pub(super) steps: Vec<Projection>,
    /// What it is at.
    pub(super) state: State,
    /// Whether the present step was compared.
    pub(super) is_compared: bool,
    /// Failures of the database in a row.
    pub(super) attempt: u32,
    /// Events one of which made a batch fail; 0 when none is looked for.
    pub(super) suspects: i64,
}

/// An input that its state cannot meet: a defect of the shell around the machine.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("a run in {:?} cannot take {:?}", .0.0, .0.1)]
pub(super) struct IllegalTransition(Box<(State, Input)>);

/// The next state and its effect; none when the run is over.
pub(super) type Step = (Machine, Option<Effect>);

impl Machine {
    /// A run that begins, or goes on, with what is left of its steps.
    pub(super) fn start(mode: RunMode, dry_run: bool, steps: Vec<Projection>) -> Step {
        let machine = Machine {
            mode,
            dry_run,
            steps,
            state: State::Opening,
            is_compared: false,
            attempt: 0,
            suspects: 0,
        };
        machine.open()
    }

    fn to(self, state: State, effect: Effect) -> Step {
        (Machine { state, ..self }, Some(effect))
    }

    /// The first of the steps that are left, or what comes after the last.
    fn open(self) -> Step {
        let machine = Machine { is_compared: false, suspects: 0, ..self };
        match machine.steps.first().copied() {
            Some(projection) => machine.to(State::Opening, Effect::Open(projection)),
            None => machine.to(State::Digesting, Effect::Digest),
        }
    }

    fn next(mut self) -> Step {
        if !self.steps.is_empty() {
            self.steps.remove(0);
        }
        Machine { attempt: 0, ..self }.open()
    }

    fn at(self, state: State, effect: fn(Projection) -> Effect) -> Step {
        match self.steps.first().copied() {
            Some(projection) => self.to(state, effect(projection)),
            None => self.open(),
        }
    }

    fn apply(self) -> Step {
        let Some(projection) = self.steps.first().copied() else { return self.open() };
        let to_served = self.mode == RunMode::Rebuild && !self.is_compared;
        let limit = (self.suspects > 0).then_some((self.suspects / 2).max(1));
        self.to(State::Applying, Effect::Apply { projection, to_served, limit })
    }

    /// A page was applied: its events are no suspects any more. Only what gets somewhere forgets
    /// earlier failures.
    fn applied(self, events: i64) -> Machine {
        let suspects = (self.suspects - events).max(0);
        let attempt = if events > 0 { 0 } else { self.attempt };
        Machine { attempt, suspects, ..self }
    }

    /// What a step does once its cursors are where they should be.
    fn arrived(self) -> Step {
        match (self.mode, self.is_compared, self.dry_run) {
            (RunMode::Replay, ..) | (RunMode::Rebuild, true, true) => {
                self.at(State::Closing, Effect::Close)
            }
            (RunMode::Rebuild, false, _) => self.at(State::Comparing, Effect::Compare),
            (RunMode::Rebuild, true, false) => self.at(State::Switching, Effect::Switch),
        }
    }

    fn compared(self) -> Step {
        let machine = Machine { is_compared: true, ..self };
        // The rest of the log is not needed for a comparison.
        if machine.dry_run { machine.arrived() } else { machine.apply() }
    }

    fn end(self, outcome: Outcome) -> Step {
        let effect = Effect::End(outcome.clone());
        self.to(State::Ending(outcome), effect)
    }

    fn over(self, outcome: Outcome) -> Step {
        (Machine { state: State::Over(outcome), ..self }, None)
    }

    fn wait(self, failure: Failure, after: Duration) -> Step {
        let attempt = self.attempt.saturating_add(1);
        let machine = Machine { attempt, ..self };
        match machine.state.clone() {
            // How it ended does not change; it is only not written down yet.
            State::Ending(outcome) => machine.to(State::Ending(outcome), Effect::Wait(after)),
            _ => machine.to(State::Waiting { failure }, Effect::Wait(after)),
        }
    }

    fn fail(self, failure: Failure, policy: &RetryPolicy, who: &str) -> Step {
        match (decide(&failure, self.attempt, policy, who), &self.state) {
            (Verdict::Retry { after, .. }, _) => self.wait(failure, after),
            (Verdict::Narrow, State::Applying) => {
                Machine { suspects: failure.suspects, ..self }.apply()
            }
            // It cannot be written down: whoever finds the row will say that it was interrupted.
            (_, State::Ending(_)) => self.over(Outcome::Failed(failure)),
            (Verdict::Narrow | Verdict::Fail, _) => self.end(Outcome::Failed(failure)),
        }
    }
}

/// The next state, and what is to be done. `who` names the run, to spread waits.
///
/// # Errors
/// A pair of state and input that the shell can never bring about.
pub(super) fn step(
    machine: Machine,
    input: Input,
    policy: &RetryPolicy,
    who: &str,
) -> Result<Step, IllegalTransition> {
    use Input as I;
    use State as S;
    let next = match (machine.state.clone(), input) {
        (S::Opening, I::Opened { is_compared }) => {
            let machine = Machine { is_compared, ..machine };
            // A dry run has nothing more to build.
            if is_compared && machine.dry_run { machine.arrived() } else { machine.apply() }
        }
        (S::Opening, I::AlreadyDone) => machine.next(),
        (S::Applying, I::Applied { events, is_there }) => {
            let machine = machine.applied(events);
            if is_there { machine.arrived() } else { machine.apply() }
        }
        (S::Opening | S::Applying | S::Comparing | S::Switching, I::Superseded) => machine.open(),
        (S::Comparing, I::Compared) => machine.compared(),
        (S::Comparing | S::Switching, I::Behind) => machine.apply(),
        (S::Switching, I::Switched) => machine.at(S::Closing, Effect::Close),
        (S::Closing, I::Closed) => machine.next(),
        (S::Digesting, I::Digested) => machine.end(Outcome::Completed),
        (S::Waiting { .. }, I::Waited) => machine.open(),
        (S::Ending(outcome), I::Waited) => machine.end(outcome),
        (S::Ending(outcome), I::Ended) => machine.over(outcome),
        (S::Waiting { .. } | S::Over(_), I::Failed(failure)) => {
            return Err(illegal(machine.state, I::Failed(failure)));
        }
        (_, I::Failed(failure)) => machine.fail(failure, policy, who),
        (_, I::Lost) => machine.over(Outcome::Lost),
        (
            state @ (S::Opening
            | S::Applying
            | S::Comparing
            | S::Switching
            | S::Closing
            | S::Digesting
            | S::Waiting { .. }
            | S::Ending(_)
            | S::Over(_)),
            input,
        ) => return Err(illegal(state, input)),
    };
    Ok(next)
}

fn illegal(state: State, input: Input) -> IllegalTransition {
    IllegalTransition(Box::new((state, input)))
}

#[cfg(test)]
#[path = "state_tests.rs"]
mod tests;
