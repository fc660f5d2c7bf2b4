//! `doctor --recovered`: each line of the checklist holds with its figures, and fails for its accident.

#![allow(clippy::unwrap_used, reason = "tests")]

use dg_projections::json::Json;
use dg_tests::events::{finished, generated, joined, observed, started, whole_trace};
use dg_tests::{Answer, Daemon, Directory, Stage, Where, new_database, run, until};

const CHECKS: [&str; 13] = [
    "daemon",
    "database",
    "schema",
    "projections",
    "failures",
    "workers",
    "parked",
    "runs",
    "logs",
    "digests",
    "proof",
    "backups",
    "restarts",
];

/// The checklist as it was told.
struct Checklist {
    answer: Answer,
    lines: Vec<Json>,
}

impl Checklist {
    fn of(answer: Answer) -> Checklist {
        let lines = answer.json().as_array().unwrap().to_vec();
        let has_failed = lines.iter().any(|line| text(line, "status") == "failed");
        assert_eq!(answer.code, i32::from(has_failed), "{answer:?}");
        for line in &lines {
            assert_eq!(text(line, "help").is_empty(), text(line, "status") == "ok", "{line:?}");
        }
        Checklist { answer, lines }
    }

    #[track_caller]
    fn line(&self, check: &str) -> &Json {
        let found: Vec<&Json> = self.lines.iter().filter(|it| text(it, "check") == check).collect();
        assert_eq!(found.len(), 1, "{check}: {:?}", self.answer);
        found[0]
    }

    #[track_caller]
    fn figure(&self, check: &str, name: &str) -> i64 {
        let evidence = self.line(check).get("evidence").and_then(|it| it.get(name));
        evidence
            .and_then(Json::as_i64)
            .unwrap_or_else(|| panic!("{check} {name}: {:?}", self.answer))
    }

    /// All hold, but for the disks of the machine that the test runs on.
    #[track_caller]
    fn assert_well(&self) {
        let bad: Vec<&Json> =
            self.lines.iter().filter(|it| text(it, "status") == "failed").collect();
        let bad: Vec<_> = bad.iter().filter(|it| !text(it, "check").ends_with("disk")).collect();
        assert!(bad.is_empty(), "{bad:?}");
    }

    /// This line fails, with this page, figure and remedy.
    #[track_caller]
    fn assert(&self, check: &str, page: &str, (name, value): (&str, i64), help: &str) {
        let line = self.line(check);
        assert_eq!(text(line, "status"), "failed", "{line:?}");
        assert_eq!(text(line, "page"), format!("ops/runbooks/{page}.md"), "{line:?}");
        assert_eq!(self.figure(check, name), value, "{line:?}");
        assert!(text(line, "help").contains(help), "{line:?}");
    }
}

fn text(line: &Json, key: &str) -> String {
    line.get(key).and_then(Json::as_str).unwrap_or_default().to_owned()
}

fn recovered(daemon: &Daemon, more: &[&str]) -> Checklist {
    let asked = ["doctor", "--recovered", "-o", "json", "--metrics-listen", "off"];
    Checklist::of(daemon.direct(&[&asked, more].concat()))
}

/// A daemon whose default tenant is at rest, with current digests.
fn at_rest<L: AsRef<str>>(lines: &[L]) -> Stage {
    let stage = Stage::new(&[]);
    stage.import(lines);
    stage.daemon.cli(&["digest", "--fresh"]).ok();
    stage
}

#[test]
fn what_is_well_holds_line_by_line_with_its_figures() {
    let stage = at_rest(&["a", "b"].map(whole_trace).concat());
    let checklist = recovered(&stage.daemon, &[]);
    checklist.assert_well();
    for check in CHECKS {
        checklist.line(check);
    }
    assert_eq!(checklist.figure("projections", "projections"), 3);
    assert_eq!(checklist.figure("projections", "events"), 12);
    assert_eq!(checklist.figure("logs", "events_counted"), 12);
    assert_eq!(checklist.figure("proof", "verified"), 1);
    assert_eq!(checklist.figure("proof", "digests_equal"), 4);
    assert_eq!(checklist.figure("database", "timeline"), 1);
    assert_eq!(text(checklist.line("backups"), "status"), "unknown");
    let told = stage.daemon.direct(&["doctor", "--recovered", "--metrics-listen", "off"]);
    assert!(told.stdout.contains("behind 0, beyond 0, miscounted 0"), "{told:?}");
    assert!(told.stdout.starts_with("CHECK"), "{told:?}");
}

