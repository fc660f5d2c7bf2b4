//! What commands do when nobody takes what they print: a closed pipe ends them quietly, a full disk is
//! told, and neither makes a proof hold or leaves work half done.

#![allow(clippy::unwrap_used, reason = "tests")]

use std::collections::BTreeSet;
use std::fs::File;
use std::process::Stdio;

use dg_projections::json::Json;
use dg_tests::{Answer, Daemon, Stage, events, run_into};

/// Each command that prints and ends, as it succeeds on the stage.
const COMMANDS: [&[&str]; 36] = [
    &["--help"],
    &["--version"],
    &["help", "serve"],
    &["append", "EVENTS"],
    &["completions", "bash"],
    &["config"],
    &["config", "check"],
    &["digest"],
    &["digest", "--log-hash"],
    &["doctor", "DATABASE"],
    &["edges", "trace", "t1"],
    &["events"],
    &["export"],
    &["failures"],
    &["generate"],
    &["graph", "trace", "t1"],
    &["health"],
    &["health", "--check"],
    &["import", "EVENTS"],
    &["man"],
    &["migrate", "status", "DATABASE"],
    &["precedents"],
    &["rebuild", "all", "--reason", "x", "--wait"],
    &["replay", "all", "--reason", "x", "--wait"],
    &["retry", "context_graph"],
    &["run", "RUN"],
    &["runbook"],
    &["runbook", "storage"],
    &["runs"],
    &["status"],
    &["status", "--tree"],
    &["summary", "t1"],
    &["trace", "t1"],
    &["trace", "t1", "-o", "json"],
    &["verify", "DATABASE"],
    &["workers"],
];

/// Those that go on for long, become another program, want a terminal, or need something to act on.
const OTHERS: [&str; 9] =
    ["backup", "bench", "cancel", "demo", "parity", "psql", "resume", "serve", "top"];

fn full() -> Stdio {
    File::options().write(true).open("/dev/full").unwrap().into()
}

/// A pipe whose reader is gone.
fn closed() -> Stdio {
    let (_, writer) = std::io::pipe().unwrap();
    writer.into()
}

/// A command of the table, with what stands for something put in.
fn arguments(stage: &Stage, run: &str, command: &[&str]) -> Vec<String> {
    let daemon = &stage.daemon;
    let file = daemon.directory().file("events", events::joined(&events::whole_trace("t1")));
    let mut all = vec!["--socket".to_owned(), daemon.socket().display().to_string()];
    for word in command {
        match *word {
            "EVENTS" => all.push(file.display().to_string()),
            "RUN" => all.push(run.to_owned()),
            "DATABASE" => all.extend(["--database-url".to_owned(), stage.url()]),
            word => all.push(word.to_owned()),
        }
    }
    all
}

fn stage() -> (Stage, String) {
    let stage = Stage::new(&[]);
    stage.import(&events::whole_trace("t1"));
    let rebuild = ["rebuild", "all", "--reason", "x", "--wait", "-o", "json"];
    let run = stage.daemon.cli(&rebuild).ok().json();
    let run = run.get("run_id").and_then(Json::as_str).unwrap().to_owned();
    (stage, run)
}

#[test]
fn every_command_is_tried_or_named_as_one_that_is_not() {
    let command = dg_admin::cli::command();
    let own: BTreeSet<&str> = command.get_subcommands().map(|one| one.get_name()).collect();
    let tried = COMMANDS.iter().map(|words| words[0]).filter(|word| own.contains(word));
    assert_eq!(tried.chain(OTHERS).collect::<BTreeSet<_>>(), own);
}

#[test]
fn a_closed_pipe_is_no_failure_and_is_not_spoken_of() {
    let (stage, run) = stage();
    for command in COMMANDS {
        let answer = run_into(&arguments(&stage, &run, command), closed());
        assert_eq!(answer.code, 0, "{command:?}: {answer:?}");
        let said = &answer.stderr;
        assert!(!said.contains("error") && !said.contains("panicked"), "{command:?}: {said}");
    }
}

#[test]
fn a_full_disk_is_told_and_fails() {
    let (stage, run) = stage();
    for command in COMMANDS {
        let answer = run_into(&arguments(&stage, &run, command), full());
        assert_eq!(answer.code, 1, "{command:?}: {answer:?}");
        let said = &answer.stderr;
        assert!(
            said.contains("cannot write to standard output: No space left"),
            "{command:?}: {said}"
        );
        assert!(!said.contains("panicked"), "{command:?}: {said}");
    }
}

fn unheard(daemon: &Daemon, arguments: &[&str]) -> Answer {
    let socket = daemon.socket();
    let all: Vec<&str> =
        arguments.iter().copied().chain(["--socket", socket.to_str().unwrap()]).collect();
    run_into(&all, closed())
}

#[test]
fn an_outcome_that_nobody_reads_is_still_the_exit_code() {
    let stage = Stage::new(&[]);
    stage.import(&events::whole_trace("t1"));
    let url = stage.url();
    assert_eq!(unheard(&stage.daemon, &["verify", "--database-url", &url]).code, 0);
    stage.daemon.sql().rows("UPDATE dg_trace_summary SET title = 'x'");
    assert_eq!(unheard(&stage.daemon, &["verify", "--database-url", &url]).code, 7);
    let nowhere = run_into(&["health", "--check", "--socket", "/nowhere"], closed());
    assert_eq!(nowhere.code, 3, "{nowhere:?}");
}

#[test]
fn all_events_are_appended_though_nobody_reads_the_answers() {
    let stage = Stage::new(&[]);
    let mut lines: Vec<String> =
        (0..9_000).map(|number| events::started(&format!("t{number}"))).collect();
    lines.insert(100, "{}".to_owned());
    let file = stage.daemon.directory().file("events", events::joined(&lines));
    let answer = unheard(&stage.daemon, &["append", file.to_str().unwrap()]);
    assert_eq!(answer.code, 4, "{answer:?}");
    assert_eq!(stage.daemon.cli(&["export"]).ok().stdout.lines().count(), 9_000);
}
