//! A way to a Postgres that loses what it is told to lose.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use dg_store::{Options, Store};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::unix::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio_postgres::config::Host;

use crate::{Database, Directory};

/// Who speaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Speaker {
    /// The store.
    Client,
    /// Postgres.
    Server,
}

/// Whether a piece of a conversation is kept from its hearer, and the connection ended.
type Cut = Arc<dyn Fn(Speaker, &[u8]) -> bool + Send + Sync>;

/// A proxy on a Unix socket of its own; it ends with its value.
#[derive(Debug)]
pub struct Proxy {
    directory: Directory,
    port: u16,
    direct: tokio_postgres::Config,
    task: JoinHandle<()>,
}

impl Proxy {
    /// Starts one before a database; `cut` is asked of every piece, in either direction.
    ///
    /// # Errors
    /// When the server has no Unix socket.
    pub fn start(
        database: &Database,
        cut: impl Fn(Speaker, &[u8]) -> bool + Send + Sync + 'static,
    ) -> Result<Proxy, &'static str> {
        let direct: tokio_postgres::Config = database.url().parse().unwrap();
        let Some(Host::Unix(path)) = direct.get_hosts().first() else {
            return Err("the tests' Postgres has no Unix socket");
        };
        let port = direct.get_ports().first().copied().unwrap_or(5432);
        let name = format!(".s.PGSQL.{port}");
        let server = path.join(&name);
        let directory = Directory::new();
        let listener = UnixListener::bind(directory.path().join(&name)).unwrap();
        let cut: Cut = Arc::new(cut);
        let task = tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                let server = UnixStream::connect(&server).await.unwrap();
                connect(client, server, &cut);
            }
        });
        Ok(Proxy { directory, port, direct, task })
    }

    /// A store that goes through it.
    ///
    /// # Panics
    /// Never for these options.
    pub fn store(&self) -> Store {
        let mut through = tokio_postgres::Config::new();
        through.host_path(self.directory.path()).port(self.port);
        through.user(self.direct.get_user().unwrap()).dbname(self.direct.get_dbname().unwrap());
        let options = Options {
            pool_size: 8,
            timeout: Duration::from_secs(30),
            application_name: "decisiongraph-test".to_owned(),
            role: None,
        };
        Store::new(through, &options).unwrap()
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.task.abort();
    }
}

fn connect(client: UnixStream, server: UnixStream, cut: &Cut) {
    let (from_client, to_client) = client.into_split();
    let (from_server, to_server) = server.into_split();
    let (over, _) = watch::channel(false);
    for (speaker, from, to) in
        [(Speaker::Client, from_client, to_server), (Speaker::Server, from_server, to_client)]
    {
        let (cut, over) = (cut.clone(), over.clone());
        tokio::spawn(async move {
            let mut ended = over.subscribe();
            tokio::select! {
                () = carry(speaker, from, to, &cut) => {}
                _ = ended.wait_for(|over| *over) => {}
            }
            over.send_replace(true);
        });
    }
}

async fn carry(speaker: Speaker, mut from: OwnedReadHalf, mut to: OwnedWriteHalf, cut: &Cut) {
    let mut bytes = vec![0; 64 * 1024];
    while let Ok(count @ 1..) = from.read(&mut bytes).await {
        if cut(speaker, &bytes[..count]) || to.write_all(&bytes[..count]).await.is_err() {
            return;
        }
    }
}

/// Counts pieces, and is true for one of them.
#[derive(Debug)]
pub struct Nth {
    count: AtomicUsize,
    nth: usize,
}

impl Nth {
    /// True for the `nth` piece, from 1; never for 0.
    pub const fn new(nth: usize) -> Nth {
        Nth { count: AtomicUsize::new(0), nth }
    }

    /// Counts one more.
    pub fn is_it(&self) -> bool {
        self.count.fetch_add(1, Ordering::SeqCst) + 1 == self.nth
    }

    /// How many there were.
    pub fn count(&self) -> usize {
        self.count.load(Ordering::SeqCst)
    }
}
