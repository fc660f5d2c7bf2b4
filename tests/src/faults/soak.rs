//! The soak: faults of scenarios at random, one after the other, against one arena for a long time. After
//! each everything is checked, and what the daemon takes is written down.

use std::fmt::Write as _;
use std::time::{Duration, Instant};

use dg_admin::wire::{decimal, object};
use dg_projections::json::Json;

use super::checker::{Counted, check, taken};
use super::place::Place;
use super::workload::Pace;
use super::{Arena, Outcome, SCENARIOS, Scenario};
use crate::Random;

/// A log that grows slowly enough to be proven again and again.
const PACE: Pace = Pace { operator: 400, append: 250 };
/// From a start of the clients to its fault.
const CALM: Duration = Duration::from_secs(2);

/// What a daemon takes at rest.
#[derive(Debug, Clone, Copy)]
pub(super) struct Taken {
    pub(super) memory_kb: u64,
    pub(super) descriptors: u64,
    pub(super) connections: u64,
}

/// What came of a soak.
#[derive(Debug)]
pub struct Soak {
    /// What a scenario is told of; its faults are those of all.
    pub outcome: Outcome,
    /// How many faults of which scenario there were.
    rounds: Vec<&'static str>,
    samples: Vec<(Duration, Taken)>,
}

/// Those whose faults can come in any order in one place.
fn candidates() -> Vec<&'static Scenario> {
    let can = |scenario: &&Scenario| scenario.place == Place::Ordinary && scenario.is_short;
    SCENARIOS.iter().filter(can).collect()
}

/// Soaks for so long.
///
/// # Panics
/// When the arena cannot be had, or a client does not come back.
pub fn soak(seed: u64, long: Duration) -> Soak {
    let started = Instant::now();
    let mut arena = Arena::new(seed, Place::Ordinary, 1, PACE).expect("an ordinary place");
    let mut random = Random::from_seed(seed);
    let (mut rounds, mut samples) = (Vec::new(), Vec::new());
    let (mut counted, mut recovery) = (Counted::default(), Duration::ZERO);
    while started.elapsed() < long && arena.told().wrong.is_empty() {
        let scenario = *random.pick(&candidates());
        arena.begin();
        arena.pass_about(CALM);
        (scenario.act)(&mut arena, 1);
        recovery = recovery.max(arena.heal());
        arena.end();
        counted = check(&mut arena);
        rounds.push(scenario.name);
        samples.push((started.elapsed(), taken(&arena)));
        progress(&rounds, &samples, &arena);
    }
    let outcome = Outcome::of("soak", seed, &arena, &counted, recovery);
    Soak { outcome, rounds, samples }
}

#[allow(clippy::print_stderr, reason = "a tool of the tests")]
fn progress(rounds: &[&str], samples: &[(Duration, Taken)], arena: &Arena) {
    if let (Some(name), Some((at, taken))) = (rounds.last(), samples.last()) {
        let (seconds, events) = (at.as_secs(), arena.count());
        eprintln!("{seconds:>6} s  {name:<20} {events:>8} acknowledged  {taken:?}");
    }
}

/// A series in four figures: first, median, last, and how much it grows in an hour.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Figures {
    first: f64,
    median: f64,
    last: f64,
    slope: f64,
}

/// None of nothing. The slope is that of the straight line that is nearest.
fn figures(series: &[(f64, f64)]) -> Option<Figures> {
    let (first, last) = (series.first()?.1, series.last()?.1);
    let mut sorted: Vec<f64> = series.iter().map(|(_, value)| *value).collect();
    sorted.sort_by(f64::total_cmp);
    let count = series.len() as f64;
    let mean = |of: fn(&(f64, f64)) -> f64| series.iter().map(of).sum::<f64>() / count;
    let (at, of) = (mean(|(hours, _)| *hours), mean(|(_, value)| *value));
    let spread: f64 = series.iter().map(|(hours, _)| (hours - at).powi(2)).sum();
    let together: f64 = series.iter().map(|(hours, value)| (hours - at) * (value - of)).sum();
    let slope = if spread > 0.0 { together / spread } else { 0.0 };
    Some(Figures { first, median: sorted[sorted.len() / 2], last, slope })
}

impl Soak {
    fn all_figures(&self) -> Vec<(&'static str, Figures)> {
        let series = |of: fn(&Taken) -> u64| {
            let sample =
                |(at, taken): &(Duration, Taken)| (at.as_secs_f64() / 3600.0, of(taken) as f64);
            figures(&self.samples.iter().map(sample).collect::<Vec<_>>())
        };
        [
            ("memory (kB)", series(|taken| taken.memory_kb)),
            ("descriptors", series(|taken| taken.descriptors)),
            ("connections", series(|taken| taken.connections)),
        ]
        .into_iter()
        .filter_map(|(name, figures)| Some((name, figures?)))
        .collect()
    }

    /// For people, as a table of a page.
    pub fn page(&self) -> String {
        let mut text = String::from(
            "| at rest after each fault | first | median | last | an hour |\n|---|---|---|---|---|\n",
        );
        for (name, Figures { first, median, last, slope }) in self.all_figures() {
            // Writing to a string does not fail.
            let _ =
                writeln!(text, "| {name} | {first:.0} | {median:.0} | {last:.0} | {slope:+.1} |");
        }
        let mut names = self.rounds.clone();
        names.sort_unstable();
        let told = names.chunk_by(|one, next| one == next);
        let told: Vec<String> = told.map(|same| format!("{} {}", same.len(), same[0])).collect();
        let _ = writeln!(text, "\n{} faults: {}", self.rounds.len(), told.join(", "));
        text
    }

    /// For programs.
    pub fn to_json(&self) -> Json {
        let of = |Figures { first, median, last, slope }: Figures| {
            object([
                ("first", decimal(first)),
                ("median", decimal(median)),
                ("last", decimal(last)),
                ("slope_per_hour", decimal(slope)),
            ])
        };
        let taken = self.all_figures().into_iter().map(|(name, one)| (name.to_owned(), of(one)));
        object([
            ("outcome", self.outcome.to_json()),
            ("rounds", Json::Array(self.rounds.iter().map(|name| Json::from(*name)).collect())),
            ("taken", Json::Object(taken.collect())),
        ])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_tell_a_flat_series_from_one_that_grows() {
        assert_eq!(figures(&[]), None);
        let flat = figures(&[(0.0, 5.0), (0.5, 7.0), (1.0, 5.0)]).unwrap();
        assert_eq!(flat, Figures { first: 5.0, median: 5.0, last: 5.0, slope: 0.0 });
        let grows = figures(&[(0.0, 1.0), (1.0, 3.0), (2.0, 5.0)]).unwrap();
        assert_eq!(grows, Figures { first: 1.0, median: 3.0, last: 5.0, slope: 2.0 });
    }
}
