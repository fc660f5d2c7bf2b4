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
pub fn until<T>(what: &str, condition: impl FnMut() -> Option<T>) -> T {
    try_until(DEADLINE, condition)
        .unwrap_or_else(|| panic!("did not happen in {DEADLINE:?}: {what}"))
}

/// Waits until `condition` gives something; none when it has not by the deadline.
pub fn try_until<T>(deadline: Duration, mut condition: impl FnMut() -> Option<T>) -> Option<T> {
    let started = Instant::now();
    loop {
        if let Some(found) = condition() {
            return Some(found);
        }
        if started.elapsed() > deadline {
            return None;
        }
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
