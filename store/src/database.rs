//! The connection to Postgres: a pool that needs no database to exist when it is made, bounds on
//! every wait, and transactions by kind.

use std::ops::{Deref, DerefMut};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use deadpool::Status;
use deadpool::managed::{Manager, Metrics, Pool, QueueMode, RecycleError, RecycleResult, Timeouts};
use deadpool_postgres::{ClientWrapper, Transaction};
use tokio_postgres::{Config, IsolationLevel, SimpleQueryMessage};

use crate::{StoreError, Target};

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

/// How long to wait for a connection to prove that it lives.
const SIGN_OF_LIFE: Duration = Duration::from_secs(5);

/// How long a connection that has answered is taken to be there.
const TRUSTED: Duration = Duration::from_millis(500);

/// How long a connection whose work was given up may take to be free.
const AT_ONCE: Duration = Duration::from_millis(100);

/// A server that does not hear from us any more ends the session, and with it its locks, which others
/// wait for: by itself it would ask for a sign of life after two hours. No transaction of ours waits for
/// us for as long as a minute.
const ABANDONED: &str = "-c tcp_keepalives_idle=10 -c tcp_keepalives_interval=5 \
    -c tcp_keepalives_count=3 -c tcp_user_timeout=30000 -c idle_in_transaction_session_timeout=60000";

/// Our statements look up keys or walk an index in its order to the end of a page.
///
/// - A bitmap has no order: where statistics are missing, it reads the whole rest of a log to sort a page
///   out of it.
/// - A lookup asks for the first entry at or after its key, in the order of the one index that has it.
///   Sorting what another index gives is never better, but looks so to a planner without statistics (on a
///   fresh database, when the other index is one level lower), and such a plan walks a whole tenant. What
///   has no index in its order is sorted all the same. For the session, since saying it in each
///   transaction takes a turn of the conversation, and a transaction where a statement alone would do.
/// - None of them is worth compiling, and a plan that sorts although it was told not to looks so dear that
///   each of its executions would be: a tenth of a second for a page of five events.
const WALKS: &str = "-c enable_bitmapscan=off -c enable_sort=off -c jit=off";

/// Also for a statement that is a transaction by itself, whatever the database says.
const ISOLATION: &str = "-c default_transaction_isolation=read\\ committed";

/// The store of one database. Cheap to clone: clones share the pool.
#[derive(Debug, Clone)]
pub struct Store {
    pool: Pool<Connections>,
    /// Whether the work that this store was lent to was given up before its end; true until that is
    /// reached, since nothing runs when it is not.
    is_given_up: Option<Arc<AtomicBool>>,
    /// A projection that has reached this number is not behind, wherever the log ends.
    pub(crate) enough: i64,
}

/// How a pool is used: connections, and the calls that wait for one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[allow(missing_docs, reason = "the names say it")]
pub struct PoolStatus {
    pub used: usize,
    pub idle: usize,
    pub waiting: usize,
    pub max: usize,
}

/// A connection of the pool.
pub(crate) type Object = deadpool::managed::Object<Connections>;

impl Store {
    /// A store that connects when it is first used, so the database may be away now.
    ///
    /// # Errors
    /// If the options make no pool.
    pub fn new(target: impl Into<Target>, options: &Options) -> Result<Store, StoreError> {
        let mut target = target.into();
        target.configure(|config| configure(config, options));
        target.within(options.timeout);
        let timeouts = Timeouts {
            wait: Some(options.timeout),
            // Each host has its own time-out; one for all would end before the last is tried.
            create: None,
            recycle: Some(SIGN_OF_LIFE),
        };
        let pool = Pool::builder(Connections { target })
            .max_size(options.pool_size)
            // The one that was at work last: what it has planned and read is still at hand.
            .queue_mode(QueueMode::Lifo)
            .timeouts(timeouts)
            .runtime(deadpool::Runtime::Tokio1)
            .build()
            .map_err(|error| StoreError::internal(error.to_string()))?;
        Ok(Store { pool, is_given_up: None, enough: i64::MAX })
    }

