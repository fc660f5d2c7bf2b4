//! `--wait`: a read of a projection that waits for what is in the log already.

#![allow(clippy::unwrap_used, reason = "tests")]

use std::time::{Duration, Instant};

use dg_tests::events::{started, whole_trace};
use dg_tests::log::{append_all, parsed};
use dg_tests::{Answer, Sql, Stage};

const READS: [&[&str]; 4] = [
    &["summary", "u"],
    &["graph", "trace", "u"],
    &["edges", "trace", "u"],
    &["precedents", "--outcome", "success"],
];

/// A daemon whose workers are held when a trace is appended that they have not applied.
fn held(flags: &[&str]) -> (Stage, Sql) {
    let stage = Stage::new(flags);
    stage.import(&whole_trace("t"));
    let sql = stage.daemon.sql();
    sql.hold("default");
    stage.daemon.cli_with(&["append", "-"], started("u").as_bytes()).ok();
    (stage, sql)
}

fn waits(stage: &Stage, read: &[&str], seconds: &str) -> Answer {
    stage.daemon.cli(&[read, &["--wait", seconds]].concat())
}

#[test]
fn a_read_waits_for_what_is_appended_and_without_a_wait_is_refused() {
    let (stage, sql) = held(&[]);
    std::thread::scope(|scope| {
        for read in READS {
            assert_eq!(stage.daemon.cli(read).code, 6, "{read:?}");
        }
        let waiting = READS.map(|read| scope.spawn(|| waits(&stage, read, "60")));
        // One round of the others: those that wait have asked by then, or ask later.
        assert_eq!(waits(&stage, READS[0], "1").code, 6);
        assert!(waiting.iter().all(|one| !one.is_finished()), "{waiting:?}");
        sql.release();
        for one in waiting {
            one.join().unwrap().ok();
        }
    });
}

#[test]
fn a_wait_ends_at_its_limit_with_the_usual_refusal() {
    let (stage, _sql) = held(&[]);
    let began = Instant::now();
    let answer = waits(&stage, READS[0], "1");
    let took = began.elapsed();
    assert_eq!(answer.code, 6, "{answer:?}");
    assert!(answer.stderr.starts_with("error: projection_out_of_date: "), "{answer:?}");
    assert!((Duration::from_secs(1)..Duration::from_secs(20)).contains(&took), "{took:?}");
    for seconds in ["61", "-1", "soon"] {
        assert_eq!(waits(&stage, READS[0], seconds).code, 2, "{seconds}");
    }
    // Anybody else is told as well.
    let curl = |wait: &str| {
        let mut answer = socket_get(&stage, &format!("/v1/traces/u/summary?wait_ms={wait}"));
        answer.truncate(12);
        answer
    };
    assert_eq!(["60001", "-1", "0"].map(curl), ["HTTP/1.1 400", "HTTP/1.1 400", "HTTP/1.1 409"]);
}

fn socket_get(stage: &Stage, path: &str) -> String {
    use std::io::{Read as _, Write as _};
    let mut stream = std::os::unix::net::UnixStream::connect(stage.daemon.socket()).unwrap();
    write!(stream, "GET {path} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n").unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    answer
}

#[test]
fn reads_that_wait_hold_no_connection() {
    // Two for workers, one for appends, one for the rest: fewer than wait.
    let (stage, sql) = held(&["--pool-size", "4"]);
    std::thread::scope(|scope| {
        let waiting: Vec<_> =
            (0..8).map(|_| scope.spawn(|| waits(&stage, READS[0], "60"))).collect();
        let limit = Instant::now() + Duration::from_secs(1);
        let mut asked = 0;
        while Instant::now() < limit {
            stage.daemon.cli(&["events"]).ok();
            asked += 1;
        }
        assert!(asked > 3, "{asked}");
        assert!(waiting.iter().all(|one| !one.is_finished()), "{waiting:?}");
        sql.release();
        for one in waiting {
            one.join().unwrap().ok();
        }
    });
}

#[test]
fn a_read_that_waits_finds_at_once_what_another_program_wrote() {
    let stage = Stage::new(&["--projection-poll-interval-ms", "3600000"]);
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let store = stage.store();
    runtime.block_on(append_all(&store, "default", &parsed("default", &whole_trace("u")), 10));
    assert_eq!(stage.daemon.cli(READS[0]).code, 6);
    for read in READS {
        waits(&stage, read, "30").ok();
    }
    // Nothing to wait for: an unknown trace is that, and soon.
    assert_eq!(stage.daemon.cli(&["summary", "nobody", "--wait"]).code, 3);
}
