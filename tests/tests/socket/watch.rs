//! `GET /v1/watch`: what changes, for as long as somebody reads.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use dg_projections::json::{self, Json};
use dg_tests::{Daemon, Postgres, Stage, Where, events, new_database, until};

use crate::http::{Connection, get, head, post, post_lines};

/// One who watches and reads.
struct Watching {
    connection: Connection,
    unread: VecDeque<Json>,
}

impl Watching {
    #[track_caller]
    fn open(daemon: &Daemon, target: &str, headers: &[(&str, &str)]) -> Watching {
        let mut connection = Connection::open(daemon);
        connection.send(head("GET", target, headers, 0).as_bytes()).unwrap();
        let (status, headers) = connection.head().unwrap();
        assert_eq!((status, &*headers["content-type"]), (200, "application/x-ndjson"));
        Watching { connection, unread: VecDeque::new() }
    }

    /// The next line; `None` when the stream has ended in order.
    #[track_caller]
    fn next(&mut self) -> Option<Json> {
        if self.unread.is_empty() {
            let chunk = self.connection.chunk().expect("the stream broke off");
            let text = String::from_utf8(chunk).unwrap();
            self.unread.extend(text.lines().map(|line| json::parse(line).unwrap()));
        }
        self.unread.pop_front()
    }

    /// The lines up to the first that is meant, and that.
    #[track_caller]
    fn until(&mut self, is_meant: impl Fn(&Json) -> bool) -> Vec<Json> {
        let mut lines = Vec::new();
        loop {
            let line = self.next().unwrap_or_else(|| panic!("not told in {lines:#?}"));
            let is_last = is_meant(&line);
            lines.push(line);
            if is_last {
                return lines;
            }
        }
    }

    /// Lines of this kind until one goes to a state, as `from>to`.
    #[track_caller]
    fn steps(&mut self, kind: &str, last: &str) -> Vec<String> {
        let lines = self.until(|line| word(line, "kind") == kind && word(line, "to") == last);
        let of_kind = lines.iter().filter(|line| word(line, "kind") == kind);
        of_kind.map(|line| format!("{}>{}", word(line, "from"), word(line, "to"))).collect()
    }
}

/// A member that is a text; `-` where it is none.
fn word<'a>(line: &'a Json, name: &str) -> &'a str {
    line.get(name).and_then(Json::as_str).unwrap_or("-")
}

const REBUILD: &str = r#"{"mode":"rebuild","projection_name":"all","reason":"x"}"#;

#[test]
fn a_run_is_watched_from_queued_to_completed() {
    let stage = Stage::new(&[]);
    stage.import(&events::whole_trace("t"));
    let mut watching = Watching::open(&stage.daemon, "/v1/watch?kind=run", &[]);
    let picture = watching.next().unwrap();
    assert_eq!(word(&picture, "kind"), "picture");
    assert_eq!(word(picture.get("database").unwrap(), "state"), "up");
    let workers = picture.get("workers").unwrap().as_object().unwrap();
    assert_eq!(workers.values().filter_map(Json::as_i64).sum::<i64>(), 3, "{picture:?}");
    assert_eq!(picture.get("active_runs").unwrap().as_array().unwrap().len(), 0);

    let run = post(&stage.daemon, "/v1/runs", REBUILD).data();
    let lines = watching.until(|line| word(line, "to") == "completed");
    assert_eq!((word(&lines[0], "from"), word(&lines[0], "to")), ("-", "queued"), "{lines:?}");
    for line in &lines {
        assert_eq!((word(line, "kind"), word(line, "run_id")), ("run", word(&run, "run_id")));
        assert!(word(line, "at").ends_with('Z') && word(line, "at").len() >= 20, "{line:?}");
    }
    let last = lines.last().unwrap();
    assert_eq!(last.get("processed_events").and_then(Json::as_i64), Some(18), "{last:?}");
}

/// An event that no worker can apply; the daemon would have refused it.
const POISON: &str = "SELECT dg_append(tenant_id => 'bad', trace_id => 'x', trace_seq => 0,
    event_type => 'TraceStarted', occurred_at => '2026-11-20T09:30:00Z', producer_id => 'psql',
    source_system => 'ops', actor_type => 'person', actor_id => 'ann', idempotency_key => 'x:0',
    payload => '{}')";

#[test]
fn a_worker_that_fails_is_watched_and_others_by_who_wants_them() {
    let stage = Stage::new(&["--projection-poll-interval-ms", "50"]);
    let tenant = |name| [("x-tenant-id", name)];
    let target = "/v1/watch?kind=worker";
    let mut all = Watching::open(&stage.daemon, target, &[]);
    let mut other = Watching::open(&stage.daemon, target, &tenant("default"));
    all.next().unwrap();
    other.next().unwrap();
    stage.daemon.sql().rows(POISON);
    let lines = all.until(|line| word(line, "to") == "failed");
    let failed = lines.last().unwrap();
    assert_eq!((word(failed, "tenant_id"), word(failed, "kind")), ("bad", "worker"), "{failed:?}");
    assert_eq!(word(failed, "error_code"), "schema_violation", "{failed:?}");
    assert_eq!(failed.get("partition").and_then(Json::as_i64), Some(0), "{failed:?}");
    stage.import(&events::whole_trace("t"));
    let lines = other.until(|line| word(line, "to") == "idle");
    assert!(lines.iter().all(|line| word(line, "tenant_id") == "default"), "{lines:?}");
}

