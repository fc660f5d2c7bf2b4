//! What the daemon tells of its projections: metrics that are bounded and do not freeze, and health
//! that a worker's own opinion does not change.

#![allow(clippy::unwrap_used, reason = "tests")]

use std::time::{Duration, Instant};

use dg_projections::json::Json;
use dg_tests::events::{joined, started, whole_trace};
use dg_tests::http::{Metrics, WATCHED};
use dg_tests::log::{ALL, append_all, parsed};
use dg_tests::{Daemon, Database, Stage, Where, until};

fn stage(flags: &[&str]) -> Stage {
    Stage::new(&[&WATCHED, flags].concat())
}

fn append(stage: &Stage, tenant: &str, lines: &[String]) {
    stage.daemon.cli_with(&["import", "-", "-t", tenant], joined(lines).as_bytes()).ok();
}

/// Appends and waits until it is applied.
fn apply(stage: &Stage, tenant: &str, lines: &[String]) {
    append(stage, tenant, lines);
    stage.daemon.until_current(tenant);
}

fn of(name: &str, tenant: &str) -> String {
    format!("projection_{name}{{tenant=\"{tenant}\",projection=\"trace_summary\"}}")
}

#[test]
fn applied_batches_are_counted_and_timed() {
    let stage = stage(&[]);
    apply(&stage, "a", &whole_trace("t"));
    let metrics = Metrics::of(&stage.daemon);
    for projection in ALL {
        let own = format!("{{projection=\"{projection}\"}}");
        let applied = format!("events_applied_total{{tenant=\"a\",projection=\"{projection}\"}}");
        assert_eq!(metrics.value(&format!("projection_{applied}")), Some(6.0));
        for phase in ["read", "project", "commit"] {
            let labels = format!("{{projection=\"{projection}\",phase=\"{phase}\"}}");
            let count = metrics.value(&format!("projection_batch_duration_seconds_count{labels}"));
            assert_eq!(count, Some(1.0), "{phase}");
        }
        let visible =
            metrics.value(&format!("projection_append_to_visible_seconds_sum{own}")).unwrap();
        assert!(visible > 0.0 && visible < 60.0, "{visible}");
        let cycle =
            metrics.value(&format!("projection_last_cycle_timestamp_seconds{own}")).unwrap();
        let now = std::time::SystemTime::UNIX_EPOCH.elapsed().unwrap().as_secs_f64();
        assert!(now - cycle < 60.0 && cycle <= now, "{cycle} of {now}");
        assert_eq!(metrics.value(&format!("projection_count_mismatches_total{own}")), Some(0.0));
    }
    let mut gauges = ["lag_events", "lag_seconds", "open_failures"].into_iter();
    assert!(gauges.all(|name| metrics.value(&of(name, "a")) == Some(0.0)));
    assert_eq!(metrics.value(&of("cursor_log_seq", "a")), Some(6.0));
    assert_eq!(metrics.value(&of("lag_events", "_other")), None);
}

#[test]
fn a_label_in_counters_is_kept_and_gauges_follow_the_most_lagging() {
    let stage = stage(&["--metrics-max-tenants", "1"]);
    apply(&stage, "a", &whole_trace("t"));
    apply(&stage, "b", &whole_trace("t"));
    let sql = stage.daemon.sql();
    for (behind, other, trace) in [("b", "a", "u"), ("a", "b", "v")] {
        sql.hold(behind);
        append(&stage, behind, &[started(trace)]);
        let metrics = Metrics::of(&stage.daemon);
        assert_eq!(metrics.value(&of("lag_events", behind)), Some(1.0), "{metrics:?}");
        assert!(metrics.value(&of("lag_seconds", behind)).unwrap() > 0.0);
        assert!(metrics.value(&of("cursor_log_seq", behind)).is_some());
        // Who left has no series; the rest has no cursor.
        assert_eq!(metrics.value(&of("lag_events", other)), None);
        assert_eq!(metrics.value(&of("lag_events", "_other")), Some(0.0));
        assert_eq!(metrics.value(&of("cursor_log_seq", "_other")), None);
        sql.release();
        stage.daemon.until_current(behind);
    }
    let metrics = Metrics::of(&stage.daemon);
    assert_eq!(metrics.value(&of("events_applied_total", "a")), Some(7.0));
    assert_eq!(metrics.value(&of("events_applied_total", "b")), None);
    assert_eq!(metrics.value(&of("events_applied_total", "_other")), Some(7.0));
}

