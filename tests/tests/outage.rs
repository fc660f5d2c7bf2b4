//! The database goes away while the daemon serves, and comes back.

#![allow(clippy::unwrap_used, reason = "tests")]

use std::time::{Duration, Instant};

use dg_admin::embedded::{Cluster, Options};
use dg_projections::event::{Keeping, parse_line};
use dg_projections::json::Json;
use dg_tests::events::{generated, joined, observed, started, whole_trace};
use dg_tests::{Answer, Daemon, Directory, Sql, Stage, Where, run, until};

/// No answer takes longer while the database is away.
const SOON: Duration = Duration::from_secs(10);

/// A database server that can be stopped and started again.
struct Server {
    runtime: tokio::runtime::Runtime,
    cluster: Cluster,
    _directory: Directory,
}

impl Server {
    fn start() -> Server {
        let runtime = tokio::runtime::Runtime::new().unwrap();
        let directory = Directory::new();
        let (place, options) = (directory.path().join("d"), Options::default());
        let cluster = runtime.block_on(Cluster::start(&place, &options)).unwrap();
        Server { runtime, cluster, _directory: directory }
    }

    fn url(&self) -> String {
        let config = self.cluster.config();
        let Some(tokio_postgres::config::Host::Unix(host)) = config.get_hosts().first() else {
            panic!("no socket: {config:?}")
        };
        format!("postgres://decisiongraph@/decisiongraph?host={}", host.display())
    }

    fn stop(&mut self) {
        self.runtime.block_on(self.cluster.stop(SOON)).unwrap();
    }

    fn start_again(&mut self) {
        self.runtime.block_on(self.cluster.restart()).unwrap();
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.runtime.block_on(self.cluster.stop(SOON));
    }
}

/// Runs a command of the client that must answer soon.
#[track_caller]
fn soon(daemon: &Daemon, arguments: &[&str], input: &str) -> Answer {
    let began = Instant::now();
    let answer = daemon.cli_with(arguments, input.as_bytes());
    assert!(began.elapsed() < SOON, "{arguments:?} took {:?}: {answer:?}", began.elapsed());
    answer
}

#[track_caller]
fn refused_for_storage(answer: &Answer) {
    assert_eq!((answer.code, &*answer.stdout), (69, ""), "{answer:?}");
    let mut lines = answer.stderr.lines();
    assert!(lines.next().unwrap().starts_with("error: storage: "), "{answer:?}");
    assert!(lines.next().unwrap().starts_with("help: "), "{answer:?}");
    assert_eq!(lines.next(), None, "{answer:?}");
}

/// What `status` says of the database.
fn state(daemon: &Daemon) -> String {
    let status = daemon.cli(&["status", "-o", "json"]).ok().json();
    let database = status.get("database").unwrap();
    database.get("state").and_then(Json::as_str).unwrap().to_owned()
}

const READS: [&[&str]; 10] = [
    &["export"],
    &["events"],
    &["trace", "a"],
    &["summary", "a"],
    &["graph", "trace", "a"],
    &["edges", "trace", "a"],
    &["precedents"],
    &["health"],
    &["failures"],
    &["digest"],
];

