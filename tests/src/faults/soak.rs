//! The soak: faults of every kind, one after the other in random order, for as long as one likes, at one
//! database. Two daemons are at it: what goes wrong with a process goes wrong with the first; the
//! second lives through all of it, and its memory, descriptors and threads are written down.

use std::time::{Duration, Instant};

use dg_admin::wire::{decimal, object};
use dg_projections::json::Json;

use super::checker::{self, Usage};
use super::place::Place;
use super::report::{Outcome, SOAK};
use super::run::{act, guarded};
use super::scenarios::{Scenario, for_soak};
use super::workload::Pace;
use super::{Arena, Dose};

/// Rounds between two looks at everything, for which clients pause.
const ROUNDS: usize = 10;
/// The log grows for hours: slowly.
const PACE: Pace = Pace { operator: 1500, append: 250 };

/// What came of a soak.
#[derive(Debug)]
pub struct Soak {
    /// The whole of it, as one scenario.
    pub outcome: Outcome,
    rounds: usize,
    checks: usize,
    took: Duration,
    usage: Vec<Usage>,
}

/// Goes on for `time`, or until something is wrong; `told` is called after each look at everything.
///
/// # Panics
/// When there is no place for it.
pub fn soak(seed: u64, time: Duration, mut told: impl FnMut(&str)) -> Soak {
    let started = Instant::now();
    let mut arena = Arena::new(seed, Place::Ordinary, 2, PACE).expect("an ordinary place");
    let chosen: Vec<&Scenario> = for_soak().collect();
    let (mut usage, mut rounds, mut checks) = (Vec::new(), 0, 0);
    let mut slowest = Duration::ZERO;
    let counted = loop {
        let counted = guarded(&mut arena, |arena| {
            arena.begin();
            for _ in 0..ROUNDS {
                let scenario = chosen[arena.random.below(chosen.len())];
                act(arena, scenario, &Dose::of(scenario, 1, &[]));
                slowest = slowest.max(arena.heal());
                usage.push(checker::usage(&arena.daemons[1]));
                rounds += 1;
            }
            arena.end();
            checker::check(arena)
        });
        let counted = counted.unwrap_or_default();
        checks += 1;
        told(&format!(
            "{:>6.0} s: {rounds} rounds, {} acknowledged, {} wrong, {}",
            started.elapsed().as_secs_f64(),
            arena.count(),
            arena.told().wrong.len(),
            usage.last().map(Usage::to_string).unwrap_or_default(),
        ));
        if started.elapsed() >= time || !arena.told().wrong.is_empty() {
            break counted;
        }
    };
    let outcome = Outcome::of(&arena, (&counted, slowest));
    let outcome = outcome.named(SOAK, seed, Dose::default());
    Soak { outcome, rounds, checks, took: started.elapsed(), usage }
}

impl Soak {
    /// For programs.
    pub fn to_json(&self) -> Json {
        let of = |value: fn(&Usage) -> u64| {
            let Drift { first, median, last, an_hour } = self.drift(value);
            object([
                ("first", Json::from(first as i64)),
                ("median", Json::from(median as i64)),
                ("last", Json::from(last as i64)),
                ("an_hour", decimal(an_hour)),
            ])
        };
        object([
            ("outcome", self.outcome.to_json()),
            ("seconds", decimal(self.took.as_secs_f64())),
            ("rounds", Json::from(self.rounds as i64)),
            ("checks", Json::from(self.checks as i64)),
            ("memory_kb", of(|usage| usage.memory_kb)),
            ("descriptors", of(|usage| usage.descriptors)),
            ("threads", of(|usage| usage.threads)),
        ])
    }

    /// For people, and for a page.
    pub fn table(&self) -> String {
        let row = |name: &str, value: fn(&Usage) -> u64| {
            let Drift { first, median, last, an_hour } = self.drift(value);
            format!("| {name} | {first} | {median} | {last} | {an_hour:+.1} |\n")
        };
        let minutes = self.took.as_secs_f64() / 60.0;
        let Soak { rounds, checks, .. } = self;
        format!(
            "{minutes:.0} minutes, {rounds} rounds of faults, everything looked at {checks} times; the \
             daemon that lived through it:\n\n| | first | median | last | an hour |\n|---|---|---|---|---|\n"
        ) + &row("memory, kB", |usage| usage.memory_kb)
            + &row("descriptors", |usage| usage.descriptors)
            + &row("threads", |usage| usage.threads)
    }

    fn drift(&self, value: fn(&Usage) -> u64) -> Drift {
        let values: Vec<u64> = self.usage.iter().map(value).collect();
        Drift::of(&values, self.took)
    }
}

/// How a number went over the whole time.
#[derive(Debug, PartialEq)]
struct Drift {
    first: u64,
    median: u64,
    last: u64,
    /// The slope of the line that fits best.
    an_hour: f64,
}

impl Drift {
    fn of(values: &[u64], took: Duration) -> Drift {
        let mut sorted = values.to_vec();
        sorted.sort_unstable();
        let median = sorted.get(sorted.len() / 2).copied().unwrap_or(0);
        let (first, last) = (values.first(), values.last());
        let (first, last) = (first.copied().unwrap_or(0), last.copied().unwrap_or(0));
        let step = took.as_secs_f64() / 3600.0 / values.len().max(1) as f64;
        Drift { first, median, last, an_hour: slope(values) / step.max(f64::MIN_POSITIVE) }
    }
}

/// Of the line through the values that has the least squares, from one value to the next.
fn slope(values: &[u64]) -> f64 {
    let count = values.len() as f64;
    let middle = (count - 1.0) / 2.0;
    let mean = values.iter().map(|value| *value as f64).sum::<f64>() / count.max(1.0);
    let (mut over, mut under) = (0.0, 0.0);
    for (at, value) in values.iter().enumerate() {
        let off = at as f64 - middle;
        over += off * (*value as f64 - mean);
        under += off * off;
    }
    if under > 0.0 { over / under } else { 0.0 }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_drift_is_that_of_the_line_that_fits_best() {
        let hour = Duration::from_secs(3600);
        let drift = |values: &[u64]| Drift::of(values, hour).an_hour;
        assert_eq!(drift(&[]), 0.0);
        assert_eq!(drift(&[7]), 0.0);
        assert_eq!(drift(&[5, 5, 5, 5]), 0.0);
        assert_eq!(drift(&[0, 10, 20, 30]), 40.0);
        let drift = Drift::of(&[4, 9, 1], hour);
        assert_eq!((drift.first, drift.median, drift.last), (4, 4, 1));
    }
}
