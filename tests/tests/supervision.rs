//! Crashes in a real daemon: what comes back, what is parked, what ends.

#![allow(clippy::unwrap_used, reason = "tests")]

use dg_projections::json::Json;
use dg_tests::{Daemon, Database, Where, run, until};

const QUICK: [&str; 4] = ["--projection-poll-interval-ms", "50", "--log-level", "info"];

fn database() -> (tokio::runtime::Runtime, Database) {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let database = runtime.block_on(Database::empty());
    (runtime, database)
}

fn failing(database: &Database, fail_points: &str) -> Daemon {
    Daemon::start_failing(Where::Url(database.url()), &QUICK, fail_points)
}

/// Imports a small log for a tenant; how many events.
fn import(daemon: &Daemon, tenant: &str, traces: &str, seed: &str) -> i64 {
    let log = run(&["generate", "--traces", traces, "--seed", seed], b"").ok().stdout;
    daemon.cli_with(&["import", "-", "-t", tenant], log.as_bytes()).ok();
    log.lines().count() as i64
}

fn worker(daemon: &Daemon, tenant: &str, projection: &str) -> Option<Json> {
    let workers = daemon.cli(&["workers", "-t", tenant, "-o", "json"]).json();
    let workers = workers.as_array().unwrap().to_vec();
    workers
        .into_iter()
        .find(|worker| worker.get("projection_name").and_then(Json::as_str) == Some(projection))
}

#[test]
fn a_worker_that_panics_once_is_back_from_its_cursor_with_nothing_lost() {
    let (_runtime, database) = database();
    let daemon = failing(&database, "worker_apply_before/acme/context_graph/0=panic*1");
    import(&daemon, "acme", "40", "1");
    daemon.until_current("acme");
    let graph = worker(&daemon, "acme", "context_graph").unwrap();
    assert_eq!(graph.get("restarts").and_then(Json::as_i64), Some(1), "{graph:?}");
    assert_eq!(graph.get("status").and_then(Json::as_str), Some("idle"));
    let other = worker(&daemon, "acme", "trace_summary").unwrap();
    assert_eq!(other.get("restarts").and_then(Json::as_i64), Some(0), "{other:?}");
    daemon.direct(&["verify", "-t", "acme"]).ok();
    assert!(daemon.log().contains("child terminated"), "{}", daemon.log());
}

#[test]
fn a_worker_that_panics_for_ever_parks_its_tenant_only_and_retry_unparks_it() {
    let (_runtime, database) = database();
    // Four crashes within the period: one more than a tenant may have.
    let daemon = failing(&database, "worker_apply_before/bad/context_graph/0=panic*4");
    import(&daemon, "bad", "10", "1");
    until("the tenant is parked", || {
        let worker = worker(&daemon, "bad", "trace_summary")?;
        (worker.get("status").and_then(Json::as_str) == Some("failed")).then_some(())
    });
    let parked = worker(&daemon, "bad", "context_graph").unwrap();
    let message =
        parked.get("last_error").unwrap().get("message").and_then(Json::as_str).unwrap().to_owned();
    assert!(message.starts_with("parked: panicked: fail point"), "{message}");
    import(&daemon, "good", "10", "2");
    daemon.until_current("good");
    let failures = until("the failure is recorded", || {
        let failures = daemon.cli(&["failures", "-t", "bad", "-o", "json"]).json();
        failures.as_array().filter(|failures| !failures.is_empty()).map(<[Json]>::to_vec)
    });
    assert_eq!(
        failures[0].get("error_code").and_then(Json::as_str),
        Some("internal"),
        "{failures:?}"
    );
    assert_eq!(daemon.cli(&["health", "--check", "-t", "bad"]).code, 2);
    let status = daemon.cli(&["status", "-o", "json"]).json();
    let parked = status.get("parked").and_then(Json::as_array).unwrap();
    assert_eq!(parked.len(), 1, "{status:?}");

    daemon.cli(&["retry", "context_graph", "-t", "bad"]).ok();
    daemon.until_current("bad");
    daemon.direct(&["verify", "-t", "bad"]).ok();
    let open = daemon.cli(&["failures", "-t", "bad", "-o", "json"]).json();
    assert_eq!(open.as_array().unwrap().len(), 0, "resolved by what was committed since");
}

