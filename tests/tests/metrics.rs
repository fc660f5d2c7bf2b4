//! What the daemon tells of its requests, its process, its many tenants, and of itself in trouble.

#![allow(clippy::unwrap_used, reason = "tests")]

use std::io::{Read as _, Write as _};
use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant, SystemTime};

use dg_projections::json::{self, Json};
use dg_tests::events::{generated, joined, observed, started, whole_trace};
use dg_tests::http::{Metrics, WATCHED, address, request};
use dg_tests::{Daemon, Postgres, Stage, Where, new_database, spawn, until};

const COLLECTORS: [&str; 4] = ["lag", "runs", "workers", "supervisors"];

fn stage(flags: &[&str]) -> Stage {
    Stage::new(&[&WATCHED, flags].concat())
}

fn import(daemon: &Daemon, tenant: &str, lines: &[String]) {
    daemon.cli_with(&["import", "-", "-t", tenant], joined(lines).as_bytes()).ok();
}

fn url(server: &Postgres) -> String {
    format!("postgres://decisiongraph@{}/postgres?sslmode=disable", server.address())
}

fn collected(metrics: &Metrics, collector: &str) -> Option<f64> {
    metrics.value(&format!("scrape_collector_success{{collector=\"{collector}\"}}"))
}

/// Whether it is ready, and the reasons why not.
fn ready(address: &str) -> (u16, bool, String) {
    let (status, body) = request(address, "GET /readyz");
    let answer = json::parse(&body).unwrap();
    let reasons = answer.get("reasons").and_then(Json::as_array).unwrap();
    let reasons: Vec<&str> = reasons.iter().filter_map(Json::as_str).collect();
    (status, answer.get("ready").and_then(Json::as_bool).unwrap(), reasons.join("; "))
}

#[test]
fn appends_that_the_database_failed_are_counted() {
    let stage = stage(&["--storage-timeout-ms", "500"]);
    let failed = || {
        let metrics = Metrics::of(&stage.daemon);
        metrics.value("store_append_events_total{result=\"storage\"}")
    };
    assert_eq!(failed(), Some(0.0));
    let sql = stage.daemon.sql();
    sql.rows("BEGIN; LOCK TABLE dg_event_log, dg_tenant_heads IN ACCESS EXCLUSIVE MODE");
    let lines = joined(&[started("a"), started("b")]);
    assert_eq!(stage.daemon.cli_with(&["append", "-"], lines.as_bytes()).code, 69);
    assert_eq!(failed(), Some(2.0));
    assert_eq!(stage.daemon.cli_with(&["append", "-", "--atomic"], lines.as_bytes()).code, 69);
    assert_eq!(failed(), Some(4.0));
    sql.release();
    stage.daemon.cli_with(&["append", "-"], lines.as_bytes()).ok();
    let metrics = Metrics::of(&stage.daemon);
    assert_eq!(metrics.value("store_append_events_total{result=\"inserted\"}"), Some(2.0));
    assert_eq!(failed(), Some(4.0));
}

/// Says something to the admin socket and waits for what it says, if anything.
fn say(daemon: &Daemon, bytes: &[u8]) {
    let mut stream = UnixStream::connect(daemon.socket()).unwrap();
    stream.write_all(bytes).unwrap();
    let _ = stream.read(&mut [0; 512]).unwrap();
}

