//! What commands tell an operator who has nothing but their words: all that there is, told apart.

#![allow(clippy::unwrap_used, reason = "tests")]

use std::process::Command;

use dg_projections::json::Json;
use dg_tests::events::{generated, joined, started};
use dg_tests::{Answer, Daemon, Directory, Stage, Where, binary, new_database, run, until};

/// The lines of a table, without its head.
fn lines(answer: &Answer) -> Vec<&str> {
    answer.stdout.lines().skip(1).collect()
}

#[test]
fn workers_of_several_partitions_are_told_apart() {
    let stage = Stage::new(&["--projection-partitions", "2"]);
    stage.import(&generated(20, 1));
    let table = stage.daemon.cli(&["workers"]).ok();
    assert!(table.stdout.starts_with("TENANT   PROJECTION       PARTITION  STATUS"), "{table:?}");
    let mut rows = lines(&table);
    rows.sort_unstable();
    rows.dedup();
    let workers = stage.daemon.cli(&["workers", "-o", "json"]).ok().json();
    assert_eq!(rows.len(), workers.as_array().unwrap().len(), "{table:?}");
    // Where there is one of each, its number says nothing.
    let stage = Stage::new(&[]);
    stage.import(&[started("first")]);
    let table = stage.daemon.cli(&["workers"]).ok();
    assert!(table.stdout.starts_with("TENANT   PROJECTION       STATUS"), "{table:?}");
}

#[test]
fn a_run_that_waits_for_somebody_is_counted_by_status() {
    let database = new_database();
    let place = Where::Url(database.url());
    let mut daemon = Daemon::start_failing(place, &[], "run_open_after=abort");
    daemon.cli_with(&["import", "-"], joined(&generated(20, 1)).as_bytes()).ok();
    let run = daemon.cli(&["rebuild", "all", "--reason", "a trial"]).ok().stdout;
    daemon.wait();
    daemon.mend();
    daemon.restart();
    until("the run is found as interrupted", || {
        let run = daemon.cli(&["run", run.trim(), "-o", "json"]).ok().json();
        (run.get("status")?.as_str()? == "interrupted").then_some(())
    });
    let status = daemon.cli(&["status"]).ok();
    assert!(status.stdout.contains("\nruns         none active, 1 interrupted\n"), "{status:?}");
    let status = daemon.cli(&["status", "-o", "json"]).ok().json();
    assert_eq!(status.get("interrupted_runs").and_then(Json::as_i64), Some(1), "{status:?}");
    daemon.cli(&["cancel", run.trim()]).ok();
    let status = daemon.cli(&["status"]).ok();
    assert!(status.stdout.contains("\nruns         none active\n"), "{status:?}");
}

#[test]
fn runs_and_failures_take_all_tenants_as_health_and_workers_do() {
    let stage = Stage::new(&[]);
    for tenant in ["acme", "zeta"] {
        let lines = joined(&generated(20, 1));
        stage.daemon.cli_with(&["import", "-", "-t", tenant], lines.as_bytes()).ok();
        stage.daemon.cli(&["rebuild", "all", "-t", tenant, "--reason", "a trial", "--wait"]).ok();
    }
    let count = |arguments: &[&str]| {
        let answer = stage.daemon.cli(&[arguments, &["-o", "json"]].concat()).ok();
        answer.json().as_array().unwrap().len()
    };
    assert_eq!(count(&["runs", "-t", "acme"]), 1);
    assert_eq!(count(&["runs", "-t", "acme", "--all-tenants"]), 2);
    assert_eq!(count(&["runs", "--all-tenants"]), 2);
    stage.daemon.sql().rows(
        "INSERT INTO dg_projection_failures
            (failure_id, tenant_id, projection_name, partition, error_code, error_message, recoverable)
         SELECT gen_random_uuid(), tenant, 'context_graph', 0, 'internal', 'a trial', false
         FROM unnest(ARRAY['acme', 'zeta']) AS tenant",
    );
    assert_eq!(count(&["failures", "-t", "acme"]), 1);
    assert_eq!(count(&["failures", "-t", "acme", "--all-tenants"]), 2);
    assert_eq!(count(&["failures", "--all-tenants", "--all"]), 2);
}

#[test]
fn the_variable_that_others_share_stands_where_the_manual_says() {
    let directory = Directory::new();
    let file = directory.file("decisiongraph.toml", "database_url = \"host=/of_the_file\"\n");
    let shown = Command::new(binary())
        .args(["config", "--origin", "-o", "json", "--config"])
        .arg(file)
        .env("DATABASE_URL", "host=/of_the_variable")
        .output()
        .unwrap();
    let shown = Answer::of(&shown).ok().json();
    let key = shown.get("database_url").unwrap();
    assert_eq!(key.get("value").and_then(Json::as_str), Some("host=/of_the_variable"), "{key:?}");
    assert!(
        key.get("origin").or(key.get("source")).unwrap().as_str().unwrap().contains("DATABASE_URL")
    );
    let manual = run(&["man"], b"").ok().stdout;
    let (_, about) = manual.split_once("DATABASE_URL").unwrap();
    let about = about.lines().take(3).collect::<Vec<_>>().join(" ");
    assert!(about.contains("before the file") && !about.contains("if nothing else"), "{about}");
    let readme =
        std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/../README.md")).unwrap();
    assert!(readme.contains("`DATABASE_URL`"), "the README does not say where it stands");
}
