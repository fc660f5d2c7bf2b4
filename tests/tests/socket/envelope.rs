//! What every answer has in common.

use std::process::Command;

use dg_projections::json::Json;
use dg_tests::{Sql, Stage, events, skip};

use crate::http::{ask, get, post};

const ROUTES: [&str; 16] = [
    "/v1/status",
    "/v1/tree",
    "/v1/health",
    "/v1/health?all=true",
    "/v1/workers",
    "/v1/workers?state=idle",
    "/v1/failures",
    "/v1/failures?all",
    "/v1/digests",
    "/v1/digests?fresh=true",
    "/v1/events",
    "/v1/traces/t1",
    "/v1/traces/t1/summary",
    "/v1/graph?kind=trace&id=t1",
    "/v1/edges?kind=trace&id=t1",
    "/v1/precedents",
];

#[test]
fn every_route_answers_in_the_envelope() {
    let stage = Stage::new(&[]);
    stage.import(&events::whole_trace("t1"));
    for route in ROUTES {
        let reply = get(&stage.daemon, route);
        assert_eq!(reply.status, 200, "{route}: {reply:?}");
        assert_eq!(reply.headers["content-type"], "application/json");
        let json = reply.json();
        let members: Vec<&str> = json.as_object().unwrap().keys().map(String::as_str).collect();
        assert_eq!(members, ["data", "request_id"], "{route}");
        let id = json.get("request_id").and_then(Json::as_str);
        assert_eq!(id, Some(reply.headers["x-request-id"].as_str()), "{route}");
    }
    let reply = ask(&stage.daemon, "POST", "/v1/projections/trace_summary/retry", &[], "");
    assert_eq!(reply.data().get("requested"), Some(&Json::Bool(true)));
}

#[test]
fn decent_request_ids_come_back_and_others_are_replaced() {
    let stage = Stage::new(&[]);
    let given = |id: &str| {
        let ok = ask(&stage.daemon, "GET", "/v1/status", &[("x-request-id", id)], "");
        let refused = ask(&stage.daemon, "GET", "/v1/no", &[("x-request-id", id)], "");
        [ok, refused].map(|reply| {
            let json = reply.json();
            let in_body = json.get("request_id").and_then(Json::as_str).unwrap().to_owned();
            assert_eq!(reply.headers["x-request-id"], in_body);
            in_body
        })
    };
    let long = "x".repeat(128);
    for id in ["7", "a b", r#""quoted""#, r#"a"b\c"#, "</script>", long.as_str()] {
        assert_eq!(given(id), [id, id]);
    }
    for id in ["", "a\tb", "é", &"x".repeat(129), &"\"".repeat(4000)] {
        let [one, other] = given(id);
        assert!(one != id && other != id && one != other, "{id}: {one} {other}");
        assert!(one.len() < 40 && one.chars().all(|c| c.is_ascii_hexdigit() || c == '-'), "{one}");
    }
}

#[test]
fn a_control_character_in_a_header_is_refused() {
    let stage = Stage::new(&[]);
    for id in ["a\u{0}b", "a\u{1}b", "a\u{7f}"] {
        let reply = ask(&stage.daemon, "GET", "/v1/status", &[("x-request-id", id)], "");
        assert_eq!(reply.status, 400, "{id:?}: {reply:?}");
    }
}

#[test]
fn the_tenant_is_that_of_the_header_decoded_and_trimmed() {
    let stage = Stage::new(&[]);
    let tenant = |value| [("x-tenant-id", value)];
    let reply = ask(
        &stage.daemon,
        "POST",
        "/v1/events",
        &tenant("%20h%C3%A4fen%2F1 "),
        &events::started("t"),
    );
    let name = reply.data().get("tenant_id").and_then(Json::as_str).map(str::to_owned);
    assert_eq!(name.as_deref(), Some("häfen/1"));
    let found = ask(&stage.daemon, "GET", "/v1/events", &tenant("h%c3%a4fen%2f1"), "");
    assert_eq!(found.data().as_array().unwrap().len(), 1);
    assert_eq!(get(&stage.daemon, "/v1/events").data(), Json::Array(vec![]));
    for refused in ["", "%20%20", "häfen", "%", "%zz", "%ff", "a%00"] {
        let reply = ask(&stage.daemon, "GET", "/v1/events", &tenant(refused), "");
        assert_eq!((reply.status, &*reply.error().0), (400, "invalid_argument"), "{refused}");
    }
}

#[test]
fn curl_gets_what_any_client_gets() {
    let stage = Stage::new(&[]);
    stage.import(&events::whole_trace("t1"));
    let socket = stage.daemon.socket();
    let output = Command::new("curl")
        .args(["-sS", "--fail", "-H", "x-request-id: mine", "--unix-socket"])
        .arg(&socket)
        .arg("http://dg/v1/traces/t1?since_trace_seq=2")
        .output();
    let Ok(output) = output else { return skip("curl is not installed") };
    assert!(output.status.success(), "{output:?}");
    let by_curl = String::from_utf8(output.stdout).unwrap();
    let headers = [("x-request-id", "mine")];
    let by_us = ask(&stage.daemon, "GET", "/v1/traces/t1?since_trace_seq=2", &headers, "");
    assert_eq!(by_curl, by_us.body);
    assert!(by_curl.starts_with(r#"{"data":{"events":[{"#), "{by_curl}");
}

#[test]
fn every_code_has_its_status() {
    let stage = Stage::new(&[]);
    stage.import(&events::whole_trace("t1"));
    let daemon = &stage.daemon;
    let pii = events::started("t2").replace("About t2", "password=x");
    let gap = events::observed("t2", 5);
    let other = events::started("t1").replace("About t1", "another title");
    let after_the_end = events::observed("t1", 6);
    let refusals = [
        (get(daemon, "/v1/events?limit=0"), 400, "invalid_argument"),
        (get(daemon, "/v1/traces/none"), 404, "not_found"),
        (get(daemon, "/v1/graph?kind=trace&id=none"), 404, "not_found"),
        (post(daemon, "/v1/events", &after_the_end), 409, "conflict"),
        (post(daemon, "/v1/events", &other), 409, "idempotency_conflict"),
        (post(daemon, "/v1/events", &gap), 409, "event_sequence_invalid"),
        (post(daemon, "/v1/events", "{}"), 422, "schema_violation"),
        (post(daemon, "/v1/events", &pii), 422, "pii_policy_violation"),
    ];
    for (reply, status, code) in refusals {
        assert_eq!((reply.status, &*reply.error().0), (status, code), "{reply:?}");
    }
}

#[test]
fn a_defect_is_500_and_logged() {
    let stage = Stage::new(&[]);
    stage.import(&events::whole_trace("t1"));
    Sql::connect(&stage.url().parse().unwrap())
        .rows("ALTER TABLE dg_event_log RENAME COLUMN recorded_at TO gone");
    let reply = get(&stage.daemon, "/v1/events?trace_id=t1");
    assert_eq!((reply.status, &*reply.error().0), (500, "internal"));
    let log = stage.daemon.log();
    assert!(log.contains("a request met a defect"), "{log}");
}
