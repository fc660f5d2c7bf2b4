//! `--watch`: in place on a terminal, block after block elsewhere, across a daemon that goes away.

#![allow(clippy::unwrap_used, reason = "tests")]

use std::io::{BufRead as _, BufReader};

use dg_tests::events::{joined, whole_trace};
use dg_tests::{Stage, Terminal, spawn, until};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

const SIZE: (u16, u16) = (80, 24);

#[test]
fn on_a_terminal_it_is_drawn_in_place_until_ctrl_c_and_outlives_the_daemon() {
    let mut stage = Stage::new(&[]);
    let socket = stage.daemon.socket();
    let with = |arguments: &[&'static str]| {
        let arguments = [arguments, &["--watch=1", "--socket", socket.to_str().unwrap()]].concat();
        Terminal::run(&arguments, SIZE, &[])
    };
    let mut workers = with(&["workers"]);
    let mut status = with(&["status"]);
    workers.until_shows(&["UTC, every 1 s, Ctrl-C ends", "none"]);
    let events = joined(&whole_trace("a"));
    stage.daemon.cli_with(&["append", "-"], events.as_bytes()).ok();
    stage.daemon.until_current("default");
    let screen = workers.until_shows(&["TENANT", "context_graph", "trace_summary"]);
    assert_eq!(screen.matches("TENANT").count(), 1, "{screen}");
    status.until_shows(&["3 idle"]);
    stage.daemon.kill();
    for away in [&workers, &status] {
        away.until_shows(&["AWAY, trying: daemon not reachable"]);
    }
    workers.until_shows(&["context_graph"]);
    stage.daemon.restart();
    status.until_shows(&["Ctrl-C ends", "none at work"]);
    for watching in [&mut workers, &mut status] {
        watching.press("\x03");
        assert_eq!(watching.wait(), 0);
        assert!(watching.is_restored(), "{watching:?}");
        assert!(watching.written().ends_with("\x1b[?7h"), "lines are cut for ever");
    }
}

#[test]
fn elsewhere_answers_follow_each_other_with_the_time_for_people_alone() {
    let stage = Stage::new(&[]);
    let socket = stage.daemon.socket();
    for (format, expected) in [("table", "-- 20"), ("jsonl", "{\"active_runs\"")] {
        let arguments =
            ["status", "--watch", "1", "-o", format, "--socket", socket.to_str().unwrap()];
        let mut child = spawn(&arguments);
        let lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let told = lines.map(Result::unwrap).filter(|line| line.starts_with(expected)).take(2);
        assert_eq!(told.count(), 2, "{format}");
        kill(Pid::from_raw(child.id() as i32), Signal::SIGINT).unwrap();
        let ended = until("it ends", || child.try_wait().unwrap());
        assert_eq!(ended.code(), Some(0), "{format}");
    }
}

#[test]
fn what_fails_at_once_is_not_waited_for() {
    let stage = Stage::new(&[]);
    for (arguments, code) in [
        (&["health", "--watch", "-t", "nobody"][..], 3),
        (&["status", "--watch", "0"], 2),
        (&["health", "--watch", "--check"], 2),
    ] {
        let answer = stage.daemon.cli(arguments);
        assert_eq!(answer.code, code, "{answer:?}");
    }
    let nowhere = ["status", "--watch", "--socket", "/nonexistent/socket"];
    assert_eq!(dg_tests::run(&nowhere, b"").code, 69);
}
