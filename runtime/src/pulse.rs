//! How much the process does: counted once more beside the metrics, whose recorder cannot be read
//! and need not be there. For those who show rates.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

static APPENDED: AtomicU64 = AtomicU64::new(0);
static APPLIED: AtomicU64 = AtomicU64::new(0);
static BY_RUNS: AtomicU64 = AtomicU64::new(0);

/// What was done since the process began; never less than before.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Pulse {
    /// Events that were inserted.
    pub appended_events: u64,
    /// Events that live workers applied: each once for each projection.
    pub applied_events: u64,
    /// Events that replays and rebuilds applied.
    pub run_events: u64,
}

impl Pulse {
    /// The counts as they stand.
    #[must_use]
    pub fn now() -> Pulse {
        Pulse {
            appended_events: APPENDED.load(Relaxed),
            applied_events: APPLIED.load(Relaxed),
            run_events: BY_RUNS.load(Relaxed),
        }
    }
}

pub(crate) fn appended(events: usize) {
    APPENDED.fetch_add(events as u64, Relaxed);
}

pub(crate) fn applied(events: usize) {
    APPLIED.fetch_add(events as u64, Relaxed);
}

pub(crate) fn applied_by_run(events: usize) {
    BY_RUNS.fetch_add(events as u64, Relaxed);
}
