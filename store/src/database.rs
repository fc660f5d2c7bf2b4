//! The connection to Postgres: a pool that needs no database to exist when it is made, bounds on
//! every wait, and transactions by kind.

use std::time::Duration;

use deadpool_postgres::{
    Manager, ManagerConfig, Object, Pool, RecyclingMethod, Runtime, Timeouts, Transaction,
};
use tokio_postgres::{Config, IsolationLevel, NoTls};

use crate::StoreError;

/// How to use the database.
#[derive(Debug, Clone)]
pub struct Options {
    /// Connections at most.
    pub pool_size: usize,
    /// The longest that a statement, or the wait for a connection, may take.
    pub timeout: Duration,
    /// Shown in `pg_stat_activity`.
    pub application_name: String,
}

/// How long to wait for a connection to be made or to prove that it lives.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

/// The store of one database. Cheap to clone: clones share the pool.
#[derive(Debug, Clone)]
pub struct Store {
    pool: Pool,
}

impl Store {
    /// A store that connects when it is first used, so the database may be away now.
    ///
    /// # Errors
    /// If the options make no pool.
    pub fn new(mut config: Config, options: &Options) -> Result<Store, StoreError> {
        let statement_timeout = format!("-c statement_timeout={}", options.timeout.as_millis());
        let given = config.get_options().map(str::to_owned);
        config.options(
            given.map_or(statement_timeout.clone(), |o| format!("{o} {statement_timeout}")),
        );
        config.application_name(&options.application_name);
        config.connect_timeout(CONNECT_TIMEOUT);
        config.tcp_user_timeout(options.timeout);
        config.keepalives_idle(Duration::from_secs(30));
        // Verified: a connection that was cut while idle must not be handed out.
        let recycling = ManagerConfig { recycling_method: RecyclingMethod::Verified };
        let manager = Manager::from_config(config, NoTls, recycling);
        let timeouts = Timeouts {
            wait: Some(options.timeout),
            create: Some(CONNECT_TIMEOUT),
            recycle: Some(CONNECT_TIMEOUT),
        };
        let pool = Pool::builder(manager)
            .max_size(options.pool_size)
            .timeouts(timeouts)
            .runtime(Runtime::Tokio1)
            .build()
            .map_err(|error| StoreError::internal(error.to_string()))?;
        Ok(Store { pool })
    }

    /// Whether the database answers.
    ///
    /// # Errors
    /// `storage` when it does not.
    pub async fn ping(&self) -> Result<(), StoreError> {
        let client = self.client().await?;
        let answer = tokio::time::timeout(CONNECT_TIMEOUT, client.simple_query("SELECT 1"));
        answer.await.map_err(|_| StoreError::timed_out("a ping", CONNECT_TIMEOUT))??;
        Ok(())
    }

    /// Connections: (in use or idle, idle, at most).
    pub fn pool_status(&self) -> (usize, usize, usize) {
        let status = self.pool.status();
        (status.size, status.available, status.max_size)
    }

    /// Closes the pool: connections end as they become idle, and every later call is `storage`.
    pub fn close(&self) {
        self.pool.close();
    }

    pub(crate) async fn client(&self) -> Result<Object, StoreError> {
        Ok(self.pool.get().await?)
    }
}

/// A transaction that writes. Each statement sees what was committed before it began, which is what
/// reads behind a head's lock need.
pub(crate) async fn writing(client: &mut Object) -> Result<Transaction<'_>, StoreError> {
    let start = client.build_transaction().isolation_level(IsolationLevel::ReadCommitted).start();
    Ok(start.await?)
}

/// A transaction in which all statements see one snapshot. Without a statement time-out when it
/// reads everything there is.
pub(crate) async fn snapshot(
    client: &mut Object,
    whole: bool,
) -> Result<Transaction<'_>, StoreError> {
    let builder = client.build_transaction();
    let builder = builder.isolation_level(IsolationLevel::RepeatableRead).read_only(true);
    let transaction = builder.start().await?;
    if whole {
        transaction.batch_execute("SET LOCAL statement_timeout = 0").await?;
    }
    Ok(transaction)
}
