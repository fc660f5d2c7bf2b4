//! Requests that are refused before anything is done.

use std::time::{Duration, Instant};

use dg_projections::json::Json;
use dg_tests::{Daemon, Sql, Stage, Where, events, new_database, server};

use crate::http::{ask, get, post};

#[test]
fn unknown_routes_are_not_found() {
    let stage = Stage::new(&[]);
    let routes = [
        "/",
        "/v1",
        "/v2/status",
        "/v1/statuses",
        "/v1/status/x",
        "/v1/traces",
        "/v1/traces/",
        "/v1/traces/a/b",
        "/v1/projections",
        "/V1/status",
        "/v1//status",
        "/v1/%2e%2e/status",
    ];
    for route in routes {
        let reply = get(&stage.daemon, route);
        assert_eq!((reply.status, &*reply.error().0), (404, "not_found"), "{route}");
    }
    for odd in ["/v1/traces/%", "/v1/traces/%ff", "/v1/traces/a%00b"] {
        assert_eq!(get(&stage.daemon, odd).status, 400, "{odd}");
    }
}

#[test]
fn a_wrong_method_is_told_the_right_ones() {
    let stage = Stage::new(&[]);
    let wrong = [
        ("POST", "/v1/status", "GET"),
        ("PUT", "/v1/events", "GET, POST"),
        ("DELETE", "/v1/traces/t", "GET"),
        ("PATCH", "/v1/traces/t/summary", "GET"),
        ("GET", "/v1/projections/trace_summary/retry", "POST"),
        ("OPTIONS", "/v1/precedents", "GET"),
        ("BREW", "/v1/digests", "GET"),
    ];
    for (method, route, allow) in wrong {
        let reply = ask(&stage.daemon, method, route, &[], "");
        assert_eq!(reply.status, 405, "{method} {route}: {reply:?}");
        assert_eq!(reply.headers["allow"], allow);
        assert_eq!(reply.error().0, "invalid_argument");
    }
}

/// Targets, and what the refusal names.
const MISSHAPEN: [(&str, &str); 20] = [
    ("/v1/status?verbose=1", "verbose"),
    ("/v1/events?limits=1", "limits"),
    ("/v1/events?limit=1&limit=2", "limit"),
    ("/v1/events?limit=ten", "limit"),
    ("/v1/events?limit=10001", "limit"),
    ("/v1/events?since_log_seq=9223372036854775808", "since_log_seq"),
    ("/v1/events?since_log_seq=5&until_log_seq=4", "since_log_seq"),
    ("/v1/events?since_occurred_at=yesterday", "since_occurred_at"),
    ("/v1/events?since_occurred_at=9999-12-31T23:59:59-23:00", "since_occurred_at"),
    ("/v1/events?event_type=Nothing", "Nothing"),
    ("/v1/events?trace_id=a%00", "trace_id"),
    ("/v1/events?trace_id=%f", "%f"),
    ("/v1/workers?state=sleepy", "sleepy"),
    ("/v1/health?all=perhaps", "all"),
    ("/v1/graph?kind=trace", "id"),
    ("/v1/graph?kind=trace&id=a&depth=11", "depth"),
    ("/v1/graph?kind=trace&id=a&max_nodes=501", "max_nodes"),
    ("/v1/edges?kind=trace&id=a&direction=up", "direction"),
    ("/v1/edges?kind=trace&id=a&cursor=nonsense", "cursor"),
    ("/v1/traces/t?since_trace_seq=1.5", "since_trace_seq"),
];

#[test]
fn unknown_repeated_and_misshapen_parameters_are_named() {
    let stage = Stage::new(&[]);
    for (target, name) in MISSHAPEN {
        let reply = get(&stage.daemon, target);
        let (code, message) = reply.error();
        assert_eq!((reply.status, code.as_str()), (400, "invalid_argument"), "{target}");
        assert!(message.contains(name), "{target}: {message}");
    }
}

#[test]
fn a_request_with_an_unknown_parameter_writes_nothing() {
    let stage = Stage::new(&[]);
    let reply = post(&stage.daemon, "/v1/events?atomics=true", &events::started("t"));
    assert_eq!(reply.status, 400, "{reply:?}");
    assert_eq!(get(&stage.daemon, "/v1/events").data(), Json::Array(vec![]));
}

/// Drops a database from under its daemon.
fn drop_database(url: &str) {
    let name = Sql::connect(&url.parse().unwrap()).one("SELECT current_database()");
    Sql::connect(&server().parse().unwrap()).rows(&format!("DROP DATABASE {name} WITH (FORCE)"));
}

#[test]
fn a_database_that_is_gone_is_503_at_once_and_no_secret_is_told() {
    const PASSWORD: &str = "hunter2-very-secret";
    let database = new_database();
    let url = database.url().replacen("@/", &format!(":{PASSWORD}@/"), 1);
    assert!(url.contains(PASSWORD), "{url}");
    let daemon = Daemon::start(Where::Url(url), &["--log-level", "trace"]);
    post(&daemon, "/v1/events", &events::started("t")).data();
    drop_database(&database.url());
    let mut told = String::new();
    for route in ["/v1/health", "/v1/events", "/v1/traces/t", "/v1/digests", "/v1/precedents"] {
        let started = Instant::now();
        let reply = get(&daemon, route);
        assert_eq!((reply.status, &*reply.error().0), (503, "storage"), "{route}: {reply:?}");
        assert!(started.elapsed() < Duration::from_secs(3), "{route}: {:?}", started.elapsed());
        told.push_str(&reply.body);
    }
    told.push_str(&post(&daemon, "/v1/events", &events::observed("t", 1)).body);
    let status = get(&daemon, "/v1/status");
    let state = status.data().get("database").and_then(|one| one.get("state")).cloned();
    assert_eq!(state, Some(Json::from("down")));
    let told = told + &status.body + &daemon.log();
    assert!(!told.contains(PASSWORD), "{told}");
}
