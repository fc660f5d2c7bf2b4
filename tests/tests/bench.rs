//! The benchmark measures what it says, in databases of its own.

#![allow(clippy::unwrap_used, reason = "tests")]

use std::sync::{Mutex, MutexGuard, PoisonError};

use dg_projections::json::Json;
use dg_tests::{Answer, Database, Directory, Sql, run};

/// What is measured, in this order; those of the curve after how many events they are of.
const NAMES: [&str; 31] = [
    "append_single",
    "append_concurrent_1_tenant",
    "append_concurrent_64_tenants",
    "import",
    "import_live",
    "read",
    "export",
    "project",
    "rebuild",
    "rebuild_beside_500",
    "lag_500_beside_rebuild",
    "lag_200",
    "lag_1000",
    "lag_200_beside_import",
    "idle",
    "idle_started",
    "digest",
    "project_40",
    "project_400",
    "project_4000",
    "rebuild_40",
    "rebuild_400",
    "rebuild_4000",
    "curve_project",
    "curve_rebuild",
    "tenants",
    "project_long_trace",
    "project_wide_payloads",
    "project_hot_entities",
    "stress_few_connections",
    "stress_slow_disk",
];
/// How many events the first of them are of.
const EVENTS: [i64; 9] = [8, 512, 512, 640, 640, 640, 640, 640, 640];
/// What the contract says a figure has.
const MEMBERS: [&str; 10] = [
    "name",
    "events",
    "seconds",
    "events_per_second",
    "floor_events_per_second",
    "ratio",
    "p50_ms",
    "p99_ms",
    "peak_rss_mb",
    "settings",
];

/// One at a time: what is left is looked for on the whole server.
static TURN: Mutex<()> = Mutex::new(());

fn turn() -> MutexGuard<'static, ()> {
    TURN.lock().unwrap_or_else(PoisonError::into_inner)
}

fn bench(database: &Database, more: &[&str]) -> Answer {
    let effort = ["--traces", "80", "--rounds", "1", "--seconds", "1", "--json"];
    let url = database.url();
    run(&[&["bench"], more, &effort, &["--database-url", &url]].concat(), b"")
}

/// Scratch databases that are still there.
fn left(database: &Database) -> String {
    let left = "SELECT count(*) FROM pg_database WHERE datname LIKE 'dg\\_bench\\_%'";
    Sql::connect(&database.url().parse().unwrap()).one(left)
}

#[test]
fn each_figure_stands_beside_its_floor_and_nothing_is_left() {
    let _turn = turn();
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let database = runtime.block_on(Database::empty());
    let figures = bench(&database, &["all"]).ok().json();
    let figures = figures.as_array().unwrap();
    let names: Vec<_> = figures.iter().map(|one| text(one, "name")).collect();
    assert_eq!(names, NAMES);
    for (figure, events) in figures.iter().zip(EVENTS) {
        assert_eq!(figure.get("events").and_then(Json::as_i64), Some(events), "{figure:?}");
    }
    figures.iter().for_each(is_whole);
    assert_eq!(left(&database), "0");
}

fn is_whole(figure: &Json) {
    for member in MEMBERS {
        assert!(figure.get(member).is_some(), "{member}: {figure:?}");
    }
    let name = text(figure, "name");
    let number = |field| figure.get(field).and_then(Json::as_f64).unwrap();
    assert!(number("events_per_second") > 0.0, "{figure:?}");
    if name.starts_with("lag") || name.starts_with("stress") {
        assert!(number("p50_ms") > 0.0 && number("p99_ms") >= number("p50_ms"), "{figure:?}");
    }
    if name.starts_with("idle") {
        let measured = |what| figure.get("measures").and_then(|all| all.get(what)).is_some();
        assert!(measured("queries/s") && measured("% of a core") && measured("MB"), "{figure:?}");
    } else if !name.starts_with("lag") {
        let ratio = number("events_per_second") / number("floor_events_per_second");
        assert!((number("ratio") - ratio).abs() < 0.01 + ratio / 50.0, "{figure:?}");
    }
    assert!(number("peak_rss_mb") > 1.0, "{figure:?}");
    assert_eq!(text(figure.get("settings").unwrap(), "fsync"), "on");
}

#[test]
fn a_ratio_far_below_what_was_recorded_is_a_failure_and_no_other() {
    let _turn = turn();
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let database = runtime.block_on(Database::empty());
    let directory = Directory::new();
    for (recorded, exit) in [("0.0001", 0), ("1000", 1)] {
        let text = format!(r#"[{{"name":"read","ratio":{recorded}}}]"#);
        let path = directory.file("recorded.json", text);
        let answer = bench(&database, &["read", "--baseline", &path.to_string_lossy()]);
        assert_eq!(answer.code, exit, "{answer:?}");
        let tells = answer.stderr.contains("far slower than recorded: read");
        assert_eq!(tells, exit == 1, "{answer:?}");
    }
    assert_eq!(left(&database), "0");
}

fn text(value: &Json, field: &str) -> String {
    value.get(field).and_then(Json::as_str).unwrap_or_default().to_owned()
}
