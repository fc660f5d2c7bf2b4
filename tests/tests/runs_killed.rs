//! Runs whose daemon dies at each point where it matters, or whose database does: they are found, go
//! on from where they were, and end in what the log says.

#![allow(clippy::unwrap_used, reason = "tests")]

use std::path::Path;
use std::thread::JoinHandle;

use dg_projections::json::Json;
use dg_tests::events::{generated, joined};
use dg_tests::{Answer, Auditor, Daemon, Postgres, Where, new_database, run, until};

const FLAGS: [&str; 2] = ["--projection-job-batch-size=100", "--projection-poll-interval-ms=200"];

/// A command beside the test.
fn beside(daemon: &Daemon, arguments: &[&str]) -> JoinHandle<Answer> {
    let socket = daemon.socket();
    let mut arguments: Vec<String> = arguments.iter().map(|one| (*one).to_owned()).collect();
    arguments.extend(["--socket".to_owned(), socket.display().to_string()]);
    std::thread::spawn(move || run(&arguments, b""))
}

fn import(daemon: &Daemon, file: &Path) {
    daemon.cli(&["import", &file.display().to_string(), "-t", "a"]).ok();
}

fn digests(daemon: &Daemon) -> Json {
    daemon.cli(&["digest", "--fresh", "-t", "a", "-o", "json"]).ok().json()
}

fn status_of(daemon: &Daemon, run_id: &str) -> Option<String> {
    let answer = daemon.cli(&["run", run_id, "-o", "json"]);
    (answer.code == 0).then(|| answer.json().get("status")?.as_str().map(str::to_owned))?
}

/// The daemon dies at this point of a run over everything; the next life goes on with it.
fn survive(mode: &str, fail_point: &str, writes: bool) {
    let tokio = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
    let database = new_database();
    let place = Where::Url(database.url());
    let mut daemon = Daemon::start_failing(place, &FLAGS, fail_point);
    let lines = generated(90, 1);
    let (early, late) = lines.split_at(480);
    let early = daemon.directory().file("early.jsonl", joined(early));
    let late = daemon.directory().file("late.jsonl", joined(late));
    import(&daemon, &early);
    daemon.until_current("a");
    let before = digests(&daemon);
    let auditor = tokio.block_on(Auditor::start(&database));
    let run_id = daemon.cli(&[mode, "all", "-t", "a", "--reason", "a trial"]).ok().stdout;
    let run_id = run_id.trim();
    let late = late.display().to_string();
    let importing = writes.then(|| beside(&daemon, &["import", &late, "-t", "a"]));
    assert_eq!(daemon.wait(), -1, "killed at {fail_point}");
    if let Some(importing) = importing {
        importing.join().unwrap();
    }
    daemon.mend();
    daemon.restart();
    until("the run is found as interrupted", || {
        let status = status_of(&daemon, run_id)?;
        assert!(["running", "interrupted"].contains(&status.as_str()), "{status} at {fail_point}");
        (status == "interrupted").then_some(())
    });
    daemon.cli(&["resume", run_id, "--wait"]).ok();
    if writes {
        daemon.cli(&["import", &late, "-t", "a"]).ok();
    }
    daemon.until_current("a");
    if !writes {
        assert_eq!(digests(&daemon).get("digests").map(values), before.get("digests").map(values));
    }
    tokio.block_on(auditor.finish());
    daemon.direct(&["verify", "-t", "a"]).ok();
    assert!(!daemon.log().contains("panicked"), "{}", daemon.log());
}

/// The values alone: when they were computed differs.
fn values(digests: &Json) -> Vec<Json> {
    let digests = digests.as_object().unwrap();
    digests.values().map(|one| one.get("digest").unwrap().clone()).collect()
}

#[test]
fn a_rebuild_survives_a_kill_while_it_builds() {
    survive("rebuild", "run_open_after=abort", false);
    survive("rebuild", "run_apply_after=abort@3", true);
    survive("rebuild", "run_checkpoint_after=abort@7", false);
}

#[test]
fn a_rebuild_survives_a_kill_while_it_compares() {
    survive("rebuild", "run_compare_before=abort", true);
    survive("rebuild", "run_compare_after=abort@2", false);
}

#[test]
fn a_rebuild_survives_a_kill_around_the_switch() {
    survive("rebuild", "run_switch_before=abort@2", false);
    survive("rebuild", "run_switch_after=abort", true);
    survive("rebuild", "run_end_before=abort", false);
}

