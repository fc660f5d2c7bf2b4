//! Several hosts: one that is away, silent or a standby is passed over, and a failover followed.

#![allow(clippy::unwrap_used, reason = "tests")]

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use dg_projections::Code;
use dg_projections::json::Json;
use dg_store::{Options, Store, StoreError, Target};
use dg_tests::events::{joined, started, whole_trace};
use dg_tests::log::parsed;
use dg_tests::{Daemon, Postgres, Sql, Where, run, until};
use tokio::net::{TcpListener, TcpSocket, TcpStream};

const DEADLINE: Duration = Duration::from_secs(30);
/// The time in which all hosts are to be tried.
const TIMEOUT: Duration = Duration::from_secs(9);

/// A way in, or why there is none; never for ever.
async fn ping(store: &Store) -> Result<(), StoreError> {
    tokio::time::timeout(DEADLINE, store.ping()).await.unwrap()
}

fn store_at(url: &str) -> Store {
    let options = Options {
        pool_size: 2,
        timeout: TIMEOUT,
        application_name: "a store".to_owned(),
        role: None,
    };
    Store::new(Target::parse(url).unwrap(), &options).unwrap()
}

fn url(addresses: &[String], parameters: &str) -> String {
    format!("postgres://decisiongraph@{}/postgres?{parameters}", addresses.join(","))
}

/// A host that takes connections and never says a word.
async fn silent() -> TcpListener {
    TcpListener::bind("127.0.0.1:0").await.unwrap()
}

/// A host that does not even take connections: its queue is full.
async fn black_hole() -> (TcpListener, Vec<TcpStream>) {
    let socket = TcpSocket::new_v4().unwrap();
    socket.bind(SocketAddr::from(([127, 0, 0, 1], 0))).unwrap();
    let listener = socket.listen(1).unwrap();
    let (address, mut queue) = (listener.local_addr().unwrap(), Vec::new());
    let patience = Duration::from_millis(500);
    while let Ok(taken) = tokio::time::timeout(patience, TcpStream::connect(address)).await {
        queue.push(taken.unwrap());
        assert!(queue.len() < 100, "the queue of a listener has no end");
    }
    (listener, queue)
}

fn address(listener: &TcpListener) -> String {
    listener.local_addr().unwrap().to_string()
}

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Runtime::new().unwrap()
}

#[test]
fn hosts_that_do_not_answer_delay_and_do_not_stop() {
    let server = Postgres::start();
    runtime().block_on(async {
        let (silent, (hole, _queue)) = (silent().await, black_hole().await);
        let all = [address(&silent), address(&hole), server.address()];
        // Each has its share of the store's time, or what the string gives it.
        for (parameters, least, most) in [("", 6, 9), ("connect_timeout=1", 2, 5)] {
            let store = store_at(&url(&all, parameters));
            let began = Instant::now();
            ping(&store).await.unwrap();
            let seconds = began.elapsed().as_secs_f64();
            assert!((f64::from(least)..f64::from(most)).contains(&seconds), "{seconds} s");
            store.close();
        }
    });
}

#[test]
fn when_no_host_answers_each_is_told_of() {
    runtime().block_on(async {
        let silent = silent().await;
        let gone = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let (first, second) = (address(&silent), address(&gone));
        drop(gone);
        let both = [first.clone(), second.clone()];
        let error = ping(&store_at(&url(&both, "connect_timeout=1"))).await.unwrap_err();
        assert!(error.code == Code::Storage && error.is_outage, "{error:?}");
        let refused = "error connecting to server: Connection refused (os error 111)";
        assert_eq!(error.message, format!("{first}: no answer in 1000 ms; {second}: {refused}"));

        let began = Instant::now();
        let error = ping(&store_at(&url(&both[..1], "connect_timeout=2"))).await.unwrap_err();
        assert_eq!((error.message.as_str(), error.is_outage), ("no answer in 2000 ms", true));
        assert!(began.elapsed() < Duration::from_secs(4), "{:?}", began.elapsed());
    });
}

