//! An actor as a supervisor holds it: the same actor, but its state lies in its handler.
//!
//! ractor hands the state of an actor that ended to its supervisor, inside the event of its end. It
//! would lie in the supervisor's queue, and with it the socket or the lock that it owns, while the
//! supervisor restarts a group. Here all that an actor owns is dropped when its own task ends.

use ractor::{Actor, ActorProcessingErr, ActorRef, SupervisionEvent};
use tokio::sync::Mutex;

use super::subtree::Presence;

/// Dropped in this order: the state, the handler, and only then is it not alive any more.
pub(super) struct Held<A: Actor> {
    /// None before `pre_start` is done. Never waited for: an actor does one thing at a time.
    state: Mutex<Option<A::State>>,
    handler: A,
    _presence: Presence,
}

impl<A: Actor> Held<A> {
    pub(super) fn new(handler: A, presence: Presence) -> Held<A> {
        Held { state: Mutex::new(None), handler, _presence: presence }
    }
}

impl<A: Actor> Actor for Held<A> {
    type Msg = A::Msg;
    type State = ();
    type Arguments = A::Arguments;

    async fn pre_start(
        &self,
        myself: ActorRef<A::Msg>,
        arguments: A::Arguments,
    ) -> Result<(), ActorProcessingErr> {
        *self.state.lock().await = Some(self.handler.pre_start(myself, arguments).await?);
        Ok(())
    }

    async fn post_start(
        &self,
        myself: ActorRef<A::Msg>,
        (): &mut (),
    ) -> Result<(), ActorProcessingErr> {
        let mut state = self.state.lock().await;
        let Some(state) = state.as_mut() else { return Ok(()) };
        self.handler.post_start(myself, state).await
    }

    async fn post_stop(
        &self,
        myself: ActorRef<A::Msg>,
        (): &mut (),
    ) -> Result<(), ActorProcessingErr> {
        let mut state = self.state.lock().await;
        let Some(state) = state.as_mut() else { return Ok(()) };
        self.handler.post_stop(myself, state).await
    }

    async fn handle(
        &self,
        myself: ActorRef<A::Msg>,
        message: A::Msg,
        (): &mut (),
    ) -> Result<(), ActorProcessingErr> {
        let mut state = self.state.lock().await;
        let Some(state) = state.as_mut() else { return Ok(()) };
        self.handler.handle(myself, message, state).await
    }

    async fn handle_supervisor_evt(
        &self,
        myself: ActorRef<A::Msg>,
        event: SupervisionEvent,
        (): &mut (),
    ) -> Result<(), ActorProcessingErr> {
        let mut state = self.state.lock().await;
        let Some(state) = state.as_mut() else { return Ok(()) };
        self.handler.handle_supervisor_evt(myself, event, state).await
    }
}
