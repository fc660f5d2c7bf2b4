//! Where an actor is found by those who outlive it: each of its lives puts itself here.

use std::sync::{Arc, PoisonError, RwLock};

use ractor::{ActorRef, Message};

/// The present life of an actor, if it has one.
pub(crate) struct Slot<M>(Arc<RwLock<Option<ActorRef<M>>>>);

impl<M> Clone for Slot<M> {
    fn clone(&self) -> Slot<M> {
        Slot(self.0.clone())
    }
}

impl<M> std::fmt::Debug for Slot<M> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Slot")
    }
}

impl<M: Message> Slot<M> {
    pub(crate) fn new() -> Slot<M> {
        Slot(Arc::new(RwLock::new(None)))
    }

    pub(crate) fn put(&self, actor: ActorRef<M>) {
        *self.0.write().unwrap_or_else(PoisonError::into_inner) = Some(actor);
    }

    pub(crate) fn get(&self) -> Option<ActorRef<M>> {
        self.0.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Sends a message that may be lost with the life it was sent to.
    pub(crate) fn tell(&self, message: M) {
        if let Some(actor) = self.get() {
            let _ = actor.cast(message);
        }
    }
}
