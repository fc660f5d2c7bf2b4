//! A connection that breaks after the database has committed and before it has said so.

#![allow(clippy::unwrap_used, reason = "tests")]

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use dg_projections::admission::Admission;
use dg_runtime::Runtime;
use dg_store::{Options, Store};
use dg_tests::events::whole_trace;
use dg_tests::log::{parsed, settings};
use dg_tests::{Database, Directory};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::unix::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{UnixListener, UnixStream};
use tokio_postgres::config::Host;

/// What a server says last when a transaction is over: it is idle.
const IDLE: &[u8] = b"Z\0\0\0\x05I";
/// What it says of the two ways that six events are appended: looked at first, and taken to be new.
const COMMITTED: [&[u8]; 2] = [b"COMMIT\0", b"INSERT 0 6\0"];

/// A way to a server which keeps the answer to the first commit of each kind to itself and hangs up.
struct Deaf {
    listener: UnixListener,
    server: PathBuf,
    cut: Cuts,
}

/// The kinds that were cut.
type Cuts = Arc<Mutex<BTreeSet<&'static [u8]>>>;

impl Deaf {
    async fn serve(self) {
        loop {
            let (client, _) = self.listener.accept().await.unwrap();
            let (mut from_client, to_client) = client.into_split();
            let server = UnixStream::connect(&self.server).await.unwrap();
            let (from_server, mut to_server) = server.into_split();
            tokio::spawn(async move { tokio::io::copy(&mut from_client, &mut to_server).await });
            tokio::spawn(answer(from_server, to_client, self.cut.clone()));
        }
    }
}

async fn answer(mut server: OwnedReadHalf, mut client: OwnedWriteHalf, cut: Cuts) {
    let mut bytes = vec![0; 64 * 1024];
    while let Ok(count @ 1..) = server.read(&mut bytes).await {
        let said = &bytes[..count];
        let says = |wanted: &[u8]| said.windows(wanted.len()).any(|text| text == wanted);
        let kind = COMMITTED.into_iter().find(|tag| said.ends_with(IDLE) && says(tag));
        if kind.is_some_and(|kind| cut.lock().unwrap().insert(kind)) {
            return;
        }
        if client.write_all(said).await.is_err() {
            return;
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn events_whose_commit_was_never_answered_count_as_inserted_once() {
    let (database, _) = Database::with_schema().await;
    let direct: tokio_postgres::Config = database.url().parse().unwrap();
    let Some(Host::Unix(path)) = direct.get_hosts().first() else {
        return dg_tests::skip("the tests' Postgres has no Unix socket");
    };
    let port = direct.get_ports().first().copied().unwrap_or(5432);
    let name = format!(".s.PGSQL.{port}");
    let directory = Directory::new();
    let cut = Cuts::default();
    let deaf = Deaf {
        listener: UnixListener::bind(directory.path().join(&name)).unwrap(),
        server: path.join(&name),
        cut: cut.clone(),
    };
    let deaf = tokio::spawn(deaf.serve());
    let mut through = tokio_postgres::Config::new();
    through.host_path(directory.path()).port(port).user(direct.get_user().unwrap());
    through.dbname(direct.get_dbname().unwrap());
    let options = Options {
        pool_size: 8,
        timeout: Duration::from_secs(30),
        application_name: "decisiongraph-test".to_owned(),
        role: None,
    };
    let runtime = Runtime::start(Store::new(through, &options).unwrap(), settings()).await.unwrap();

    for (round, trace) in (0..).zip(["looked-at", "taken-to-be-new", "undisturbed"]) {
        let lines = parsed("acme", &whole_trace(trace));
        let answers = runtime.append("acme", &lines[..]).await.unwrap();
        assert_eq!(cut.lock().unwrap().len(), COMMITTED.len().min(round + 1), "{trace}");
        for (number, answer) in answers.iter().enumerate() {
            let log_seq = (round * lines.len() + number) as i64 + 1;
            let inserted = Admission::Insert { log_seq };
            assert_eq!(answer.as_ref().ok(), Some(&inserted), "{trace}: {answers:?}");
        }
    }
    // Sent once more, they are what they are.
    let lines = parsed("acme", &whole_trace("taken-to-be-new"));
    let again = runtime.append("acme", &lines[..]).await.unwrap();
    assert!(again.iter().all(|one| matches!(one, Ok(Admission::Reused { .. }))), "{again:?}");
    let sql = "SELECT count(*) FROM dg_event_log";
    let count: i64 = database.connect().await.query_one(sql, &[]).await.unwrap().get(0);
    assert_eq!(count, 3 * lines.len() as i64);
    runtime.stop(Duration::from_secs(5)).await;
    deaf.abort();
}
