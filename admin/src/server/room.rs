//! The memory that bodies of requests may take together.
//!
//! Invariants:
//! - root and the daemon's own user have room of their own: nobody else's bodies keep theirs out;
//! - small bodies do not wait behind large ones.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use tokio::sync::{AcquireError, Semaphore, SemaphorePermit};

/// The largest body.
pub(super) const MAX_BYTES: usize = 64 << 20;
/// The largest of the small ones, as nearly all appends of programs are.
const SMALL: usize = 1 << 20;
/// How long to wait for room.
const PATIENCE: Duration = Duration::from_secs(30);
/// What room is counted in: kilobytes.
const UNIT: usize = 1024;

/// What is made of a body takes several times as much.
#[derive(Debug)]
pub(super) struct Room {
    large: Semaphore,
    small: Semaphore,
    waiting: AtomicUsize,
}

impl Room {
    /// For so many of the largest bodies at once, and a share for small ones.
    const fn of(bodies: usize, small: usize) -> Room {
        Room {
            large: Semaphore::const_new(bodies * MAX_BYTES / UNIT),
            small: Semaphore::const_new(small * SMALL / UNIT),
            waiting: AtomicUsize::new(0),
        }
    }

    /// That of root and of the daemon's own user.
    pub(super) const fn own() -> Room {
        Room::of(3, 64)
    }

    /// That of all other users.
    pub(super) const fn of_others() -> Room {
        Room::of(1, 32)
    }

    /// None at all.
    pub(super) const fn none() -> Room {
        Room::of(0, 0)
    }

    /// Whether somebody waits for room.
    pub(super) fn is_waited_for(&self) -> bool {
        self.waiting.load(Ordering::Relaxed) > 0
    }

    /// Takes room for a body of so many bytes; none when there is none in time.
    pub(super) async fn take(&self, bytes: usize) -> Option<SemaphorePermit<'_>> {
        struct Waiting<'a>(&'a AtomicUsize);
        impl Drop for Waiting<'_> {
            fn drop(&mut self) {
                self.0.fetch_sub(1, Ordering::Relaxed);
            }
        }
        let room = if bytes <= SMALL { &self.small } else { &self.large };
        let units = bytes.div_ceil(UNIT) as u32;
        // Who finds room at once has not waited: a slow peer stays while nobody does.
        if let Ok(taken) = room.try_acquire_many(units) {
            return Some(taken);
        }
        self.waiting.fetch_add(1, Ordering::Relaxed);
        let _waiting = Waiting(&self.waiting);
        let taken: Result<Result<_, AcquireError>, _> =
            tokio::time::timeout(PATIENCE, room.acquire_many(units)).await;
        taken.ok()?.ok()
    }
}

#[cfg(test)]
mod tests {
    use std::task::Poll;

    use futures_util::{FutureExt as _, poll};

    use super::*;

    #[tokio::test]
    async fn small_bodies_do_not_wait_behind_large_ones() {
        let room = Room::of_others();
        let large = room.take(MAX_BYTES).await.unwrap();
        let mut another = Box::pin(room.take(SMALL + 1));
        assert!(matches!(poll!(&mut another), Poll::Pending) && room.is_waited_for());
        assert!(room.take(SMALL).now_or_never().flatten().is_some());
        drop(large);
        assert!(another.await.is_some() && !room.is_waited_for());
    }
}
