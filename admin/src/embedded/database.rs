//! Connects to the cluster, and makes the database `decisiongraph` where it is missing.
//!
//! This is done at each start, not only after `initdb`: a kill may have come between the two.

use std::error::Error;
use std::time::Duration;

use tokio::time::timeout;
use tokio_postgres::error::SqlState;
use tokio_postgres::{Client, Config, NoTls};

use super::error::EmbeddedError;
use super::layout::Layout;
use super::{DATABASE, ROLE};

/// For one attempt to connect: a local socket answers at once or not at all.
const PATIENCE: Duration = Duration::from_secs(5);

/// What came of an attempt to use the server.
pub(super) enum Attempt {
    /// It accepts connections, and the database is there.
    Done,
    /// It answers that it is still starting (or recovering from a crash).
    Starting,
    /// No connection, and why.
    Unreachable(String),
}

/// Connection settings for a database of the cluster.
pub(super) fn config(layout: &Layout, database: &str) -> Config {
    let mut config = Config::new();
    config.host_path(&layout.socket_dir).port(5432).user(ROLE).dbname(database);
    config
}

/// Tries to connect, and makes the database if it is missing.
pub(super) async fn ensure(layout: &Layout) -> Result<Attempt, EmbeddedError> {
    let config = config(layout, "postgres");
    let (client, connection) = match timeout(PATIENCE, config.connect(NoTls)).await {
        Ok(Ok(connected)) => connected,
        Ok(Err(error)) if error.code() == Some(&SqlState::CANNOT_CONNECT_NOW) => {
            return Ok(Attempt::Starting);
        }
        Ok(Err(error)) => return Ok(Attempt::Unreachable(message(&error))),
        Err(_) => return Ok(Attempt::Unreachable("no answer to a connection".to_owned())),
    };
    let driver = tokio::spawn(connection);
    let made = make(&client).await;
    drop(client);
    // Ends with the client; what it reports was reported by the query as well.
    let _ended = driver.await;
    made.map(|()| Attempt::Done).map_err(|error| EmbeddedError::Database {
        path: layout.cluster.clone(),
        message: message(&error),
    })
}

async fn make(client: &Client) -> Result<(), tokio_postgres::Error> {
    let query = "SELECT 1 FROM pg_database WHERE datname = $1";
    if client.query_opt(query, &[&DATABASE]).await?.is_none() {
        client.batch_execute(&format!("CREATE DATABASE {DATABASE}")).await?;
    }
    Ok(())
}

/// The message of the innermost cause; the outer ones only say "db error".
fn message(error: &tokio_postgres::Error) -> String {
    let mut cause: &dyn Error = error;
    while let Some(inner) = cause.source() {
        cause = inner;
    }
    cause.to_string()
}
