//! What both supervisors, ours and the naive one, act upon: starts that go as told, and a trace.

use std::collections::{BTreeMap, VecDeque};
use std::time::{Duration, Instant};

use dg_runtime::supervisor::{ChildSpec, Exit, Flags, Incarnation, Restart};
use proptest::prelude::*;

/// What may come of a start.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Outcome {
    Runs,
    Fails,
    Ignores,
}

/// What waits for the supervisor, in the order in which it was sent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Event {
    Exit(Incarnation, Exit),
    Retry(u8),
}

/// Something that happens, or that is asked for. Numbers pick among what there is.
#[derive(Debug, Clone)]
pub(crate) enum Op {
    /// A live child ends; its exit waits.
    End(usize, Exit),
    /// The supervisor takes the first of what waits.
    Take,
    /// An exit of a life that is over, or of one that never was.
    StaleExit(u64, Exit),
    /// A retry that nobody is waiting for, perhaps.
    StrayRetry(u8),
    /// Time passes.
    Wait(Duration),
    StartChild(u8, Restart, bool),
    TerminateChild(u8),
    RestartChild(u8),
    DeleteChild(u8),
}

/// The names that children have: few, so that they meet.
pub(crate) const NAMES: u8 = 6;

#[derive(Debug, Clone)]
pub(crate) struct World {
    outcomes: Vec<Outcome>,
    starts: usize,
    pub(crate) lives: Incarnation,
    pub(crate) now: Instant,
    pub(crate) alive: BTreeMap<Incarnation, u8>,
    pub(crate) waiting: VecDeque<Event>,
    pub(crate) trace: Vec<String>,
}

impl World {
    /// A world in which starts go as told, over and over.
    pub(crate) fn new(outcomes: Vec<Outcome>, now: Instant) -> World {
        World {
            outcomes,
            starts: 0,
            lives: 0,
            now,
            alive: BTreeMap::new(),
            waiting: VecDeque::new(),
            trace: Vec::new(),
        }
    }

    /// A start of a child: its life, none if it ignored it, or a failure.
    pub(crate) fn start(&mut self, id: u8) -> Result<Option<Incarnation>, ()> {
        let outcome = self.outcomes[self.starts % self.outcomes.len()];
        self.starts += 1;
        self.trace.push(format!("start {id} {outcome:?}"));
        match outcome {
            Outcome::Runs => {
                self.lives += 1;
                self.alive.insert(self.lives, id);
                Ok(Some(self.lives))
            }
            Outcome::Ignores => Ok(None),
            Outcome::Fails => Err(()),
        }
    }

    /// The supervisor stops a life, which may have ended meanwhile.
    pub(crate) fn stop(&mut self, id: u8, life: Incarnation) {
        self.trace.push(format!("stop {id}"));
        self.alive.remove(&life);
    }

    /// A live child ends by itself.
    pub(crate) fn end(&mut self, which: usize, exit: &Exit) {
        let Some(life) = self.alive.keys().copied().nth(which % self.alive.len().max(1)) else {
            return;
        };
        self.alive.remove(&life);
        self.waiting.push_back(Event::Exit(life, exit.clone()));
    }
}

pub(crate) fn spec(id: u8, restart: Restart, significant: bool, flags: &Flags) -> ChildSpec<u8> {
    let spec = ChildSpec::worker(id).restart(restart);
    // What makes no sense is refused elsewhere.
    let may = flags.auto_shutdown != dg_runtime::supervisor::AutoShutdown::Never
        && restart != Restart::Permanent;
    if significant && may { spec.significant() } else { spec }
}

pub(crate) fn restarts() -> impl Strategy<Value = Restart> {
    prop_oneof![Just(Restart::Permanent), Just(Restart::Transient), Just(Restart::Temporary)]
}

fn exits() -> impl Strategy<Value = Exit> {
    prop_oneof![
        2 => Just(Exit::Normal),
        1 => Just(Exit::Shutdown),
        1 => Just(Exit::ShutdownWith("so".to_owned())),
        3 => Just(Exit::Killed),
        3 => Just(Exit::Crash("bug".to_owned())),
    ]
}

pub(crate) fn outcomes() -> impl Strategy<Value = Vec<Outcome>> {
    let outcome = prop_oneof![
        6 => Just(Outcome::Runs),
        2 => Just(Outcome::Fails),
        1 => Just(Outcome::Ignores),
    ];
    proptest::collection::vec(outcome, 1..24)
}

pub(crate) fn ops() -> impl Strategy<Value = Vec<Op>> {
    let op = prop_oneof![
        10 => (any::<usize>(), exits()).prop_map(|(which, exit)| Op::End(which, exit)),
        14 => Just(Op::Take),
        2 => (0..40u64, exits()).prop_map(|(life, exit)| Op::StaleExit(life, exit)),
        2 => (0..NAMES + 1).prop_map(Op::StrayRetry),
        3 => (0..7u64).prop_map(|seconds| Op::Wait(Duration::from_secs(seconds))),
        2 => (0..NAMES, restarts(), any::<bool>())
            .prop_map(|(id, restart, significant)| Op::StartChild(id, restart, significant)),
        2 => (0..NAMES + 1).prop_map(Op::TerminateChild),
        2 => (0..NAMES + 1).prop_map(Op::RestartChild),
        1 => (0..NAMES + 1).prop_map(Op::DeleteChild),
    ];
    proptest::collection::vec(op, 0..80)
}
