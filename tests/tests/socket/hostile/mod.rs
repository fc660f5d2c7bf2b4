//! A hostile crowd, and an honest client in the middle of it: it sees no error, waits no longer than
//! a bound, and nothing that it was promised is lost.

mod kinds;

use std::collections::BTreeSet;
use std::io::{Read as _, Write as _};
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use dg_projections::json::Json;
use dg_tests::{Daemon, Random, Stage, events, until, users};

use crate::http::{ask, get, head, post};
use kinds::Hostile;

/// How long a crowd is at it, and how many of it at once.
const STORM: Duration = Duration::from_secs(5);
const AT_ONCE: usize = 16;
/// Connections that are opened and left alone.
const OPENED: usize = 1_000;

/// A figure of the daemon's process, such as `VmRSS` in KiB or `Threads`.
fn figure(daemon: &Daemon, name: &str) -> usize {
    let status = std::fs::read_to_string(format!("/proc/{}/status", daemon.pid())).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':')).unwrap();
    line.split_whitespace().next().unwrap().parse().unwrap()
}

fn descriptors(daemon: &Daemon) -> usize {
    std::fs::read_dir(format!("/proc/{}/fd", daemon.pid())).unwrap().count()
}

/// A crowd of one user, or of ours; ends when it is dropped.
struct Crowd {
    is_over: Arc<AtomicBool>,
    clients: Vec<std::thread::JoinHandle<()>>,
}

impl Crowd {
    fn of(uid: Option<u32>, daemon: &Daemon, random: &mut Random) -> Crowd {
        let is_over = Arc::new(AtomicBool::new(false));
        let mut clients = Vec::new();
        for _ in 0..AT_ONCE {
            let mut hostile = Hostile { socket: daemon.socket(), random: random.fork() };
            let is_over = is_over.clone();
            clients.push(users::spawn_as(uid, move || {
                while !is_over.load(Ordering::Relaxed) {
                    hostile.visit();
                }
            }));
        }
        let (socket, over) = (daemon.socket(), is_over.clone());
        clients.push(users::spawn_as(uid, move || {
            let opened: Vec<_> = (0..OPENED).map(|_| UnixStream::connect(&socket)).collect();
            while !over.load(Ordering::Relaxed) {
                std::thread::sleep(Duration::from_millis(10));
            }
            drop(opened);
        }));
        Crowd { is_over, clients }
    }

    fn end(self) {
        self.is_over.store(true, Ordering::Relaxed);
        self.clients.into_iter().for_each(|client| client.join().unwrap());
    }
}

/// Appends, reads and asks for the status for as long as a storm takes; what was acknowledged, and
/// how long the slowest answer took.
fn honest(daemon: &Daemon) -> (BTreeSet<String>, Duration) {
    let tenant = [("x-tenant-id", "honest")];
    let (mut acknowledged, mut slowest) = (BTreeSet::new(), Duration::ZERO);
    let started = Instant::now();
    for number in 0.. {
        if started.elapsed() > STORM {
            break;
        }
        let trace = format!("honest-{number}");
        let mut timed = |ask: &dyn Fn() -> u16| {
            let asked = Instant::now();
            assert_eq!(ask(), 200);
            slowest = slowest.max(asked.elapsed());
        };
        let event = events::started(&trace);
        timed(&|| ask(daemon, "POST", "/v1/events", &tenant, &event).status);
        timed(&|| ask(daemon, "GET", &format!("/v1/traces/{trace}"), &tenant, "").status);
        timed(&|| 200 * u16::from(daemon.cli(&["status"]).ok().code == 0));
        acknowledged.insert(format!("{trace}.0"));
    }
    (acknowledged, slowest)
}

