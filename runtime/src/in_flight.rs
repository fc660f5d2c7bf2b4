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

/// What the work comes to, or the text of its panic, for whoever is to crash of it. No `async fn`: that would keep
/// room for the work twice.
pub(crate) fn caught<T>(work: impl Future<Output = T>) -> impl Future<Output = Result<T, String>> {
    AssertUnwindSafe(work).catch_unwind().map(|done| done.map_err(|panic| panic_text(&*panic)))
}

fn panic_text(panic: &(dyn Any + Send)) -> String {
    let text = panic
        .downcast_ref::<String>()
        .map(String::as_str)
        .or_else(|| panic.downcast_ref::<&str>().copied());
    format!("panicked: {}", text.unwrap_or("without a message"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn what_is_caught_takes_its_room_once_and_tells_its_panic() {
        let work = async |fails: bool| {
            let room = [u8::from(fails); 4096];
            tokio::task::yield_now().await;
            assert!(room[0] == 0, "it fails");
            room.len()
        };
        let size = size_of_val(&work(false));
        assert!(size >= 4096 && size_of_val(&caught(work(false))) < size + 512);
        assert_eq!(caught(work(false)).await, Ok(4096));
        assert_eq!(caught(work(true)).await, Err("panicked: it fails".to_owned()));
    }
}