#[test]
fn without_a_daemon_or_a_database_nothing_is_taken_for_well() {
    let mut stage = at_rest(&whole_trace("a"));
    assert_eq!(stage.daemon.stop(), 0);
    let checklist = recovered(&stage.daemon, &[]);
    assert_eq!(text(checklist.line("daemon"), "page"), "ops/runbooks/daemon-down.md");
    assert_eq!(text(checklist.line("workers"), "status"), "unknown");
    assert_eq!(text(checklist.line("proof"), "status"), "ok");
    let directory = Directory::new();
    let data_dir = directory.path().display().to_string();
    let away = ["--database-url", "postgres://ann@127.0.0.1:1/dg?sslmode=disable"];
    let asked =
        ["doctor", "--recovered", "-o", "json", "--metrics-listen", "off", "--data-dir", &data_dir];
    let checklist = Checklist::of(run(&[&asked[..], &away].concat(), b""));
    assert_eq!(text(checklist.line("database"), "status"), "failed");
    assert!(!checklist.answer.stdout.contains("\"proof\""), "{:?}", checklist.answer);
    let file = directory.file("bad.toml", "pool_size = 1\n");
    let asked = ["doctor", "--recovered", "-o", "json", "--config", file.to_str().unwrap()];
    let checklist = Checklist::of(run(&asked, b""));
    assert_eq!(text(checklist.line("configuration"), "status"), "failed");
}

#[test]
fn a_projection_behind_beyond_or_miscounted_is_told_apart() {
    let mut stage = at_rest(&["a", "b"].map(whole_trace).concat());
    assert_eq!(stage.daemon.stop(), 0);
    let sql = stage.daemon.sql();
    let cursor = |change: &str| {
        let of = "WHERE projection_name = 'trace_summary'";
        sql.tamper(&format!("UPDATE dg_projection_cursors SET {change} {of}"));
        recovered(&stage.daemon, &["--quick"])
    };
    let behind = cursor("last_log_seq = 11, applied_events = 11");
    behind.assert("projections", "projection-lagging", ("behind", 1), "workers -t default");
    assert_eq!(text(behind.line("digests"), "status"), "failed");
    let beyond = cursor("last_log_seq = 13, applied_events = 12");
    beyond.assert("projections", "lost-commits", ("beyond", 1), "rebuild all -t default");
    let counted = cursor("last_log_seq = 12, applied_events = 11");
    counted.assert(
        "projections",
        "projection-count-mismatch",
        ("miscounted", 1),
        "verify -t default",
    );
    assert_eq!(text(cursor("applied_events = 12").line("projections"), "status"), "ok");
}

#[test]
fn an_open_failure_and_its_worker_are_told() {
    let stage = at_rest(&[started("late")]);
    stage.daemon.sql().rows("DELETE FROM dg_trace_summary WHERE trace_id = 'late'");
    stage.daemon.cli_with(&["append", "-"], finished("late", 1).as_bytes()).ok();
    until("the worker has failed", || {
        let failures = stage.daemon.cli(&["failures", "-o", "json"]).ok().json();
        (!failures.as_array()?.is_empty()).then_some(())
    });
    let checklist = recovered(&stage.daemon, &[]);
    let retry = "decisiongraph retry trace_summary -t default";
    checklist.assert("failures", "projection-failed", ("open", 1), retry);
    checklist.assert("workers", "projection-failed", ("failed", 1), retry);
}

#[test]
fn a_run_that_was_interrupted_or_whose_daemon_is_silent_is_told() {
    let mut stage = at_rest(&whole_trace("a"));
    let rebuild = ["rebuild", "all", "--reason", "x", "--wait", "-o", "json"];
    let run = text(&stage.daemon.cli(&rebuild).ok().json(), "run_id");
    stage.daemon.cli(&["digest", "--fresh"]).ok();
    recovered(&stage.daemon, &[]).assert_well();
    // Of a daemon that is gone, with nobody else there who would find it out.
    assert_eq!(stage.daemon.stop(), 0);
    let sql = stage.daemon.sql();
    let as_if = |status: &str| {
        sql.rows(&format!(
            "UPDATE dg_projection_runs SET status = '{status}', finished_at = NULL, owner = 'x',
                seen_at = now() - interval '1 hour'"
        ));
        recovered(&stage.daemon, &[])
    };
    let help = format!("decisiongraph resume {run}");
    as_if("interrupted").assert("runs", "run-interrupted", ("interrupted", 1), &help);
    let stalled = as_if("running");
    stalled.assert("runs", "run-stalled", ("stalled", 1), &help);
}

