//! Many clients, slow clients, clients that go away: nobody is locked out and nothing leaks.

use std::time::{Duration, Instant};

use dg_tests::{Daemon, Sql, Stage, events, until};

use crate::http::{Connection, get, head, post, post_lines};

const EXPORT: [(&str, &str); 1] = [("accept", "application/x-ndjson")];

/// What the daemon holds besides its connections to the database.
fn descriptors(stage: &Stage) -> usize {
    let directory = format!("/proc/{}/fd", stage.daemon.pid());
    let all = std::fs::read_dir(directory).unwrap().count();
    all - connections_to_postgres(stage)
}

fn connections_to_postgres(stage: &Stage) -> usize {
    let sql = "SELECT count(*) FROM pg_stat_activity
        WHERE datname = current_database() AND starts_with(application_name, 'decisiongraph')";
    Sql::connect(&stage.url().parse().unwrap()).one(sql).parse().unwrap()
}

/// The most memory that the daemon has had, in MiB.
fn peak(daemon: &Daemon) -> usize {
    let status = std::fs::read_to_string(format!("/proc/{}/status", daemon.pid())).unwrap();
    let line = status.lines().find(|line| line.starts_with("VmHWM:")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse::<usize>().unwrap() / 1024
}

fn until_back_at(stage: &Stage, level: usize) {
    until("the daemon has let go of everything", || (descriptors(stage) <= level).then_some(()));
    assert!(connections_to_postgres(stage) <= 16);
    assert!(!stage.daemon.log().contains("panicked"), "{}", stage.daemon.log());
}

fn sent(daemon: &Daemon, text: &str) -> Connection {
    let mut connection = Connection::open(daemon);
    connection.send(text.as_bytes()).unwrap();
    connection
}

/// An export that is asked for and not read.
fn stalled(daemon: &Daemon) -> Connection {
    sent(daemon, &head("GET", "/v1/events", &EXPORT, 0))
}

#[test]
fn three_hundred_requests_at_once_are_all_answered() {
    let stage = Stage::new(&[]);
    stage.import(&events::whole_trace("t"));
    let level = descriptors(&stage);
    let ask = head("GET", "/v1/traces/t", &[], 0);
    let connections: Vec<Connection> = (0..300).map(|_| sent(&stage.daemon, &ask)).collect();
    for mut connection in connections {
        assert_eq!(connection.reply().unwrap().status, 200);
    }
    until_back_at(&stage, level);
}

#[test]
fn silent_clients_do_not_lock_the_operator_out() {
    let stage = Stage::new(&[]);
    let level = descriptors(&stage);
    let whole = head("POST", "/v1/events", &[], 1000);
    let parts = ["", &whole[..20], &whole, &format!("{whole}{{")].map(str::to_owned);
    let silent: Vec<Connection> =
        (0..300).map(|number| sent(&stage.daemon, &parts[number % 4])).collect();
    let started = Instant::now();
    stage.daemon.cli(&["status"]).ok();
    assert!(started.elapsed() < Duration::from_secs(12), "{:?}", started.elapsed());
    drop(silent);
    until_back_at(&stage, level);
}

#[test]
fn readers_that_do_not_read_do_not_lock_the_operator_out() {
    let stage = Stage::new(&[]);
    stage.import(&events::generated(500, 1)); // more than the buffers in between hold
    let level = descriptors(&stage);
    let mut patient = stalled(&stage.daemon);
    let some: Vec<Connection> = (0..150).map(|_| stalled(&stage.daemon)).collect();
    let started = Instant::now();
    assert_eq!(get(&stage.daemon, "/v1/health").status, 200);
    assert!(started.elapsed() < Duration::from_secs(2), "{:?}", started.elapsed());
    // While there is room they may take their time.
    assert_eq!(patient.reply().unwrap().body.lines().count(), 4_000);
    drop(patient);
    let more: Vec<Connection> = (0..150).map(|_| stalled(&stage.daemon)).collect();
    let started = Instant::now();
    stage.daemon.cli(&["status"]).ok();
    assert!(started.elapsed() < Duration::from_secs(12), "{:?}", started.elapsed());
    drop((some, more));
    until_back_at(&stage, level);
    assert!(peak(&stage.daemon) < 1_000, "{} MiB", peak(&stage.daemon));
}

#[test]
fn clients_that_go_away_leave_nothing_behind() {
    let stage = Stage::new(&[]);
    let log = events::generated(500, 1);
    stage.import(&log);
    let level = descriptors(&stage);
    let body = events::joined(&events::generated(100, 3));
    let lines = [("content-type", "application/x-ndjson")];
    let append = head("POST", "/v1/events", &lines, body.len()) + &body;
    for number in 0..60 {
        let export = head("GET", "/v1/events", &EXPORT, 0);
        drop(sent(&stage.daemon, &export));
        drop(sent(&stage.daemon, &append[..append.len() * number / 60]));
        drop(sent(&stage.daemon, &append));
        drop(sent(&stage.daemon, &head("GET", "/v1/digests?fresh=true", &[], 0)));
    }
    until_back_at(&stage, level);
    let started = Instant::now();
    post_lines(&stage.daemon, "/v1/events", &body).data();
    assert!(started.elapsed() < Duration::from_secs(2), "{:?}", started.elapsed());
    assert_eq!(stage.daemon.cli(&["export"]).ok().stdout.lines().count(), log.len());
    stage.daemon.direct(&["verify"]).ok();
}

#[test]
fn large_requests_at_once_take_a_bounded_share_of_memory() {
    let stage = Stage::new(&[]);
    let body = events::generated(2_000, 1).join("\n");
    let heap = format!("[{}", "1,".repeat((20 << 20) / 2));
    let lines = [("content-type", "application/x-ndjson")];
    let ask = |text: &String, headers: &[(&str, &str)]| {
        let mut connection = sent(&stage.daemon, &head("POST", "/v1/events", headers, text.len()));
        let text = text.clone();
        std::thread::spawn(move || {
            let _ = connection.send(text.as_bytes());
            connection.reply().unwrap().status
        })
    };
    let asked = [ask(&body, &lines), ask(&heap, &[]), ask(&body, &lines), ask(&heap, &[])];
    let started = Instant::now();
    assert_eq!(get(&stage.daemon, "/v1/status").status, 200);
    assert!(started.elapsed() < Duration::from_secs(2), "{:?}", started.elapsed());
    assert_eq!(asked.map(|one| one.join().unwrap()), [200, 400, 200, 400]);
    assert!(peak(&stage.daemon) < 600, "{} MiB", peak(&stage.daemon));
}

#[test]
fn announced_bodies_that_do_not_come_make_room_for_others() {
    let stage = Stage::new(&[]);
    let announced = head("POST", "/v1/events", &[], 64 << 20);
    let mut silent: Vec<Connection> = (0..8).map(|_| sent(&stage.daemon, &announced)).collect();
    let started = Instant::now();
    assert_eq!(post(&stage.daemon, "/v1/events", &events::started("t")).status, 200);
    assert!(started.elapsed() < Duration::from_secs(10), "{:?}", started.elapsed());
    assert_eq!(silent[0].reply().unwrap().status, 408);
}

#[test]
fn a_full_daemon_stops_in_time() {
    let mut stage = Stage::new(&["--shutdown-timeout-ms", "2000"]);
    stage.import(&events::generated(500, 1));
    let level = descriptors(&stage);
    let stalled: Vec<Connection> = (0..300).map(|_| stalled(&stage.daemon)).collect();
    // A connection or two of its pool may have ended since.
    until("the daemon is full", || (descriptors(&stage) >= level + 240).then_some(()));
    let started = Instant::now();
    assert_eq!(stage.daemon.stop(), 0);
    assert!(started.elapsed() < Duration::from_secs(8), "{:?}", started.elapsed());
    drop(stalled);
}
