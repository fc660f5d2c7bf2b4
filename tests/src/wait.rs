//! Waits on conditions.

use std::time::{Duration, Instant};

/// No condition of these tests takes longer, on a slow machine with other work.
const DEADLINE: Duration = Duration::from_secs(60);
const PAUSE: Duration = Duration::from_millis(20);

/// Waits until `condition` gives something.
///
/// # Panics
/// When it has not by the deadline.
#[track_caller]
pub fn until<T>(what: &str, mut condition: impl FnMut() -> Option<T>) -> T {
    let started = Instant::now();
    loop {
        if let Some(found) = condition() {
            return found;
        }
        assert!(started.elapsed() < DEADLINE, "did not happen in {DEADLINE:?}: {what}");
        std::thread::sleep(PAUSE);
    }
}

/// The same for a condition that must be awaited.
///
/// # Panics
/// When it has not come true by the deadline.
pub async fn eventually<T, F: Future<Output = Option<T>>>(
    what: &str,
    mut condition: impl FnMut() -> F,
) -> T {
    let started = Instant::now();
    loop {
        if let Some(found) = condition().await {
            return found;
        }
        assert!(started.elapsed() < DEADLINE, "did not happen in {DEADLINE:?}: {what}");
        tokio::time::sleep(PAUSE).await;
    }
}
