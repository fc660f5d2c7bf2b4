//! The worker as a pure state machine: `step(machine, input) -> machine, effects`, total over every
//! pair of state and input.

use std::time::Duration;

use dg_store::Cursor;

use super::policy::{Failure, RetryPolicy, Verdict, decide};

/// Tells a timer's firing from that of an earlier one.
pub type TimerId = u64;

/// Where a worker is in its life. Exactly one effect is in flight in the states marked (*).
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum State {
    /// (*) The cursor is being read.
    Starting,
    /// (*) A page is being applied.
    CatchingUp {
        /// Where the page began.
        from: Cursor,
        /// Whether a wake-up came meanwhile: the tail must then be looked at again.
        woken: bool,
    },
    /// At the tail.
    Idle {
        /// Where that is.
        at: Cursor,
    },
    /// The database did not do its part; waiting for a timer.
    Retrying {
        /// What it said.
        failure: Failure,
        /// How long the wait is.
        after: Duration,
        /// Which timer ends it.
        timer: TimerId,
    },
    /// (*) Failed; the dead letter is being written.
    Recording {
        /// What happened.
        failure: Failure,
        /// Whether an operator has asked for another try meanwhile.
        retry: bool,
    },
    /// Failed; the dead letter could not be written yet.
    Unrecorded {
        /// What happened.
        failure: Failure,
        /// Which timer tries again.
        timer: TimerId,
    },
    /// Failed, with a dead letter: an operator's turn.
    Failed {
        /// What happened.
        failure: Failure,
    },
    /// Asked to stop; an effect in flight is finished, nothing else begun.
    Stopping,
}

impl State {
    /// All words of [`State::status`], and `paused`, which a run may bring about.
    pub const STATUSES: [&'static str; 7] =
        ["starting", "catching_up", "idle", "retrying", "failed", "paused", "stopping"];

    /// The stable word of `workers` and metrics.
    pub const fn status(&self) -> &'static str {
        match self {
            State::Starting => "starting",
            State::CatchingUp { .. } => "catching_up",
            State::Idle { .. } => "idle",
            State::Retrying { .. } => "retrying",
            State::Recording { .. } | State::Unrecorded { .. } | State::Failed { .. } => "failed",
            State::Stopping => "stopping",
        }
    }
}

/// What happened.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Input {
    /// The cursor was read.
    CursorLoaded(Cursor),
    /// A page was applied and committed.
    Applied {
        /// The cursor after it.
        to: Cursor,
        /// Whether the log had no more.
        at_tail: bool,
    },
    /// Somebody else moved the cursor.
    Superseded,
    /// The effect in flight failed.
    Failed(Failure),
    /// The dead letter was written.
    Recorded,
    /// A timer fired.
    TimerFired(TimerId),
    /// There may be new events.
    Woken,
    /// An operator asks for another try.
    RetryRequested,
    /// The worker must end.
    Stop,
}

/// What is to be done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Effect {
    /// Read the cursor.
    LoadCursor,
    /// Read, project and commit the page after it.
    ApplyPage(Cursor),
    /// Fire after a while.
    StartTimer {
        /// Which.
        id: TimerId,
        /// How long.
        after: Duration,
    },
    /// Write the dead letter.
    Record(Failure),
}

/// A worker's state and what outlives its states.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Machine {
    /// Where it is.
    pub state: State,
    /// Retries since a page was last applied.
    pub attempt: u32,
    /// Timers started so far.
    pub timers: TimerId,
}

/// An input that its state cannot meet: a defect of the shell around the machine.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("a worker in {:?} cannot take {:?}", .0.0, .0.1)]
pub struct IllegalTransition(Box<(State, Input)>);

impl Machine {
    /// A new worker and its first effect.
    pub fn start() -> (Machine, Vec<Effect>) {
        (Machine { state: State::Starting, attempt: 0, timers: 0 }, vec![Effect::LoadCursor])
    }

    fn to(self, state: State, effects: Vec<Effect>) -> (Machine, Vec<Effect>) {
        (Machine { state, ..self }, effects)
    }

    fn stay(self) -> (Machine, Vec<Effect>) {
        (self, Vec::new())
    }

    fn restart(self) -> (Machine, Vec<Effect>) {
        self.to(State::Starting, vec![Effect::LoadCursor])
    }

    fn apply(self, from: Cursor) -> (Machine, Vec<Effect>) {
        self.to(State::CatchingUp { from, woken: false }, vec![Effect::ApplyPage(from)])
    }

    /// The next page; of what is lent, whatever is most behind now.
    fn go_on(self, from: Cursor) -> (Machine, Vec<Effect>) {
        if from.lent { self.restart() } else { self.apply(from) }
    }

