//! A task that does not outlive whoever began it.

use std::any::Any;
use std::panic::AssertUnwindSafe;

use futures_util::FutureExt as _;
use tokio::task::{JoinError, JoinHandle};

/// Dropped, the task is cut off at its next wait, and what it had begun at the database is rolled
/// back or found by whoever looks next.
#[derive(Debug)]
pub(crate) struct InFlight(JoinHandle<()>);

impl InFlight {
    pub(crate) fn begin(task: impl Future<Output = ()> + Send + 'static) -> InFlight {
        InFlight(tokio::spawn(task))
    }

    /// Cuts it off, and waits until nothing of it is left.
    pub(crate) async fn cut(mut self) {
        self.0.abort();
        // It was cut off, has ended before, or has panicked, which is its own report.
        let _ = (&mut self.0).await;
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

/// What the work comes to, or the text of its panic, for whoever is to crash of it.
pub(crate) async fn caught<T>(work: impl Future<Output = T>) -> Result<T, String> {
    AssertUnwindSafe(work).catch_unwind().await.map_err(|panic| panic_text(&*panic))
}

fn panic_text(panic: &(dyn Any + Send)) -> String {
    let text = panic
        .downcast_ref::<String>()
        .map(String::as_str)
        .or_else(|| panic.downcast_ref::<&str>().copied());
    format!("panicked: {}", text.unwrap_or("without a message"))
}