#[test]
fn a_replay_survives_a_kill_at_any_point() {
    survive("replay", "run_apply_after=abort@2", true);
    survive("replay", "run_checkpoint_after=abort", false);
    survive("replay", "run_end_before=abort", false);
}

fn until_the_database_is(daemon: &Daemon, wanted: &str) {
    until(&format!("the database is {wanted}"), || {
        let status = daemon.cli(&["status", "-o", "json"]).ok().json();
        (status.get("database")?.get("state")?.as_str() == Some(wanted)).then_some(())
    });
}

#[test]
fn a_run_that_crashes_fails_with_the_reason_and_can_be_resumed() {
    let flags = [&FLAGS[..], &["--resume-interrupted-runs=true"]].concat();
    let database = new_database();
    let crashes = "run_checkpoint_after=panic*3";
    let daemon = Daemon::start_failing(Where::Url(database.url()), &flags, crashes);
    let file = daemon.directory().file("log.jsonl", joined(&generated(60, 1)));
    import(&daemon, &file);
    daemon.until_current("a");
    for _ in 0..3 {
        let rebuild = ["rebuild", "all", "-t", "a", "--reason", "a trial", "--wait"];
        let answer = daemon.cli(&rebuild);
        assert_eq!(answer.code, 1, "{answer:?}");
        let runs = daemon.cli(&["runs", "--limit", "1", "-o", "json"]).ok().json();
        let run = &runs.as_array().unwrap()[0];
        let text = |key: &str| run.get(key).and_then(Json::as_str).unwrap_or_default().to_owned();
        assert_eq!((text("status"), text("error_code")), ("failed".into(), "internal".into()));
        assert!(text("error_message").contains("the run crashed"), "{run:?}");
    }
    let runs = daemon.cli(&["runs", "--limit", "1", "-o", "json"]).ok().json();
    let run_id =
        runs.as_array().unwrap()[0].get("run_id").and_then(Json::as_str).unwrap().to_owned();
    daemon.cli(&["resume", &run_id, "--wait"]).ok();
    daemon.direct(&["verify", "-t", "a"]).ok();
}

/// Waits until the run is in the middle; whether it did not end before.
fn comes_to_its_middle(daemon: &Daemon, run_id: &str) -> bool {
    until("the run is in the middle or at its end", || {
        let run = daemon.cli(&["run", run_id, "-o", "json"]).ok().json();
        let is_at_work = ["queued", "running"].contains(&run.get("status")?.as_str()?);
        let is_begun = run.get("processed_events").and_then(Json::as_i64) > Some(20);
        (is_begun || !is_at_work).then_some(is_at_work)
    })
}

/// The database crashes in the middle of a run and is started again: the run goes on by itself.
fn outlive_the_database(mode: &str) {
    let mut postgres = Postgres::start();
    let url = format!("postgres://decisiongraph@{}/postgres?sslmode=disable", postgres.address());
    let flags = ["--projection-job-batch-size=5", "--projection-poll-interval-ms=2000"];
    let daemon = Daemon::start(Where::Url(url), &flags);
    let file = daemon.directory().file("log.jsonl", joined(&generated(150, 1)));
    import(&daemon, &file);
    daemon.until_current("a");
    for scope in ["all", "trace_summary"] {
        let run_id = until("a run is in the middle", || {
            if mode == "replay" {
                // Something to do, as if nothing had been projected yet; the live workers may see it first.
                postgres.sql().tamper(
                    "DELETE FROM dg_projection_cursors; DELETE FROM dg_cg_nodes;
                    DELETE FROM dg_cg_edges; DELETE FROM dg_trace_summary;
                    DELETE FROM dg_policy_eval_index; DELETE FROM dg_precedent_index",
                );
            }
            let run_id = daemon.cli(&[mode, scope, "-t", "a", "--reason", "a trial"]).ok().stdout;
            comes_to_its_middle(&daemon, run_id.trim()).then(|| run_id.trim().to_owned())
        });
        postgres.stop();
        until_the_database_is(&daemon, "down");
        postgres.start_again();
        until_the_database_is(&daemon, "up");
        daemon.cli(&["run", &run_id, "--wait"]).ok();
        daemon.until_current("a");
        daemon.direct(&["verify", "-t", "a"]).ok();
    }
}

#[test]
fn a_rebuild_outlives_a_crash_of_the_database() {
    outlive_the_database("rebuild");
}

#[test]
fn a_replay_outlives_a_crash_of_the_database() {
    outlive_the_database("replay");
}