/// What the crowds of these users do to an honest client of ours.
fn storm(flags: &[&str], crowds: &[Option<u32>], bound: Duration) {
    let stage = Stage::new(flags);
    stage.import(&events::generated(500, 1)); // more than the buffers in between hold
    users::let_everybody_in(&stage.daemon);
    users::raise_descriptor_limit();
    let daemon = &stage.daemon;
    let before = ["Threads", "VmRSS"].map(|name| figure(daemon, name));
    let level = descriptors(daemon);
    let mut random = Random::seeded(7);
    let crowds: Vec<Crowd> =
        crowds.iter().map(|uid| Crowd::of(*uid, daemon, &mut random)).collect();
    let (acknowledged, slowest) = honest(daemon);
    crowds.into_iter().for_each(Crowd::end);
    assert!(slowest < bound, "{slowest:?} in {} rounds", acknowledged.len());

    // A connection to the database or two may be new.
    until("descriptors are let go", || (descriptors(daemon) <= level + 16).then_some(()));
    let after = ["Threads", "VmRSS"].map(|name| figure(daemon, name));
    assert!(after[0] <= before[0] + 64, "{after:?} after {before:?}");
    assert!(after[1] <= before[1] + 300_000, "{after:?} after {before:?}");
    assert_eq!(get(daemon, "/v1/status").status, 200);
    let kept: BTreeSet<String> = daemon
        .cli(&["export", "-t", "honest"])
        .ok()
        .jsonl()
        .iter()
        .map(|event| event.get("event_id").and_then(Json::as_str).unwrap().to_owned())
        .collect();
    assert_eq!(kept, acknowledged);
    let log = daemon.log();
    assert!(!log.contains("panicked") && !log.contains(" ERROR "), "{log}");
    // Each act leaves its line, also a refused one; all the rest is told a few times.
    let told: Vec<_> = log.lines().filter(|line| !line.contains(" audit ")).collect();
    assert!(told.len() < 500, "{} lines, the last {:?}", told.len(), told.last());
}

#[test]
fn a_hostile_crowd_of_other_users_slows_nobody_down() {
    if users::can_be_others() {
        let [admin, stranger] = users::OTHERS;
        let crowds = [Some(admin), Some(stranger)];
        storm(&["--admin-uids", &admin.to_string()], &crowds, Duration::from_secs(3));
    }
}

#[test]
fn a_hostile_crowd_of_ones_own_user_slows_one_down_within_bounds() {
    storm(&[], &[None], Duration::from_secs(20));
}

/// Keeps connections of another user, each of which has sent this, until the end of `work`.
fn beside<T>(daemon: &Daemon, count: usize, sent: &str, work: impl FnOnce() -> T) -> T {
    let (socket, sent) = (daemon.socket(), sent.to_owned());
    let (ready, is_ready) = std::sync::mpsc::channel();
    let (end, is_over) = std::sync::mpsc::channel::<()>();
    let crowd = users::spawn_as(Some(users::OTHERS[0]), move || {
        let connect = |_| {
            let mut stream = UnixStream::connect(&socket).unwrap();
            let _ = stream.write_all(sent.as_bytes());
            stream
        };
        let held: Vec<_> = (0..count).map(connect).collect();
        ready.send(()).unwrap();
        let _ = is_over.recv();
        drop(held);
    });
    is_ready.recv().unwrap();
    let done = work();
    drop(end);
    crowd.join().unwrap();
    done
}

#[test]
fn bodies_that_another_user_announces_take_none_of_our_room() {
    if !users::can_be_others() {
        return;
    }
    let stage = Stage::new(&["--admin-uids", &users::OTHERS[0].to_string()]);
    users::let_everybody_in(&stage.daemon);
    let announced = head("POST", "/v1/events", &[], 64 << 20);
    let event = events::started("t").replace("About t", &"x".repeat(2 << 20));
    let took = beside(&stage.daemon, 100, &announced, || {
        let asked = Instant::now();
        assert_eq!(post(&stage.daemon, "/v1/events", &event).status, 200);
        asked.elapsed()
    });
    assert!(took < Duration::from_secs(5), "{took:?}");
}

#[test]
fn a_user_with_connections_enough_is_told_so() {
    if !users::can_be_others() {
        return;
    }
    let uid = users::OTHERS[0];
    let stage = Stage::new(&["--admin-uids", &uid.to_string()]);
    users::let_everybody_in(&stage.daemon);
    let socket = stage.daemon.socket();
    let said = beside(&stage.daemon, 128, "GET ", || {
        assert_eq!(get(&stage.daemon, "/v1/status").status, 200);
        users::spawn_as(Some(uid), move || {
            let mut stream = UnixStream::connect(&socket).unwrap();
            stream.write_all(head("GET", "/v1/status", &[], 0).as_bytes()).unwrap();
            let mut said = String::new();
            stream.read_to_string(&mut said).unwrap();
            said
        })
        .join()
        .unwrap()
    });
    assert!(said.starts_with("HTTP/1.1 503 ") && said.contains("connection: close"), "{said}");
    assert!(said.contains("as many connections as it may have"), "{said}");
    let told = "a user has as many connections as it may have";
    assert_eq!(stage.daemon.log().matches(told).count(), 1, "{}", stage.daemon.log());
}
