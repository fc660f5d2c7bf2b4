//! One Postgres server for all tests of a process, and a database for each test.
//!
//! The server is that of `DECISIONGRAPH_TEST_DATABASE_URL` (`ops/test.sh` sets it), or a private one
//! in a process that ends when this one does.

use std::io::{BufRead as _, BufReader};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use dg_store::{Options, Store, Target, create_database, drop_database};

use crate::eventually;

const SERVER: &str = "DECISIONGRAPH_TEST_DATABASE_URL";

/// A server that ends when its standard input does: with this process, however that ends.
struct Private {
    url: String,
    _process: Child,
    _lifeline: Option<ChildStdin>,
}

/// The server's URL.
///
/// # Panics
/// When there is none to be had.
pub fn server() -> String {
    static PRIVATE: OnceLock<Private> = OnceLock::new();
    std::env::var(SERVER).unwrap_or_else(|_| PRIVATE.get_or_init(start_private).url.clone())
}

fn start_private() -> Private {
    let mut process = Command::new(crate::cli::sibling("test-postgres"))
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut url = String::new();
    BufReader::new(process.stdout.take().unwrap()).read_line(&mut url).unwrap();
    assert!(!url.trim().is_empty(), "test-postgres gave no URL: is Postgres installed?");
    let lifeline = process.stdin.take();
    Private { url: url.trim().to_owned(), _process: process, _lifeline: lifeline }
}

/// An empty database; dropped in the end.
#[derive(Debug)]
pub struct Database {
    name: String,
    server: Target,
    config: tokio_postgres::Config,
}

impl Database {
    /// Makes one, without a schema.
    ///
    /// # Panics
    /// When it cannot be made.
    pub async fn empty() -> Database {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let name = format!("t{}_{}", std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed));
        let server = Target::parse(&server()).unwrap();
        create_database(&server, &name).await.unwrap();
        let config = url_of(&name).parse().unwrap();
        Database { name, server, config }
    }

    /// Makes one with the schema in place, and a store on it.
    ///
    /// # Panics
    /// When it cannot be made.
    pub async fn with_schema() -> (Database, Store) {
        let database = Database::empty().await;
        let store = database.store();
        store.migrate("test", Duration::from_secs(30)).await.unwrap();
        (database, store)
    }

    /// Another store on it.
    ///
    /// # Panics
    /// Never for these options.
    pub fn store(&self) -> Store {
        self.store_of(None)
    }

    /// Another store on it, acting as this role.
    ///
    /// # Panics
    /// Never for these options.
    pub fn store_as(&self, role: &'static str) -> Store {
        self.store_of(Some(role))
    }

    fn store_of(&self, role: Option<&'static str>) -> Store {
        let options = Options {
            pool_size: 8,
            timeout: Duration::from_secs(30),
            application_name: "decisiongraph-test".to_owned(),
            role,
        };
        Store::new(self.config.clone(), &options).unwrap()
    }

    /// A connection that knows nothing of the store: an operator's psql.
    ///
    /// # Panics
    /// When it cannot be had.
    pub async fn connect(&self) -> tokio_postgres::Client {
        let (client, connection) = self.config.connect(tokio_postgres::NoTls).await.unwrap();
        tokio::spawn(connection);
        client
    }

    /// A connection when nobody else has one: a backend reports what it counted when it ends at the
    /// latest.
    ///
    /// # Panics
    /// When somebody stays.
    pub async fn connect_alone(&self) -> tokio_postgres::Client {
        let client = self.connect().await;
        eventually("the other connections have ended", || async {
            let sql = "SELECT 1 FROM pg_stat_activity WHERE datname = current_database()
                AND backend_type = 'client backend' AND pid <> pg_backend_pid() LIMIT 1";
            client.query_opt(sql, &[]).await.ok()?.is_none().then_some(())
        })
        .await;
        client
    }

    /// Deadlocks that its writers have run into; asked when they have ended.
    ///
    /// # Panics
    /// As [`Database::connect_alone`].
    pub async fn deadlocks(&self) -> i64 {
        let sql = "SELECT deadlocks FROM pg_stat_database WHERE datname = current_database()";
        self.connect_alone().await.query_one(sql, &[]).await.unwrap().get(0)
    }

    /// Its URL, for a daemon.
    pub fn url(&self) -> String {
        url_of(&self.name)
    }
}

fn url_of(name: &str) -> String {
    let server = server();
    // `postgres://user@/name?host=...`: the name stands between the last slash before `?` and it.
    let (before, parameters) = server.split_once('?').unwrap_or((&server, ""));
    let base = before.rsplit_once('/').map_or(before, |(base, _)| base);
    format!("{base}/{name}?{parameters}")
}

impl Drop for Database {
    fn drop(&mut self) {
        let (server, name) = (self.server.clone(), self.name.clone());
        // From any context: with a runtime of its own.
        let dropping = std::thread::spawn(move || {
            let runtime =
                tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            let _ = runtime.block_on(drop_database(&server, &name));
        });
        let _ = dropping.join();
    }
}
