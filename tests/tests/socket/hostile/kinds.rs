//! The kinds of hostile clients: each opens a connection, does its worst for about a second at most,
//! and goes.

use std::io::{Read as _, Write as _};
use std::net::Shutdown;
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::time::Duration;

use dg_tests::{Random, events};

use crate::http::head;

/// How long one sits there, at most.
const PATIENCE: Duration = Duration::from_millis(300);

/// A hostile client.
pub(super) struct Hostile {
    pub(super) socket: PathBuf,
    pub(super) random: Random,
}

/// What it does on a connection.
type Kind = fn(&mut Hostile, &mut UnixStream);

const KINDS: [Kind; 16] = [
    random_bytes,
    mutated,
    half,
    bad_chunks,
    pipelined,
    slow_reader,
    watcher,
    only_opened,
    large_head,
    large_body,
    deep,
    other_protocol,
    odd_target,
    half_closed,
    vanishing,
    two_lengths,
];

impl Hostile {
    /// One connection of a kind of its choice. What becomes of it is nothing to it.
    pub(super) fn visit(&mut self) {
        let kind = *self.random.pick(&KINDS);
        // Others may have ended the daemon, or hold all places: the honest client finds out.
        let Ok(mut stream) = UnixStream::connect(&self.socket) else { return };
        let _ = stream.set_read_timeout(Some(PATIENCE));
        let _ = stream.set_write_timeout(Some(PATIENCE));
        kind(self, &mut stream);
    }

    fn bytes(&mut self, most: usize) -> Vec<u8> {
        let length = 1 + self.random.below(most);
        (0..length).map(|_| self.random.below(256) as u8).collect()
    }

    /// An event that nobody else has.
    fn append(&mut self) -> Vec<u8> {
        let body = events::started(&format!("h{:x}", self.random.below(usize::MAX)));
        (head("POST", "/v1/events", &[("x-tenant-id", "hostile")], body.len()) + &body).into_bytes()
    }

    fn pause(&mut self) {
        std::thread::sleep(PAUSES[self.random.below(PAUSES.len())]);
    }
}

const PAUSES: [Duration; 3] = [Duration::ZERO, Duration::from_millis(20), PATIENCE];

fn send(stream: &mut UnixStream, bytes: impl AsRef<[u8]>) {
    let _ = stream.write_all(bytes.as_ref());
}

/// Reads a little of what comes.
fn glance(stream: &mut UnixStream) {
    let _ = stream.read(&mut [0; 512]);
}

fn random_bytes(hostile: &mut Hostile, stream: &mut UnixStream) {
    send(stream, hostile.bytes(4096));
    glance(stream);
}

/// A request in which some bytes are others, are missing, or come twice.
fn mutated(hostile: &mut Hostile, stream: &mut UnixStream) {
    let mut request = hostile.append();
    for _ in 0..=hostile.random.below(8) {
        let at = hostile.random.below(request.len());
        match hostile.random.below(3) {
            0 => request[at] = hostile.random.below(256) as u8,
            1 => drop(request.remove(at)),
            _ => request.insert(at, request[at]),
        }
    }
    send(stream, request);
    glance(stream);
}

/// The first part of a request, with and without a length.
fn half(hostile: &mut Hostile, stream: &mut UnixStream) {
    let chunked: &[u8] =
        b"POST /v1/events HTTP/1.1\r\nhost: dg\r\ntransfer-encoding: chunked\r\n\r\n5\r\n[";
    let request = match hostile.random.once_in(2) {
        true => chunked.to_vec(),
        false => hostile.append(),
    };
    send(stream, &request[..hostile.random.below(request.len())]);
    hostile.pause();
}

fn bad_chunks(hostile: &mut Hostile, stream: &mut UnixStream) {
    let sizes =
        ["zz", "-1", "0x10", "ffffffffffffffff", "fffffffffffffffff", "", "1;a=b", "5\n", " 5"];
    let size = hostile.random.pick(&sizes);
    let head = "POST /v1/events HTTP/1.1\r\nhost: dg\r\ntransfer-encoding: chunked\r\n\r\n";
    send(stream, format!("{head}{size}\r\n[1,2]\r\n{size}\r\n"));
    send(stream, format!("1;{}\r\n1\r\n0\r\n\r\n", "x".repeat(64 << 10)));
    glance(stream);
}

/// Many requests, and no answer is read.
fn pipelined(hostile: &mut Hostile, stream: &mut UnixStream) {
    let targets = ["/v1/status", "/v1/tree", "/v1/health?all=true", "/v1/events", "/v1/nothing"];
    let requests: String =
        (0..100).map(|_| head("GET", hostile.random.pick::<&str>(&targets), &[], 0)).collect();
    send(stream, requests);
    hostile.pause();
}

/// Asks for the whole log, and reads a byte now and then.
fn slow_reader(hostile: &mut Hostile, stream: &mut UnixStream) {
    send(stream, head("GET", "/v1/events", &[("accept", "application/x-ndjson")], 0));
    for _ in 0..hostile.random.below(4) {
        let _ = stream.read(&mut [0; 1]);
        hostile.pause();
    }
}

fn watcher(hostile: &mut Hostile, stream: &mut UnixStream) {
    send(stream, head("GET", "/v1/watch", &[], 0));
    hostile.pause();
}

fn only_opened(hostile: &mut Hostile, _stream: &mut UnixStream) {
    hostile.pause();
}

fn large_head(hostile: &mut Hostile, stream: &mut UnixStream) {
    let filler = "x".repeat(20 << 10);
    send(
        stream,
        match hostile.random.below(4) {
            0 => head("GET", "/v1/status", &[("x-filler", &filler)], 0),
            1 => head("GET", "/v1/status", &[("x", "1"); 2_000], 0),
            2 => head("GET", &format!("/v1/{filler}?{filler}"), &[], 0),
            _ => filler.repeat(20),
        },
    );
    glance(stream);
}