#[test]
fn the_database_is_watched_as_it_goes_and_comes_back() {
    // One that stays away until it is told: what comes and goes between two looks is not seen.
    let mut postgres = Postgres::start();
    let url = format!("postgres://decisiongraph@{}/postgres?sslmode=disable", postgres.address());
    let daemon = Daemon::start(Where::Url(url), &[]);
    let mut watching = Watching::open(&daemon, "/v1/watch?kind=database", &[]);
    watching.next().unwrap();
    postgres.stop();
    assert_eq!(watching.steps("database", "down"), ["->down"]);
    postgres.start_again();
    assert_eq!(watching.steps("database", "up"), ["->up"]);
}

#[test]
fn a_daemon_that_is_there_says_so() {
    let stage = Stage::new(&[]);
    let mut watching = Watching::open(&stage.daemon, "/v1/watch?kind=run", &[]);
    let started = Instant::now();
    watching.until(|line| word(line, "kind") == "heartbeat");
    assert!(started.elapsed() < Duration::from_secs(20), "{:?}", started.elapsed());
}

/// Starts three workers of each of so many new tenants, which end soon after; the name of one.
fn stir(stage: &Stage, round: usize) -> String {
    let name = |tenant: usize| format!("tenant-{round}-{tenant}");
    let line = |tenant| {
        let line = events::started("t");
        line.replacen('{', &format!(r#"{{"tenant_id":"{}","#, name(tenant)), 1) + "\n"
    };
    let reply = post_lines(&stage.daemon, "/v1/events", &(0..50).map(line).collect::<String>());
    assert_eq!(reply.status, 200, "{reply:?}");
    name(49)
}

/// Far more lines than there is room for between the daemon and somebody who does not read.
const MANY: usize = 4_000;

#[test]
fn who_reads_slowly_is_told_what_it_missed_and_holds_up_nobody() {
    let stage = Stage::new(&["--tenant-idle-stop-ms", "500"]);
    let mut slow = Watching::open(&stage.daemon, "/v1/watch", &[]);
    slow.next().unwrap();
    let mut quick = Watching::open(&stage.daemon, "/v1/watch", &[]);
    let mut slowest = Duration::ZERO;
    let (mut read, mut round) = (0, 0);
    while read < MANY {
        let tenant = stir(&stage, round);
        let started = Instant::now();
        assert_eq!(get(&stage.daemon, "/v1/status").status, 200);
        slowest = slowest.max(started.elapsed());
        let lines =
            quick.until(|line| word(line, "tenant_id") == tenant && word(line, "to") == "-");
        assert!(
            lines.iter().all(|line| word(line, "kind") != "missed"),
            "who reads misses nothing"
        );
        (read, round) = (read + lines.len(), round + 1);
    }
    assert!(slowest < Duration::from_secs(2), "{slowest:?}");
    let lines = slow.until(|line| word(line, "kind") == "missed");
    let missed = lines.last().unwrap().get("count").and_then(Json::as_i64).unwrap();
    assert!(missed > 0 && lines.len() > 1_000, "{missed} after {}", lines.len());
}

#[test]
fn the_stream_ends_in_order_when_the_daemon_stops() {
    let mut stage = Stage::new(&[]);
    let mut watching: Vec<Watching> =
        (0..3).map(|_| Watching::open(&stage.daemon, "/v1/watch", &[])).collect();
    watching.iter_mut().for_each(|one| drop(one.next().unwrap()));
    let started = Instant::now();
    assert_eq!(stage.daemon.stop(), 0);
    assert!(started.elapsed() < Duration::from_secs(4), "{:?}", started.elapsed());
    for one in &mut watching {
        let lines = one.until(|line| word(line, "kind") == "end");
        assert_eq!(lines.last().map(|line| word(line, "kind")), Some("end"));
        assert!(one.next().is_none() && one.connection.is_closed());
    }
}

#[test]
fn a_daemon_is_watched_also_before_it_has_a_database() {
    let database = new_database();
    let daemon = Daemon::start_on_nothing(&database.url().replacen("host=", "host=/nowhere", 1));
    until("it listens", || daemon.socket().exists().then_some(()));
    let mut watching = Watching::open(&daemon, "/v1/watch", &[]);
    let picture = watching.next().unwrap();
    assert_eq!(word(picture.get("database").unwrap(), "state"), "down", "{picture:?}");
}

#[test]
fn what_cannot_be_watched_is_refused() {
    let stage = Stage::new(&[]);
    let reply = get(&stage.daemon, "/v1/watch?kind=weather");
    assert_eq!((reply.status, reply.error().1.contains("weather")), (400, true), "{reply:?}");
    let watching: Vec<Watching> =
        (0..64).map(|_| Watching::open(&stage.daemon, "/v1/watch", &[])).collect();
    let refused = get(&stage.daemon, "/v1/watch");
    assert_eq!((refused.status, &*refused.error().0), (503, "storage"), "{refused:?}");
    drop(watching);
    until("places are free again", || {
        let mut connection = Connection::open(&stage.daemon);
        connection.send(head("GET", "/v1/watch", &[], 0).as_bytes()).unwrap();
        (connection.head()?.0 == 200).then_some(())
    });
}
