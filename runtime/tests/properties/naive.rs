//! Erlang's supervisor, retold naively: a list, and every step written out as OTP does it.

use std::time::Instant;

use dg_runtime::supervisor::{AutoShutdown, ChildSpec, ChildState, Exit, Flags, Restart, Strategy};

use crate::world::{Event, Op, World, spec};

pub(crate) struct Naive {
    flags: Flags,
    /// In start order.
    pub(crate) children: Vec<(ChildSpec<u8>, ChildState)>,
    restarts: Vec<Instant>,
    pub(crate) world: World,
    pub(crate) ended: bool,
}

impl Naive {
    pub(crate) fn start(flags: Flags, specs: &[ChildSpec<u8>], world: World) -> (Naive, bool) {
        let children = specs.iter().map(|spec| (spec.clone(), ChildState::Stopped)).collect();
        let mut naive = Naive { flags, children, restarts: Vec::new(), world, ended: false };
        let started = naive.start_children(0).is_ok();
        if !started {
            naive.terminate_children(0);
        }
        (naive, started)
    }

    fn dynamic(&self) -> bool {
        self.flags.strategy == Strategy::SimpleOneForOne
    }

    fn place(&self, id: u8) -> Option<usize> {
        self.children.iter().position(|(spec, _)| spec.id == id)
    }

    /// Starts the child at a place: whether it is still there, or that it failed.
    fn start_child_at(&mut self, place: usize) -> Result<bool, ()> {
        let forgets = self.children[place].0.restart == Restart::Temporary || self.dynamic();
        match self.world.start(self.children[place].0.id)? {
            Some(life) => self.children[place].1 = ChildState::Running(life),
            None if forgets => {
                self.children.remove(place);
                return Ok(false);
            }
            None => self.children[place].1 = ChildState::Stopped,
        }
        Ok(true)
    }

    /// Starts all from a place on; the name of the one that fails.
    fn start_children(&mut self, from: usize) -> Result<(), u8> {
        let mut place = from;
        while place < self.children.len() {
            let id = self.children[place].0.id;
            match self.start_child_at(place) {
                Ok(true) => place += 1,
                Ok(false) => {}
                Err(()) => return Err(id),
            }
        }
        Ok(())
    }

    /// Stops all from a place on, the last first; temporary ones are gone after it.
    pub(crate) fn terminate_children(&mut self, from: usize) {
        for place in (from..self.children.len()).rev() {
            let (spec, state) = &mut self.children[place];
            if let ChildState::Running(life) = std::mem::replace(state, ChildState::Stopped) {
                self.world.stop(spec.id, life);
            }
            if spec.restart == Restart::Temporary {
                self.children.remove(place);
            }
        }
    }

    fn del_child(&mut self, place: usize) {
        if self.children[place].0.restart == Restart::Temporary || self.dynamic() {
            self.children.remove(place);
        } else {
            self.children[place].1 = ChildState::Stopped;
        }
    }

    fn exit(&mut self, place: usize, exit: &Exit) {
        let spec = self.children[place].0.clone();
        let again = match spec.restart {
            Restart::Permanent => true,
            Restart::Transient => matches!(exit, Exit::Killed | Exit::Crash(_)),
            Restart::Temporary => false,
        };
        if again {
            return self.restart(place);
        }
        self.del_child(place);
        let left = |(spec, state): &(ChildSpec<u8>, ChildState)| {
            spec.significant && *state != ChildState::Stopped
        };
        self.ended = spec.significant
            && match self.flags.auto_shutdown {
                AutoShutdown::Never => false,
                AutoShutdown::AnySignificant => true,
                AutoShutdown::AllSignificant => !self.children.iter().any(left),
            };
    }

    fn restart(&mut self, place: usize) {
        let now = self.world.now;
        self.restarts.push(now);
        self.restarts.retain(|then| now - *then <= self.flags.period);
        if self.restarts.len() > self.flags.intensity {
            self.del_child(place);
            self.ended = true;
            return;
        }
        self.children[place].1 = ChildState::Stopped;
        let id = self.children[place].0.id;
        let started = match self.flags.strategy {
            Strategy::OneForOne | Strategy::SimpleOneForOne => {
                self.start_child_at(place).map(drop).map_err(|()| id)
            }
            Strategy::OneForAll => self.restart_multiple(0),
            Strategy::RestForOne => self.restart_multiple(place),
        };
        if let Err(failed) = started {
            let place = self.place(failed).unwrap();
            self.children[place].1 = ChildState::Restarting;
            self.world.waiting.push_back(Event::Retry(failed));
        }
    }

    fn restart_multiple(&mut self, from: usize) -> Result<(), u8> {
        self.terminate_children(from);
        self.start_children(from)
    }

    fn retry(&mut self, id: u8) {
        if let Some(place) = self.place(id)
            && self.children[place].1 == ChildState::Restarting
        {
            self.restart(place);
        }
    }

    fn taken(&mut self, event: Event) {
        match event {
            Event::Exit(life, exit) => {
                let runs = ChildState::Running(life);
                if let Some(place) = self.children.iter().position(|(_, state)| *state == runs) {
                    self.exit(place, &exit);
                }
            }
            Event::Retry(id) => self.retry(id),
        }
    }

    fn start_child(&mut self, spec: ChildSpec<u8>) {
        if self.place(spec.id).is_none() {
            self.children.push((spec, ChildState::Stopped));
            let place = self.children.len() - 1;
            if self.start_child_at(place).is_err() {
                self.children.remove(place);
            }
        }
    }

    fn terminate_child(&mut self, place: usize) {
        if let (spec, ChildState::Running(life)) = &self.children[place] {
            self.world.stop(spec.id, *life);
        }
        self.del_child(place);
    }

    /// The place of a child that may be started or forgotten by hand.
    fn stopped(&self, id: u8) -> Option<usize> {
        let place = self.place(id).filter(|_| !self.dynamic())?;
        (self.children[place].1 == ChildState::Stopped).then_some(place)
    }

    pub(crate) fn act(&mut self, op: &Op) {
        match op {
            Op::End(which, exit) => self.world.end(*which, exit),
            Op::Take => {
                if let Some(event) = self.world.waiting.pop_front() {
                    self.taken(event);
                }
            }
            Op::StaleExit(..) => {}
            Op::StrayRetry(id) => self.retry(*id),
            Op::Wait(time) => self.world.now += *time,
            call => self.call(call),
        }
    }

    fn call(&mut self, op: &Op) {
        match op {
            Op::StartChild(id, restart, significant) => {
                self.start_child(spec(*id, *restart, *significant, &self.flags));
            }
            Op::TerminateChild(id) => {
                if let Some(place) = self.place(*id) {
                    self.terminate_child(place);
                }
            }
            Op::RestartChild(id) => {
                if let Some(place) = self.stopped(*id) {
                    let _ = self.start_child_at(place);
                }
            }
            Op::DeleteChild(id) => {
                if let Some(place) = self.stopped(*id) {
                    self.children.remove(place);
                }
            }
            _ => {}
        }
    }
}
