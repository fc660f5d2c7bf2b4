//! The failure-injection harness: `faults [--quick|--full] [--seed N] [--only NAME] [--point NAME]
//! [--rounds N] [--no-shrink] [--json] [--page] [--list] [--soak MINUTES]`. Exits 1 when something did not hold, having told how to repeat it.

#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "a tool of the tests"
)]

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use dg_projections::json::canonical;
use dg_store::failpoint::Point;
use dg_tests::faults::{Dose, Outcome, SCENARIOS, Scenario, page, run, shrink, soak, table};

const USAGE: &str = "usage: faults [--quick|--full] [--seed N] [--only NAME] [--point NAME] [--rounds N]
              [--no-shrink] [--soak MINUTES] [--json|--page] [--list]

  --quick     the scenarios that are run each time, a round each (the default)
  --full      all scenarios, three rounds each
  --seed N    of all draws; one that is new each time if not given
  --only NAME one scenario, or those whose names begin so
  --point NAME
              of the scenarios that go by fail points, this one alone, or these: NAME,NAME
  --rounds N  how many times over each fault comes
  --no-shrink does not look for the smallest of a scenario that still fails
  --json      an object a scenario
  --page      a table for a page
  --list      the scenarios and the fail points
  --soak M    faults of all kinds at one database for M minutes; the first that does not hold ends it";

/// What was asked for.
struct Wanted {
    is_full: bool,
    seed: u64,
    only: Option<String>,
    points: Vec<Point>,
    shrinks: bool,
    rounds: Option<usize>,
    soak: Option<u64>,
    shows: Shows,
}

#[derive(PartialEq)]
enum Shows {
    Table,
    Json,
    Page,
    List,
}

fn wanted(arguments: impl Iterator<Item = String>) -> Result<Wanted, String> {
    let clock = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap();
    let seed = clock.as_secs() % 1_000_000;
    let mut wanted = Wanted {
        is_full: false,
        seed,
        only: None,
        points: Vec::new(),
        shrinks: true,
        rounds: None,
        soak: None,
        shows: Shows::Table,
    };
    let mut arguments = arguments;
    while let Some(argument) = arguments.next() {
        let mut value = || arguments.next().ok_or(format!("{argument} wants a value"));
        let number =
            |text: String| text.parse::<u64>().map_err(|_| format!("'{text}' is no number"));
        match argument.as_str() {
            "--quick" => wanted.is_full = false,
            "--full" => wanted.is_full = true,
            "--seed" => wanted.seed = number(value()?)?,
            "--only" => wanted.only = Some(value()?),
            "--point" => wanted.points = points(&value()?)?,
            "--no-shrink" => wanted.shrinks = false,
            "--rounds" => wanted.rounds = Some(number(value()?)? as usize),
            "--soak" => wanted.soak = Some(number(value()?)?),
            "--json" => wanted.shows = Shows::Json,
            "--page" => wanted.shows = Shows::Page,
            "--list" => wanted.shows = Shows::List,
            other => return Err(format!("there is no {other}")),
        }
    }
    Ok(wanted)
}

fn points(names: &str) -> Result<Vec<Point>, String> {
    let named = |name| {
        let point = Point::ALL.iter().copied().find(|point| point.name() == name);
        point.ok_or(format!("there is no fail point '{name}'; --list tells which there are"))
    };
    names.split(',').map(named).collect()
}

fn main() -> ExitCode {
    let wanted = match wanted(std::env::args().skip(1)) {
        Ok(wanted) => wanted,
        Err(problem) => {
            eprintln!("error: {problem}\n{USAGE}");
            return ExitCode::from(2);
        }
    };
    if wanted.shows == Shows::List {
        list();
        return ExitCode::SUCCESS;
    }
    keep_mounts_here();
    if let Some(minutes) = wanted.soak {
        let time = Duration::from_secs(60 * minutes);
        eprintln!("seed {}", wanted.seed);
        let soaked = soak(wanted.seed, time, |line| eprintln!("{line}"));
        match wanted.shows {
            Shows::Json => println!("{}", canonical(&soaked.to_json())),
            _ => print!("{}\n{}", page(std::slice::from_ref(&soaked.outcome)), soaked.table()),
        }
        return verdict(std::slice::from_ref(&soaked.outcome));
    }
    let chosen: Vec<&Scenario> =
        SCENARIOS.iter().filter(|scenario| is_chosen(scenario, &wanted)).collect();
    if chosen.is_empty() {
        eprintln!("error: no scenario is called so and goes by that; --list tells what there is");
        return ExitCode::from(2);
    }
    let outcomes = run_all(&chosen, &wanted);
    match wanted.shows {
        Shows::Json => outcomes.iter().for_each(|one| println!("{}", canonical(&one.to_json()))),
        Shows::Page => print!("{}", page(&outcomes)),
        Shows::Table | Shows::List => print!("{}", table(&outcomes)),
    }
    verdict(&outcomes)
}