/// More than a body may have, announced or not; most of it never comes.
fn large_body(hostile: &mut Hostile, stream: &mut UnixStream) {
    let lengths = [1 << 20, 64 << 20, 65 << 20, 1 << 40, usize::MAX];
    let length = *hostile.random.pick(&lengths);
    let expect: &[(&str, &str)] = &[("expect", "100-continue")];
    let headers = if hostile.random.once_in(3) { expect } else { &[] };
    send(stream, head("POST", "/v1/events", headers, length));
    for _ in 0..hostile.random.below(8) {
        send(stream, [b' '; 256 << 10]);
    }
    hostile.pause();
}

fn deep(hostile: &mut Hostile, stream: &mut UnixStream) {
    let depth = 1 + hostile.random.below(200_000);
    let body = match hostile.random.below(3) {
        0 => "[".repeat(depth),
        1 => format!("{}{}", "[".repeat(depth), "]".repeat(depth)),
        _ => format!("{}1{}", r#"{"a":"#.repeat(depth), "}".repeat(depth)),
    };
    let target = *hostile.random.pick(&["/v1/events", "/v1/runs"]);
    send(stream, head("POST", target, &[("x-tenant-id", "hostile")], body.len()) + &body);
    glance(stream);
}

fn other_protocol(hostile: &mut Hostile, stream: &mut UnixStream) {
    let requests: [&[u8]; 10] = [
        b"GET /v1/status\r\n",
        b"GET /v1/status HTTP/0.9\r\n\r\n",
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0",
        b"GET /v1/status HTTP/1.1\r\nhost: dg\r\nconnection: upgrade, http2-settings\r\nupgrade: h2c\r\nhttp2-settings: AAMAAABk\r\n\r\n",
        b"GET /v1/watch HTTP/1.1\r\nhost: dg\r\nconnection: upgrade\r\nupgrade: websocket\r\nsec-websocket-key: x\r\n\r\n",
        b"CONNECT postgres:5432 HTTP/1.1\r\nhost: postgres:5432\r\n\r\n",
        b"OPTIONS * HTTP/1.1\r\nhost: dg\r\n\r\n",
        b"\x16\x03\x01\x02\0\x01\0\x01\xfc\x03\x03",
        b"SSH-2.0-OpenSSH_9.2\r\n",
        b"GET http://elsewhere.example/v1/status HTTP/1.1\r\nhost: other\r\n\r\n",
    ];
    send(stream, *hostile.random.pick(&requests));
    glance(stream);
}

fn odd_target(hostile: &mut Hostile, stream: &mut UnixStream) {
    let targets = [
        "/v1/traces/%00",
        "/v1/traces/%",
        "/v1/traces/%ff/summary",
        "/v1/traces/..%2f..",
        "//v1//status",
        "/v1/events?limit=99999999999999999999",
        "/v1/events?limit=1&limit=1",
        "/v1/events?since_log_seq=-1",
        "/v1/events?since_occurred_at=9999-12-31T23:59:59%2B00:00",
        "/v1/graph?kind=a&id=%u0000",
        "/v1/graph?kind=&id=",
        "/v1/edges?kind=trace&id=t&cursor=%F0%9F%9A%80",
        "/v1/health?all=maybe",
        "/v1/runs/%2e%2e/cancel",
        "?",
        "/",
        "/v1/precedents?limit=0",
        "/v1/summary/../status",
        "/v1/watch?kind=,,,",
    ];
    let target = *hostile.random.pick(&targets);
    let method = *hostile.random.pick(&["GET", "POST", "DELETE", "get", "TRACE"]);
    send(stream, head(method, target, &[("x-tenant-id", "%e9%00")], 0));
    glance(stream);
}

fn half_closed(hostile: &mut Hostile, stream: &mut UnixStream) {
    let request = hostile.append();
    send(stream, &request[..1 + hostile.random.below(request.len())]);
    let _ = stream.shutdown(*hostile.random.pick(&[Shutdown::Write, Shutdown::Read]));
    glance(stream);
}

/// Goes while its events are being appended.
fn vanishing(hostile: &mut Hostile, stream: &mut UnixStream) {
    let lines: String = (0..50)
        .map(|_| events::started(&format!("v{:x}", hostile.random.below(usize::MAX))) + "\n")
        .collect();
    let headers = [("x-tenant-id", "hostile"), ("content-type", "application/x-ndjson")];
    let request = head("POST", "/v1/events", &headers, lines.len()) + &lines;
    let sent =
        if hostile.random.once_in(2) { request.len() } else { hostile.random.below(request.len()) };
    send(stream, &request[..sent]);
}

/// Bodies whose lengths contradict each other.
fn two_lengths(hostile: &mut Hostile, stream: &mut UnixStream) {
    let pairs = [
        "content-length: 5\r\ncontent-length: 6",
        "content-length: 5\r\ntransfer-encoding: chunked",
        "transfer-encoding: chunked\r\ncontent-length: 5",
        "transfer-encoding: gzip, chunked",
        "transfer-encoding: chunked, identity",
        "content-length: +5",
        "content-length: 5, 5",
        "content-length: 99999999999999999999999",
    ];
    let pair = hostile.random.pick(&pairs);
    send(
        stream,
        format!(
            "POST /v1/events HTTP/1.1\r\nhost: dg\r\n{pair}\r\n\r\n0\r\n\r\nGET /v1/status HTTP/1.1\r\n\r\n"
        ),
    );
    glance(stream);
}
