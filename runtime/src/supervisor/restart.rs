//! The restart decision: a pure, total function over the children and the restarts of late.
//!
//! Something happens to a child ([`Children::exited`], [`Children::retry`]); a [`Plan`] comes out;
//! the actor performs it and tells how each start went ([`Children::started`] and its siblings).
//! Nothing here waits, spawns or looks at a clock.
//!
//! Invariants, after every step:
//! - a child is running, stopped or restarting, and exits of former incarnations change nothing;
//! - only a child whose own start failed last is restarting;
//! - no more than `intensity` restarts lie within `period`, or the plan ends the supervisor;
//! - a plan stops in reverse start order and starts in start order;
//! - a temporary child that is not running is forgotten.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::time::Instant;

use super::spec::{AutoShutdown, ChildSpec, Exit, Flags, Key, Restart, Strategy};

/// Tells one life of a child from the next.
pub type Incarnation = u64;

/// Where a child is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ChildState {
    /// It runs.
    Running(Incarnation),
    /// It does not, and nothing is being done about it.
    Stopped,
    /// Its restart failed and will be tried again.
    Restarting,
}

/// A child as its supervisor knows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Child<K> {
    /// Its specification.
    pub spec: ChildSpec<K>,
    /// Where it is.
    pub state: ChildState,
    /// How many restarts it caused, by ending or by failing to start again.
    pub restarts: u64,
}

/// What the supervisor is to do, in this order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Plan<K> {
    /// Children to stop, each before the next.
    pub stop: Vec<K>,
    /// Children to start, each before the next; the first that fails ends the plan.
    pub start: Vec<K>,
    /// Whether the supervisor ends with `shutdown` instead.
    pub end: Option<End>,
}

/// Why a supervisor ends by itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum End {
    /// More restarts than its intensity allows.
    Intensity,
    /// Its significant children have ended.
    Significant,
}

impl std::fmt::Display for End {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            End::Intensity => "reached maximum restart intensity",
            End::Significant => "its significant children have ended",
        })
    }
}

impl<K> Plan<K> {
    fn nothing() -> Plan<K> {
        Plan { stop: Vec::new(), start: Vec::new(), end: None }
    }

    /// The supervisor ends; its end stops all children.
    fn end(why: End) -> Plan<K> {
        Plan { end: Some(why), ..Plan::nothing() }
    }

    /// Whether there is nothing to do.
    pub fn is_nothing(&self) -> bool {
        self.stop.is_empty() && self.start.is_empty() && self.end.is_none()
    }
}

/// The children of a supervisor in start order, and its restarts of late.
#[derive(Debug, Clone)]
pub struct Children<K> {
    flags: Flags,
    by_place: BTreeMap<u64, Child<K>>,
    places: HashMap<K, u64>,
    incarnations: HashMap<Incarnation, K>,
    next_place: u64,
    restarts: VecDeque<Instant>,
}

impl<K: Key> Children<K> {
    /// No children.
    pub fn new(flags: Flags) -> Children<K> {
        Children {
            flags,
            by_place: BTreeMap::new(),
            places: HashMap::new(),
            incarnations: HashMap::new(),
            next_place: 0,
            restarts: VecDeque::new(),
        }
    }

    /// The flags.
    pub fn flags(&self) -> &Flags {
        &self.flags
    }

    /// A child.
    pub fn get(&self, id: &K) -> Option<&Child<K>> {
        self.by_place.get(self.places.get(id)?)
    }

    fn get_mut(&mut self, id: &K) -> Option<&mut Child<K>> {
        self.by_place.get_mut(self.places.get(id)?)
    }

    /// All children in start order.
    pub fn iter(&self) -> impl DoubleEndedIterator<Item = &Child<K>> {
        self.by_place.values()
    }

    /// How many children there are, running or not.
    pub fn len(&self) -> usize {
        self.by_place.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.by_place.is_empty()
    }

    /// Whose life this is.
    pub fn of_incarnation(&self, incarnation: Incarnation) -> Option<&K> {
        self.incarnations.get(&incarnation)
    }

    /// Adds a child, stopped, as the last in start order; if its name is taken, nothing happens.
    pub fn add(&mut self, spec: ChildSpec<K>) {
        if self.places.contains_key(&spec.id) {
            return;
        }
        self.places.insert(spec.id.clone(), self.next_place);
        self.by_place
            .insert(self.next_place, Child { spec, state: ChildState::Stopped, restarts: 0 });
        self.next_place += 1;
    }

    /// Forgets a child. If it runs, that is nobody's business from now on: its end changes nothing.
    pub fn remove(&mut self, id: &K) {
        self.stopped(id);
        if let Some(place) = self.places.remove(id) {
            self.by_place.remove(&place);
        }
    }

    /// A start went well.
    pub fn started(&mut self, id: &K, incarnation: Incarnation) {
        self.now(id, ChildState::Running(incarnation));
    }

    /// The one place where a child's state and the map of incarnations change, together.
    fn now(&mut self, id: &K, state: ChildState) {
        let Some(child) = self.get_mut(id) else { return };
        let before = std::mem::replace(&mut child.state, state);
        if let ChildState::Running(incarnation) = before {
            self.incarnations.remove(&incarnation);
        }
        if let ChildState::Running(incarnation) = state {
            self.incarnations.insert(incarnation, id.clone());
        }
    }

