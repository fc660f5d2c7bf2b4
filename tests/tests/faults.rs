//! The tool of the failure-injection harness: what it says, and how it ends, where it could not do what
//! it was asked for. What the scenarios find is for `ops/planted.sh` to tell.

#![allow(clippy::unwrap_used, reason = "tests")]

use std::process::{Command, Stdio};
use std::time::Duration;

use dg_projections::json::Json;
use dg_tests::{Answer, Directory, try_until, until};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

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

/// What has been started by a process and is a daemon.
fn daemon_of(process: u32) -> Option<i32> {
    let threads = std::fs::read_dir(format!("/proc/{process}/task")).ok()?.flatten();
    let children =
        threads.filter_map(|at| std::fs::read_to_string(at.path().join("children")).ok());
    let children: Vec<String> = children.collect();
    let mut pids = children.iter().flat_map(|pids| pids.split_whitespace());
    let is_daemon = |pid: &&str| {
        let command = std::fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
        command.split(|byte| *byte == 0).any(|argument| argument == b"serve")
    };
    pids.find(is_daemon)?.parse().ok()
}

/// Whether nothing of a process is left but, perhaps, that nobody has asked how it ended.
fn has_ended(pid: i32) -> bool {
    let state = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    state.rsplit(") ").next().is_none_or(|state| state.is_empty() || state.starts_with('Z'))
}

#[test]
fn a_harness_that_is_killed_leaves_no_daemon_behind() {
    let place = Directory::new();
    let mut harness = Command::new(env!("CARGO_BIN_EXE_faults"));
    harness.args(["--only", "calm", "--rounds", "50", "--seed", "1"]).env("TMPDIR", place.path());
    let mut harness = harness.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    let daemon = until("a daemon runs", || daemon_of(harness.id()));
    assert!(!has_ended(daemon));
    harness.kill().unwrap();
    harness.wait().unwrap();
    let ended = try_until(Duration::from_secs(30), || has_ended(daemon).then_some(()));
    // One that is left is not to outlive this test.
    let _ = kill(Pid::from_raw(daemon), Signal::SIGKILL);
    assert!(ended.is_some(), "the daemon is still there");
}
