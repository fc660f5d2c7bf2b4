//! A daemon and an operator's way to its database.

use tokio_postgres::{Client, Config, NoTls, SimpleQueryMessage};

use crate::{Daemon, Database, Where};

/// A connection that knows nothing of the store, for tests that are not async.
#[derive(Debug)]
pub struct Sql {
    runtime: tokio::runtime::Runtime,
    client: Client,
}

impl Sql {
    /// Connects.
    ///
    /// # Panics
    /// When it cannot.
    pub fn connect(config: &Config) -> Sql {
        Sql::try_connect(config).unwrap()
    }

    /// Connects, if it can.
    ///
    /// # Errors
    /// When it cannot.
    ///
    /// # Panics
    /// When there is no runtime to be had.
    pub fn try_connect(config: &Config) -> Result<Sql, tokio_postgres::Error> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let (client, connection) = runtime.block_on(config.connect(NoTls))?;
        runtime.spawn(connection);
        Ok(Sql { runtime, client })
    }

    /// Runs statements; the rows of the last query, as text.
    ///
    /// # Panics
    /// When one is refused.
    #[track_caller]
    pub fn rows(&self, sql: &str) -> Vec<Vec<Option<String>>> {
        let answer = self.runtime.block_on(self.client.simple_query(sql));
        let answer = answer.unwrap_or_else(|error| panic!("{error:?}: {sql}"));
        let row = |message: &SimpleQueryMessage| match message {
            SimpleQueryMessage::Row(row) => {
                Some((0..row.len()).map(|column| row.get(column).map(str::to_owned)).collect())
            }
            _ => None,
        };
        answer.iter().filter_map(row).collect()
    }

    /// Runs statements that may fail; whether they did not.
    pub fn try_run(&self, sql: &str) -> bool {
        self.runtime.block_on(self.client.batch_execute(sql)).is_ok()
    }

    /// Runs statements; the one value that the last query gives.
    ///
    /// # Panics
    /// When one is refused, or there is not one value.
    #[track_caller]
    pub fn one(&self, sql: &str) -> String {
        let mut rows = self.rows(sql);
        assert_eq!(rows.len(), 1, "{sql}");
        rows.remove(0).remove(0).unwrap_or_default()
    }

    /// Keeps the workers of a tenant from committing, until [`Sql::release`] or the connection ends.
    ///
    /// # Panics
    /// When it has no cursors.
    pub fn hold(&self, tenant: &str) {
        let held = self.rows(&format!(
            "BEGIN; SELECT 1 FROM dg_projection_cursors WHERE tenant_id = '{tenant}' FOR UPDATE"
        ));
        assert!(!held.is_empty(), "{tenant} has no cursors");
    }

    /// Lets them go on.
    ///
    /// # Panics
    /// When the connection is gone.
    pub fn release(&self) {
        self.rows("ROLLBACK");
    }

    /// Runs statements that an operator should not, with the triggers of the tables asleep.
    ///
    /// # Panics
    /// When one is refused.
    #[track_caller]
    pub fn tamper(&self, sql: &str) {
        self.rows(&format!("BEGIN; SET LOCAL session_replication_role = replica; {sql}; COMMIT"));
    }
}

/// A daemon on a database of its own.
#[derive(Debug)]
pub struct Stage {
    /// The daemon; it goes before its database.
    pub daemon: Daemon,
    database: Database,
}

impl Stage {
    /// Starts the daemon with these flags and waits until it is ready.
    ///
    /// # Panics
    /// When it does not become ready.
    pub fn new(flags: &[&str]) -> Stage {
        let database = new_database();
        let daemon = Daemon::start(Where::Url(database.url()), flags);
        Stage { daemon, database }
    }

    /// A store on its database.
    pub fn store(&self) -> dg_store::Store {
        self.database.store()
    }

    /// The URL of its database.
    pub fn url(&self) -> String {
        self.database.url()
    }

    /// Imports lines, all of which must be new, and waits until the default tenant is current.
    ///
    /// # Panics
    /// When one is refused.
    #[track_caller]
    pub fn import<L: AsRef<str>>(&self, lines: &[L]) {
        self.daemon.cli_with(&["import", "-"], crate::events::joined(lines).as_bytes()).ok();
        self.daemon.until_current("default");
    }
}

/// An empty database, for tests that are not async.
///
/// # Panics
/// When it cannot be made.
pub fn new_database() -> Database {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(Database::empty())
}
