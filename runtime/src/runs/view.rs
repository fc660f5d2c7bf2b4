//! How a run gets on: progress, rate, and how long the rest takes.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use dg_store::{Run, RunStatus};

use super::state::Input;
use super::work::Work;

/// The rate is that of the last so many seconds.
const WINDOW: Duration = Duration::from_secs(10);

/// What a run at work shows of itself; its row may be a moment older.
#[derive(Debug, Clone, Default, PartialEq)]
pub(super) struct RunProgress {
    pub(super) phase: &'static str,
    pub(super) processed_events: i64,
    pub(super) last_log_seq: i64,
    pub(super) events_per_second: Option<f64>,
}

/// Counts what a run has done, and when.
#[derive(Debug)]
pub(super) struct Meter {
    /// By steps that are done.
    done: i64,
    /// Whether the step that the work is at is one of them.
    is_closed: bool,
    /// When how many events were processed, within the window.
    marks: VecDeque<(Instant, i64)>,
}

impl Meter {
    pub(super) fn new(done: i64, now: Instant) -> Meter {
        Meter { done, is_closed: true, marks: VecDeque::from([(now, 0)]) }
    }

    /// What came of an effect.
    pub(super) fn note(&mut self, input: &Input, work: &Work, now: Instant) {
        match input {
            Input::Applied { .. } => self.mark(self.processed(work), now),
            // What was applied before this life is no part of its rate.
            Input::Opened { .. } => {
                self.is_closed = false;
                self.restart(self.processed(work), now);
            }
            Input::Closed => {
                self.done = self.processed(work);
                self.is_closed = true;
            }
            _ => {}
        }
    }

    fn processed(&self, work: &Work) -> i64 {
        self.done + if self.is_closed { 0 } else { work.at.processed() }
    }

    fn restart(&mut self, processed: i64, now: Instant) {
        self.marks = VecDeque::from([(now, processed)]);
    }

    fn mark(&mut self, processed: i64, now: Instant) {
        self.marks.push_back((now, processed));
        while self.marks.len() > 2 && self.marks.get(1).is_some_and(|(at, _)| now - *at > WINDOW) {
            self.marks.pop_front();
        }
    }

    fn rate(&self) -> Option<f64> {
        let ((start, before), (end, after)) = (*self.marks.front()?, *self.marks.back()?);
        let seconds = (end - start).as_secs_f64();
        (seconds > 0.0).then(|| (after - before).max(0) as f64 / seconds)
    }

    pub(super) fn progress(&self, work: &Work) -> RunProgress {
        RunProgress {
            phase: work.phase,
            processed_events: self.processed(work),
            last_log_seq: work.at.last_log_seq(),
            events_per_second: self.rate(),
        }
    }
}

/// A run, and how it gets on.
#[derive(Debug, Clone, PartialEq)]
pub struct RunView {
    /// The run.
    pub run: Run,
    /// Events a second: of late while it runs here, else over all its lives; none before it began.
    pub events_per_second: Option<f64>,
    /// How long it takes to apply the rest at this rate; none where that cannot be told.
    pub eta_seconds: Option<f64>,
}

impl RunView {
    /// A run as its row has it, brought up to date by whoever is at it here.
    pub(super) fn new(mut run: Run, progress: Option<&RunProgress>) -> RunView {
        let seconds = run.work_ms as f64 / 1e3;
        let over_all = (seconds > 0.0).then(|| run.processed_events as f64 / seconds);
        let mut rate = over_all;
        if let Some(progress) =
            progress.filter(|one| run.status == RunStatus::Running && !one.phase.is_empty())
        {
            run.phase = Some(progress.phase.to_owned());
            run.processed_events = run.processed_events.max(progress.processed_events);
            run.last_log_seq = progress.last_log_seq;
            rate = progress.events_per_second.or(over_all);
        }
        let left = run.total_events.map(|total| (total - run.processed_events).max(0) as f64);
        let rate_to_go = rate.filter(|rate| *rate > 0.0 && run.status.is_active());
        let eta_seconds = rate_to_go.zip(left).map(|(rate, left)| left / rate);
        RunView { run, events_per_second: rate, eta_seconds }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_rate_is_that_of_the_last_seconds_of_this_life() {
        let start = Instant::now();
        let at = |seconds| start + Duration::from_secs(seconds);
        let mut meter = Meter::new(0, start);
        assert_eq!(meter.rate(), None);
        meter.restart(1_000, start);
        meter.mark(1_500, at(1));
        assert_eq!(meter.rate(), Some(500.0));
        for second in 2..=30 {
            meter.mark(1_500 + 100 * (second as i64 - 1), at(second));
        }
        assert_eq!(meter.rate(), Some(100.0));
        assert!(meter.marks.len() < 15);
    }
}