#[test]
fn requests_are_counted_by_their_route_and_outcome() {
    let stage = stage(&[]);
    let before = Metrics::of(&stage.daemon).count("admin_request");
    stage.daemon.cli_with(&["append", "-"], started("a").as_bytes()).ok();
    stage.daemon.cli(&["run", "2f0d6b54-6bcb-4a6c-9d3f-000000000000"]);
    stage.daemon.cli(&["run", "no-run-at-all"]);
    for path in ["/v1/nowhere", "/secret/1", "/secret/2"] {
        say(&stage.daemon, format!("GET {path} HTTP/1.1\r\nhost: x\r\n\r\n").as_bytes());
    }
    say(&stage.daemon, b"no HTTP at all\r\n\r\n");
    say(&stage.daemon, b"DELETE /v1/runs HTTP/1.1\r\nhost: x\r\n\r\n");
    // Counted when its head is sent, though it goes on.
    let mut watch = UnixStream::connect(stage.daemon.socket()).unwrap();
    watch.write_all(b"GET /v1/watch HTTP/1.1\r\nhost: x\r\n\r\n").unwrap();
    let _ = watch.read(&mut [0; 512]).unwrap();
    let requests = |route: &str, code: &str| {
        let labels = format!("{{route=\"{route}\",code=\"{code}\"}}");
        Metrics::of(&stage.daemon).value(&format!("admin_requests_total{labels}"))
    };
    for (route, code, count) in [
        ("POST /v1/events", "ok", 1.0),
        ("GET /v1/runs/{run_id}", "not_found", 2.0),
        ("unmatched", "not_found", 3.0),
        ("unmatched", "invalid_argument", 2.0),
        ("GET /v1/watch", "ok", 1.0),
        ("GET /v1/tree", "ok", 0.0),
        ("GET /v1/tree", "internal", 0.0),
        ("POST /v1/events", "storage", 0.0),
    ] {
        until(&format!("{route} {code}"), || (requests(route, code) == Some(count)).then_some(()));
    }
    let metrics = Metrics::of(&stage.daemon);
    let seconds = |route: &str, what: &str| {
        metrics.value(&format!("admin_request_duration_seconds_{what}{{route=\"{route}\"}}"))
    };
    assert_eq!(seconds("GET /v1/runs/{run_id}", "count"), Some(2.0));
    assert_eq!(seconds("GET /v1/watch", "count"), Some(1.0));
    assert_eq!(seconds("GET /v1/tree", "count"), Some(0.0));
    assert!(seconds("GET /v1/runs/{run_id}", "sum").unwrap() > 0.0);
    // What clients write into a path makes no series: four outcomes and the one route of the rest.
    let routes = metrics.count("admin_request_duration_seconds_count");
    let per_route = metrics.count("admin_request_duration_seconds_bucket{route=\"unmatched\"") + 2;
    assert_eq!(metrics.count("admin_request"), before + 3 + per_route, "{routes} routes");
    assert_eq!(metrics.count("admin_requests_total{route=\"GET /secret"), 0);
}

#[test]
fn a_request_whose_client_went_away_is_counted_too() {
    let stage = stage(&[]);
    let sql = stage.daemon.sql();
    sql.rows("BEGIN; LOCK TABLE dg_tenant_heads IN ACCESS EXCLUSIVE MODE");
    let mut stream = UnixStream::connect(stage.daemon.socket()).unwrap();
    stream.write_all(b"GET /v1/health HTTP/1.1\r\nhost: x\r\n\r\n").unwrap();
    let waits = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database()
        AND wait_event_type = 'Lock'";
    until("the request waits", || (sql.one(waits) != "0").then_some(()));
    drop(stream);
    let series = "admin_requests_total{route=\"GET /v1/health\",code=\"unanswered\"}";
    until("it is counted", || Metrics::of(&stage.daemon).value(series).filter(|one| *one == 1.0));
}

#[test]
fn what_the_process_uses_is_told() {
    let earliest = SystemTime::UNIX_EPOCH.elapsed().unwrap().as_secs_f64();
    let stage = stage(&[]);
    let latest = SystemTime::UNIX_EPOCH.elapsed().unwrap().as_secs_f64();
    let address = address(&stage.daemon);
    let value = |name: &str| -> f64 {
        let (_, told) = request(&address, "GET /metrics");
        let line = told.lines().find_map(|line| line.strip_prefix(&format!("{name} ")));
        line.unwrap_or_else(|| panic!("no {name} in {told}")).parse().unwrap()
    };
    let start = value("process_start_time_seconds");
    // The kernel counts in hundredths.
    assert!((earliest - 0.1..latest + 0.1).contains(&start), "{earliest} {start} {latest}");
    assert_eq!(value("process_start_time_seconds"), start);
    let resident = value("process_resident_memory_bytes");
    assert!((1e6..2e9).contains(&resident), "{resident}");
    assert!(value("process_virtual_memory_bytes") > resident);
    let pid = stage.daemon.pid();
    let open = std::fs::read_dir(format!("/proc/{pid}/fd")).unwrap().count() as f64;
    // One for the scrape's own connection, and what comes and goes.
    assert!((value("process_open_fds") - open).abs() <= 5.0, "{open}");
    assert!(value("process_max_fds") > open);
    assert!(value("process_threads") >= 2.0);
    let before = value("process_cpu_seconds_total");
    import(&stage.daemon, "default", &generated(500, 1));
    until("the processor was used", || (value("process_cpu_seconds_total") > before).then_some(()));
}

