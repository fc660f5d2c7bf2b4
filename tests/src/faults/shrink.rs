//! Of what has failed, the smallest that still fails: fewer fail points, fewer rounds. A real database
//! and a real clock never go the same way twice, so that one that holds may only have been lucky: it is
//! told how many were tried, and nothing is promised.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use dg_store::failpoint::Point;

use super::{Dose, Outcome};

/// Doses that are tried.
const MOST: usize = 6;
/// No other is begun after this.
const TIME: Duration = Duration::from_secs(120);

/// What was found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Shrunk {
    /// The smallest dose that has failed.
    pub dose: Dose,
    /// How many smaller ones were tried.
    pub tried: usize,
    /// Whether others were left untried, for want of time.
    pub is_cut_short: bool,
}

/// Runs smaller and smaller doses of a scenario that has failed.
pub fn shrink(failed: &Outcome, mut run: impl FnMut(&Dose) -> Outcome) -> Shrunk {
    let began = Instant::now();
    let has_time = || began.elapsed() < TIME;
    shrink_by(&failed.dose, failed.found_at, has_time, |dose| !run(dose).wrong.is_empty())
}

fn shrink_by(
    dose: &Dose,
    suspect: Option<Point>,
    has_time: impl Fn() -> bool,
    mut fails: impl FnMut(&Dose) -> bool,
) -> Shrunk {
    let mut shrunk = Shrunk { dose: dose.clone(), tried: 0, is_cut_short: false };
    let (mut rest, mut held) = (VecDeque::from(smaller(dose, suspect)), Vec::new());
    while let Some(next) = rest.pop_front() {
        if shrunk.tried == MOST || !has_time() {
            return Shrunk { is_cut_short: true, ..shrunk };
        }
        shrunk.tried += 1;
        if !fails(&next) {
            held.push(next);
            continue;
        }
        rest = smaller(&next, suspect).into();
        rest.retain(|dose| !held.contains(dose));
        shrunk.dose = next;
    }
    shrunk
}

/// Smaller doses, the most likely first: the fail point where it was seen that something is wrong, the
/// one before it, either half of all; then fewer rounds.
fn smaller(dose: &Dose, suspect: Option<Point>) -> Vec<Dose> {
    let points = &dose.points;
    let mut parts: Vec<&[Point]> = Vec::new();
    if let Some(at) = points.iter().position(|point| Some(*point) == suspect) {
        parts.extend([&points[at..=at], &points[at.saturating_sub(1)..at]]);
    }
    let (early, late) = points.split_at(points.len() / 2);
    parts.extend([early, late]);
    let is_part = |part: &&[Point]| !part.is_empty() && part.len() < points.len();
    let narrow =
        |part: &[Point]| Dose { points: part.to_vec(), is_narrow: true, rounds: dose.rounds };
    let mut doses: Vec<Dose> = parts.into_iter().filter(is_part).map(narrow).collect();
    let fewer = [1, dose.rounds.saturating_sub(1)];
    let fewer = fewer.into_iter().filter(|rounds| (1..dose.rounds).contains(rounds));
    doses.extend(fewer.map(|rounds| Dose { rounds, ..dose.clone() }));
    doses.dedup();
    doses
}

#[cfg(test)]
mod tests {
    use super::*;

    const POINTS: [Point; 5] = [
        Point::StartBefore,
        Point::AppendCommitBefore,
        Point::CommitBefore,
        Point::CommitAfter,
        Point::RunEndAfter,
    ];

    fn all(rounds: usize) -> Dose {
        Dose { rounds, points: POINTS.to_vec(), is_narrow: false }
    }

    /// What is left of all, and how many were tried, where this fails and that is suspected.
    fn left(
        rounds: usize,
        suspect: Option<Point>,
        fails: impl Fn(&Dose) -> bool,
    ) -> (String, usize, bool) {
        let shrunk = shrink_by(&all(rounds), suspect, || true, fails);
        (shrunk.dose.flags(), shrunk.tried, shrunk.is_cut_short)
    }

    #[test]
    fn what_is_to_blame_is_found_by_suspicion_or_by_halves() {
        let has = |point: Point| move |dose: &Dose| dose.points.contains(&point);
        for (suspect, expected) in [
            (Some(Point::CommitAfter), (" --point commit_after", 1, false)),
            // Seen one point later than it was done.
            (Some(Point::RunEndAfter), (" --point commit_after", 2, false)),
            (None, (" --point commit_after", 5, false)),
        ] {
            let (flags, tried, is_cut_short) = left(1, suspect, has(Point::CommitAfter));
            assert_eq!((flags.as_str(), tried, is_cut_short), expected, "{suspect:?}");
        }
    }

    #[test]
    fn what_takes_two_points_or_all_rounds_is_not_made_smaller_than_that() {
        let both = |dose: &Dose| {
            dose.points.contains(&Point::StartBefore) && dose.points.contains(&Point::RunEndAfter)
        };
        assert_eq!(left(1, None, both), (String::new(), 2, false));
        let (flags, ..) = left(3, Some(Point::CommitBefore), |dose| {
            dose.rounds >= 2 && dose.points.contains(&Point::CommitBefore)
        });
        assert_eq!(flags, " --rounds 2 --point commit_before");
        assert_eq!(left(1, None, |_| false), (String::new(), 2, false));
    }

    #[test]
    fn it_ends_in_time_and_says_so() {
        let late = shrink_by(&all(3), None, || false, |_| true);
        assert_eq!((late.tried, late.is_cut_short), (0, true));
        let every = Dose { points: Point::ALL.to_vec(), ..all(1) };
        let last = |dose: &Dose| dose.points.last() == Point::ALL.last();
        let many = shrink_by(&every, None, || true, last);
        assert_eq!((many.tried, many.is_cut_short), (MOST, true));
        assert!(last(&many.dose) && many.dose.points.len() < Point::ALL.len() / 4, "{many:?}");
    }

    #[test]
    fn a_dose_without_points_and_of_one_round_has_nothing_smaller() {
        let one = Dose { rounds: 1, ..Dose::default() };
        assert_eq!(smaller(&one, None), []);
        assert_eq!(smaller(&Dose { rounds: 2, ..one.clone() }, None), [one]);
    }
}