#[test]
fn a_crashing_store_actor_restarts_what_depends_on_it() {
    let (runtime, database) = database();
    let daemon = failing(&database, "gate_handle_before=panic*1");
    import(&daemon, "acme", "10", "1");
    daemon.until_current("acme");
    runtime.block_on(async {
        let sql = "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity
            WHERE datname = current_database() AND starts_with(application_name, 'decisiongraph') AND pid <> pg_backend_pid()";
        // Whoever uses a connection now learns that it is cut; the gate is told and crashes.
        let client = database.connect().await;
        dg_tests::eventually("the store actor crashes", || async {
            client.query_one(sql, &[]).await.unwrap();
            daemon.log().contains("supervisor=\"root\" child=store").then_some(())
        })
        .await;
    });
    until("events become visible again", || {
        let log = run(&["generate", "--traces", "10", "--seed", "2"], b"").ok().stdout;
        (daemon.cli_with(&["import", "-", "-t", "acme"], log.as_bytes()).code == 0).then_some(())
    });
    daemon.until_current("acme");
    daemon.direct(&["verify", "-t", "acme"]).ok();
}

#[test]
fn a_lane_that_panics_is_followed_by_one_that_finds_what_it_had_written() {
    let (_runtime, database) = database();
    let daemon = failing(&database, "append_commit_after=panic*1");
    let event = run(&["generate", "--traces", "1"], b"").ok().stdout;
    let event = event.lines().next().unwrap();
    // Twice, or it would be taken to be new.
    let twice = format!("{event}\n{event}\n");
    let appended = daemon.cli_with(&["append", "-", "-t", "acme"], twice.as_bytes()).ok();
    // The first lane had committed it, and crashed before it could say so.
    for line in appended.stdout.lines() {
        assert!(line.contains(r#""status":"reused""#), "{appended:?}");
    }
    assert_eq!(appended.stdout.lines().count(), 2);
    let log = daemon.log();
    assert!(log.contains("supervisor=\"lanes\" child=acme"), "{log}");
    assert_eq!(import(&daemon, "acme", "10", "2"), 80);
    daemon.until_current("acme");
    let listed = daemon.cli(&["events", "-t", "acme", "--limit", "200", "-o", "json"]).ok();
    assert_eq!(listed.json().as_array().map(<[Json]>::len), Some(81));
    daemon.direct(&["verify", "-t", "acme"]).ok();
}

#[test]
fn a_crash_that_reaches_the_root_ends_the_daemon_non_zero_after_an_ordered_stop() {
    let (_runtime, database) = database();
    let mut daemon = failing(&database, "gate_handle_before=panic");
    drop(database); // every look of the directory now fails, and the gate with it
    assert_eq!(daemon.wait(), 1, "{}", daemon.log());
    let log = daemon.log();
    assert!(log.contains("the supervision tree has ended"), "{log}");
    assert!(log.contains("stopping 3/3"), "{log}");
    assert!(!daemon.socket().exists());
}

#[test]
fn sigterm_under_load_exits_zero_and_leaves_no_half_batch() {
    let (_runtime, database) = database();
    let mut daemon = Daemon::start(Where::Url(database.url()), &QUICK);
    let log = run(&["generate", "--traces", "2000"], b"").ok().stdout;
    let file = daemon.directory().file("log.jsonl", &log);
    let socket = daemon.socket();
    let importing = std::thread::spawn(move || {
        run(&["import", file.to_str().unwrap(), "--socket", socket.to_str().unwrap()], b"")
    });
    until("some of it is in", || {
        let health = daemon.cli(&["health", "-o", "json"]);
        (health.code == 0 && health.json().get("event_count")?.as_i64()? > 1000).then_some(())
    });
    assert_eq!(daemon.stop(), 0, "{}", daemon.log());
    importing.join().unwrap();
    assert!(!daemon.log().contains("did not end in time"), "{}", daemon.log());
    daemon.restart();
    daemon.cli_with(&["import", "-"], log.as_bytes()).ok();
    daemon.until_current("default");
    daemon.direct(&["verify"]).ok();
}