#[test]
fn a_busy_database_is_not_one_that_is_away() {
    let stage = stage(&["--pool-size", "4"]);
    import(&stage.daemon, "a", &whole_trace("t"));
    stage.daemon.until_current("a");
    let sql = stage.daemon.sql();
    sql.rows("BEGIN; LOCK TABLE dg_tenant_heads IN ACCESS EXCLUSIVE MODE");
    let socket = stage.daemon.socket();
    let asking: Vec<_> = (0..6)
        .map(|_| spawn(&["health".as_ref(), "--socket".as_ref(), socket.as_os_str()]))
        .collect();
    let metrics = until("every connection is in use", || {
        let metrics = Metrics::of(&stage.daemon);
        let pool = |state: &str| {
            metrics.value(&format!("store_pool_connections{{state=\"{state}\"}}")).unwrap()
        };
        (pool("used") == pool("max") && pool("waiting") > 0.0).then_some(metrics)
    });
    assert_eq!(metrics.value("store_up"), Some(1.0));
    assert_eq!(["lag", "workers"].map(|one| collected(&metrics, one)), [0.0, 1.0].map(Some));
    assert_eq!(metrics.count("projection_lag"), 0);
    assert_eq!(ready(&address(&stage.daemon)), (200, true, String::new()));
    sql.release();
    for mut one in asking {
        one.wait().unwrap();
    }
    until("all is told again", || {
        let metrics = Metrics::of(&stage.daemon);
        COLLECTORS.iter().all(|one| collected(&metrics, one) == Some(1.0)).then_some(())
    });
}

#[test]
fn in_an_outage_nothing_is_told_that_cannot_be_known() {
    let mut server = Postgres::start();
    let daemon = Daemon::start(Where::Url(url(&server)), &WATCHED);
    import(&daemon, "a", &whole_trace("t"));
    daemon.until_current("a");
    let address = address(&daemon);
    let known = ["projection_lag_events", "projection_open_failures", "replay_runs"];
    let all = |metrics: &Metrics| known.map(|name| metrics.count(name) > 0);
    let metrics = Metrics::of(&daemon);
    assert_eq!((metrics.value("store_up"), all(&metrics)), (Some(1.0), [true; 3]));
    assert_eq!(ready(&address), (200, true, String::new()));
    server.stop();
    let began = Instant::now();
    let metrics = Metrics::of(&daemon);
    assert!(began.elapsed() < Duration::from_secs(9), "{:?}", began.elapsed());
    assert_eq!((metrics.value("store_up"), all(&metrics)), (Some(0.0), [false; 3]));
    assert_eq!(COLLECTORS.map(|one| collected(&metrics, one)), [0.0, 0.0, 1.0, 1.0].map(Some));
    let (status, is_ready, reasons) = ready(&address);
    assert!(status == 503 && !is_ready && reasons.contains("the database is away: "), "{reasons}");
    assert_eq!(request(&address, "GET /healthz"), (200, "ok\n".to_owned()));
    server.start_again();
    until("the daemon is ready again", || (ready(&address).0 == 200).then_some(()));
    until("all is told again", || (all(&Metrics::of(&daemon)) == [true; 3]).then_some(()));
}

