//! How runs give way: what they may use of the database shrinks while live workers are slower than
//! their goal.
//!
//! The lag is that of the workers' own commits, from the recording of an event to the moment when
//! readers see it. Where nobody appends there is none, and runs may use their whole share.
//!
//! Invariants:
//! - all runs together rest in proportion to what they have used of the database; that they waited for
//!   it counts for nothing, so a run that is held back is never held back for that;
//! - whoever has a turn is done in bounded time, so nobody waits for ever.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// Appended to visible, as users of a quiet daemon know it.
const GOAL: Duration = Duration::from_millis(100);
/// The lag that counts is the longest of the last one to two of these.
const WINDOW: Duration = Duration::from_secs(1);
/// However long they worked, they get a turn so often.
const LONGEST_PAUSE: Duration = Duration::from_secs(2);

/// The turns of runs at the database: so many at once.
#[derive(Debug)]
pub(crate) struct Turns {
    free: Arc<Semaphore>,
    most: usize,
    lag: LiveLag,
}

/// A turn, until it is dropped.
pub(crate) type Turn = OwnedSemaphorePermit;

impl Turns {
    pub(crate) fn new(most: usize) -> Turns {
        Turns { free: Arc::new(Semaphore::new(most)), most, lag: LiveLag::new() }
    }

    /// Turns there are at once.
    pub(crate) const fn most(&self) -> usize {
        self.most
    }

    /// A worker's batch became visible so long after it was appended.
    pub(crate) fn note_lag(&self, lag: Duration) {
        self.lag.note(lag, Instant::now());
    }

    /// The longest lag of late.
    pub(crate) fn live_lag(&self) -> Duration {
        self.lag.recent(Instant::now())
    }

    /// The next turn, in the order of asking; none when they are closed. While live workers are slower
    /// than their goal one is worth several.
    pub(crate) async fn take(&self) -> Option<Turn> {
        let worth = self.most / share(self.live_lag(), self.most);
        let worth = u32::try_from(worth).unwrap_or(1);
        self.free.clone().acquire_many_owned(worth).await.ok()
    }

    /// Keeps a turn, whose work took so long, for as long as runs are to rest after it.
    pub(crate) fn rest(&self, turn: Turn, took: Duration) {
        let rest = rest(self.live_lag(), took);
        if !rest.is_zero() {
            tokio::spawn(async move {
                tokio::time::sleep(rest).await;
                drop(turn);
            });
        }
    }

    pub(crate) fn close(&self) {
        self.free.close();
    }
}

/// The longest lag of late.
#[derive(Debug)]
struct LiveLag(Mutex<Windows>);

#[derive(Debug)]
struct Windows {
    began: Instant,
    now: Duration,
    before: Duration,
}

impl LiveLag {
    fn new() -> LiveLag {
        let (now, before) = (Duration::ZERO, Duration::ZERO);
        LiveLag(Mutex::new(Windows { began: Instant::now(), now, before }))
    }

    fn note(&self, lag: Duration, at: Instant) {
        let mut windows = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        windows.turn(at);
        windows.now = windows.now.max(lag);
    }

    /// The longest lag that was noted a moment ago.
    fn recent(&self, at: Instant) -> Duration {
        let mut windows = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        windows.turn(at);
        windows.now.max(windows.before)
    }
}

impl Windows {
    fn turn(&mut self, at: Instant) {
        match at.saturating_duration_since(self.began) {
            passed if passed < WINDOW => return,
            passed if passed < 2 * WINDOW => self.before = self.now,
            _ => self.before = Duration::ZERO,
        }
        (self.began, self.now) = (at, Duration::ZERO);
    }
}

/// How many connections runs may use at once, of `most`: half for each doubling of the lag beyond
/// its goal, and one at least.
fn share(lag: Duration, most: usize) -> usize {
    let mut share = most;
    let mut bearable = GOAL;
    while share > 1 && lag > bearable {
        share /= 2;
        bearable *= 2;
    }
    share.max(1)
}

/// How long runs rest after they have kept the database at work for so long: not at all while the goal
/// is kept, and never for longer than they worked. By then one of them works at a time: with half of one
/// connection they still get ahead of those who append.
fn rest(lag: Duration, took: Duration) -> Duration {
    if lag <= GOAL {
        return Duration::ZERO;
    }
    let excess = lag.as_secs_f64() / GOAL.as_secs_f64() - 1.0;
    took.mul_f64(excess.min(1.0)).min(LONGEST_PAUSE)
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn ms(ms: u64) -> Duration {
        Duration::from_millis(ms)
    }

    #[test]
    fn the_share_shrinks_with_the_lag_and_never_to_nothing() {
        for (lag, most, expected) in [
            (0, 4, 4),
            (100, 4, 4),
            (101, 4, 2),
            (200, 4, 2),
            (201, 4, 1),
            (60_000, 4, 1),
            (60_000, 1, 1),
            (150, 7, 3),
        ] {
            assert_eq!(share(ms(lag), most), expected, "{lag} ms, {most}");
        }
    }

    #[test]
    fn a_run_rests_while_live_workers_are_behind_their_goal() {
        for (lag, took, expected) in [
            (0, 500, 0),
            (100, 500, 0),
            (150, 500, 250),
            (200, 400, 400),
            (300, 400, 400),
            (60_000, 4_000, 2_000),
        ] {
            assert_eq!(rest(ms(lag), ms(took)), ms(expected), "{lag} ms, {took} ms");
        }
    }

    #[test]
    fn a_lag_counts_for_one_to_two_windows() {
        let (lag, start) = (LiveLag::new(), Instant::now());
        lag.note(ms(300), start);
        lag.note(ms(20), start + ms(100));
        assert_eq!(lag.recent(start + ms(900)), ms(300));
        lag.note(ms(50), start + ms(1_500));
        assert_eq!(lag.recent(start + ms(1_600)), ms(300));
        assert_eq!(lag.recent(start + ms(2_600)), ms(50));
        assert_eq!(lag.recent(start + ms(9_000)), Duration::ZERO);
    }

    #[tokio::test]
    async fn runs_rest_after_work_while_live_workers_are_late_and_not_before() {
        let turns = Turns::new(2);
        let turn = turns.take().await.unwrap();
        turns.rest(turn, ms(10_000));
        assert_eq!(turns.free.available_permits(), 2, "nobody is late");

        turns.note_lag(ms(200));
        let turn = turns.take().await.unwrap();
        assert_eq!(turns.free.available_permits(), 0, "one is worth both");
        let began = Instant::now();
        turns.rest(turn, ms(40));
        drop(turns.take().await.unwrap());
        assert!(began.elapsed() >= ms(40));

        let turn = turns.take().await.unwrap();
        turns.rest(turn, Duration::ZERO);
        assert_eq!(turns.free.available_permits(), 2, "what took no time is not rested after");
        turns.close();
        assert!(turns.take().await.is_none());
    }
}
