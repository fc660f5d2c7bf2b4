//! How runs give way: what they may use of the database shrinks while live workers are slower than
//! their goal.
//!
//! The lag is that of the workers' own commits, from the recording of an event to the moment when
//! readers see it. Where nobody appends there is none, and runs may use their whole share.

use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// Appended to visible, as users of a quiet daemon know it.
pub(crate) const GOAL: Duration = Duration::from_millis(100);
/// The lag that counts is the longest of the last one to two of these.
const WINDOW: Duration = Duration::from_secs(1);
/// However long the lag, a run gets a turn so often.
const LONGEST_PAUSE: Duration = Duration::from_secs(2);

/// The longest lag of late.
#[derive(Debug)]
pub(crate) struct LiveLag(Mutex<Windows>);

#[derive(Debug)]
struct Windows {
    began: Instant,
    now: Duration,
    before: Duration,
}

impl LiveLag {
    pub(crate) fn new() -> LiveLag {
        let (now, before) = (Duration::ZERO, Duration::ZERO);
        LiveLag(Mutex::new(Windows { began: Instant::now(), now, before }))
    }

    /// A worker's batch became visible so long after it was appended.
    pub(crate) fn note(&self, lag: Duration, at: Instant) {
        let mut windows = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        windows.turn(at);
        windows.now = windows.now.max(lag);
    }

    /// The longest lag that was noted a moment ago.
    pub(crate) fn recent(&self, at: Instant) -> Duration {
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
pub(crate) fn share(lag: Duration, most: usize) -> usize {
    let mut share = most;
    let mut bearable = GOAL;
    while share > 1 && lag > bearable {
        share /= 2;
        bearable *= 2;
    }
    share.max(1)
}

/// How long a run rests after a page that took so long: not at all while the goal is kept, then
/// more than it works.
pub(crate) fn rest(lag: Duration, took: Duration) -> Duration {
    if lag <= GOAL {
        return Duration::ZERO;
    }
    let excess = lag.as_secs_f64() / GOAL.as_secs_f64() - 1.0;
    took.mul_f64(excess.min(4.0)).min(LONGEST_PAUSE)
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
            (300, 400, 800),
            (60_000, 400, 1_600),
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
}
