//! Our supervisor's decisions, performed in a world; what must hold is checked at every step.

use std::collections::VecDeque;
use std::time::Instant;

use dg_runtime::supervisor::{
    ChildSpec, ChildState, Children, End, Exit, Flags, Incarnation, Plan, Restart, Strategy,
};

use crate::world::{Event, Op, World, spec};

pub(crate) struct Ours {
    pub(crate) children: Children<u8>,
    pub(crate) world: World,
    pub(crate) ended: Option<End>,
    restarts: VecDeque<Instant>,
}

impl Ours {
    /// Starts the children in order; false if one fails.
    pub(crate) fn start(flags: Flags, specs: &[ChildSpec<u8>], world: World) -> (Ours, bool) {
        let mut children = Children::new(flags);
        specs.iter().for_each(|spec| children.add(spec.clone()));
        let mut ours = Ours { children, world, ended: None, restarts: VecDeque::new() };
        let started = specs.iter().all(|spec| ours.start_one(spec.id).is_ok());
        if !started {
            ours.end_all();
        }
        (ours, started)
    }

    fn start_one(&mut self, id: u8) -> Result<(), ()> {
        match self.world.start(id)? {
            Some(life) => self.children.started(&id, life),
            None => self.children.ignored(&id),
        }
        Ok(())
    }

    fn stop_one(&mut self, id: u8) {
        if let Some(life) = self.life(id) {
            self.world.stop(id, life);
        }
        self.children.stopped_for_good(&id);
    }

    fn life(&self, id: u8) -> Option<Incarnation> {
        match self.children.get(&id)?.state {
            ChildState::Running(life) => Some(life),
            ChildState::Stopped | ChildState::Restarting => None,
        }
    }

    /// As the supervisor's end does it.
    pub(crate) fn end_all(&mut self) {
        let order = self.children.in_stop_order();
        self.check_order(&order, true);
        order.into_iter().for_each(|id| self.stop_one(id));
        assert!(self.children.in_stop_order().is_empty(), "all are stopped");
    }

    pub(crate) fn act(&mut self, op: &Op) {
        match op {
            Op::End(which, exit) => self.world.end(*which, exit),
            Op::Take => match self.world.waiting.pop_front() {
                Some(Event::Exit(life, exit)) => self.exited(life, &exit),
                Some(Event::Retry(id)) => self.retry(id),
                None => {}
            },
            Op::StaleExit(life, exit) => self.stale_exit(*life, exit),
            Op::StrayRetry(id) => self.retry(*id),
            Op::Wait(time) => self.world.now += *time,
            call => self.call(call),
        }
        self.check();
    }

    /// A management call, done if it is not refused.
    fn call(&mut self, op: &Op) {
        match op {
            Op::StartChild(id, restart, significant) => {
                self.start_child(spec(*id, *restart, *significant, self.children.flags()));
            }
            Op::TerminateChild(id) if self.children.may_terminate(id).is_ok() => self.stop_one(*id),
            Op::RestartChild(id) if self.children.may_restart(id).is_ok() => {
                let _ = self.start_one(*id);
            }
            Op::DeleteChild(id) if self.children.may_delete(id).is_ok() => self.children.remove(id),
            _ => {}
        }
    }

    fn start_child(&mut self, spec: ChildSpec<u8>) {
        let id = spec.id;
        if self.children.may_start(&spec).is_ok() {
            self.children.add(spec);
            if self.start_one(id).is_err() {
                self.children.remove(&id);
            }
        }
    }

    /// Of a life that is over (what the world says is alive did not end), or that never was.
    fn stale_exit(&mut self, life: Incarnation, exit: &Exit) {
        let waits = |event: &Event| matches!(event, Event::Exit(waiting, _) if *waiting == life);
        if self.world.alive.contains_key(&life) || self.world.waiting.iter().any(waits) {
            return;
        }
        let before = self.children.which();
        let plan = self.children.exited(life, exit, self.world.now);
        assert!(plan.is_nothing(), "a stale exit changes nothing: {plan:?}");
        assert_eq!(self.children.which(), before);
    }

