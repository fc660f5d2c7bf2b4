//! `doctor` on real processes: a healthy installation, and each fault with its line and its remedy.

#![allow(clippy::unwrap_used, reason = "tests")]

use std::net::TcpListener;
use std::time::{Duration, Instant};

use dg_tests::events::{finished, generated, joined, started};
use dg_tests::findings::{Findings, doctor, doctor_of};
use dg_tests::{Daemon, Database, Directory, Sql, Stage, Where, new_database, run, until};

fn with_schema() -> Database {
    let database = new_database();
    run(&["migrate", "--database-url", &database.url()], b"").ok();
    database
}

fn sql(database: &Database) -> Sql {
    Sql::connect(&database.url().parse().unwrap())
}

#[test]
fn a_healthy_installation_is_well_before_during_and_after_its_daemon() {
    let fresh = doctor_of(&[]);
    fresh.assert_well();
    let alone = ["configuration", "postgres_programs", "disk", "socket", "daemon", "database"];
    assert_eq!(fresh.checks(), alone);
    let mut daemon = Daemon::start(Where::Embedded, &[]);
    daemon.cli_with(&["import", "-"], joined(&generated(20, 1)).as_bytes()).ok();
    let running = doctor(&daemon);
    running.assert_well();
    let there = [
        "server_version",
        "encoding",
        "durability",
        "connections",
        "schema",
        "privileges",
        "clock",
        "locks",
        "database_disk",
        "failures",
        "lag",
        "runs",
        "neighbours",
        "parked",
    ];
    assert_eq!(running.checks(), [&alone[..], &there].concat());
    running.assert("privileges", "ok", "dg_daemon", "");
    running.assert("daemon", "ok", env!("CARGO_PKG_VERSION"), "");
    // Who names the socket means the daemon there.
    let named = Findings::of(daemon.cli(&["doctor", "-o", "json", "--metrics-listen", "off"]));
    assert_eq!(named.checks(), running.checks());
    assert_eq!(daemon.stop(), 0);
    let after = doctor(&daemon);
    // All is well with it but that it does not run.
    after.assert("daemon", "warning", "has run on this data", "decisiongraph serve");
    let others =
        after.checks().into_iter().filter(|check| !check.ends_with("disk") && *check != "daemon");
    assert!(others.into_iter().all(|check| after.status(check) == "ok"), "{after:?}");
    after.assert("database", "ok", "at rest", "");
}

#[test]
fn people_get_a_table_with_each_remedy_below_its_line() {
    let url = "postgres://ann@127.0.0.1:1/dg?sslmode=disable";
    let directory = Directory::new();
    let data_dir = directory.path().display().to_string();
    let flags = ["--database-url", url, "--data-dir", &data_dir, "--metrics-listen", "off"];
    let answer = run(&[&["doctor"][..], &flags].concat(), b"");
    assert_eq!((answer.code, answer.stderr.as_str()), (1, ""), "{answer:?}");
    let lines: Vec<&str> = answer.stdout.lines().collect();
    assert!(lines[0].starts_with("CHECK"), "{answer:?}");
    let at = lines.iter().position(|line| line.starts_with("database ")).unwrap();
    assert!(lines[at].contains("failed"), "{answer:?}");
    assert!(lines[at + 1].starts_with("  help: see that Postgres runs"), "{answer:?}");
}

#[test]
fn a_configuration_that_does_not_load_is_told_problem_by_problem() {
    let directory = Directory::new();
    let file = directory.file("decisiongraph.toml", "pool_size = 1\npol_size = 3\n");
    let findings =
        Findings::of(run(&["doctor", "-o", "json", "--config", file.to_str().unwrap()], b""));
    assert_eq!(findings.checks(), ["configuration"; 2]);
    let all = &findings.answer.stdout;
    assert!(all.contains("4 to 500") && all.contains("pol_size"), "{all}");
    let gone = directory.path().join("gone.toml");
    let findings =
        Findings::of(run(&["doctor", "-o", "json", "--config", gone.to_str().unwrap()], b""));
    findings.assert("configuration", "failed", "gone.toml", "config check");
}

