//! The management calls, done: asked of [`super::manage`], performed, answered.

use std::panic::{AssertUnwindSafe, catch_unwind};

use ractor::{ActorCell, RpcReplyPort};

use super::actor::SupervisorMsg;
use super::init::StartFn;
use super::life::{Life, StartError};
use super::manage::{ChildInfo, Refused};
use super::perform::{Myself, SupervisorState};
use super::restart::Incarnation;
use super::spec::{ChildSpec, Key};

/// Answers a caller; one that has gone away has no use for it.
fn reply<T: ractor::Message>(to: RpcReplyPort<T>, answer: T) {
    let _ = to.send(answer);
}

impl<K: Key> SupervisorState<K> {
    /// Does what a message asks for.
    pub(super) async fn answer(&mut self, myself: &Myself<K>, message: SupervisorMsg<K>) {
        self.events = 0;
        let cell = myself.get_cell();
        match message {
            SupervisorMsg::StartChild(spec, start, to) => {
                reply(to, self.start_child(&cell, spec, start).await);
            }
            SupervisorMsg::StartDynamic(id, to) => reply(to, self.start_dynamic(&cell, id).await),
            SupervisorMsg::RestartChild(id, to) => reply(to, self.restart_child(&cell, &id).await),
            SupervisorMsg::TerminateChild(id, to) => reply(to, self.terminate_child(&id).await),
            SupervisorMsg::DeleteChild(id, to) => reply(to, self.delete_child(&id)),
            SupervisorMsg::WhichChildren(to) => reply(to, self.which()),
            SupervisorMsg::CountChildren(to) => reply(to, self.children.count()),
            SupervisorMsg::TryAgain(id) => self.try_again(myself, &id).await,
            SupervisorMsg::Ended(incarnation, exit) => {
                self.child_ended(myself, incarnation, exit).await;
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
        self.children.may_start(&spec)?;
        self.starts.insert(spec.id.clone(), start);
        self.add_and_start(supervisor, spec).await
    }

    async fn start_dynamic(
        &mut self,
        supervisor: &ActorCell,
        id: K,
    ) -> Result<Option<Incarnation>, Refused> {
        let template = self.template.as_ref().ok_or(Refused::NotFound)?;
        let spec = catch_unwind(AssertUnwindSafe(|| (template.spec)(id.clone())))
            .map_err(|panic| Refused::StartFailed(StartError::panicked(&*panic).0))?;
        let spec = ChildSpec { id, ..spec };
        self.children.may_start(&spec)?;
        self.add_and_start(supervisor, spec).await
    }

    /// A child whose first start fails is not remembered.
    async fn add_and_start(
        &mut self,
        supervisor: &ActorCell,
        spec: ChildSpec<K>,
    ) -> Result<Option<Incarnation>, Refused> {
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

    fn which(&self) -> Vec<ChildInfo<K>> {
        let mut children = self.children.which();
        for child in &mut children {
            child.age = self.lives.get(&child.id).map(Life::age);
        }
        children
    }
}
