//! Sizes, time-outs and garbage: what ends a connection, and that it ends no other.

use std::time::Instant;

use dg_tests::{Daemon, Stage, events};

use crate::http::{Connection, Reply, ask, get, head, post, post_lines};

const MAX_BODY: usize = 64 << 20;

/// The answer to these bytes on a connection of their own, which is closed after it.
fn last_words(daemon: &Daemon, bytes: &[u8]) -> Option<Reply> {
    let mut connection = Connection::open(daemon);
    let _ = connection.send(bytes);
    let reply = connection.reply();
    assert!(connection.is_closed(), "still open after {reply:?}");
    reply
}

#[test]
fn a_body_beyond_the_limit_is_refused_before_it_is_sent() {
    let stage = Stage::new(&[]);
    let head = head("POST", "/v1/events", &[], MAX_BODY + 1);
    let reply = last_words(&stage.daemon, head.as_bytes()).unwrap();
    assert_eq!((reply.status, &*reply.error().0), (413, "invalid_argument"));
}

#[test]
fn a_body_of_unknown_length_is_refused_at_the_limit() {
    let stage = Stage::new(&[]);
    let mut connection = Connection::open(&stage.daemon);
    let head = "POST /v1/events HTTP/1.1\r\nhost: dg\r\ntransfer-encoding: chunked\r\n\r\n";
    connection.send(head.as_bytes()).unwrap();
    let chunk = format!("{:x}\r\n{}\r\n", 1 << 20, " ".repeat(1 << 20));
    // What is beyond the limit is taken in, for a while, so that the client comes to read why.
    (0..70).for_each(|_| connection.send(chunk.as_bytes()).unwrap());
    connection.send(b"0\r\n\r\n").unwrap();
    assert_eq!(connection.reply().unwrap().status, 413);
}

#[test]
fn the_command_line_says_that_its_input_is_too_large() {
    let stage = Stage::new(&[]);
    let big = format!("\"{}\"\n", "x".repeat(15 << 20)).repeat(5);
    let answer = stage.daemon.cli_with(&["append", "--atomic"], big.as_bytes());
    assert_eq!(answer.code, 4, "{}", answer.stderr);
    assert!(answer.stderr.contains("larger than"), "{}", answer.stderr);
}

#[test]
fn an_event_may_have_sixteen_mebibytes_and_a_request_two_hundred_thousand_events() {
    let stage = Stage::new(&[]);
    let sized = |size: usize| events::started("t").replace("About t", &"x".repeat(size));
    assert_eq!(post(&stage.daemon, "/v1/events", &sized(16 << 20)).status, 400);
    post(&stage.daemon, "/v1/events", &sized(15 << 20)).data();
    for reply in [
        post_lines(&stage.daemon, "/v1/events", &"1\n".repeat(200_001)),
        post(&stage.daemon, "/v1/events", &format!("[{}1]", "1,".repeat(200_000))),
    ] {
        assert_eq!(reply.status, 400, "{reply:?}");
        assert!(reply.error().1.contains("fewer"), "{reply:?}");
    }
}

#[test]
fn a_head_beyond_the_limit_is_431() {
    let stage = Stage::new(&[]);
    let with = |length: usize| head("GET", "/v1/status", &[("x-filler", &"x".repeat(length))], 0);
    assert_eq!(last_words(&stage.daemon, with(16 << 10).as_bytes()).unwrap().status, 431);
    assert_eq!(last_words(&stage.daemon, with(10 << 20).as_bytes()).unwrap().status, 431);
    assert_eq!(
        ask(&stage.daemon, "GET", "/v1/status", &[("x-filler", &"x".repeat(15 << 10))], "").status,
        200
    );
    let many = head("GET", "/v1/status", &[("x", "1"); 101], 0);
    assert_eq!(last_words(&stage.daemon, many.as_bytes()).unwrap().status, 431);
    let answer = stage.daemon.cli(&["summary", &"x".repeat(20 << 10)]);
    assert_eq!(answer.code, 4, "{answer:?}");
}

const GARBAGE: [&[u8]; 11] = [
    b"\0\0\0\0\r\n\r\n",
    b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n",
    b"GET\r\n\r\n",
    b"GET /v1/status\r\n\r\n",
    b"GET /v1/status HTTP/9.9\r\n\r\n",
    b"GET /v1/st\xffatus\x01 HTTP/1.1\r\n\r\n",
    b"GET /v1/status HTTP/1.1\r\nno colon\r\n\r\n",
    b"GET /v1/status HTTP/1.1\r\ncontent-length: -1\r\n\r\n",
    b"POST /v1/events HTTP/1.1\r\ncontent-length: 1\r\ncontent-length: 2\r\n\r\n{}",
    b"POST /v1/events HTTP/1.1\r\ntransfer-encoding: gzip\r\n\r\n{}",
    b"POST /v1/events HTTP/1.1\r\nhost: dg\r\ntransfer-encoding: chunked\r\n\r\nzz\r\n",
];

#[test]
fn garbage_is_400_and_ends_its_own_connection_only() {
    let stage = Stage::new(&[]);
    let mut other = Connection::open(&stage.daemon);
    let ask = head("GET", "/v1/status", &[], 0);
    other.send(&ask.as_bytes()[..20]).unwrap();
    for bytes in GARBAGE {
        let reply = last_words(&stage.daemon, bytes);
        assert_eq!(reply.as_ref().map(|reply| reply.status), Some(400), "{bytes:?}: {reply:?}");
    }
    other.send(&ask.as_bytes()[20..]).unwrap();
    assert_eq!(other.reply().unwrap().status, 200);
    assert!(!stage.daemon.log().contains("panicked"), "{}", stage.daemon.log());
}

#[test]
fn silence_closes_a_connection() {
    let stage = Stage::new(&[]);
    let ask = head("GET", "/v1/status", &[], 0);
    let started = Instant::now();
    let [mut mute, mut half, mut idle] = [(); 3].map(|()| Connection::open(&stage.daemon));
    half.send(&ask.as_bytes()[..30]).unwrap();
    idle.send(ask.as_bytes()).unwrap();
    assert_eq!(idle.reply().unwrap().status, 200);
    assert!(mute.is_closed() && half.reply().is_none() && idle.is_closed());
    assert!((3..15).contains(&started.elapsed().as_secs()), "{:?}", started.elapsed());
}

#[test]
fn requests_in_a_row_are_answered_in_a_row() {
    let stage = Stage::new(&[]);
    let mut connection = Connection::open(&stage.daemon);
    let event = events::started("t");
    let pipelined: String = (0..50)
        .map(|number| {
            let id = [("x-request-id", &*format!("r{number}"))];
            match number % 3 {
                0 => head("GET", "/v1/status", &id, 0),
                1 => head("POST", "/v1/events", &id, event.len()) + &event,
                _ => head("GET", "/v1/nothing", &id, 0),
            }
        })
        .collect();
    connection.send(pipelined.as_bytes()).unwrap();
    for number in 0..50 {
        let reply = connection.reply().unwrap();
        assert_eq!(reply.headers["x-request-id"], format!("r{number}"));
        assert_eq!(reply.status, [200, 200, 404][number % 3]);
    }
    assert_eq!(get(&stage.daemon, "/v1/events").data().as_array().unwrap().len(), 1);
}