#[test]
fn a_database_that_lets_nobody_in_says_why() {
    let database = new_database();
    let url = database.url();
    let (before, after) = url.split_once("://").unwrap();
    let (_user, rest) = after.split_once('@').unwrap();
    let stranger = format!("{before}://no_such_user:wrong@{rest}");
    let findings = doctor_of(&["--database-url", &stranger]);
    findings.assert("database", "failed", "no_such_user", "password");
    assert!(!findings.answer.stdout.contains("wrong"), "{findings:?}");
    let (_name, parameters) = rest.split_once('?').unwrap();
    let nowhere = format!("{before}://decisiongraph@/no_such_database?{parameters}");
    let findings = doctor_of(&["--database-url", &nowhere]);
    findings.assert("database", "failed", "no_such_database", "createdb");
    let away = "postgres://ann@127.0.0.1:1/dg?sslmode=disable";
    let findings = doctor_of(&["--database-url", away]);
    findings.assert("database", "failed", "refused", "Postgres runs");
    assert!(!findings.checks().contains(&"schema"), "{findings:?}");
}

#[test]
fn a_server_that_stays_silent_is_not_waited_for() {
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = silent.local_addr().unwrap().to_string();
    let url = format!("postgres://ann@{address}/dg?sslmode=disable&connect_timeout=60");
    let started = Instant::now();
    let findings = doctor_of(&["--database-url", &url, "--metrics-listen", &address]);
    assert!(started.elapsed() < Duration::from_secs(30), "{:?}", started.elapsed());
    findings.assert("database", "failed", "no answer", "Postgres runs");
    findings.assert("metrics_listen", "failed", "another program", "--metrics-listen");
}

#[test]
fn a_schema_that_drifted_or_is_not_there_is_told() {
    let empty = new_database();
    doctor_of(&["--database-url", &empty.url()]).assert("schema", "ok", "pending", "");
    let check = ["--database-url", &empty.url(), "--migrate", "check"];
    doctor_of(&check).assert("schema", "failed", "pending", "decisiongraph migrate");
    let database = with_schema();
    doctor_of(&["--database-url", &database.url()]).assert("schema", "ok", "version", "");
    sql(&database).rows("UPDATE dg_schema_migrations SET checksum = sha256('x') WHERE version = 1");
    let findings = doctor_of(&["--database-url", &database.url()]);
    findings.assert("schema", "failed", "step 1 (event_log)", "migrate status");
}

#[test]
fn a_missing_privilege_is_named_and_the_remedy_mends_it() {
    let database = with_schema();
    let operator = sql(&database);
    // Roles belong to the whole server.
    let role = format!("doctor_{}", std::process::id());
    operator.rows(&format!("CREATE ROLE {role} LOGIN; GRANT SELECT ON dg_event_log TO {role}"));
    let (before, rest) = database.url().split_once('@').map(split).unwrap();
    let scheme = before.split_once("://").unwrap().0.to_owned();
    let url = format!("{scheme}://{role}@{rest}");
    let findings = doctor_of(&["--database-url", &url]);
    findings.assert("privileges", "failed", &format!("{role} lacks "), "GRANT dg_daemon");
    run(&["migrate", "--roles", "--database-url", &database.url()], b"").ok();
    operator.rows(&format!("GRANT dg_daemon TO {role}"));
    let findings = doctor_of(&["--database-url", &url]);
    findings.assert("privileges", "failed", "not migrate", "--migrate=check");
    let findings = doctor_of(&["--database-url", &url, "--migrate", "check"]);
    findings.assert("privileges", "ok", &role, "");
    operator.rows(&format!("DROP OWNED BY {role}; DROP ROLE {role}"));
}

fn split((before, after): (&str, &str)) -> (String, String) {
    (before.to_owned(), after.to_owned())
}

#[test]
fn settings_that_lose_answered_appends_are_told() {
    let database = with_schema();
    let setting = "ALTER DATABASE CURRENT SET synchronous_commit = off";
    let name = sql(&database).one("SELECT current_database()");
    sql(&database).rows(&setting.replace("CURRENT", &name));
    let findings = doctor_of(&["--database-url", &database.url()]);
    findings.assert("durability", "warning", "synchronous_commit off", "synchronous_commit = on");
    let findings = doctor_of(&["--database-url", &database.url(), "--pool-size", "500"]);
    findings.assert("connections", "failed", "pool_size 500", "raise max_connections");
}

