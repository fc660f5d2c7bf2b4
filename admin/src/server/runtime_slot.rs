//! Where requests find the runtime: empty until the schema is in place.

use std::sync::Arc;

use dg_runtime::Runtime;
use dg_store::StoreError;
use tokio::sync::watch;

/// The runtime, or why there is none. Shared: each request has it, and it is made of many parts.
type Held = Result<Arc<Runtime>, String>;

/// What fills the slot.
pub(crate) type FillRuntime = watch::Sender<Held>;

/// A place for the runtime and, while it is empty, the reason why.
#[derive(Debug, Clone)]
pub(crate) struct RuntimeSlot(watch::Receiver<Held>);

impl RuntimeSlot {
    /// An empty slot and the way to fill it.
    pub(crate) fn new(reason: &str) -> (FillRuntime, RuntimeSlot) {
        let (fill, slot) = watch::channel(Err(reason.to_owned()));
        (fill, RuntimeSlot(slot))
    }

    /// Waits until there is a runtime, or another reason why there is none; false when there never
    /// will be one.
    pub(crate) async fn settled(&self) -> bool {
        // This receiver never marks a change as seen, so that its clones have not seen it either.
        self.0.clone().changed().await.is_ok()
    }

    /// Whether there is a runtime, or another reason why there is none.
    pub(crate) fn is_settled(&self) -> bool {
        self.0.has_changed().unwrap_or(true)
    }

    /// The runtime, or why there is none yet.
    pub(crate) fn look(&self) -> Held {
        self.0.borrow().clone()
    }

    /// The runtime.
    ///
    /// # Errors
    /// `storage` while there is none yet, with the reason.
    pub(crate) fn get(&self) -> Result<Arc<Runtime>, StoreError> {
        self.look().map_err(|reason| StoreError::outage(format!("not ready: {reason}")))
    }
}