/// What the harness mounts nobody else sees, and it is gone with it, however that ends.
fn keep_mounts_here() {
    use nix::mount::{MsFlags, mount};
    use nix::sched::{CloneFlags, unshare};
    // Without the right to, nothing can be mounted either, and those scenarios are skipped.
    if unshare(CloneFlags::CLONE_NEWNS).is_ok() {
        let (none, private) = (None::<&str>, MsFlags::MS_REC | MsFlags::MS_PRIVATE);
        let _ = mount(none, "/", none, private, none);
    }
}

/// Tells how many held, what was skipped and what did not hold.
fn verdict(outcomes: &[Outcome]) -> ExitCode {
    for outcome in outcomes {
        if let Some(missing) = &outcome.skipped {
            dg_tests::skip(&format!("faults {}: {missing}", outcome.scenario));
        }
    }
    let broken: Vec<&Outcome> = outcomes.iter().filter(|one| !one.wrong.is_empty()).collect();
    for outcome in &broken {
        eprintln!("\n{} (seed {}) did not hold:", outcome.scenario, outcome.seed);
        outcome.wrong.iter().take(20).for_each(|what| eprintln!("  {what}"));
        if let Some(path) = keep_log(outcome) {
            eprintln!("  log:      {}", path.display());
        }
        eprintln!("  again:    {}", outcome.command());
        if let Some(shortest) = outcome.told_shortest() {
            eprintln!("  shortest: {shortest}");
        }
    }
    let skipped = outcomes.iter().filter(|one| one.skipped.is_some()).count();
    let held = outcomes.iter().filter(|one| one.is_held()).count();
    eprintln!("{held} held, {skipped} skipped, {} did not hold", broken.len());
    if broken.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// Keeps what the daemons logged beside the binary.
fn keep_log(outcome: &Outcome) -> Option<PathBuf> {
    let name = format!("faults-{}-{}.log", outcome.scenario, outcome.seed);
    let path = std::env::current_exe().ok()?.with_file_name(name);
    std::fs::write(&path, &outcome.log).ok()?;
    Some(path)
}

fn is_chosen(scenario: &Scenario, wanted: &Wanted) -> bool {
    let goes_by = |point: &Point| scenario.goes_by(*point);
    if !wanted.points.is_empty() && !wanted.points.iter().any(goes_by) {
        return false;
    }
    match &wanted.only {
        Some(name) if SCENARIOS.iter().any(|one| one.name == name) => scenario.name == name,
        Some(name) => scenario.name.starts_with(name.as_str()),
        None => wanted.is_full || scenario.is_quick,
    }
}

fn run_all(chosen: &[&Scenario], wanted: &Wanted) -> Vec<Outcome> {
    let rounds = wanted.rounds.unwrap_or(if wanted.is_full { 3 } else { 1 });
    let mut outcomes = Vec::new();
    for scenario in chosen {
        let again = |dose: &Dose| run_one(scenario, wanted.seed, dose);
        let mut outcome = again(&Dose::of(scenario, rounds, &wanted.points));
        if wanted.shrinks && !outcome.wrong.is_empty() {
            outcome.shrunk = Some(shrink(&outcome, again));
        }
        outcomes.push(outcome);
    }
    outcomes
}

fn run_one(scenario: &Scenario, seed: u64, dose: &Dose) -> Outcome {
    let started = Instant::now();
    eprint!("{}{} ... ", scenario.name, dose.flags());
    let outcome = run(scenario, seed, dose);
    let verdict = match (outcome.wrong.is_empty(), &outcome.skipped) {
        (false, _) => "DID NOT HOLD",
        (true, Some(_)) => "skipped",
        (true, None) => "held",
    };
    eprintln!("{verdict} ({:.0} s)", started.elapsed().as_secs_f64());
    outcome
}

fn list() {
    for scenario in SCENARIOS {
        let quick = if scenario.is_quick { "quick" } else { "" };
        println!("{:<20} {quick:<6} {}", scenario.name, scenario.about);
    }
    println!();
    for point in Point::ALL {
        println!("{:<26} {}", point.name(), point.meaning().trim());
    }
}