#[test]
fn a_log_with_a_hole_or_without_its_head_is_told() {
    let stage = at_rest(&["a", "b"].map(whole_trace).concat());
    let sql = stage.daemon.sql();
    sql.rows("CREATE TABLE saved AS SELECT * FROM dg_event_log WHERE log_seq = 7");
    sql.tamper("DELETE FROM dg_event_log WHERE log_seq = 7");
    let hole = recovered(&stage.daemon, &[]);
    hole.assert("logs", "log-damage", ("damaged", 1), "verify -t default");
    hole.assert("proof", "log-damage", ("different", 1), "put back what was changed");
    sql.tamper("INSERT INTO dg_event_log TABLE saved; DELETE FROM dg_tenant_heads");
    let headless = recovered(&stage.daemon, &[]);
    headless.assert("logs", "log-damage", ("without_head", 1), "verify -t default");
}

#[test]
fn rows_that_are_not_what_the_log_says_fail_the_proof_though_all_else_holds() {
    let stage = at_rest(&whole_trace("a"));
    stage.daemon.sql().rows("UPDATE dg_trace_summary SET title = 'forged'");
    let checklist = recovered(&stage.daemon, &[]);
    checklist.assert("proof", "projection-rows-differ", ("different", 1), "rebuild all -t default");
    let failed = checklist.lines.iter().filter(|it| text(it, "status") == "failed");
    let failed = failed.filter(|it| !text(it, "check").ends_with("disk"));
    assert_eq!(failed.count(), 1, "{:?}", checklist.answer);
}

#[test]
fn digests_of_another_cursor_are_stale() {
    let stage = Stage::new(&["--digest-idle-ms", "86400000"]);
    stage.import(&[started("a")]);
    stage.daemon.cli(&["digest", "--fresh"]).ok();
    stage.import(&[observed("a", 1)]);
    let stale = recovered(&stage.daemon, &[]);
    stale.assert("digests", "projection-out-of-date", ("stale", 1), "digest --fresh -t default");
    stage.daemon.cli(&["digest", "--fresh"]).ok();
    recovered(&stage.daemon, &[]).assert_well();
}

#[test]
fn a_quick_look_verifies_a_sample_and_says_what_it_left_out() {
    let stage = Stage::new(&[]);
    stage.daemon.cli_with(&["import", "-"], joined(&generated(25, 25)).as_bytes()).ok();
    until("all tenants are current and have digests", || {
        let checklist = recovered(&stage.daemon, &["--quick"]);
        let holds = |check: &str| text(checklist.line(check), "status") == "ok";
        (holds("projections") && holds("digests")).then_some(())
    });
    let quick = recovered(&stage.daemon, &["--quick"]);
    quick.assert_well();
    assert_eq!(quick.figure("proof", "verified"), 9, "every third of 25");
    assert_eq!(quick.figure("proof", "not_verified"), 16);
    let whole = recovered(&stage.daemon, &[]);
    assert_eq!(whole.figure("proof", "verified"), 25);
    assert_eq!(whole.figure("proof", "not_verified"), 0);
    assert_eq!(whole.figure("logs", "logs"), 25);
}

#[test]
fn a_database_without_the_tables_or_that_takes_no_writes_does_not_hold() {
    let empty = new_database();
    let directory = Directory::new();
    let data_dir = directory.path().display().to_string();
    let asked = [
        "doctor",
        "--recovered",
        "-o",
        "json",
        "--metrics-listen",
        "off",
        "--data-dir",
        &data_dir,
        "--database-url",
    ];
    let without = Checklist::of(run(&[&asked[..], &[&empty.url()]].concat(), b""));
    assert_eq!(text(without.line("schema"), "page"), "ops/runbooks/failed-upgrade.md");
    let stage = at_rest(&whole_trace("a"));
    let sql = stage.daemon.sql();
    let name = sql.one("SELECT current_database()");
    sql.rows(&format!("ALTER DATABASE {name} SET default_transaction_read_only = on"));
    let closed = recovered(&stage.daemon, &[]);
    assert_eq!(text(closed.line("database"), "page"), "ops/runbooks/lost-commits.md");
}

#[test]
fn the_embedded_database_is_asked_as_well() {
    let daemon = Daemon::start(Where::Embedded, &[]);
    daemon.cli_with(&["import", "-"], joined(&whole_trace("a")).as_bytes()).ok();
    daemon.until_current("default");
    daemon.cli(&["digest", "--fresh"]).ok();
    let checklist = recovered(&daemon, &[]);
    checklist.assert_well();
    assert!(!text(checklist.line("database"), "status").is_empty());
}