#[test]
fn a_daemon_that_waits_for_its_database_lives_and_is_not_ready() {
    let mut server = Postgres::start();
    server.stop();
    let mut daemon = Daemon::new(Where::Url(url(&server)), &WATCHED, "");
    daemon.spawn();
    let address = address(&daemon);
    assert_eq!(request(&address, "GET /healthz"), (200, "ok\n".to_owned()));
    let (status, is_ready, reasons) = ready(&address);
    assert!(status == 503 && !is_ready && reasons.starts_with("not ready: "), "{reasons}");
    let metrics = Metrics::of(&daemon);
    assert_eq!(metrics.value("store_up"), Some(0.0));
    assert_eq!(COLLECTORS.map(|one| collected(&metrics, one)), [Some(0.0); 4]);
    server.start_again();
    until("the daemon is ready", || (ready(&address).0 == 200).then_some(()));
}

#[test]
fn of_many_tenants_the_series_are_bounded_and_the_sums_are_those_of_all() {
    const TENANTS: usize = 30;
    const MOST: usize = 5;
    let stage = stage(&["--metrics-max-tenants", "5", "--projections", "trace_summary"]);
    let line = |seq: usize| if seq == 0 { started("t") } else { observed("t", seq) };
    for at in 0..TENANTS {
        import(&stage.daemon, &format!("t{at:02}"), &[line(0)]);
    }
    for at in 0..TENANTS {
        stage.daemon.until_current(&format!("t{at:02}"));
    }
    let sql = stage.daemon.sql();
    sql.rows("BEGIN; LOCK TABLE dg_projection_cursors IN SHARE MODE");
    for at in 0..TENANTS {
        let lines: Vec<String> = (1..=at).map(line).collect();
        if at > 0 {
            import(&stage.daemon, &format!("t{at:02}"), &lines);
        }
    }
    let metrics = Metrics::of(&stage.daemon);
    let lag = |tenant: &str| {
        let labels = format!("{{tenant=\"{tenant}\",projection=\"trace_summary\"}}");
        metrics.value(&format!("projection_lag_events{labels}"))
    };
    let named: Vec<f64> = (0..TENANTS).rev().map_while(|at| lag(&format!("t{at:02}"))).collect();
    assert_eq!(named, [29.0, 28.0, 27.0, 26.0, 25.0]);
    let rest: usize = (0..TENANTS - MOST).sum();
    assert_eq!(lag("_other"), Some(rest as f64));
    let series = |name: &str| metrics.count(&format!("projection_{name}{{"));
    for name in ["lag_events", "lag_seconds", "open_failures", "events_applied_total"] {
        assert_eq!(series(name), MOST + 1, "{name}");
    }
    assert_eq!(series("cursor_log_seq"), MOST);
    // All that this daemon can tell, whatever it meets: not a series for each tenant of the rest.
    assert!(metrics.count("") < 1000, "{}", metrics.count(""));
    sql.release();
}

#[test]
fn rows_that_a_trial_rebuild_finds_wrong_name_their_tenant() {
    let database = new_database();
    let daemon = Daemon::start(Where::Url(database.url()), &WATCHED);
    for tenant in ["good", "bad"] {
        import(&daemon, tenant, &whole_trace("t"));
        daemon.until_current(tenant);
    }
    daemon.sql().tamper("UPDATE dg_trace_summary SET title = 'another' WHERE tenant_id = 'bad'");
    for (tenant, code) in [("good", 0), ("bad", 7)] {
        let rebuild = ["rebuild", "trace_summary", "--dry-run", "--reason", "a trial", "--wait"];
        assert_eq!(daemon.cli(&[&rebuild[..], &["-t", tenant]].concat()).code, code, "{tenant}");
    }
    let found = |tenant: &str| {
        let labels = "projection=\"trace_summary\",found_by=\"comparison\"";
        let series =
            format!("projection_mismatch_timestamp_seconds{{tenant=\"{tenant}\",{labels}}}");
        Metrics::of(&daemon).value(&series)
    };
    let now = SystemTime::UNIX_EPOCH.elapsed().unwrap().as_secs_f64();
    let at = found("bad").unwrap();
    assert!((now - 60.0..now + 1.0).contains(&at), "{at} of {now}");
    assert_eq!(found("good"), None);
}
