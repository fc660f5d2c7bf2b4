//! Asking a supervisor: each call is a message with a deadline.

use std::time::Duration;

use ractor::{ActorRef, RpcReplyPort};

use super::actor::{Supervisor, SupervisorMsg};
use super::init::{Init, StartFn};
use super::life::{Life, Parent, StartError, Started};
use super::manage::{ChildInfo, Counts, Refused};
use super::restart::Incarnation;
use super::spec::{ChildSpec, Key};

/// A supervisor that does not answer: it has ended, or is busy for longer than the deadline.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the supervisor does not answer")]
pub struct Gone;

/// A supervisor to be asked. Cheap to clone.
#[derive(Debug)]
pub struct SupervisorRef<K: Key> {
    actor: ActorRef<SupervisorMsg<K>>,
    deadline: Duration,
}

impl<K: Key> Clone for SupervisorRef<K> {
    fn clone(&self) -> SupervisorRef<K> {
        SupervisorRef { actor: self.actor.clone(), deadline: self.deadline }
    }
}

/// How long a call waits: longer than any start or orderly stop of a child should take.
const DEADLINE: Duration = Duration::from_secs(60);

impl<K: Key> SupervisorRef<K> {
    /// Starts a supervisor that nobody supervises, and its children.
    ///
    /// # Errors
    /// The child that did not start; those before it are stopped again.
    pub async fn start_root(init: Init<K>) -> Result<(SupervisorRef<K>, Life), StartError> {
        let (actor, life) = Life::root(Supervisor::new(), |subtree| (init, subtree)).await?;
        Ok((SupervisorRef::of(actor), life))
    }

    /// Starts a supervisor as a child, and its children.
    ///
    /// # Errors
    /// As [`SupervisorRef::start_root`].
    pub async fn start(
        parent: &Parent,
        init: Init<K>,
    ) -> Result<(SupervisorRef<K>, Started), StartError> {
        let (actor, started) = parent.spawn(Supervisor::new(), (init, parent.subtree())).await?;
        Ok((SupervisorRef::of(actor), started))
    }

    /// A supervisor that was started by ractor's own means.
    pub fn of(actor: ActorRef<SupervisorMsg<K>>) -> SupervisorRef<K> {
        SupervisorRef { actor, deadline: DEADLINE }
    }

    async fn ask<T: Send + 'static>(
        &self,
        message: impl FnOnce(RpcReplyPort<T>) -> SupervisorMsg<K>,
    ) -> Result<T, Gone> {
        match self.actor.call(message, Some(self.deadline)).await {
            Ok(ractor::rpc::CallResult::Success(answer)) => Ok(answer),
            _ => Err(Gone),
        }
    }

    /// Adds a child and starts it; its life, or none if it ignored its start.
    ///
    /// # Errors
    /// The supervisor is gone, or refuses.
    pub async fn start_child(
        &self,
        spec: ChildSpec<K>,
        start: StartFn,
    ) -> Result<Result<Option<Incarnation>, Refused>, Gone> {
        self.ask(|reply| SupervisorMsg::StartChild(spec, start, reply)).await
    }

    /// Starts the instance of a name under a dynamic supervisor.
    ///
    /// # Errors
    /// The supervisor is gone, or refuses.
    pub async fn start_dynamic(&self, id: K) -> Result<Result<Option<Incarnation>, Refused>, Gone> {
        self.ask(|reply| SupervisorMsg::StartDynamic(id, reply)).await
    }

    /// Stops a child.
    ///
    /// # Errors
    /// The supervisor is gone, or refuses.
    pub async fn terminate_child(&self, id: K) -> Result<Result<(), Refused>, Gone> {
        self.ask(|reply| SupervisorMsg::TerminateChild(id, reply)).await
    }

    /// Starts a stopped child.
    ///
    /// # Errors
    /// The supervisor is gone, or refuses.
    pub async fn restart_child(&self, id: K) -> Result<Result<Option<Incarnation>, Refused>, Gone> {
        self.ask(|reply| SupervisorMsg::RestartChild(id, reply)).await
    }

    /// Forgets a stopped child.
    ///
    /// # Errors
    /// The supervisor is gone, or refuses.
    pub async fn delete_child(&self, id: K) -> Result<Result<(), Refused>, Gone> {
        self.ask(|reply| SupervisorMsg::DeleteChild(id, reply)).await
    }

    /// All children, in start order.
    ///
    /// # Errors
    /// The supervisor is gone.
    pub async fn which_children(&self) -> Result<Vec<ChildInfo<K>>, Gone> {
        self.ask(SupervisorMsg::WhichChildren).await
    }

    /// How many of what.
    ///
    /// # Errors
    /// The supervisor is gone.
    pub async fn count_children(&self) -> Result<Counts, Gone> {
        self.ask(SupervisorMsg::CountChildren).await
    }

    /// The actor, to link or to monitor it.
    pub fn actor(&self) -> &ActorRef<SupervisorMsg<K>> {
        &self.actor
    }
}