    /// The verdict over a failed load or page.
    fn fail(mut self, failure: Failure, policy: &RetryPolicy, who: &str) -> (Machine, Vec<Effect>) {
        match decide(&failure, self.attempt, policy, who) {
            Verdict::Retry { after, .. } => {
                self.attempt = self.attempt.saturating_add(1);
                self.timers += 1;
                let timer = self.timers;
                let effects = vec![Effect::StartTimer { id: timer, after }];
                self.to(State::Retrying { failure, after, timer }, effects)
            }
            Verdict::Fail => {
                let effects = vec![Effect::Record(failure.clone())];
                self.to(State::Recording { failure, retry: false }, effects)
            }
        }
    }

    /// A dead letter that could not be written is written later, whatever the reason.
    fn record_later(mut self, failure: Failure, policy: &RetryPolicy) -> (Machine, Vec<Effect>) {
        self.timers += 1;
        let timer = self.timers;
        let effects =
            vec![Effect::StartTimer { id: timer, after: policy.max.min(Duration::from_secs(1)) }];
        self.to(State::Unrecorded { failure, timer }, effects)
    }
}

/// The next state, and what is to be done. `who` names the worker, to spread waits.
///
/// # Errors
/// A pair of state and input that the shell can never bring about.
pub fn step(
    machine: Machine,
    input: Input,
    policy: &RetryPolicy,
    who: &str,
) -> Result<(Machine, Vec<Effect>), IllegalTransition> {
    use Input as I;
    use State as S;
    let next = match (machine.state.clone(), input) {
        (S::Starting, I::CursorLoaded(cursor)) => machine.apply(cursor),
        (S::Starting, I::Failed(failure)) => machine.fail(failure, policy, who),
        (S::Starting, I::Woken | I::RetryRequested | I::TimerFired(_)) => machine.stay(),

        (S::CatchingUp { woken, .. }, I::Applied { to, at_tail }) => {
            let machine = Machine { attempt: 0, ..machine };
            if at_tail && !woken {
                machine.to(S::Idle { at: to }, Vec::new())
            } else {
                machine.go_on(to)
            }
        }
        (S::CatchingUp { .. }, I::Superseded) => machine.restart(),
        (S::CatchingUp { .. }, I::Failed(failure)) => machine.fail(failure, policy, who),
        (S::CatchingUp { from, .. }, I::Woken) => {
            machine.to(S::CatchingUp { from, woken: true }, Vec::new())
        }
        (S::CatchingUp { .. }, I::RetryRequested | I::TimerFired(_)) => machine.stay(),

        (S::Idle { at }, I::Woken) => machine.go_on(at),
        (S::Idle { .. }, I::RetryRequested | I::TimerFired(_)) => machine.stay(),

        (S::Retrying { timer, .. }, I::TimerFired(fired)) if fired == timer => machine.restart(),
        (S::Retrying { .. }, I::RetryRequested) => machine.restart(),
        (S::Retrying { .. }, I::Woken | I::TimerFired(_)) => machine.stay(),

        (S::Recording { retry: true, .. }, I::Recorded | I::Failed(_)) => machine.restart(),
        (S::Recording { failure, .. }, I::Recorded) => {
            machine.to(S::Failed { failure }, Vec::new())
        }
        (S::Recording { failure, .. }, I::Failed(_)) => machine.record_later(failure, policy),
        (S::Recording { failure, .. }, I::RetryRequested) => {
            machine.to(S::Recording { failure, retry: true }, Vec::new())
        }
        (S::Recording { .. }, I::Woken | I::TimerFired(_)) => machine.stay(),

        (S::Unrecorded { failure, timer }, I::TimerFired(fired)) if fired == timer => {
            let effects = vec![Effect::Record(failure.clone())];
            machine.to(S::Recording { failure, retry: false }, effects)
        }
        (S::Unrecorded { .. } | S::Failed { .. }, I::RetryRequested) => machine.restart(),
        (S::Unrecorded { .. } | S::Failed { .. }, I::Woken | I::TimerFired(_)) => machine.stay(),

        (_, I::Stop) => machine.to(S::Stopping, Vec::new()),
        (S::Stopping, _) => machine.stay(),

        (
            state @ (S::Starting
            | S::CatchingUp { .. }
            | S::Idle { .. }
            | S::Retrying { .. }
            | S::Recording { .. }
            | S::Unrecorded { .. }
            | S::Failed { .. }),
            input,
        ) => return Err(IllegalTransition(Box::new((state, input)))),
    };
    Ok(next)
}

#[cfg(test)]
#[path = "state_tests.rs"]
mod tests;
