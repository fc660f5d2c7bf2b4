//! What a supervisor does: it starts and stops children as the plans of [`super::restart`] say.
//! Every wait in it has an end, unless a child's shutdown is `Infinity`.

use std::collections::HashMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::Duration;

use futures_util::FutureExt as _;
use futures_util::future::join_all;
use ractor::{ActorCell, ActorRef};
use tokio::time::{Instant, timeout};

use super::actor::SupervisorMsg;
use super::init::{Init, StartFn, Template};
use super::life::{Ended, Life, Parent, StartError, Started};
use super::report::{Observer, Report};
use super::restart::{Children, Incarnation, Plan};
use super::spec::{Exit, Key, SpecError, Strategy};
use super::subtree::Subtree;

/// The state of a supervisor.
pub struct SupervisorState<K> {
    name: String,
    pub(super) children: Children<K>,
    pub(super) starts: HashMap<K, StartFn>,
    pub(super) template: Option<Template<K>>,
    pub(super) lives: HashMap<K, Life>,
    start_timeout: Duration,
    kill_grace: Duration,
    observer: Option<Observer<K>>,
    subtree: Subtree,
    /// Events since the last message.
    pub(super) events: u32,
}

/// Events overtake messages in ractor: after so many, the rest waits its turn behind the messages,
/// so that a supervisor whose children crash faster than it restarts them still answers.
const EVENTS_IN_A_ROW: u32 = 32;

/// The supervisor itself, to start children under and to tell itself.
pub(super) type Myself<K> = ActorRef<SupervisorMsg<K>>;

impl<K: Key> SupervisorState<K> {
    pub(super) fn new(init: Init<K>, subtree: Subtree) -> Result<SupervisorState<K>, SpecError> {
        init.check()?;
        let mut children = Children::new(init.flags);
        let mut starts = HashMap::new();
        for (spec, start) in init.children {
            starts.insert(spec.id.clone(), start);
            children.add(spec);
        }
        Ok(SupervisorState {
            name: init.name,
            children,
            starts,
            template: init.template,
            lives: HashMap::new(),
            start_timeout: init.start_timeout,
            kill_grace: init.kill_grace,
            observer: init.observer,
            subtree,
            events: 0,
        })
    }

    pub(super) fn in_start_order(&self) -> Vec<K> {
        self.children.iter().map(|child| child.spec.id.clone()).collect()
    }

    fn report(&self, report: &Report<K>) {
        report.log(&self.name);
        let Some(observer) = &self.observer else { return };
        if catch_unwind(AssertUnwindSafe(|| observer(report))).is_err() {
            tracing::error!(supervisor = self.name, ?report, "the observer panicked");
        }
    }

    /// Starts a child and notes what came of it.
    pub(super) async fn start(
        &mut self,
        supervisor: &ActorCell,
        id: &K,
    ) -> Result<Option<Incarnation>, StartError> {
        let parent = Parent::new(supervisor.clone(), &self.subtree);
        match self.call_start(id, parent.clone()).await {
            Ok(Started::Running(life)) => {
                let incarnation = life.incarnation();
                self.children.started(id, incarnation);
                self.lives.insert(id.clone(), life);
                self.report(&Report::Started { id: id.clone(), incarnation });
                Ok(Some(incarnation))
            }
            Ok(Started::Ignored) => {
                self.children.ignored(id);
                self.forget_if_removed(id);
                self.report(&Report::Ignored { id: id.clone() });
                self.undo(id, &parent).await;
                Ok(None)
            }
            Err(error) => {
                self.report(&Report::StartFailed { id: id.clone(), reason: error.0.clone() });
                self.undo(id, &parent).await;
                Err(error)
            }
        }
    }

    /// Calls the start function, bounded and safe from its panics.
    async fn call_start(&self, id: &K, parent: Parent) -> Result<Started, StartError> {
        let starting = async {
            match (self.starts.get(id), &self.template) {
                (Some(start), _) => start(parent).await,
                (None, Some(template)) => (template.start)(id.clone(), parent).await,
                (None, None) => Err(StartError("there is no start function".to_owned())),
            }
        };
        match timeout(self.start_timeout, AssertUnwindSafe(starting).catch_unwind()).await {
            Ok(Ok(outcome)) => outcome,
            Ok(Err(panic)) => Err(StartError::panicked(&*panic)),
            Err(_) => Err(StartError(format!("did not start within {:?}", self.start_timeout))),
        }
    }

