//! The loopback listener, where every local user may knock: a crowd there locks nobody out and costs
//! the daemon nothing that lasts.

#![allow(clippy::unwrap_used, reason = "tests")]

use std::io::{Read as _, Write as _};
use std::net::{Shutdown, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use dg_tests::http::{WATCHED, address, request};
use dg_tests::{Daemon, Postgres, Random, Stage, Where, events, until, users};

/// How long the crowd is at it; and how long an answer may take meanwhile.
const STORM: Duration = Duration::from_secs(5);
const BOUND: Duration = Duration::from_secs(20);
const OPENED: usize = 1_000;
const PATIENCE: Duration = Duration::from_millis(300);

/// One hostile connection.
fn visit(address: &str, random: &mut Random) {
    let Ok(mut stream) = TcpStream::connect(address) else { return };
    let _ = stream.set_read_timeout(Some(PATIENCE));
    let _ = stream.set_write_timeout(Some(PATIENCE));
    let ask = "GET /metrics HTTP/1.1\r\nhost: x\r\n\r\n";
    let bytes = match random.below(7) {
        0 => (0..random.below(4096)).map(|_| random.below(256) as u8).collect(),
        1 => ask.as_bytes()[..random.below(ask.len())].to_vec(),
        2 => ask.repeat(500).into_bytes(),
        3 => format!("GET /{} HTTP/1.1\r\n\r\n", "x".repeat(20 << 10)).into_bytes(),
        4 => format!("POST /metrics HTTP/1.1\r\ncontent-length: {}\r\n\r\n", 65 << 20).into_bytes(),
        5 => b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_vec(),
        _ => ask.as_bytes().to_vec(),
    };
    let _ = stream.write_all(&bytes);
    match random.below(3) {
        0 => drop(stream.read(&mut [0; 16])),
        1 => drop(stream.shutdown(Shutdown::Write)),
        _ => std::thread::sleep(PATIENCE),
    }
}

/// Connections that have asked a thousand times each, and read no answer.
fn unread(address: &str, count: usize) -> Vec<TcpStream> {
    let ask = "GET /metrics HTTP/1.1\r\nhost: x\r\n\r\n".repeat(1_000);
    let connect = |_| {
        let mut stream = TcpStream::connect(address).unwrap();
        stream.set_write_timeout(Some(PATIENCE)).unwrap();
        let _ = stream.write_all(ask.as_bytes());
        stream
    };
    (0..count).map(connect).collect()
}

fn descriptors(stage: &Stage) -> usize {
    std::fs::read_dir(format!("/proc/{}/fd", stage.daemon.pid())).unwrap().count()
}

#[test]
fn who_asks_for_much_and_reads_nothing_is_not_ahead_of_others() {
    let stage = Stage::new(&WATCHED);
    let address = address(&stage.daemon);
    let unread = unread(&address, 200);
    let started = Instant::now();
    assert_eq!(request(&address, "GET /metrics").0, 200);
    assert!(started.elapsed() < BOUND, "{:?}", started.elapsed());
    drop(unread);
}

#[test]
fn a_hostile_crowd_locks_nobody_out() {
    let stage = Stage::new(&WATCHED);
    stage.import(&events::whole_trace("t"));
    users::raise_descriptor_limit();
    let address = address(&stage.daemon);
    assert_eq!(request(&address, "GET /metrics").0, 200);
    let level = descriptors(&stage);
    let is_over = Arc::new(AtomicBool::new(false));
    let mut random = Random::seeded(11);
    let opened: Vec<_> = (0..OPENED).map(|_| TcpStream::connect(&address)).collect();
    let clients: Vec<_> = (0..8)
        .map(|_| {
            let (is_over, address, mut random) = (is_over.clone(), address.clone(), random.fork());
            std::thread::spawn(move || {
                while !is_over.load(Ordering::Relaxed) {
                    visit(&address, &mut random);
                }
            })
        })
        .collect();
    let started = Instant::now();
    while started.elapsed() < STORM {
        for path in ["/healthz", "/readyz", "/metrics"] {
            let asked = Instant::now();
            let (status, body) = request(&address, &format!("GET {path}"));
            assert_eq!(status, 200, "{path}: {body}");
            assert!(asked.elapsed() < BOUND, "{path} took {:?}", asked.elapsed());
        }
        // The socket does not notice.
        let asked = Instant::now();
        stage.daemon.cli(&["health"]).ok();
        assert!(asked.elapsed() < Duration::from_secs(5), "{:?}", asked.elapsed());
    }
    is_over.store(true, Ordering::Relaxed);
    clients.into_iter().for_each(|client| client.join().unwrap());
    drop(opened);
    until("descriptors are let go", || (descriptors(&stage) <= level + 16).then_some(()));
    assert_eq!(request(&address, "GET /readyz").0, 200);
    let log = stage.daemon.log();
    assert!(!log.contains("panicked") && !log.contains(" ERROR "), "{log}");
}

#[test]
fn who_asks_whether_the_process_lives_waits_behind_nobody_who_waits_for_the_database() {
    let postgres = Postgres::start();
    let url = format!("postgres://decisiongraph@{}/postgres?sslmode=disable", postgres.address());
    let daemon = Daemon::start(Where::Url(url), &WATCHED);
    let address = address(&daemon);
    postgres.freeze();
    // Two seconds each, a few at once.
    let crowd: Vec<TcpStream> = (0..80)
        .map(|_| {
            let mut stream = TcpStream::connect(&address).unwrap();
            stream.write_all(b"GET /readyz HTTP/1.1\r\nhost: x\r\n\r\n").unwrap();
            stream
        })
        .collect();
    let asked = Instant::now();
    assert_eq!(request(&address, "GET /healthz").0, 200);
    assert!(asked.elapsed() < BOUND, "{:?}", asked.elapsed());
    drop(crowd);
}
