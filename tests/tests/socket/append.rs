//! `POST /v1/events` in each of its forms.

use dg_projections::json::Json;
use dg_tests::{Daemon, Stage, events};

use crate::http::{get, post, post_lines};

/// The statuses of a list of results.
fn statuses(data: &Json) -> Vec<String> {
    let results = data.get("results").and_then(Json::as_array).unwrap();
    let status = |result: &Json| result.get("status").and_then(Json::as_str).unwrap().to_owned();
    results.iter().map(status).collect()
}

fn count(daemon: &Daemon) -> usize {
    get(daemon, "/v1/events?limit=10000").data().as_array().unwrap().len()
}

#[test]
fn one_event_gets_its_own_answer() {
    let stage = Stage::new(&[]);
    let event = events::started("t");
    for status in ["inserted", "reused"] {
        let data = post(&stage.daemon, "/v1/events", &event).data();
        assert_eq!(data.get("status"), Some(&Json::from(status)));
        assert_eq!(data.get("log_seq"), Some(&Json::from(1)));
        assert_eq!(data.get("event_id"), Some(&Json::from("t.0")));
    }
}

#[test]
fn a_list_and_lines_get_an_answer_for_each() {
    let stage = Stage::new(&[]);
    let [first, gap, next] =
        [events::started("t"), events::observed("t", 7), events::observed("t", 1)];
    let list = format!("\n[ {first} , {gap},\n{next} ] ");
    let data = post(&stage.daemon, "/v1/events", &list).data();
    assert_eq!(statuses(&data), ["inserted", "rejected", "inserted"]);
    let lines = format!("{first}\r\n\n  \nnot json\n{gap}\n{next}");
    let data = post_lines(&stage.daemon, "/v1/events", &lines).data();
    assert_eq!(statuses(&data), ["reused", "rejected", "rejected", "reused"]);
    let numbers: Vec<Option<i64>> = data
        .get("results")
        .and_then(Json::as_array)
        .unwrap()
        .iter()
        .map(|result| result.get("line").and_then(Json::as_i64))
        .collect();
    assert_eq!(numbers, [Some(1), Some(4), Some(5), Some(6)]);
}

#[test]
fn an_atomic_list_is_all_or_nothing() {
    let stage = Stage::new(&[]);
    let [first, gap, next] =
        [events::started("t"), events::observed("t", 7), events::observed("t", 1)];
    let reply = post(&stage.daemon, "/v1/events?atomic=true", &format!("[{first},{next},{gap}]"));
    let (code, message) = reply.error();
    assert_eq!((reply.status, code.as_str()), (409, "event_sequence_invalid"));
    assert!(message.starts_with("line 3: "), "{message}");
    let details =
        reply.json().get("error").and_then(|error| error.get("details")).cloned().unwrap();
    assert_eq!(details.get("line"), Some(&Json::from(3)));
    assert_eq!(count(&stage.daemon), 0);
    let data = post_lines(&stage.daemon, "/v1/events?atomic", &format!("{first}\n{next}\n")).data();
    assert_eq!(statuses(&data), ["inserted", "inserted"]);
}

#[test]
fn numbers_are_kept_on_demand() {
    let stage = Stage::new(&[]);
    let with =
        |event: String, log_seq| event.replacen('{', &format!("{{\"log_seq\":{log_seq},"), 1);
    let (first, next) = (with(events::started("t"), 5), with(events::observed("t", 1), 9));
    let body = format!("{first}\n{next}\n");
    let data = post_lines(&stage.daemon, "/v1/events?keep_log_seq=true", &body).data();
    assert_eq!(statuses(&data), ["inserted", "inserted"]);
    let listed = get(&stage.daemon, "/v1/events").data();
    let numbers: Vec<_> =
        listed.as_array().unwrap().iter().map(|event| event.get("log_seq").cloned()).collect();
    assert_eq!(numbers, [Some(Json::from(5)), Some(Json::from(9))]);
    let bare = events::observed("t", 2);
    assert_eq!(post(&stage.daemon, "/v1/events?keep_log_seq=true", &bare).status, 400);
}

#[test]
fn nothing_to_append_is_an_empty_list_or_no_json() {
    let stage = Stage::new(&[]);
    let none = Json::Array(vec![]);
    assert_eq!(post(&stage.daemon, "/v1/events", "[]").data().get("results"), Some(&none));
    for lines in ["", "\n", " \r\n\n"] {
        let data = post_lines(&stage.daemon, "/v1/events", lines).data();
        assert_eq!(data.get("results"), Some(&none));
    }
    for empty in ["", "  "] {
        let reply = post(&stage.daemon, "/v1/events", empty);
        assert_eq!((reply.status, &*reply.error().0), (400, "invalid_argument"));
    }
}

#[test]
fn a_document_that_is_not_json_writes_nothing() {
    let stage = Stage::new(&[]);
    let event = events::started("t");
    let broken = [
        format!("[{event},]"),
        format!("[{event},{{]"),
        format!("[{event} {event}]"),
        format!("[{event}"),
        format!("[{event}]]"),
        format!("{event}\n{}", events::observed("t", 1)),
        "\"an event\" or not".to_owned(),
    ];
    for body in broken {
        let reply = post(&stage.daemon, "/v1/events", &body);
        assert_eq!((reply.status, &*reply.error().0), (400, "invalid_argument"), "{body}");
        assert!(reply.error().1.contains("application/x-ndjson"), "{reply:?}");
    }
    assert_eq!(count(&stage.daemon), 0);
}

#[test]
fn what_is_no_event_at_all_is_400() {
    let stage = Stage::new(&[]);
    for not_an_event in ["null", "7", "\"text\"", "[]x", "{\"a\":[}"] {
        assert_eq!(post(&stage.daemon, "/v1/events", not_an_event).status, 400, "{not_an_event}");
    }
    let mut not_utf8 = crate::http::Connection::open(&stage.daemon);
    let head = crate::http::head("POST", "/v1/events", &[], 2);
    not_utf8.send(&[head.as_bytes(), b"\xff\xfe"].concat()).unwrap();
    assert_eq!(not_utf8.reply().unwrap().status, 400);
}

#[test]
fn lines_of_several_tenants_go_each_to_its_own() {
    let stage = Stage::new(&[]);
    let with =
        |event: String, tenant| event.replacen('{', &format!("{{\"tenant_id\":\"{tenant}\","), 1);
    let body: String = (0..5)
        .flat_map(|seq| {
            let event = if seq == 0 { events::started("t") } else { events::observed("t", seq) };
            ["a", "b"].map(|tenant| with(event.clone(), tenant) + "\n")
        })
        .collect();
    let data = post_lines(&stage.daemon, "/v1/events", &body).data();
    assert_eq!(statuses(&data), vec!["inserted"; 10]);
    let results = data.get("results").and_then(Json::as_array).unwrap();
    for (index, result) in results.iter().enumerate() {
        assert_eq!(result.get("line"), Some(&Json::from(index as i64 + 1)));
        assert_eq!(result.get("log_seq"), Some(&Json::from(index as i64 / 2 + 1)));
    }
}