#[test]
fn the_socket_of_a_daemon_that_died_is_told_and_what_is_no_socket() {
    let mut stage = Stage::new(&[]);
    stage.daemon.kill();
    let findings = doctor(&stage.daemon);
    findings.assert("socket", "warning", "does not listen", "serve");
    findings.assert("daemon", "warning", "none answers", "decisiongraph serve");
    assert_eq!(findings.answer.code, 0, "{findings:?}");
    let directory = Directory::new();
    let file = directory.file("f", "precious").display().to_string();
    let url = stage.url();
    let findings = doctor_of(&["--database-url", &url, "--socket-path", &file]);
    findings.assert("socket", "failed", "no socket", "--socket-path");
    let below = format!("{file}/s");
    let findings = doctor_of(&["--database-url", &url, "--socket-path", &below]);
    findings.assert("socket", "failed", "no directory", "--socket-path");
}

#[test]
fn the_address_for_those_who_watch_is_the_daemons_or_anothers() {
    let free = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = free.local_addr().unwrap().to_string();
    drop(free);
    let stage = Stage::new(&["--metrics-listen", &address]);
    let asked = ["doctor", "-o", "json", "--metrics-listen", &address];
    let findings = Findings::of(stage.daemon.direct(&asked));
    findings.assert("metrics_listen", "ok", "a daemon's", "");
    let database = new_database();
    let another = ["--database-url", &database.url(), "--metrics-listen", &address];
    doctor_of(&another).assert("metrics_listen", "failed", "another daemon's", "stop that daemon");
}

#[test]
fn an_open_failure_is_told_with_and_without_a_daemon() {
    let mut stage = Stage::new(&[]);
    stage.import(&[started("late")]);
    // The row that the end of a trace would change: gone.
    stage.daemon.sql().rows("DELETE FROM dg_trace_summary WHERE trace_id = 'late'");
    stage.daemon.cli_with(&["append", "-"], finished("late", 1).as_bytes()).ok();
    until("the worker has failed", || {
        let failures = stage.daemon.cli(&["failures", "-o", "json"]).ok().json();
        (!failures.as_array()?.is_empty()).then_some(())
    });
    let help = "decisiongraph retry trace_summary -t default";
    doctor(&stage.daemon).assert("failures", "warning", "1 open: trace_summary", help);
    assert_eq!(stage.daemon.stop(), 0);
    doctor(&stage.daemon).assert("failures", "warning", "1 open: trace_summary", help);
    // What has waited for long has nobody to see to it.
    let recorded = "UPDATE dg_event_log SET recorded_at = recorded_at - interval '2 hours'";
    stage.daemon.sql().tamper(recorded);
    doctor(&stage.daemon).assert("lag", "warning", "1 events behind", "decisiongraph serve");
}

#[test]
fn an_interrupted_run_is_told_with_and_without_a_daemon() {
    let database = new_database();
    let place = Where::Url(database.url());
    let mut daemon = Daemon::start_failing(place, &[], "run_open_after=abort");
    daemon.cli_with(&["import", "-"], joined(&generated(20, 1)).as_bytes()).ok();
    let started = daemon.cli(&["rebuild", "all", "--reason", "a trial"]).ok();
    let run_id = started.stdout.trim().to_owned();
    daemon.wait();
    daemon.mend();
    daemon.restart();
    until("the run is found as interrupted", || {
        let run = daemon.cli(&["run", &run_id, "-o", "json"]).ok().json();
        (run.get("status")?.as_str()? == "interrupted").then_some(())
    });
    let help = format!("decisiongraph resume {run_id}");
    doctor(&daemon).assert("runs", "warning", &run_id, &help);
    assert_eq!(daemon.stop(), 0);
    doctor(&daemon).assert("runs", "warning", &run_id, &help);
}

#[test]
fn other_daemons_at_the_database_are_told() {
    let stage = Stage::new(&[]);
    let findings = doctor_of(&["--database-url", &stage.url()]);
    findings.assert("neighbours", "warning", "other daemons", "another database");
    doctor(&stage.daemon).assert("neighbours", "ok", "alone", "");
    let neighbour = Daemon::start(Where::Url(stage.url()), &[]);
    until("the neighbour is seen", || {
        (doctor(&stage.daemon).status("neighbours") == "warning").then_some(())
    });
    drop(neighbour);
}
