//! The last minutes of the daemon, a sample a second: what charts draw when nobody has recorded it
//! elsewhere.
//!
//! Invariants: it costs neither a query nor a message to an actor; it is bounded, and it goes on
//! while the database is away.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use dg_runtime::{DatabaseState, Pulse};
use time::OffsetDateTime;
use tokio::sync::watch;

use crate::server::RuntimeSlot;

/// From one sample to the next.
const STEP: Duration = Duration::from_secs(1);
/// Samples that are kept: ten minutes.
pub(crate) const MOST_SAMPLES: usize = 600;

/// What one step has seen.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Sample {
    /// When the step ended.
    pub(crate) at: OffsetDateTime,
    /// Events inserted a second.
    pub(crate) appended_per_second: f64,
    /// Events that live workers applied a second, each once for each projection.
    pub(crate) applied_per_second: f64,
    /// Events that replays and rebuilds applied a second.
    pub(crate) run_events_per_second: f64,
    /// The longest from the recording of an event until readers saw it; zero where none was recorded.
    pub(crate) visible_after: Duration,
    /// Whether the database was there at its end.
    pub(crate) is_database_up: bool,
}

/// The samples, for whoever asks.
#[derive(Debug, Clone, Default)]
pub(crate) struct History(Arc<Mutex<VecDeque<Sample>>>);

impl History {
    /// The last `most` samples, the oldest first.
    pub(crate) fn last(&self, most: usize) -> Vec<Sample> {
        let samples = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        samples.iter().skip(samples.len().saturating_sub(most)).cloned().collect()
    }

    fn add(&self, sample: Sample) {
        let mut samples = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if samples.len() == MOST_SAMPLES {
            samples.pop_front();
        }
        samples.push_back(sample);
    }

    /// Takes samples until told to stop.
    pub(crate) async fn take(self, runtime: RuntimeSlot, mut stop: watch::Receiver<bool>) {
        let (mut before, mut began) = (Pulse::now(), Instant::now());
        while tokio::time::timeout(STEP, stop.wait_for(|stop| *stop)).await.is_err() {
            let (now, ended) = (Pulse::now(), Instant::now());
            let (visible_after, is_database_up) = runtime.get().map_or_else(
                |_| (Duration::ZERO, false),
                |runtime| (runtime.live_lag(), runtime.gate().state() == DatabaseState::Up),
            );
            let rates = rates(before, now, ended - began);
            self.add(sample(rates, visible_after, is_database_up));
            (before, began) = (now, ended);
        }
    }
}

fn sample(rates: [f64; 3], visible_after: Duration, is_database_up: bool) -> Sample {
    let [appended_per_second, applied_per_second, run_events_per_second] = rates;
    Sample {
        at: OffsetDateTime::now_utc(),
        appended_per_second,
        applied_per_second,
        run_events_per_second,
        visible_after,
        is_database_up,
    }
}

/// What was appended, applied and applied by runs in a second of `took`: a step may be late.
fn rates(before: Pulse, now: Pulse, took: Duration) -> [f64; 3] {
    let a_second = |before: u64, now: u64| (now - before) as f64 / took.as_secs_f64().max(1e-9);
    [
        a_second(before.appended_events, now.appended_events),
        a_second(before.applied_events, now.applied_events),
        a_second(before.run_events, now.run_events),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rate_is_what_was_done_by_the_time_it_took() {
        let before = Pulse { appended_events: 10, applied_events: 30, run_events: 0 };
        let now = Pulse { appended_events: 30, applied_events: 90, run_events: 5 };
        assert_eq!(rates(before, now, Duration::from_secs(2)), [10.0, 30.0, 2.5]);
        assert_eq!(rates(now, now, Duration::from_secs(1)), [0.0, 0.0, 0.0]);
    }

    #[test]
    fn the_oldest_samples_make_room() {
        let history = History::default();
        for rate in 0..=MOST_SAMPLES {
            history.add(sample([rate as f64, 0.0, 0.0], Duration::ZERO, true));
        }
        let rates = |most| -> Vec<f64> {
            history.last(most).iter().map(|sample| sample.appended_per_second).collect()
        };
        assert_eq!(rates(2), [(MOST_SAMPLES - 1) as f64, MOST_SAMPLES as f64]);
        assert_eq!(rates(usize::MAX).len(), MOST_SAMPLES);
        assert_eq!(rates(usize::MAX)[0], 1.0);
    }
}
