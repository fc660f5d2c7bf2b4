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
        /// What comes after it.
        next: Next,
    },
    /// At the tail, or asked to rest before it.
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
    /// (*) The failure is being written down: a dead letter, or that retries go on for too long.
    Recording {
        /// What happened.
        failure: Failure,
        /// What comes then.
        then: Then,
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
    /// A run does its work, or must not be disturbed in its own.
    Paused {
        /// The name of the pause.
        by: String,
    },
    /// Asked to stop; an effect in flight is finished, nothing else begun.
    Stopping,
}

/// What comes after a page.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Next {
    /// Rest at the tail, the next page before it.
    Page,
    /// A wake-up came meanwhile: the tail must be looked at again.
    Look,
    /// Rest wherever that is: others wait for the place of this worker's tenant.
    Rest,
}

/// What comes after a failure was written down.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Then {
    /// An operator's turn.
    Fail,
    /// A wait, whether or not it could be written.
    Wait(Duration),
    /// Another try: an operator has asked for it meanwhile.
    Restart,
}

impl State {
    /// All words of [`State::status`].
    pub const STATUSES: [&'static str; 7] =
        ["starting", "catching_up", "idle", "retrying", "failed", "paused", "stopping"];

    /// The stable word of `workers` and metrics.
    pub const fn status(&self) -> &'static str {
        match self {
            State::Starting => "starting",
            State::CatchingUp { .. } => "catching_up",
            State::Idle { .. } => "idle",
            State::Retrying { .. } | State::Recording { then: Then::Wait(_), .. } => "retrying",
            State::Recording { .. } | State::Unrecorded { .. } | State::Failed { .. } => "failed",
            State::Paused { .. } => "paused",
            State::Stopping => "stopping",
        }
    }

    /// Whether an effect is in flight.
    const fn is_busy(&self) -> bool {
        matches!(self, State::Starting | State::CatchingUp { .. } | State::Recording { .. })
    }

    /// Whether something is at the database, or has yet to be written down there.
    pub(super) const fn owes(&self) -> bool {
        self.is_busy() || matches!(self, State::Unrecorded { .. })
    }
}

/// What happened.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Input {
    /// The cursor was read.
    CursorLoaded {
        /// Where it is.
        cursor: Cursor,
        /// Retries that an open failure tells of, from before this worker's life.
        retries: u32,
    },
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
    /// Others wait for the place of the worker's tenant.
    Yield,
    /// An operator asks for another try.
    RetryRequested,
    /// Somebody wants the worker out of its way: the name of the pause.
    Pause(String),
    /// That pause is over.
    Unpause(String),
    /// The worker must end.
    Stop,
}

impl Input {
    /// Whether the effect in flight has come back with it.
    const fn ends_effect(&self) -> bool {
        matches!(
            self,
            Input::CursorLoaded { .. }
                | Input::Applied { .. }
                | Input::Superseded
                | Input::Failed(_)
                | Input::Recorded
        )
    }
}

/// What is to be done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Effect {
    /// Read the cursor.
    LoadCursor,
    /// Read, project and commit the page after a cursor.
    ApplyPage {
        /// The cursor.
        from: Cursor,
        /// Fewer events than usual, while one of them is looked for.
        limit: Option<i64>,
    },
    /// Fire after a while.
    StartTimer {
        /// Which.
        id: TimerId,
        /// How long.
        after: Duration,
    },
    /// Write the failure down.
    Record {
        /// What happened.
        failure: Failure,
        /// Retries made.
        retries: u32,
    },
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
    /// Events after the cursor one of which made a batch fail; 0 when none is looked for.
    pub suspects: i64,
    /// The pause that waits for the effect in flight to end.
    pub pause: Option<String>,
}

/// An input that its state cannot meet: a defect of the shell around the machine.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("a worker in {:?} cannot take {:?}", .0.0, .0.1)]
pub struct IllegalTransition(Box<(State, Input)>);

impl Machine {
    /// A new worker and its first effect.
    pub fn start() -> (Machine, Vec<Effect>) {
        let state = State::Starting;
        let machine = Machine { state, attempt: 0, timers: 0, suspects: 0, pause: None };
        (machine, vec![Effect::LoadCursor])
    }

