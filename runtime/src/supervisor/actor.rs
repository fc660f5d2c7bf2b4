//! The supervisor as an actor: it performs the plans of [`super::restart`] and answers management
//! calls; every wait in it has an end, unless a child's shutdown is `Infinity`.
//!
//! Differences from what ractor does by itself, all deliberate: children are stopped in reverse
//! start order, each awaited; a child is started again only when its former life is over; a failed
//! restart is tried again by a message to itself, so that calls and a stop get in between.

use std::collections::HashMap;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt as _;
use futures_util::future::join_all;
use ractor::{Actor, ActorCell, ActorProcessingErr, ActorRef, RpcReplyPort, SupervisionEvent};
use tokio::time::{Instant, timeout};

use super::life::{Ended, Life, Parent, StartError, StartFuture, Started, Subtree, exit_of};
use super::manage::{ChildInfo, Counts, Refused};
use super::report::{Observer, Report};
use super::restart::{Children, End, Incarnation, Plan};
use super::spec::{ChildSpec, Exit, Flags, Key, Strategy, check};

/// Starts a child: called anew for each of its lives.
pub type StartFn = Arc<dyn Fn(Parent) -> StartFuture + Send + Sync>;

/// Starts the instance of a name: the template of a dynamic supervisor.
pub type TemplateFn<K> = Arc<dyn Fn(K, Parent) -> StartFuture + Send + Sync>;

/// What the children of a dynamic supervisor have in common.
#[derive(Clone)]
pub struct Template<K> {
    /// The specification of the instance of a name.
    pub spec: Arc<dyn Fn(K) -> ChildSpec<K> + Send + Sync>,
    /// How an instance is started.
    pub start: TemplateFn<K>,
}

/// How a supervisor begins.
pub struct Init<K> {
    /// Its name in reports and logs.
    pub name: String,
    /// Its flags.
    pub flags: Flags,
    /// Its children, in start order.
    pub children: Vec<(ChildSpec<K>, StartFn)>,
    /// Its template, if it is dynamic.
    pub template: Option<Template<K>>,
    /// The longest that one start may take.
    pub start_timeout: Duration,
    /// How long a killed child may take to end before it counts as a zombie.
    pub kill_grace: Duration,
    /// Told of everything.
    pub observer: Option<Observer<K>>,
}

impl<K: Key> Init<K> {
    /// A supervisor of these children.
    pub fn new(name: &str, flags: Flags, children: Vec<(ChildSpec<K>, StartFn)>) -> Init<K> {
        Init {
            name: name.to_owned(),
            flags,
            children,
            template: None,
            start_timeout: Duration::from_secs(30),
            kill_grace: Duration::from_secs(5),
            observer: None,
        }
    }

    /// A supervisor of instances of a template, without any at first.
    pub fn dynamic(name: &str, flags: Flags, template: Template<K>) -> Init<K> {
        let flags = Flags { strategy: Strategy::SimpleOneForOne, ..flags };
        Init { template: Some(template), ..Init::new(name, flags, Vec::new()) }
    }
}

/// The reason why a supervisor did not start.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("failed to start child {id}: {reason}")]
pub struct FailedToStartChild {
    /// The child.
    pub id: String,
    /// What its start ended with.
    pub reason: String,
}

/// What a supervisor can be asked.
pub enum SupervisorMsg<K> {
    /// Add a child and start it; its life, or none if it ignored its start.
    StartChild(ChildSpec<K>, StartFn, RpcReplyPort<Result<Option<Incarnation>, Refused>>),
    /// Start the instance of a name.
    StartDynamic(K, RpcReplyPort<Result<Option<Incarnation>, Refused>>),
    /// Stop a child; it stays known unless it is temporary or dynamic.
    TerminateChild(K, RpcReplyPort<Result<(), Refused>>),
    /// Start a stopped child.
    RestartChild(K, RpcReplyPort<Result<Option<Incarnation>, Refused>>),
    /// Forget a stopped child.
    DeleteChild(K, RpcReplyPort<Result<(), Refused>>),
    /// All children.
    WhichChildren(RpcReplyPort<Vec<ChildInfo<K>>>),
    /// How many of what.
    CountChildren(RpcReplyPort<Counts>),
    /// A failed restart is to be tried again.
    TryAgain(K),
}

/// The actor.
pub struct Supervisor<K>(std::marker::PhantomData<K>);

impl<K> Supervisor<K> {
    /// The handler; what it does is told by [`Init`].
    #[allow(clippy::new_without_default, reason = "an actor's handler is no value with a default")]
    pub fn new() -> Supervisor<K> {
        Supervisor(std::marker::PhantomData)
    }
}

