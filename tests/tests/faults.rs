//! The tool of the failure-injection harness: what it says, and how it ends, where it could not do what
//! it was asked for. What the scenarios find is for `ops/planted.sh` to tell.

#![allow(clippy::unwrap_used, reason = "tests")]

use std::process::Command;

use dg_projections::json::Json;
use dg_tests::{Answer, Directory};

/// Runs the tool with these variables.
fn faults(arguments: &[&str], environment: &[(&str, &str)]) -> Answer {
    let mut command = Command::new(env!("CARGO_BIN_EXE_faults"));
    command.args(arguments).envs(environment.iter().copied()).env("RUST_BACKTRACE", "0");
    Answer::of(&command.output().unwrap())
}

fn word(value: &Json, name: &str) -> Option<String> {
    value.get(name).and_then(Json::as_str).map(str::to_owned)
}

#[test]
fn a_scenario_for_which_something_is_missing_is_told_and_counted_as_skipped() {
    let nothing = Directory::new();
    // No program can be found: nothing to mount with, and no namespace.
    let path = [("PATH", nothing.path().to_str().unwrap())];
    for (scenario, missing) in [("data_full", "mount: "), ("packets_dropped", "setpriv: ")] {
        let told = faults(&["--only", scenario, "--seed", "1"], &path);
        assert_eq!(told.code, 0, "{told:?}");
        // As `ops/test.sh` counts it.
        let line = format!("SKIPPED: faults {scenario}: {missing}");
        assert_eq!(told.stderr.lines().filter(|at| at.starts_with(&line)).count(), 1, "{told:?}");
        assert!(told.stderr.ends_with("0 held, 1 skipped, 0 did not hold\n"), "{told:?}");
        assert!(told.stdout.contains(&format!("SKIPPED: {missing}")), "{told:?}");
        let told = faults(&["--only", scenario, "--json"], &path);
        assert!(word(&told.json(), "skipped").unwrap().starts_with(missing), "{told:?}");
    }
}

#[test]
fn a_scenario_that_panics_is_told_with_its_seed_and_does_not_keep_others_from_being_run() {
    // The harness cannot so much as ask its server.
    let nowhere = [("DECISIONGRAPH_TEST_DATABASE_URL", "nowhere at all")];
    let told = faults(&["--only", "stale", "--seed", "7", "--json"], &nowhere);
    assert_eq!(told.code, 1, "{told:?}");
    let outcomes = told.jsonl();
    assert_eq!(outcomes.len(), 2, "{told:?}");
    for (outcome, name) in outcomes.iter().zip(["stale_daemon", "stale_generations"]) {
        assert_eq!(word(outcome, "scenario").as_deref(), Some(name));
        let violations = outcome.get("violations").and_then(Json::as_array).unwrap();
        let [violation] = violations else { panic!("{violations:?}") };
        assert!(violation.as_str().unwrap().starts_with("the harness panicked: "), "{violation:?}");
        let again = format!("faults -- --only {name} --seed 7");
        assert!(word(outcome, "repeat").unwrap().ends_with(&again), "{outcome:?}");
        assert!(told.stderr.contains(&again), "{told:?}");
    }
    assert!(told.stderr.ends_with("0 held, 0 skipped, 2 did not hold\n"), "{told:?}");
}

#[test]
fn a_fail_point_that_is_not_there_or_that_a_scenario_does_not_go_by_is_refused() {
    for (arguments, why) in [
        (["--only", "kill_at_points", "--point", "nowhere"], "there is no fail point 'nowhere'"),
        (["--only", "calm", "--point", "commit_before"], "no scenario is called so"),
        (["--only", "drop_at_points", "--point", "commit_after"], "no scenario is called so"),
    ] {
        let told = faults(&arguments, &[]);
        assert_eq!(told.code, 2, "{told:?}");
        assert!(told.stderr.contains(why), "{told:?}");
    }
}