    /// A new worker that a run keeps from its work.
    pub fn start_paused(by: String) -> Machine {
        let (machine, _) = Machine::start();
        Machine { state: State::Paused { by }, ..machine }
    }

    fn pause_now(self, by: String) -> (Machine, Vec<Effect>) {
        match self.state {
            State::Stopping => self.stay(),
            _ => self.to(State::Paused { by }, Vec::new()),
        }
    }

    /// At once, or when the effect in flight has come back.
    fn pause(self, by: String) -> (Machine, Vec<Effect>) {
        match self.state.is_busy() {
            true => Machine { pause: Some(by), ..self }.stay(),
            false => self.pause_now(by),
        }
    }

    fn to(self, state: State, effects: Vec<Effect>) -> (Machine, Vec<Effect>) {
        (Machine { state, ..self }, effects)
    }

    fn stay(self) -> (Machine, Vec<Effect>) {
        (self, Vec::new())
    }

    fn restart(self) -> (Machine, Vec<Effect>) {
        let machine = Machine { suspects: 0, ..self };
        machine.to(State::Starting, vec![Effect::LoadCursor])
    }

    /// The next page; half of the suspects while there are any.
    fn apply(self, from: Cursor) -> (Machine, Vec<Effect>) {
        let limit = (self.suspects > 0).then_some((self.suspects / 2).max(1));
        let effects = vec![Effect::ApplyPage { from, limit }];
        self.to(State::CatchingUp { from, next: Next::Page }, effects)
    }

    /// A page was applied: retries are forgotten, and its events are no suspects any more.
    fn applied(self, from: Cursor, to: Cursor) -> Machine {
        let suspects = (self.suspects - (to.applied_events - from.applied_events)).max(0);
        Machine { attempt: 0, suspects, ..self }
    }

    fn wait(mut self, failure: Failure, after: Duration) -> (Machine, Vec<Effect>) {
        self.timers += 1;
        let timer = self.timers;
        let effects = vec![Effect::StartTimer { id: timer, after }];
        self.to(State::Retrying { failure, after, timer }, effects)
    }

    fn record(self, failure: Failure, then: Then) -> (Machine, Vec<Effect>) {
        let effects = vec![Effect::Record { failure: failure.clone(), retries: self.attempt }];
        self.to(State::Recording { failure, then }, effects)
    }

    /// The next page; of what is lent, whatever is most behind now.
    fn go_on(self, from: Cursor) -> (Machine, Vec<Effect>) {
        if from.lent { self.restart() } else { self.apply(from) }
    }