    fn exited(&mut self, life: Incarnation, exit: &Exit) {
        let plan = self.children.exited(life, exit, self.world.now);
        self.perform(plan);
    }

    fn retry(&mut self, id: u8) {
        let due = self.children.get(&id).map(|child| child.state) == Some(ChildState::Restarting);
        let before = self.children.which();
        let plan = self.children.retry(&id, self.world.now);
        if !due {
            assert!(plan.is_nothing(), "nobody waits for this retry: {plan:?}");
            assert_eq!(self.children.which(), before);
        }
        self.perform(plan);
    }

    fn perform(&mut self, plan: Plan<u8>) {
        self.check_plan(&plan);
        self.ended = plan.end;
        plan.stop.into_iter().for_each(|id| self.stop_one(id));
        for id in &plan.start {
            assert_eq!(self.life(*id), None, "{id} is to be started and runs");
        }
        for id in plan.start {
            if self.start_one(id).is_err() {
                self.children.restart_failed(&id);
                self.world.waiting.push_back(Event::Retry(id));
                return;
            }
        }
    }

    fn check_plan(&mut self, plan: &Plan<u8>) {
        self.check_order(&plan.stop, true);
        self.check_order(&plan.start, false);
        let single = matches!(
            self.children.flags().strategy,
            Strategy::OneForOne | Strategy::SimpleOneForOne
        );
        assert!(!single || (plan.stop.is_empty() && plan.start.len() <= 1), "{plan:?}");
        for id in &plan.start {
            let child = self.children.get(id).expect("a child that is started is known");
            assert_ne!(child.spec.restart, Restart::Temporary, "{id} comes back");
        }
        if plan.end.is_some() {
            assert!(plan.stop.is_empty() && plan.start.is_empty(), "{plan:?}");
        }
        self.check_intensity(plan);
    }

    /// Counts restarts anew: as many as the flags allow, and not one fewer.
    fn check_intensity(&mut self, plan: &Plan<u8>) {
        let restarts = plan.end == Some(End::Intensity) || !plan.start.is_empty();
        if !restarts {
            return;
        }
        let (now, flags) = (self.world.now, *self.children.flags());
        self.restarts.push_back(now);
        self.restarts.retain(|then| now.duration_since(*then) <= flags.period);
        let too_many = self.restarts.len() > flags.intensity;
        assert_eq!(plan.end == Some(End::Intensity), too_many, "{:?}", self.restarts);
    }

    /// In start order or its reverse, none twice; what is stopped runs.
    fn check_order(&self, ids: &[u8], reverse: bool) {
        let place = |id: &u8| self.children.iter().position(|child| child.spec.id == *id);
        let mut places: Vec<_> = ids.iter().map(|id| place(id).expect("known")).collect();
        if reverse {
            places.reverse();
            assert!(ids.iter().all(|id| self.life(*id).is_some()), "only what runs is stopped");
        }
        assert!(places.is_sorted_by(|a, b| a < b), "{ids:?} are out of order");
    }

    /// What holds between any two steps, until the supervisor ends.
    fn check(&self) {
        for life in 0..=self.world.lives + 1 {
            let of = self.children.of_incarnation(life);
            let runs = |id: &u8| self.life(*id) == Some(life);
            assert!(of.is_none_or(runs), "{life} of {of:?} does not run");
        }
        for child in self.children.iter() {
            let id = child.spec.id;
            match child.state {
                ChildState::Running(life) => {
                    assert_eq!(self.children.of_incarnation(life), Some(&id));
                }
                ChildState::Restarting => {
                    let due = self.world.waiting.contains(&Event::Retry(id));
                    assert!(due || self.ended.is_some(), "{id} waits for a retry for ever");
                }
                ChildState::Stopped => {
                    assert_ne!(child.spec.restart, Restart::Temporary, "{id} is remembered");
                }
            }
        }
        assert_eq!(self.children.iter().count(), self.children.len());
    }
}
