//! Runs a scenario, whatever becomes of it: where the harness panics, that is a violation of this
//! scenario, and what it had started is stopped. Others can go on.

use std::fmt::Write as _;
use std::panic::{AssertUnwindSafe, catch_unwind};

use dg_store::failpoint::Point;

use super::scenarios::Scenario;
use super::{Arena, Outcome, checker};

/// How much of a scenario is run.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Dose {
    /// How many times over each fault comes.
    pub rounds: usize,
    /// The fail points that it goes by, if it goes by some.
    pub points: Vec<Point>,
    /// Whether they are not all that it could go by.
    pub is_narrow: bool,
}

impl Dose {
    /// All that a scenario has, or these of its fail points alone.
    pub fn of(scenario: &Scenario, rounds: usize, only: &[Point]) -> Dose {
        let is_wanted = |point: &Point| only.is_empty() || only.contains(point);
        let own = Point::ALL.iter().copied().filter(|point| scenario.goes_by(*point));
        let points = own.filter(is_wanted).collect();
        Dose { rounds, points, is_narrow: !only.is_empty() }
    }

    /// What the tool is to be given to run so much again.
    pub fn flags(&self) -> String {
        let mut flags = String::new();
        // Writing to a string does not fail.
        if self.rounds != 1 {
            let _ = write!(flags, " --rounds {}", self.rounds);
        }
        if self.is_narrow {
            let names: Vec<&str> = self.points.iter().map(|point| point.name()).collect();
            let _ = write!(flags, " --point {}", names.join(","));
        }
        flags
    }
}

/// Runs a scenario; what came of it.
pub fn run(scenario: &Scenario, seed: u64, dose: &Dose) -> Outcome {
    let built = caught(|| Arena::new(seed, scenario.place, scenario.daemons, scenario.pace));
    let outcome = match built {
        Ok(Ok(arena)) => run_in(arena, scenario, dose),
        Ok(Err(missing)) => Outcome::skipped(missing),
        Err(panic) => Outcome::without_a_place(panic),
    };
    outcome.named(scenario.name, seed, dose.clone())
}

fn run_in(mut arena: Arena, scenario: &Scenario, dose: &Dose) -> Outcome {
    let ran = guarded(&mut arena, |arena| {
        arena.begin();
        act(arena, scenario, dose);
        let recovery = arena.heal();
        arena.end();
        (checker::check(arena), recovery)
    });
    let (counted, recovery) = ran.unwrap_or_default();
    Outcome::of(&arena, (&counted, recovery))
}

/// Lets it go wrong.
pub(super) fn act(arena: &mut Arena, scenario: &Scenario, dose: &Dose) {
    arena.set_points(&dose.points);
    (scenario.act)(arena, dose.rounds);
}

/// Does something in an arena; a panic is written down as what must not be, and gives nothing. What it
/// leaves half done goes with the arena.
pub(super) fn guarded<T>(arena: &mut Arena, what: impl FnOnce(&mut Arena) -> T) -> Option<T> {
    match caught(|| what(arena)) {
        Ok(done) => Some(done),
        Err(panic) => {
            arena.wrong(panic);
            None
        }
    }
}

/// What a panic said.
fn caught<T>(what: impl FnOnce() -> T) -> Result<T, String> {
    catch_unwind(AssertUnwindSafe(what)).map_err(|panic| {
        let said = panic.downcast_ref::<String>().map(String::as_str);
        let said = said.or_else(|| panic.downcast_ref::<&str>().copied());
        format!("the harness panicked: {}", said.unwrap_or("without a word"))
    })
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;
    use std::sync::Mutex;

    use super::*;
    use crate::faults::scenarios::scenario;

    /// What the daemon and the server of the scenario below run as.
    static STARTED: Mutex<Vec<PathBuf>> = Mutex::new(Vec::new());

    fn once() -> Dose {
        Dose { rounds: 1, ..Dose::default() }
    }

    #[test]
    fn a_scenario_that_panics_is_a_violation_and_leaves_nothing_running() {
        let panics = scenario("panics", "the harness panics", |arena, _| {
            // Held until its process was looked at: with the session that goes.
            let session = arena.sql();
            let server = session.one("SELECT pg_backend_pid()");
            let server = std::fs::read_to_string(format!("/proc/{server}/stat")).unwrap();
            // The fourth word is the parent, the postmaster.
            let postmaster = server.split_whitespace().nth(3).unwrap().to_owned();
            let pids = [arena.daemons[0].pid().to_string(), postmaster];
            let processes = pids.map(|pid| PathBuf::from(format!("/proc/{pid}")));
            assert!(processes.iter().all(|process| process.exists()), "{processes:?}");
            STARTED.lock().unwrap().extend(processes);
            panic!("something is not there");
        });
        let outcome = run(&panics, 1, &once());
        assert_eq!(outcome.wrong, ["the harness panicked: something is not there"]);
        assert_eq!(outcome.command().split(" -- ").nth(1), Some("--only panics --seed 1"));
        assert!(!outcome.log.is_empty(), "the daemon's log is kept");
        let started = STARTED.lock().unwrap();
        assert_eq!(started.len(), 2);
        assert!(started.iter().all(|process| !process.exists()), "{started:?}");
    }

    #[test]
    fn a_scenario_that_lacks_something_on_the_way_is_skipped_and_still_held_to_everything_else() {
        let lacking = scenario("lacking", "something is missing", |arena, _| {
            arena.skip("no such thing here".to_owned());
        });
        let outcome = run(&lacking, 1, &once());
        assert_eq!(outcome.skipped.as_deref(), Some("no such thing here"));
        assert_eq!(outcome.wrong, Vec::<String>::new());
    }
}
