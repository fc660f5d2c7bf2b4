//! The connection to Postgres: a pool that needs no database to exist when it is made, bounds on
//! every wait, and transactions by kind.

use std::time::Duration;

use deadpool_postgres::{
    ClientWrapper, Hook, HookError, Manager, ManagerConfig, Metrics, Object, Pool, RecyclingMethod,
    Runtime, Timeouts, Transaction,
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
    /// The role to act as, if not that of the login; see [`crate::DAEMON_ROLE`].
    pub role: Option<&'static str>,
}

/// How long to wait for a connection to be made or to prove that it lives.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

/// How long a connection that has answered is taken to be there.
const TRUSTED: Duration = Duration::from_millis(500);

/// Our statements look up keys or walk an index in its order to the end of a page. A bitmap has no
/// order: where statistics are missing, it reads the whole rest of a log to sort a page out of it.
const WALKS: &str = "-c enable_bitmapscan=off";

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
        let ours = format!("-c statement_timeout={} {WALKS}", options.timeout.as_millis());
        let ours = options.role.map_or(ours.clone(), |role| format!("{ours} -c role={role}"));
        let given = config.get_options().map(str::to_owned);
        config.options(given.map_or(ours.clone(), |given| format!("{given} {ours}")));
        config.application_name(&options.application_name);
        config.connect_timeout(CONNECT_TIMEOUT);
        config.tcp_user_timeout(options.timeout);
        config.keepalives_idle(Duration::from_secs(30));
        let recycling = ManagerConfig { recycling_method: RecyclingMethod::Fast };
        let manager = Manager::from_config(config, NoTls, recycling);
        let timeouts = Timeouts {
            wait: Some(options.timeout),
            create: Some(CONNECT_TIMEOUT),
            recycle: Some(CONNECT_TIMEOUT),
        };
        let pool = Pool::builder(manager)
            .max_size(options.pool_size)
            .timeouts(timeouts)
            .pre_recycle(Hook::async_fn(|client, metrics| Box::pin(verify(client, metrics))))
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

/// A connection that was cut while idle must not be handed out. One that was at work a moment ago is
/// not asked: that would be a round trip for each piece of work.
async fn verify(client: &mut ClientWrapper, metrics: &Metrics) -> Result<(), HookError> {
    if metrics.last_used() > TRUSTED {
        client.simple_query("").await.map_err(HookError::Backend)?;
    }
    Ok(())
}

/// A transaction that writes. Each statement sees what was committed before it began, which is what
/// reads behind a head's lock need.
pub(crate) async fn writing(client: &mut Object) -> Result<Transaction<'_>, StoreError> {
    let start = client.build_transaction().isolation_level(IsolationLevel::ReadCommitted).start();
    Ok(start.await?)
}

/// For transactions that look up keys, sent along with their first statement. Each lookup asks for
/// the first entry at or after its key, in the order of the one index that has it; sorting what
/// another index gives is never better, but looks so to a planner without statistics (on a fresh
/// database, when the other index is one level lower), and such a plan walks a whole tenant.
pub(crate) const LOOKUPS: &str = "SET LOCAL enable_sort = off";

/// A transaction of lookups.
pub(crate) async fn looking(client: &mut Object) -> Result<Transaction<'_>, StoreError> {
    let transaction = writing(client).await?;
    transaction.batch_execute(LOOKUPS).await?;
    Ok(transaction)
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
