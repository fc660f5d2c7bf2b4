//! Actors that do as they are told, a journal of what happened to them, and waits that end.

#![allow(dead_code, reason = "each test file uses a part of it")]

pub(crate) mod probe;
pub(crate) mod troupe;

use std::sync::{Arc, Condvar, Mutex};
use std::time::Duration;

use tokio::time::{Instant, sleep};

/// Longer than anything here takes, also on a busy machine.
pub(crate) const DEADLINE: Duration = Duration::from_secs(20);

/// Waits for a condition.
pub(crate) async fn until(what: &str, condition: impl Fn() -> bool) {
    let deadline = Instant::now() + DEADLINE;
    while !condition() {
        assert!(Instant::now() < deadline, "waited in vain: {what}");
        sleep(Duration::from_millis(1)).await;
    }
}

/// Waits for a future.
pub(crate) async fn soon<T>(what: &str, future: impl Future<Output = T>) -> T {
    tokio::time::timeout(DEADLINE, future).await.unwrap_or_else(|_| panic!("in vain: {what}"))
}

/// What happened, in order.
#[derive(Debug, Clone, Default)]
pub(crate) struct Journal(Arc<Mutex<Vec<String>>>);

impl Journal {
    pub(crate) fn note(&self, what: impl Into<String>) {
        self.0.lock().unwrap().push(what.into());
    }

    pub(crate) fn entries(&self) -> Vec<String> {
        self.0.lock().unwrap().clone()
    }

    pub(crate) fn count(&self, what: &str) -> usize {
        self.0.lock().unwrap().iter().filter(|entry| *entry == what).count()
    }

    pub(crate) fn has(&self, what: &str) -> bool {
        self.count(what) > 0
    }

    /// Takes what was noted since the last time.
    pub(crate) fn take(&self) -> Vec<String> {
        std::mem::take(&mut self.0.lock().unwrap())
    }

    pub(crate) async fn sees(&self, what: &str) {
        until(&format!("{what} in {self:?}"), || self.has(what)).await;
    }

    pub(crate) async fn sees_times(&self, what: &str, times: usize) {
        until(&format!("{times} x {what} in {self:?}"), || self.count(what) >= times).await;
    }
}

/// A thread that passes waits until it is opened.
#[derive(Debug, Clone, Default)]
pub(crate) struct Gate(Arc<(Mutex<bool>, Condvar)>);

impl Gate {
    pub(crate) fn open(&self) {
        *self.0.0.lock().unwrap() = true;
        self.0.1.notify_all();
    }

    /// Does not await, so that no kill can interrupt it; the runtime's other tasks go on.
    pub(crate) fn pass(&self) {
        let open = self.0.0.lock().unwrap();
        let wait = || self.0.1.wait_timeout_while(open, DEADLINE, |open| !*open).unwrap();
        let (open, _) = tokio::task::block_in_place(wait);
        assert!(*open, "the gate was never opened");
    }
}