    /// What a start left behind that came to nothing must be gone before the next one.
    async fn undo(&self, id: &K, parent: &Parent) {
        if !parent.undo(self.kill_grace).await {
            self.report(&Report::Zombie { id: id.clone() });
        }
    }

    fn forget_if_removed(&mut self, id: &K) {
        if self.children.get(id).is_none() {
            self.starts.remove(id);
        }
    }

    /// Stops a child if it runs.
    pub(super) async fn stop(&mut self, id: &K) {
        if let (Some(life), Some(child)) = (self.lives.remove(id), self.children.get(id)) {
            let shutdown = child.spec.shutdown;
            let ended = life.end(shutdown, self.kill_grace).await;
            self.note_end(id, ended);
        }
        self.children.stopped_for_good(id);
        self.forget_if_removed(id);
    }

    fn note_end(&self, id: &K, ended: Ended) {
        let id = id.clone();
        match ended {
            Ended::InTime => self.report(&Report::Stopped { id, overdue: false }),
            Ended::Overdue => self.report(&Report::Stopped { id, overdue: true }),
            Ended::Zombie => self.report(&Report::Zombie { id }),
        }
    }

    /// Stops all children: in reverse, each before the next; those of a template together.
    pub(super) async fn end_all(&mut self) {
        let order = self.children.in_stop_order();
        if self.children.flags().strategy != Strategy::SimpleOneForOne {
            for id in order {
                self.stop(&id).await;
            }
            return;
        }
        let mut ends = Vec::with_capacity(order.len());
        for id in order {
            if let (Some(life), Some(child)) = (self.lives.remove(&id), self.children.get(&id)) {
                let (shutdown, grace) = (child.spec.shutdown, self.kill_grace);
                ends.push(async move { (id, life.end(shutdown, grace).await) });
            }
        }
        for (id, ended) in join_all(ends).await {
            self.note_end(&id, ended);
            self.children.stopped_for_good(&id);
        }
    }

    /// Sees to the end of a child at once, unless too much has waited for too long.
    pub(super) async fn told_of_end(&mut self, myself: &Myself<K>, cell: &ActorCell, exit: Exit) {
        self.events += 1;
        let incarnation = cell.get_id().pid();
        if self.events <= EVENTS_IN_A_ROW {
            self.child_ended(myself, incarnation, exit).await;
        } else {
            let _ = myself.cast(SupervisorMsg::Ended(incarnation, exit));
        }
    }

    /// A child has ended by itself: wait until its life is over, then do what follows.
    pub(super) async fn child_ended(
        &mut self,
        myself: &Myself<K>,
        incarnation: Incarnation,
        exit: Exit,
    ) {
        // One of a former life, or one that was stopped by us: settled already.
        let Some(id) = self.children.of_incarnation(incarnation).cloned() else { return };
        let Some(child) = self.children.get(&id) else { return };
        let (restarts, orderly) = (child.restarts, child.spec.ends_orderly(&exit));
        self.report(&Report::Exited { id: id.clone(), exit: exit.clone(), restarts, orderly });
        if let Some(life) = self.lives.remove(&id)
            && !life.is_over_within(self.kill_grace).await
        {
            self.report(&Report::Zombie { id: id.clone() });
        }
        let plan = self.children.exited(incarnation, &exit, Instant::now().into_std());
        self.forget_if_removed(&id);
        self.perform(myself, plan).await;
    }

    /// It is time to try a failed restart again.
    pub(super) async fn try_again(&mut self, myself: &Myself<K>, id: &K) {
        let plan = self.children.retry(id, Instant::now().into_std());
        self.perform(myself, plan).await;
    }

    async fn perform(&mut self, myself: &Myself<K>, plan: Plan<K>) {
        if let Some(end) = plan.end {
            self.report(&Report::Ending { why: end });
            return myself.stop(Some("shutdown".to_owned())); // `post_stop` stops the children
        }
        for id in plan.stop {
            self.stop(&id).await;
        }
        for id in plan.start {
            if self.start(&myself.get_cell(), &id).await.is_err() {
                self.children.restart_failed(&id);
                // To itself, behind what waits already: calls and a stop get in between.
                let _ = myself.cast(SupervisorMsg::TryAgain(id));
                return;
            }
        }
    }
}
