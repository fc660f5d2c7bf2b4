//! What figures are held against: a first target, which is to be reached, and an aim.
//!
//! The daemon's memory has one limit for all of them; what has no goal is told and not judged.

use super::figure::Sample;

/// The most memory that a daemon may take, in MB.
const MEMORY_MB: f64 = 200.0;

/// What of a figure is judged.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Of {
    /// At least so much of the floor.
    Ratio,
    /// At most so long, in milliseconds.
    P50,
    P99,
    /// At most so much of what was measured besides.
    Measure(&'static str),
}

#[derive(Debug, Clone, Copy)]
struct Goal {
    of: Of,
    target: f64,
    aim: f64,
}

const fn goal(of: Of, target: f64, aim: f64) -> Goal {
    Goal { of, target, aim }
}

/// Names as measurements have them.
const GOALS: [(&str, &[Goal]); 15] = [
    ("append_single", &[goal(Of::Ratio, 0.5, 0.7)]),
    ("append_concurrent_1_tenant", &[goal(Of::Ratio, 0.5, 0.8)]),
    ("append_concurrent_64_tenants", &[goal(Of::Ratio, 0.5, 0.8)]),
    ("import", &[goal(Of::Ratio, 0.6, 0.9)]),
    ("read", &[goal(Of::Ratio, 0.7, 0.9)]),
    ("project", &[goal(Of::Ratio, 0.7, 1.2)]),
    ("rebuild", &[goal(Of::Ratio, 0.8, 2.0)]),
    ("rebuild_1000000", &[goal(Of::Ratio, 0.8, 2.0)]),
    ("lag_200", &[goal(Of::P50, 15.0, 5.0), goal(Of::P99, 100.0, 30.0)]),
    ("lag_1000", &[goal(Of::P50, 15.0, 5.0), goal(Of::P99, 100.0, 30.0)]),
    (
        "idle",
        &[
            goal(Of::Measure("queries/s"), 3.0, 1.0),
            goal(Of::Measure("% of a core"), 2.0, 0.5),
            goal(Of::Measure("MB"), 150.0, 60.0),
        ],
    ),
    ("digest", &[goal(Of::Ratio, 0.5, 0.8)]),
    ("curve_project", &[goal(Of::Ratio, 0.7, 0.9)]),
    ("curve_rebuild", &[goal(Of::Ratio, 0.7, 0.9)]),
    ("tenants", &[goal(Of::Ratio, 0.5, 0.8)]),
];

/// How a figure stands to its goals.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Judged {
    /// In words; none where there is none.
    pub(super) target: Option<String>,
    pub(super) aim: Option<String>,
    /// `aim`, `target` or `no`; none where there is no goal.
    pub(super) reached: Option<String>,
}

/// Holds a round against the goals of its name.
pub(super) fn judge(name: &str, sample: &Sample) -> Judged {
    let Some((_, goals)) = GOALS.iter().find(|(one, _)| *one == name) else {
        return Judged { target: None, aim: None, reached: None };
    };
    let words = |of: fn(&Goal) -> f64| {
        goals.iter().map(|goal| goal.of.words(of(goal))).collect::<Vec<_>>().join(", ")
    };
    let holds = |of: fn(&Goal) -> f64| goals.iter().all(|goal| goal.of.holds(sample, of(goal)));
    let reached = match (holds(|goal| goal.aim), holds(|goal| goal.target)) {
        (true, _) => "aim",
        (false, true) => "target",
        (false, false) => "no",
    };
    let peak_mb = sample.peak_rss_kb as f64 / 1024.0;
    // At rest, what is kept counts, and has a goal of its own.
    let over = if peak_mb > MEMORY_MB && name != "idle" { ", over 200 MB" } else { "" };
    Judged {
        target: Some(words(|goal| goal.target)),
        aim: Some(words(|goal| goal.aim)),
        reached: Some(format!("{reached}{over}")),
    }
}

impl Of {
    fn words(self, value: f64) -> String {
        match self {
            Of::Ratio => format!("{value}"),
            Of::P50 => format!("p50 {value}"),
            Of::P99 => format!("p99 {value}"),
            Of::Measure(name) => format!("{value} {name}"),
        }
    }

    fn holds(self, sample: &Sample, bound: f64) -> bool {
        let at_most = |value: Option<f64>| value.is_some_and(|value| value <= bound);
        match self {
            Of::Ratio => sample.ratio().is_some_and(|ratio| ratio >= bound),
            Of::P50 => at_most(sample.percentile_ms(0.5)),
            Of::P99 => at_most(sample.percentile_ms(0.99)),
            Of::Measure(name) => at_most(sample.measure(name)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    fn reached(name: &str, sample: &Sample) -> Option<String> {
        judge(name, sample).reached
    }

    #[test]
    fn a_ratio_reaches_what_it_is_not_below() {
        for (took_ms, expected) in [(50, "aim"), (150, "target"), (300, "no")] {
            let took = Duration::from_millis(took_ms);
            let floor = Some(Duration::from_millis(100));
            let sample = Sample { events: 1, took, floor, ..Sample::default() };
            assert_eq!(reached("import", &sample).as_deref(), Some(expected), "{took_ms}");
            assert_eq!(reached("export", &sample), None);
        }
    }

    #[test]
    fn all_goals_of_a_figure_are_to_be_reached() {
        for (queries, core, kept, expected) in
            [(1.0, 0.5, 60.0, "aim"), (1.0, 0.5, 61.0, "target"), (3.1, 0.1, 10.0, "no")]
        {
            let measures = vec![("queries/s", queries), ("% of a core", core), ("MB", kept)];
            let sample = Sample { measures, ..Sample::default() };
            assert_eq!(reached("idle", &sample).as_deref(), Some(expected));
        }
        assert_eq!(reached("idle", &Sample::default()).as_deref(), Some("no"));
    }

    #[test]
    fn memory_beyond_the_limit_is_told() {
        let each = vec![Duration::from_millis(4)];
        let sample = Sample { each, peak_rss_kb: 201 * 1024, ..Sample::default() };
        assert_eq!(reached("lag_200", &sample).as_deref(), Some("aim, over 200 MB"));
        assert_eq!(judge("lag_200", &sample).target.as_deref(), Some("p50 15, p99 100"));
    }
}