#[test]
fn a_server_that_becomes_read_only_is_left_for_the_next_host() {
    let (first, second) = (Postgres::start(), Postgres::start());
    let both = url(&[first.address(), second.address()], "");
    let runtime = runtime();
    let store = runtime.block_on(async {
        // The schema on both: the log of the second stands for the first's replica.
        for one in [&first, &second] {
            let store = store_at(&url(&[one.address()], ""));
            store.migrate("test", TIMEOUT).await.unwrap();
        }
        store_at(&both)
    });
    let mut count = 0;
    let mut append = || {
        count += 1;
        let lines = parsed("acme", &[started(&format!("t{count}"))]);
        runtime.block_on(store.append("acme", &lines)).map(drop)
    };
    append().unwrap();
    assert_eq!((events(&first), events(&second)), (1, 0));
    read_only(&first.sql(), true);
    until("the second is written to", || {
        // The server may hear of it in the middle of a statement.
        let refused = append().err().and_then(|error| error.sqlstate);
        assert!([None, Some("25006".to_owned())].contains(&refused), "{refused:?}");
        (events(&second) == 1).then_some(())
    });

    read_only(&second.sql(), true);
    let is_outage = |error: &StoreError| error.is_outage;
    let error = until("no host takes writes", || append().err().filter(is_outage));
    assert_eq!(error.code, Code::Storage, "{error:?}");
    let reason = "error connecting to server: database does not allow writes";
    assert!(error.message.starts_with(&format!("{}: {reason}; ", first.address())), "{error}");
    // Where it was said that any will do, any does.
    let any = url(&[first.address(), second.address()], "target_session_attrs=any");
    runtime.block_on(async { ping(&store_at(&any)).await }).unwrap();
    read_only(&second.sql(), false);
    append().unwrap();
}

/// As a cluster manager or a full disk would make it.
fn read_only(sql: &Sql, on: bool) {
    let word = if on { "on" } else { "off" };
    sql.rows("SET default_transaction_read_only = off");
    sql.rows(&format!("ALTER SYSTEM SET default_transaction_read_only = {word}"));
    sql.rows("SELECT pg_reload_conf()");
    let seen = "SELECT setting FROM pg_settings WHERE name = 'default_transaction_read_only'";
    sql.rows("RESET default_transaction_read_only");
    until("the server has read its settings", || (sql.one(seen) == word).then_some(()));
}

fn events(server: &Postgres) -> usize {
    server.sql().one("SELECT count(*) FROM dg_event_log").parse().unwrap()
}

#[test]
fn a_daemon_follows_a_failover_by_itself() {
    let mut primary = Postgres::start();
    let standby = primary.standby();
    // The standby first: it must be passed over.
    let both = url(&[standby.address(), primary.address()], "");
    let where_to = "SELECT inet_server_port()";
    let psql = run(&["psql", "--database-url", &both, "-Atc", where_to], b"").ok().stdout;
    assert!(primary.address().ends_with(psql.trim_end()), "{psql}");
    let daemon = Daemon::start(Where::Url(both), &[]);
    let append =
        |trace: &str| daemon.cli_with(&["append", "-"], joined(&whole_trace(trace)).as_bytes());
    append("a").ok();
    daemon.until_current("default");
    assert_eq!(events(&primary), 6);
    until("the standby has it, too", || (events(&standby) == 6).then_some(()));
    let cursors = "SELECT count(*) FROM dg_projection_cursors WHERE last_log_seq = 6";
    until("and its projections", || (standby.sql().one(cursors) == "3").then_some(()));

    primary.stop();
    assert_eq!(append("b").code, 69);
    standby.promote();
    until("the daemon writes to the new primary", || (append("b").code == 0).then_some(()));
    daemon.until_current("default");
    assert_eq!(events(&standby), 12);
    let proof = daemon.direct(&["verify", "-o", "json"]).ok().json();
    assert_eq!(proof.get("events").and_then(Json::as_i64), Some(12));
    assert!(!daemon.log().contains("panicked"), "{}", daemon.log());
}