    /// The same store, whose projection-backed reads are content with a projection that has reached
    /// `log_seq`: what a reader has written itself may be enough, where others never stop writing.
    #[must_use]
    pub fn as_of(&self, log_seq: i64) -> Store {
        Store { enough: log_seq, ..self.clone() }
    }

    /// Whether the database answers.
    ///
    /// # Errors
    /// `storage` when it does not.
    pub async fn ping(&self) -> Result<(), StoreError> {
        let client = self.client().await?;
        let answer = tokio::time::timeout(SIGN_OF_LIFE, client.simple_query("SELECT 1"));
        answer.await.map_err(|_| StoreError::timed_out("a ping", SIGN_OF_LIFE))??;
        Ok(())
    }

    /// Whether the database answers, asked beside the pool: one whose connections are all in use may
    /// be well. A server that has no place for one more connection does answer.
    ///
    /// # Errors
    /// `storage` when it does not.
    pub async fn knock(&self) -> Result<(), StoreError> {
        let knock = async {
            let client = self.pool.manager().create().await?;
            client.simple_query("SELECT 1").await.map_err(StoreError::from)
        };
        match tokio::time::timeout(SIGN_OF_LIFE, knock).await {
            Ok(Err(error)) if error.is_outage => Err(error),
            Ok(_) => Ok(()),
            Err(_) => Err(StoreError::timed_out("a connection", SIGN_OF_LIFE)),
        }
    }

    /// How the pool is used now.
    pub fn pool_status(&self) -> PoolStatus {
        let Status { size, available, waiting, max_size } = self.pool.status();
        PoolStatus { used: size.saturating_sub(available), idle: available, waiting, max: max_size }
    }

    /// Closes the pool: connections end as they become idle, and every later call is `storage`.
    pub fn close(&self) {
        self.pool.close();
    }

    /// Lends the store to work that may be given up: dropped before its end, whatever for. Its connection
    /// may still be at a statement then, for as long as the server takes, and is not to be handed out as
    /// one that is free.
    pub async fn lend<T, W, F>(&self, work: W) -> T
    where
        W: FnOnce(Store) -> F,
        F: Future<Output = T>,
    {
        let is_given_up = Arc::new(AtomicBool::new(true));
        let store = Store { is_given_up: Some(is_given_up.clone()), ..self.clone() };
        let done = work(store).await;
        is_given_up.store(false, Ordering::Relaxed);
        done
    }

    pub(crate) async fn client(&self) -> Result<Object, StoreError> {
        let mut client = self.pool.get().await?;
        client.is_given_up.clone_from(&self.is_given_up);
        Ok(client)
    }
}

/// What every session of the store has.
fn configure(config: &mut Config, options: &Options) {
    let ours = format!(
        "-c statement_timeout={} {WALKS} {ISOLATION} {ABANDONED}",
        options.timeout.as_millis()
    );
    let ours = options.role.map_or(ours.clone(), |role| format!("{ours} -c role={role}"));
    let given = config.get_options().map(str::to_owned);
    config.options(given.map_or(ours.clone(), |given| format!("{given} {ours}")));
    config.application_name(&options.application_name);
    if config.get_tcp_user_timeout().is_none() {
        config.tcp_user_timeout(options.timeout);
    }
}

/// A connection, and what became of the work that has it or had it last.
#[derive(Debug)]
pub(crate) struct Connection {
    client: ClientWrapper,
    is_given_up: Option<Arc<AtomicBool>>,
}

impl Deref for Connection {
    type Target = ClientWrapper;

    fn deref(&self) -> &ClientWrapper {
        &self.client
    }
}

impl DerefMut for Connection {
    fn deref_mut(&mut self) -> &mut ClientWrapper {
        &mut self.client
    }
}