#[test]
fn commands_say_that_the_database_is_away_and_all_heals_when_it_is_back() {
    let mut server = Server::start();
    let daemon = Daemon::start(Where::Url(server.url()), &[]);
    let append = |lines: &[String]| daemon.cli_with(&["append", "-"], joined(lines).as_bytes());
    append(&whole_trace("a")).ok();
    daemon.until_current("default");
    server.stop();
    for command in READS {
        refused_for_storage(&soon(&daemon, command, ""));
    }
    let answer = soon(&daemon, &["import", "-"], &started("b"));
    assert!(answer.stdout.starts_with("0 inserted, 0 reused, 1 rejected"), "{answer:?}");
    refused_for_storage(&Answer { stdout: String::new(), ..answer });
    let answer = soon(&daemon, &["append", "-"], &started("b"));
    assert_eq!(answer.code, 69, "{answer:?}");
    assert_eq!(answer.json().get("code").and_then(Json::as_str), Some("storage"));
    let check = soon(&daemon, &["health", "--check"], "");
    assert!(check.code == 3 && check.stdout.starts_with("UNKNOWN: storage: "), "{check:?}");
    let began = Instant::now();
    let proof = daemon.direct(&["verify"]);
    assert_eq!(proof.code, 69, "{proof:?}");
    assert!(began.elapsed() < SOON, "{proof:?}");
    let status = soon(&daemon, &["status"], "").ok().stdout;
    let line = status.lines().find(|line| line.starts_with("database")).unwrap();
    assert!(line.contains(" down since 20"), "{status}");
    assert_eq!(state(&daemon), "down");
    soon(&daemon, &["workers"], "").ok();

    server.start_again();
    // Somebody else was faster than the daemon's next look.
    let store = dg_store::Store::new(
        server.cluster.config(),
        &dg_store::Options {
            pool_size: 1,
            timeout: SOON,
            application_name: "other".to_owned(),
            role: None,
        },
    );
    let line = |line: &String| parse_line(line, "default", Keeping::NewNumbers).unwrap();
    let lines: Vec<_> = whole_trace("c").iter().map(line).collect();
    server.runtime.block_on(store.unwrap().append("default", &lines)).unwrap();
    until("the daemon has found the database", || (state(&daemon) == "up").then_some(()));
    append(&whole_trace("b")).ok();
    daemon.until_current("default");
    daemon.cli(&["summary", "c"]).ok();
    let proof = daemon.direct(&["verify", "-o", "json"]).ok().json();
    assert_eq!(proof.get("events").and_then(Json::as_i64), Some(18));
    assert!(!daemon.log().contains("panicked"), "{}", daemon.log());
}

#[test]
fn events_that_others_write_after_an_outage_are_projected_without_any_request() {
    let mut server = Server::start();
    let daemon = Daemon::start(Where::Url(server.url()), &[]);
    daemon.cli_with(&["append", "-"], joined(&[started("a")]).as_bytes()).ok();
    daemon.until_current("default");
    server.stop();
    server.start_again();
    let sql = Sql::connect(&server.cluster.config());
    sql.rows(
        "INSERT INTO dg_event_log (tenant_id, log_seq, trace_seq, occurred_at_utc, event_id, trace_id,
            event_type, occurred_at, producer_id, source_system, actor_type, actor_id,
            idempotency_key, payload_json, payload_hash)
         SELECT tenant_id, 2, 1, occurred_at_utc, 'a.1', trace_id, 'TraceFinished', occurred_at,
            producer_id, source_system, actor_type, actor_id, 'a:1', payload, sha256(payload::bytea)
         FROM dg_event_log, (VALUES ('{\"outcome\":\"success\"}')) AS p (payload)",
    );
    let cursors = "SELECT min(last_log_seq) FROM dg_projection_cursors";
    until("the event is projected", || (sql.one(cursors) == "2").then_some(()));
    daemon.direct(&["verify"]).ok();
}

#[test]
fn workers_do_not_wait_any_longer_when_the_database_is_back() {
    let mut server = Server::start();
    let waits = ["--projection-retry-base-ms=600000", "--projection-retry-max-ms=600000"];
    let flags = [&waits[..], &["--projection-batch-size=5"]].concat();
    let daemon = Daemon::start(Where::Url(server.url()), &flags);
    daemon.cli_with(&["import", "-"], joined(&generated(400, 1)).as_bytes()).ok();
    server.stop();
    let waiting = until("workers wait", || {
        let status = daemon.cli(&["status", "-o", "json"]).json();
        status.get("workers")?.get("retrying")?.as_i64()
    });
    assert!(waiting > 0);
    server.start_again();
    daemon.until_current("default");
}

#[test]
fn an_import_cut_off_by_an_outage_says_so_and_is_completed_later() {
    let mut server = Server::start();
    let daemon = Daemon::start(Where::Url(server.url()), &[]);
    let log = generated(600, 1);
    // A refused line before the outage does not hide it.
    let file = daemon.directory().file("log.jsonl", format!("nonsense\n{}", joined(&log)));
    let (socket, path) = (daemon.socket(), file.clone());
    let importing = std::thread::spawn(move || {
        let arguments =
            ["import".as_ref(), path.as_os_str(), "--socket".as_ref(), socket.as_os_str()];
        run(&arguments, b"")
    });
    let sql = Sql::connect(&server.cluster.config());
    let count = "SELECT count(*) FROM dg_event_log";
    until("the import has begun", || (sql.one(count) != "0").then_some(()));
    drop(sql);
    server.stop();
    let answer = importing.join().unwrap();
    assert_eq!(answer.code, 69, "{answer:?}");
    let told: Vec<&str> = answer.stderr.lines().collect();
    assert_eq!(told.len(), 3, "{answer:?}");
    assert!(told[0].starts_with("line 1: invalid_argument: "), "{answer:?}");
    assert!(told[1].starts_with("error: storage: line "), "{answer:?}");
    assert!(told[2].starts_with("help: ") && told[2].contains("reused"), "{answer:?}");
    server.start_again();
    until("the daemon has found the database", || (state(&daemon) == "up").then_some(()));
    let answer = daemon.cli(&["import", file.to_str().unwrap(), "-o", "json"]);
    assert_eq!(answer.code, 4, "{answer:?}");
    let count = |name: &str| answer.json().get(name).and_then(Json::as_i64).unwrap();
    assert_eq!((count("inserted") + count("reused"), count("rejected")), (4800, 1));
    assert!(count("reused") > 0, "{answer:?}");
    daemon.until_current("default");
    daemon.direct(&["verify"]).ok();
}