#[test]
fn a_worker_that_hangs_deceives_neither_health_nor_metrics() {
    let stage = stage(&[]);
    apply(&stage, "default", &whole_trace("t"));
    let sql = stage.daemon.sql();
    sql.hold("default");
    append(&stage, "default", &[started("u")]);
    let health = stage.daemon.cli(&["health", "-o", "json"]).ok().json();
    assert_eq!(health.get("is_stale").and_then(Json::as_bool), Some(true));
    for projection in health.get("projections").and_then(Json::as_array).unwrap() {
        let number = |name| projection.get(name).and_then(Json::as_i64);
        assert_eq!((number("last_log_seq"), number("pending_events")), (Some(6), Some(1)));
        assert_eq!(projection.get("is_stale").and_then(Json::as_bool), Some(true));
    }
    assert_eq!(stage.daemon.cli(&["health", "--check"]).code, 1);
    let lag = || Metrics::of(&stage.daemon).value(&of("lag_seconds", "default")).unwrap();
    let first = lag();
    until("the lag grows without traffic", || (lag() > first).then_some(()));
    sql.release();
    stage.daemon.until_current("default");
}

#[test]
fn a_scrape_that_waits_for_a_lock_answers_soon_and_tells_no_old_lag() {
    let stage = stage(&[]);
    apply(&stage, "a", &whole_trace("t"));
    assert_eq!(Metrics::of(&stage.daemon).count("projection_lag_events"), 3);
    let sql = stage.daemon.sql();
    sql.rows("BEGIN; LOCK TABLE dg_tenant_heads IN ACCESS EXCLUSIVE MODE");
    let began = Instant::now();
    let metrics = Metrics::of(&stage.daemon);
    assert!(began.elapsed() < Duration::from_secs(9), "{:?}", began.elapsed());
    let collected =
        |metrics: &Metrics| metrics.value("scrape_collector_success{collector=\"lag\"}");
    // The database answers; what is asked of it waits.
    assert_eq!((metrics.value("store_up"), collected(&metrics)), (Some(1.0), Some(0.0)));
    assert_eq!(metrics.count("projection_lag"), 0);
    assert_eq!(metrics.value(&of("events_applied_total", "a")), Some(6.0));
    sql.release();
    until("the lag is told again", || {
        let metrics = Metrics::of(&stage.daemon);
        (collected(&metrics) == Some(1.0) && metrics.count("projection_lag_events") == 3)
            .then_some(())
    });
}

#[test]
fn retries_are_counted_by_code_and_are_no_failures() {
    let stage = stage(&[]);
    apply(&stage, "a", &whole_trace("t"));
    let sql = stage.daemon.sql();
    sql.hold("a");
    append(&stage, "a", &[started("u")]);
    let of = |name: &str| {
        let labels = "{projection=\"trace_summary\",code=\"storage\"}";
        Metrics::of(&stage.daemon).value(&format!("projection_{name}_total{labels}"))
    };
    until("a retry is counted", || {
        let cut = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity
            WHERE datname = current_database() AND wait_event_type = 'Lock'";
        sql.rows(cut);
        of("retries").filter(|count| *count >= 1.0)
    });
    assert_eq!(of("failures"), Some(0.0));
    sql.release();
    stage.daemon.until_current("a");
}

#[test]
fn a_count_mismatch_at_the_tail_is_counted_and_cannot_be_missed() {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let (database, store) = runtime.block_on(Database::with_schema());
    let lines = ["t", "u"].map(whole_trace).concat();
    runtime.block_on(append_all(&store, "a", &parsed("a", &lines), 100));
    let mut daemon = Daemon::new(Where::Url(database.url()), &WATCHED, "");
    // The last of its trace: no later event of it shows that one is missing.
    daemon.sql().tamper("DELETE FROM dg_event_log WHERE log_seq = 6");
    daemon.restart();
    for series in [
        "count_mismatches_total{projection=\"trace_summary\"}",
        "failures_total{projection=\"trace_summary\",code=\"internal\"}",
    ] {
        until("the mismatch is counted", || {
            let count = Metrics::of(&daemon).value(&format!("projection_{series}"));
            count.filter(|count| *count == 1.0)
        });
    }
    let labels = "{tenant=\"a\",projection=\"trace_summary\",found_by=\"count\"}";
    let at = Metrics::of(&daemon).value(&format!("projection_mismatch_timestamp_seconds{labels}"));
    let now = std::time::SystemTime::UNIX_EPOCH.elapsed().unwrap().as_secs_f64();
    assert!(at.is_some_and(|at| now - at < 60.0), "{at:?} of {now}");
    let told = |line: &&str| line.contains("ERROR") && line.contains("count mismatch");
    until("each projection says so", || {
        (daemon.log().lines().filter(told).count() == 3).then_some(())
    });
    // Nobody who looks for what is wrong knows the tenant yet.
    until("its failures are told without its name", || {
        let failures = daemon.cli(&["failures", "-o", "json"]).ok().json();
        (failures.as_array()?.len() == 3).then_some(())
    });
}
