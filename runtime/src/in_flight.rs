//! A task that does not outlive whoever began it.

use tokio::task::{JoinError, JoinHandle};

/// Dropped, the task is cut off at its next wait, and what it had begun at the database is rolled
/// back or found by whoever looks next.
#[derive(Debug)]
pub(crate) struct InFlight(JoinHandle<()>);

impl InFlight {
    pub(crate) fn begin(task: impl Future<Output = ()> + Send + 'static) -> InFlight {
        InFlight(tokio::spawn(task))
    }

    /// Waits for its end.
    pub(crate) async fn finished(&mut self) -> Result<(), JoinError> {
        (&mut self.0).await
    }
}

impl Drop for InFlight {
    fn drop(&mut self) {
        self.0.abort();
    }
}
