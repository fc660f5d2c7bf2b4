//! The supervisor as an actor: what it can be asked, and which of its events leads to what.
//!
//! Differences from what ractor does by itself, all deliberate: children are stopped in reverse
//! start order, each awaited; a child is started again only when its former life is over; a failed
//! restart is tried again by a message to itself, so that calls and a stop get in between.

use ractor::{Actor, ActorProcessingErr, ActorRef, RpcReplyPort, SupervisionEvent};

use super::init::{FailedToStartChild, Init, StartFn};
use super::life::exit_of;
use super::manage::{ChildInfo, Counts, Refused};
use super::perform::SupervisorState;
use super::restart::Incarnation;
use super::spec::{ChildSpec, Exit, Key};
use super::subtree::Subtree;

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
    /// A child has ended; told as a message when too many such events overtook what waits.
    Ended(Incarnation, Exit),
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
        for id in state.in_start_order() {
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
        state.answer(&myself, message).await;
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
            SupervisionEvent::ActorTerminated(cell, _, reason) => {
                state.told_of_end(&myself, &cell, exit_of(reason.as_deref())).await;
            }
            SupervisionEvent::ActorFailed(cell, error) => {
                state.told_of_end(&myself, &cell, Exit::Crash(error.to_string())).await;
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
