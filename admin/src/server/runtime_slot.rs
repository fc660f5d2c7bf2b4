//! Where requests find the runtime: empty until the schema is in place.

use dg_runtime::Runtime;
use dg_store::StoreError;
use tokio::sync::watch;

/// A place for the runtime and, while it is empty, the reason why.
#[derive(Debug, Clone)]
pub(crate) struct RuntimeSlot(watch::Receiver<Result<Runtime, String>>);

impl RuntimeSlot {
    /// An empty slot and the way to fill it.
    pub(crate) fn new(reason: &str) -> (watch::Sender<Result<Runtime, String>>, RuntimeSlot) {
        let (fill, slot) = watch::channel(Err(reason.to_owned()));
        (fill, RuntimeSlot(slot))
    }

    /// The runtime.
    ///
    /// # Errors
    /// `storage` while there is none yet, with the reason.
    pub(crate) fn get(&self) -> Result<Runtime, StoreError> {
        self.0.borrow().clone().map_err(|reason| StoreError::outage(format!("not ready: {reason}")))
    }
}