/// Makes the pool's connections, and looks at one before it is used again.
#[derive(Debug)]
pub(crate) struct Connections {
    target: Target,
}

impl Manager for Connections {
    type Type = Connection;
    type Error = StoreError;

    async fn create(&self) -> Result<Connection, StoreError> {
        // Boxed: every future that may need a connection would carry this large one on its stack.
        let (client, driver) = Box::pin(self.target.connect()).await?;
        Ok(Connection { client: ClientWrapper::new(client, driver), is_given_up: None })
    }

    /// A connection that was cut while idle must not be handed out; nor one to a server that has
    /// become read-only, when another host may have taken its place. Where there is one host only, a
    /// connection that was at work a moment ago is not asked: that would be a round trip for each
    /// piece of work. One whose work was given up answers at once or is not waited for.
    async fn recycle(
        &self,
        client: &mut Connection,
        metrics: &Metrics,
    ) -> RecycleResult<StoreError> {
        if client.is_closed() {
            return Err(RecycleError::message("the connection is closed"));
        }
        let given_up = client.is_given_up.take();
        if given_up.is_some_and(|given_up| given_up.load(Ordering::Relaxed)) {
            let answer = tokio::time::timeout(AT_ONCE, client.check_connection()).await;
            let message = "the connection is still at work that was given up";
            answer.map_err(|_| RecycleError::message(message))?.map_err(StoreError::from)?;
        }
        if !self.target.must_write() {
            if metrics.last_used() >= TRUSTED {
                // Not even an empty statement, which the server would take for a transaction.
                client.check_connection().await.map_err(StoreError::from)?;
            }
            return Ok(());
        }
        let answer = client.simple_query("SHOW transaction_read_only").await;
        let is_on = |message: &SimpleQueryMessage| matches!(message, SimpleQueryMessage::Row(row) if row.get(0) == Some("on"));
        if answer.map_err(StoreError::from)?.iter().any(is_on) {
            return Err(RecycleError::message("the server no longer takes writes"));
        }
        Ok(())
    }
}

/// A transaction that writes. Each statement sees what was committed before it began, which is what
/// reads behind a head's lock need.
pub(crate) async fn writing(client: &mut Object) -> Result<Transaction<'_>, StoreError> {
    let start = client.build_transaction().isolation_level(IsolationLevel::ReadCommitted).start();
    Ok(start.await?)
}

/// A transaction in which all statements see one snapshot. When it reads everything there is, it has no
/// statement time-out, and may sort what lies in another order than it is asked for.
pub(crate) async fn snapshot(
    client: &mut Object,
    whole: bool,
) -> Result<Transaction<'_>, StoreError> {
    let builder = client.build_transaction();
    let builder = builder.isolation_level(IsolationLevel::RepeatableRead).read_only(true);
    let transaction = builder.start().await?;
    if whole {
        transaction
            .batch_execute("SET LOCAL statement_timeout = 0; SET LOCAL enable_sort = on")
            .await?;
    }
    Ok(transaction)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_session_walks_and_compiles_nothing_whatever_else_it_is_told() {
        let options = Options {
            pool_size: 1,
            timeout: Duration::from_secs(7),
            application_name: "x".to_owned(),
            role: Some("dg_daemon"),
        };
        let mut config = Config::new();
        config.options("-c work_mem=8MB");
        configure(&mut config, &options);
        let expected = "-c work_mem=8MB -c statement_timeout=7000 -c enable_bitmapscan=off -c enable_sort=off -c jit=off \
            -c default_transaction_isolation=read\\ committed \
            -c tcp_keepalives_idle=10 -c tcp_keepalives_interval=5 -c tcp_keepalives_count=3 \
            -c tcp_user_timeout=30000 -c idle_in_transaction_session_timeout=60000 -c role=dg_daemon";
        assert_eq!(config.get_options(), Some(expected));
    }
}