/// The state of a supervisor.
pub struct SupervisorState<K> {
    name: String,
    children: Children<K>,
    starts: HashMap<K, StartFn>,
    template: Option<Template<K>>,
    lives: HashMap<K, Life>,
    start_timeout: Duration,
    kill_grace: Duration,
    observer: Option<Observer<K>>,
    subtree: Subtree,
}

impl<K: Key> Actor for Supervisor<K> {
    type Msg = SupervisorMsg<K>;
    type State = SupervisorState<K>;
    type Arguments = (Init<K>, Subtree);

    /// Starts the children in order; if one fails, stops those before it in reverse and fails.
    async fn pre_start(
        &self,
        myself: ActorRef<Self::Msg>,
        (init, subtree): Self::Arguments,
    ) -> Result<Self::State, ActorProcessingErr> {
        let mut state = SupervisorState::new(init, subtree)?;
        let ids: Vec<K> = state.children.iter().map(|child| child.spec.id.clone()).collect();
        for id in ids {
            if let Err(error) = state.start(&myself.get_cell(), &id).await {
                state.end_all().await;
                return Err(Box::new(FailedToStartChild { id: id.to_string(), reason: error.0 }));
            }
        }
        Ok(state)
    }

    async fn handle(
        &self,
        myself: ActorRef<Self::Msg>,
        message: Self::Msg,
        state: &mut Self::State,
    ) -> Result<(), ActorProcessingErr> {
        let cell = myself.get_cell();
        // A caller that has gone away has no use for its answer.
        match message {
            SupervisorMsg::StartChild(spec, start, reply) => {
                let _ = reply.send(state.start_child(&cell, spec, start).await);
            }
            SupervisorMsg::StartDynamic(id, reply) => {
                let _ = reply.send(state.start_dynamic(&cell, id).await);
            }
            SupervisorMsg::TerminateChild(id, reply) => {
                let _ = reply.send(state.terminate_child(&id).await);
            }
            SupervisorMsg::RestartChild(id, reply) => {
                let _ = reply.send(state.restart_child(&cell, &id).await);
            }
            SupervisorMsg::DeleteChild(id, reply) => {
                let _ = reply.send(state.delete_child(&id));
            }
            SupervisorMsg::WhichChildren(reply) => {
                let _ = reply.send(state.children.which());
            }
            SupervisorMsg::CountChildren(reply) => {
                let _ = reply.send(state.children.count());
            }
            SupervisorMsg::TryAgain(id) => {
                let plan = state.children.retry(&id, Instant::now().into_std());
                state.perform(&myself, plan).await;
            }
        }
        Ok(())
    }

    /// Never fails: an error here would take the whole tree below along.
    async fn handle_supervisor_evt(
        &self,
        myself: ActorRef<Self::Msg>,
        event: SupervisionEvent,
        state: &mut Self::State,
    ) -> Result<(), ActorProcessingErr> {
        match event {
            SupervisionEvent::ActorTerminated(cell, dead_state, reason) => {
                drop(dead_state); // it may own what the next life needs
                state.child_ended(&myself, &cell, exit_of(reason.as_deref())).await;
            }
            SupervisionEvent::ActorFailed(cell, error) => {
                state.child_ended(&myself, &cell, Exit::Crash(error.to_string())).await;
            }
            _ => {}
        }
        Ok(())
    }

    async fn post_stop(
        &self,
        _: ActorRef<Self::Msg>,
        state: &mut Self::State,
    ) -> Result<(), ActorProcessingErr> {
        state.end_all().await;
        Ok(())
    }
}

