//! Values come back byte for byte.

use dg_tests::{Stage, events};

use crate::http::{ask, get, post};

const PAYLOAD: &str = "{\"a\":[123456789012345678901234567890,-99999999999999999999,0],\
    \"line\u{2028}sep\":\"\u{2028}\u{2029}\u{7f}\u{85}\",\"nul\":\"\\u0000\\u001f\\b\\f\\n\\r\\t\\\"\\\\/\",\
    \"outcome\":\"success\",\"pair\":\"\u{1f680}\",\"zero\":[]}";

#[test]
fn numbers_and_characters_of_a_payload_are_kept_exactly() {
    let stage = Stage::new(&[]);
    let daemon = &stage.daemon;
    // Escaped or not, in any order: one canonical text.
    let written = PAYLOAD.replace('\u{1f680}', "\\ud83d\\ude80").replace(",0]", ",-0]");
    post(daemon, "/v1/events", &events::started("t")).data();
    post(daemon, "/v1/events", &events::event("t", 1, "TraceFinished", &written)).data();
    let lines = ask(daemon, "GET", "/v1/events", &[("accept", "application/x-ndjson")], "");
    let member = format!("\"payload\":{PAYLOAD},");
    for text in [
        get(daemon, "/v1/events").body,
        get(daemon, "/v1/events?trace_id=t&event_type=TraceFinished&limit=1").body,
        get(daemon, "/v1/traces/t?since_trace_seq=0").body,
        lines.body.clone(),
        daemon.cli(&["export"]).ok().stdout,
    ] {
        assert!(text.contains(&member), "{text}");
    }
    assert_eq!(lines.headers["content-type"], "application/x-ndjson");
    assert!(lines.headers.contains_key("x-request-id"));
    assert_eq!(lines.body, daemon.cli(&["export"]).ok().stdout);
}

#[test]
fn a_lone_surrogate_and_a_fraction_are_refused() {
    let stage = Stage::new(&[]);
    for value in [r#""\ud800""#, r#""\ude80x""#, "1.5", "1e3", "[[0.1]]"] {
        let payload = format!("{{\"outcome\":\"success\",\"x\":{value}}}");
        let event = events::event("t", 1, "TraceFinished", &payload);
        for body in [event.clone(), format!("[{event}]")] {
            let reply = post(&stage.daemon, "/v1/events", &body);
            assert!(reply.body.contains("\"schema_violation\""), "{value}: {reply:?}");
            assert!(reply.body.contains("payload.x"), "{value}: {reply:?}");
        }
    }
}

#[test]
fn a_list_and_lines_of_many_pages_are_the_whole_log_in_order() {
    let stage = Stage::new(&[]);
    stage.import(&events::generated(300, 1)); // 2,400 events: three pages
    let lines = ask(&stage.daemon, "GET", "/v1/events", &[("accept", "application/x-ndjson")], "");
    let lines: Vec<&str> = lines.body.lines().collect();
    assert_eq!(lines.len(), 2_400);
    for (limit, from, to) in [(10_000, 0, 2_400), (1_000, 0, 1_000), (1_001, 0, 1_001)] {
        let list = get(&stage.daemon, &format!("/v1/events?limit={limit}"));
        list.data();
        let start = format!("{{\"data\":[{}],\"request_id\":", lines[from..to].join(","));
        assert!(list.body.starts_with(&start), "limit {limit}");
    }
    let target = "/v1/events?since_log_seq=100&until_log_seq=2000&limit=1500";
    let part = ask(&stage.daemon, "GET", target, &[("accept", "application/x-ndjson")], "");
    assert_eq!(part.body.lines().collect::<Vec<_>>(), lines[100..1_600]);
    let none = get(&stage.daemon, "/v1/events?since_log_seq=2400");
    assert!(none.body.starts_with("{\"data\":[],"), "{none:?}");
}