    /// A start was ignored: a temporary or dynamic child is forgotten, another one kept, stopped.
    pub fn ignored(&mut self, id: &K) {
        let forgotten = self.get(id).is_some_and(|child| child.spec.restart == Restart::Temporary);
        if forgotten || self.flags.strategy == Strategy::SimpleOneForOne {
            self.remove(id);
        } else {
            self.stopped(id);
        }
    }

    /// A start within a restart failed: it must be tried again.
    pub fn restart_failed(&mut self, id: &K) {
        self.now(id, ChildState::Restarting);
    }

    /// A child was stopped by its supervisor, as part of a plan or of its end.
    pub fn stopped(&mut self, id: &K) {
        self.now(id, ChildState::Stopped);
    }

    /// A child was stopped and its restart type says whether it is remembered.
    pub fn stopped_for_good(&mut self, id: &K) {
        self.stopped(id);
        let dynamic = self.flags.strategy == Strategy::SimpleOneForOne;
        if dynamic || self.get(id).is_some_and(|child| child.spec.restart == Restart::Temporary) {
            self.remove(id);
        }
    }

    /// A child ended by itself. An incarnation that is not current any more changes nothing.
    pub fn exited(&mut self, incarnation: Incarnation, exit: &Exit, now: Instant) -> Plan<K> {
        let Some(id) = self.incarnations.get(&incarnation).cloned() else { return Plan::nothing() };
        let Some(spec) = self.get(&id).map(|child| child.spec.clone()) else {
            return Plan::nothing();
        };
        self.stopped(&id);
        match spec.restart {
            Restart::Permanent => self.restart(&id, now),
            Restart::Transient if exit.is_abnormal() => self.restart(&id, now),
            Restart::Transient | Restart::Temporary => {
                self.stopped_for_good(&id);
                self.auto_shutdown(spec.significant)
            }
        }
    }

    /// It is time to try a failed restart again. A child that was terminated meanwhile stays so.
    pub fn retry(&mut self, id: &K, now: Instant) -> Plan<K> {
        match self.get(id).map(|child| child.state) {
            Some(ChildState::Restarting) => self.restart(id, now),
            Some(ChildState::Running(_) | ChildState::Stopped) | None => Plan::nothing(),
        }
    }

    fn restart(&mut self, id: &K, now: Instant) -> Plan<K> {
        if !self.count_restart(now) {
            self.stopped_for_good(id);
            return Plan::end(End::Intensity);
        }
        if let Some(child) = self.get_mut(id) {
            child.restarts += 1;
        }
        let group = match self.flags.strategy {
            Strategy::OneForOne | Strategy::SimpleOneForOne => vec![id.clone()],
            Strategy::OneForAll => self.since_place(0),
            Strategy::RestForOne => self.since_place(self.places.get(id).copied().unwrap_or(0)),
        };
        let stop = self.running(&group);
        // Also of those whose own restart had failed: what is done now replaces their retry.
        for id in &group {
            if self.get(id).is_some_and(|child| child.state == ChildState::Restarting) {
                self.stopped(id);
            }
        }
        // Those that are stopped in passing do not come back if they are temporary.
        let comes_back =
            |id: &&K| self.get(id).is_some_and(|child| child.spec.restart != Restart::Temporary);
        let start = group.iter().filter(comes_back).cloned().collect();
        Plan { stop, start, end: None }
    }

    /// True while the restart is within what the flags allow.
    fn count_restart(&mut self, now: Instant) -> bool {
        self.restarts.push_back(now);
        while self
            .restarts
            .front()
            .is_some_and(|then| now.duration_since(*then) > self.flags.period)
        {
            self.restarts.pop_front();
        }
        self.restarts.len() <= self.flags.intensity
    }

    fn auto_shutdown(&self, was_significant: bool) -> Plan<K> {
        // One that is being restarted has not ended for good.
        let left = |child: &Child<K>| child.state != ChildState::Stopped;
        let any_left = || self.iter().any(|child| child.spec.significant && left(child));
        let ends = match self.flags.auto_shutdown {
            AutoShutdown::Never => false,
            AutoShutdown::AnySignificant => was_significant,
            AutoShutdown::AllSignificant => was_significant && !any_left(),
        };
        if ends { Plan::end(End::Significant) } else { Plan::nothing() }
    }

    fn since_place(&self, place: u64) -> Vec<K> {
        self.by_place.range(place..).map(|(_, child)| child.spec.id.clone()).collect()
    }

    /// Those that run, in reverse start order: the order of the supervisor's end.
    pub fn in_stop_order(&self) -> Vec<K> {
        self.running(&self.since_place(0))
    }

    /// Those of a group that run, in reverse.
    fn running(&self, group: &[K]) -> Vec<K> {
        let runs = |id: &&K| {
            self.get(id).is_some_and(|child| matches!(child.state, ChildState::Running(_)))
        };
        group.iter().rev().filter(runs).cloned().collect()
    }
}
