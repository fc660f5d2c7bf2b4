//! A connection that breaks after the database has committed and before it has said so.

#![allow(clippy::unwrap_used, reason = "tests")]

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
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

/// The statement as it ends on the wire; `READ COMMITTED` is another word.
const COMMIT: &[u8] = b"COMMIT\0";

/// A way to a server which keeps the answer to the first commit to itself and hangs up.
struct Deaf {
    listener: UnixListener,
    server: PathBuf,
    has_cut: Arc<AtomicBool>,
}

impl Deaf {
    async fn serve(self) {
        loop {
            let (client, _) = self.listener.accept().await.unwrap();
            let (from_client, to_client) = client.into_split();
            let server = UnixStream::connect(&self.server).await.unwrap();
            let (from_server, to_server) = server.into_split();
            let cut = Arc::new(AtomicBool::new(false));
            tokio::spawn(ask(from_client, to_server, self.has_cut.clone(), cut.clone()));
            tokio::spawn(answer(from_server, to_client, cut));
        }
    }
}

async fn ask(
    mut client: OwnedReadHalf,
    mut server: OwnedWriteHalf,
    has_cut: Arc<AtomicBool>,
    cut: Arc<AtomicBool>,
) {
    let mut bytes = vec![0; 64 * 1024];
    while let Ok(count @ 1..) = client.read(&mut bytes).await {
        let commits = bytes[..count].windows(COMMIT.len()).any(|text| text == COMMIT);
        if commits && !has_cut.swap(true, Ordering::SeqCst) {
            cut.store(true, Ordering::SeqCst);
        }
        if server.write_all(&bytes[..count]).await.is_err() {
            return;
        }
    }
}

async fn answer(mut server: OwnedReadHalf, mut client: OwnedWriteHalf, cut: Arc<AtomicBool>) {
    let mut bytes = vec![0; 64 * 1024];
    while let Ok(count @ 1..) = server.read(&mut bytes).await {
        if cut.load(Ordering::SeqCst) || client.write_all(&bytes[..count]).await.is_err() {
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
    let has_cut = Arc::new(AtomicBool::new(false));
    let deaf = Deaf {
        listener: UnixListener::bind(directory.path().join(&name)).unwrap(),
        server: path.join(&name),
        has_cut: has_cut.clone(),
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

    let lines = parsed("acme", &whole_trace("t"));
    let answers = runtime.append("acme", &lines).await.unwrap();
    assert!(has_cut.load(Ordering::SeqCst));
    for (number, answer) in answers.iter().enumerate() {
        let inserted = Admission::Insert { log_seq: number as i64 + 1 };
        assert_eq!(answer.as_ref().ok(), Some(&inserted), "{answers:?}");
    }
    // Sent once more, they are what they are.
    let again = runtime.append("acme", &lines).await.unwrap();
    assert!(again.iter().all(|one| matches!(one, Ok(Admission::Reused { .. }))), "{again:?}");
    let sql = "SELECT count(*) FROM dg_event_log";
    let count: i64 = database.connect().await.query_one(sql, &[]).await.unwrap().get(0);
    assert_eq!(count, lines.len() as i64);
    runtime.stop(Duration::from_secs(5)).await;
    deaf.abort();
}