impl<K: Key> SupervisorState<K> {
    fn new(init: Init<K>, subtree: Subtree) -> Result<SupervisorState<K>, ActorProcessingErr> {
        let mut children = Children::new(init.flags);
        let mut starts = HashMap::new();
        for (spec, start) in init.children {
            check(&init.flags, &spec)?;
            if starts.insert(spec.id.clone(), start).is_some() {
                return Err(Box::new(super::spec::SpecError::Duplicate(spec.id.to_string())));
            }
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
        })
    }

    fn report(&self, report: &Report<K>) {
        report.log(&self.name);
        if let Some(observer) = &self.observer {
            observer(report);
        }
    }

    /// Calls the start function, bounded and safe from its panics, and notes what came of it.
    async fn start(
        &mut self,
        supervisor: &ActorCell,
        id: &K,
    ) -> Result<Option<Incarnation>, StartError> {
        let parent = Parent::new(supervisor.clone(), &self.subtree);
        let starting = match (self.starts.get(id), &self.template) {
            (Some(start), _) => start(parent),
            (None, Some(template)) => (template.start)(id.clone(), parent),
            (None, None) => return Err(StartError("there is no start function".to_owned())),
        };
        let outcome = timeout(self.start_timeout, AssertUnwindSafe(starting).catch_unwind()).await;
        let outcome = match outcome {
            Ok(Ok(outcome)) => outcome,
            Ok(Err(_)) => Err(StartError("the start function panicked".to_owned())),
            Err(_) => Err(StartError(format!("did not start within {:?}", self.start_timeout))),
        };
        match outcome {
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
                Ok(None)
            }
            Err(error) => {
                self.report(&Report::StartFailed { id: id.clone(), reason: error.0.clone() });
                Err(error)
            }
        }
    }

    fn forget_if_removed(&mut self, id: &K) {
        if self.children.get(id).is_none() {
            self.starts.remove(id);
        }
    }

    /// Stops a child that runs.
    async fn stop(&mut self, id: &K) {
        if let (Some(life), Some(child)) = (self.lives.remove(id), self.children.get(id)) {
            let shutdown = child.spec.shutdown;
            let ended = life.end(shutdown, self.kill_grace).await;
            self.note_end(id, ended);
        }
        self.children.stopped_for_good(id);
        self.forget_if_removed(id);
    }

    fn note_end(&self, id: &K, ended: Ended) {
        match ended {
            Ended::Asked => self.report(&Report::Stopped { id: id.clone(), killed: false }),
            Ended::Killed => self.report(&Report::Stopped { id: id.clone(), killed: true }),
            Ended::Zombie => self.report(&Report::Zombie { id: id.clone() }),
        }
    }

    /// Stops all children: in reverse, each before the next; those of a template together.
    async fn end_all(&mut self) {
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

    /// A child has ended by itself: wait until its life is over, then do what follows.
    async fn child_ended(
        &mut self,
        myself: &ActorRef<SupervisorMsg<K>>,
        cell: &ActorCell,
        exit: Exit,
    ) {
        let incarnation = cell.get_id().pid();
        // One of a former life, or one that was stopped by us: settled already.
        let Some(id) = self.children.of_incarnation(incarnation).cloned() else { return };
        if let Some(mut life) = self.lives.remove(&id)
            && !life.is_over_within(self.kill_grace).await
        {
            self.report(&Report::Zombie { id: id.clone() });
        }
        let restarts = self.children.get(&id).map_or(0, |child| child.restarts);
        let plan = self.children.exited(incarnation, &exit, Instant::now().into_std());
        self.forget_if_removed(&id);
        self.report(&Report::Exited { id, exit, restarts });
        self.perform(myself, plan).await;
    }

    async fn perform(&mut self, myself: &ActorRef<SupervisorMsg<K>>, plan: Plan<K>) {
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

    async fn start_child(
        &mut self,
        supervisor: &ActorCell,
        spec: ChildSpec<K>,
        start: StartFn,
    ) -> Result<Option<Incarnation>, Refused> {
        if self.template.is_some() {
            return Err(Refused::SimpleOneForOne);
        }
        self.starts.entry(spec.id.clone()).or_insert(start);
        self.add_and_start(supervisor, spec).await
    }

    async fn start_dynamic(
        &mut self,
        supervisor: &ActorCell,
        id: K,
    ) -> Result<Option<Incarnation>, Refused> {
        let spec = self.template.as_ref().map(|template| (template.spec)(id));
        self.add_and_start(supervisor, spec.ok_or(Refused::NotFound)?).await
    }

    /// A child whose first start fails is not remembered.
    async fn add_and_start(
        &mut self,
        supervisor: &ActorCell,
        spec: ChildSpec<K>,
    ) -> Result<Option<Incarnation>, Refused> {
        self.children.may_start(&spec)?;
        let id = spec.id.clone();
        self.children.add(spec);
        self.start(supervisor, &id).await.map_err(|error| {
            self.children.remove(&id);
            self.starts.remove(&id);
            Refused::StartFailed(error.0)
        })
    }

    async fn terminate_child(&mut self, id: &K) -> Result<(), Refused> {
        self.children.may_terminate(id)?;
        self.stop(id).await;
        Ok(())
    }

    async fn restart_child(
        &mut self,
        supervisor: &ActorCell,
        id: &K,
    ) -> Result<Option<Incarnation>, Refused> {
        self.children.may_restart(id)?;
        self.start(supervisor, id).await.map_err(|error| Refused::StartFailed(error.0))
    }

    fn delete_child(&mut self, id: &K) -> Result<(), Refused> {
        self.children.may_delete(id)?;
        self.children.remove(id);
        self.starts.remove(id);
        Ok(())
    }
}

/// Why a supervisor ended by itself, for its parent's log.
impl std::fmt::Display for End {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            End::Intensity => "reached maximum restart intensity",
            End::Significant => "its significant children have ended",
        })
    }
}