    /// The verdict over a failed load or page.
    fn fail(mut self, failure: Failure, policy: &RetryPolicy, who: &str) -> (Machine, Vec<Effect>) {
        match (decide(&failure, self.attempt, policy, who), self.state.clone()) {
            (Verdict::Retry { after, degraded }, _) => {
                self.attempt = self.attempt.saturating_add(1);
                match degraded {
                    true => self.record(failure, Then::Wait(after)),
                    false => self.wait(failure, after),
                }
            }
            (Verdict::Narrow, State::CatchingUp { from, .. }) => {
                self.suspects = failure.suspects;
                self.apply(from)
            }
            (Verdict::Narrow | Verdict::Fail, _) => {
                self.suspects = 0;
                self.record(failure, Then::Fail)
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
    let pauses = machine.pause.clone().filter(|_| input.ends_effect());
    let (machine, effects) = transition(machine, input, policy, who)?;
    Ok(match pauses {
        // Nothing else is begun. What has failed is found again by whoever goes on.
        Some(by) => Machine { pause: None, ..machine }.pause_now(by),
        None => (machine, effects),
    })
}

fn transition(
    machine: Machine,
    input: Input,
    policy: &RetryPolicy,
    who: &str,
) -> Result<(Machine, Vec<Effect>), IllegalTransition> {
    use Input as I;
    use State as S;
    let next = match (machine.state.clone(), input) {
        (S::Starting, I::CursorLoaded { cursor, retries }) => {
            let attempt = machine.attempt.max(retries);
            Machine { attempt, ..machine }.apply(cursor)
        }
        (S::Starting, I::Failed(failure)) => machine.fail(failure, policy, who),
        (S::Starting, I::Woken | I::RetryRequested | I::TimerFired(_)) => machine.stay(),

        (S::CatchingUp { from, next }, I::Applied { to, at_tail }) => {
            let machine = machine.applied(from, to);
            let rests = match next {
                Next::Page => at_tail,
                Next::Look => false,
                Next::Rest => true,
            };
            if rests { machine.to(S::Idle { at: to }, Vec::new()) } else { machine.go_on(to) }
        }
        (S::CatchingUp { .. }, I::Superseded) => machine.restart(),
        (S::CatchingUp { .. }, I::Failed(failure)) => machine.fail(failure, policy, who),
        // Who wakes it has taken back that it is to yield.
        (S::CatchingUp { from, .. }, I::Woken) => {
            machine.to(S::CatchingUp { from, next: Next::Look }, Vec::new())
        }
        (S::CatchingUp { from, .. }, I::Yield) => {
            machine.to(S::CatchingUp { from, next: Next::Rest }, Vec::new())
        }
        (S::CatchingUp { .. }, I::RetryRequested | I::TimerFired(_)) => machine.stay(),

        (S::Idle { at }, I::Woken) => machine.go_on(at),
        (S::Idle { .. }, I::RetryRequested | I::TimerFired(_)) => machine.stay(),

        (S::Retrying { timer, .. }, I::TimerFired(fired)) if fired == timer => machine.restart(),
        (S::Retrying { .. }, I::RetryRequested) => machine.restart(),
        (S::Retrying { .. }, I::Woken | I::TimerFired(_)) => machine.stay(),

        (S::Recording { failure, then }, I::Recorded) => match then {
            Then::Fail => machine.to(S::Failed { failure }, Vec::new()),
            Then::Wait(after) => machine.wait(failure, after),
            Then::Restart => machine.restart(),
        },
        (S::Recording { failure, then }, I::Failed(_)) => match then {
            Then::Fail => machine.record_later(failure, policy),
            Then::Wait(after) => machine.wait(failure, after),
            Then::Restart => machine.restart(),
        },
        (S::Recording { failure, .. }, I::RetryRequested) => {
            machine.to(S::Recording { failure, then: Then::Restart }, Vec::new())
        }
        (S::Recording { .. }, I::Woken | I::TimerFired(_)) => machine.stay(),

        (S::Unrecorded { failure, timer }, I::TimerFired(fired)) if fired == timer => {
            machine.record(failure, Then::Fail)
        }
        (S::Unrecorded { .. } | S::Failed { .. }, I::RetryRequested) => machine.restart(),
        (S::Unrecorded { .. } | S::Failed { .. }, I::Woken | I::TimerFired(_)) => machine.stay(),

        (S::Paused { by }, I::Unpause(over)) if by == over => machine.restart(),
        (S::Paused { .. }, I::Woken | I::RetryRequested | I::TimerFired(_)) => machine.stay(),
        (_, I::Pause(by)) => machine.pause(by),
        (_, I::Unpause(over)) => {
            let pause = machine.pause.clone().filter(|pending| *pending != over);
            Machine { pause, ..machine }.stay()
        }
        (_, I::Stop) => machine.to(S::Stopping, Vec::new()),
        (_, I::Yield) => machine.stay(),
        (S::Stopping, _) => machine.stay(),

        (
            state @ (S::Starting
            | S::CatchingUp { .. }
            | S::Idle { .. }
            | S::Retrying { .. }
            | S::Recording { .. }
            | S::Unrecorded { .. }
            | S::Failed { .. }
            | S::Paused { .. }),
            input,
        ) => return Err(IllegalTransition(Box::new((state, input)))),
    };
    Ok(next)
}

#[cfg(test)]
#[path = "model_tests.rs"]
mod model_tests;
#[cfg(test)]
#[path = "state_tests.rs"]
mod tests;