#[test]
fn connections_that_are_cut_are_replaced() {
    let stage = Stage::new(&[]);
    let sql = stage.daemon.sql();
    let cut = || {
        sql.rows(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity
             WHERE datname = current_database() AND pid <> pg_backend_pid()",
        )
    };
    let line = |seq: usize| if seq == 0 { started("a") } else { observed("a", seq) };
    for seq in 0..10 {
        cut();
        until("an event is taken", || {
            let answer = soon(&stage.daemon, &["append", "-"], &line(seq));
            assert!([0, 69].contains(&answer.code), "{answer:?}");
            (answer.code == 0).then_some(())
        });
    }
    cut();
    stage.daemon.until_current("default");
    let proof = stage.daemon.direct(&["verify", "-o", "json"]).ok().json();
    assert_eq!(proof.get("events").and_then(Json::as_i64), Some(10));
    assert_eq!(state(&stage.daemon), "up");
}

#[test]
fn a_database_that_does_not_answer_in_time_is_a_storage_error_of_that_command() {
    let stage = Stage::new(&["--storage-timeout-ms", "1000"]);
    stage.import(&whole_trace("a"));
    let sql = stage.daemon.sql();
    sql.rows("BEGIN; LOCK TABLE dg_event_log, dg_tenant_heads IN ACCESS EXCLUSIVE MODE");
    for command in [&["export"][..], &["trace", "a"], &["health"]] {
        let answer = soon(&stage.daemon, command, "");
        assert_eq!(answer.code, 69, "{answer:?}");
    }
    let answer = soon(&stage.daemon, &["append", "-"], &started("b"));
    assert_eq!(answer.code, 69, "{answer:?}");
    soon(&stage.daemon, &["status"], "").ok();
    sql.rows("ROLLBACK");
    stage.daemon.cli_with(&["append", "-"], started("b").as_bytes()).ok();
    stage.daemon.until_current("default");
}

#[test]
fn a_daemon_started_before_its_database_says_so_and_begins_when_it_is_there() {
    let mut server = Server::start();
    let mut daemon = Daemon::start(Where::Url(server.url()), &[]);
    daemon.cli_with(&["append", "-"], joined(&whole_trace("a")).as_bytes()).ok();
    assert_eq!(daemon.stop(), 0);
    server.stop();
    daemon.spawn();
    until("the daemon says that its database is away", || {
        daemon.log().contains("database away").then_some(())
    });
    for command in READS {
        refused_for_storage(&soon(&daemon, command, ""));
    }
    // It stops as readily as ever.
    assert_eq!(daemon.stop(), 0);
    daemon.spawn();
    until("the daemon listens", || daemon.socket().exists().then_some(()));
    server.start_again();
    until("the daemon is ready", || daemon.cli(&["status", "-o", "json"]).says_up().then_some(()));
    daemon.until_current("default");
    daemon.cli(&["summary", "a"]).ok();
    assert!(!daemon.log().contains("panicked"), "{}", daemon.log());
}

#[test]
fn an_embedded_database_that_dies_is_started_again() {
    let daemon = Daemon::start(Where::Embedded, &[]);
    daemon.cli_with(&["append", "-"], joined(&whole_trace("a")).as_bytes()).ok();
    daemon.until_current("default");
    daemon.kill_database();
    until("an event is taken again", || {
        let answer = soon(&daemon, &["append", "-"], &joined(&whole_trace("b")));
        (answer.code == 0).then_some(())
    });
    daemon.until_current("default");
    daemon.direct(&["verify"]).ok();
    assert!(daemon.log().contains("ended by itself"), "{}", daemon.log());
}
