//! Databases as a whole: the one of an embedded cluster, and scratch ones that come and go.

use std::time::Duration;

use dg_projections::Code;
use tokio::task::JoinHandle;
use tokio::time::timeout;
use tokio_postgres::error::SqlState;
use tokio_postgres::{Client, Config, NoTls};

use crate::StoreError;

/// For one attempt to connect: a local server answers at once or not at all.
const PATIENCE: Duration = Duration::from_secs(5);

/// What came of an attempt to use a server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Reached {
    /// It accepts connections, and the database is there.
    Ready,
    /// It answers that it is still starting (or recovering from a crash).
    Starting,
    /// No connection, and why.
    Unreachable(String),
}

/// Connects to a server and makes a database where it is missing. `server` names another database
/// of it, such as `postgres`.
///
/// # Errors
/// When the server refuses to make it.
pub async fn ensure_database(server: &Config, name: &str) -> Result<Reached, StoreError> {
    let (client, driver) = match timeout(PATIENCE, server.connect(NoTls)).await {
        Ok(Ok((client, connection))) => (client, tokio::spawn(connection)),
        Ok(Err(error)) if error.code() == Some(&SqlState::CANNOT_CONNECT_NOW) => {
            return Ok(Reached::Starting);
        }
        Ok(Err(error)) => return Ok(Reached::Unreachable(StoreError::from(error).message)),
        Err(_) => return Ok(Reached::Unreachable("no answer to a connection".to_owned())),
    };
    let made = make_if_missing(&client, name).await;
    end(client, driver).await;
    made.map(|()| Reached::Ready)
}

async fn make_if_missing(client: &Client, name: &str) -> Result<(), StoreError> {
    let known = "SELECT 1 FROM pg_database WHERE datname = $1";
    if client.query_opt(known, &[&name]).await?.is_none() {
        client.batch_execute(&format!("CREATE DATABASE {}", quoted(name))).await?;
    }
    Ok(())
}

/// Makes an empty database beside that of `server`; its connection settings.
///
/// # Errors
/// When the server cannot be reached, or the role may not make databases.
pub async fn create_database(server: &Config, name: &str) -> Result<Config, StoreError> {
    // From template0: nobody can be connected to it, so it can always be copied.
    execute(server, &format!("CREATE DATABASE {} TEMPLATE template0", quoted(name))).await?;
    let mut config = server.clone();
    config.dbname(name);
    Ok(config)
}

/// Drops a database, whoever is still connected to it.
///
/// # Errors
/// When the server cannot be reached.
pub async fn drop_database(server: &Config, name: &str) -> Result<(), StoreError> {
    execute(server, &format!("DROP DATABASE IF EXISTS {} WITH (FORCE)", quoted(name))).await
}

async fn execute(server: &Config, sql: &str) -> Result<(), StoreError> {
    let connected = timeout(PATIENCE, server.connect(NoTls)).await;
    let connected =
        connected.map_err(|_| StoreError::new(Code::Storage, "no answer to a connection"))?;
    let (client, connection) = connected?;
    let driver = tokio::spawn(connection);
    let done = client.batch_execute(sql).await;
    end(client, driver).await;
    Ok(done?)
}

/// The connection ends with its client; what it reports was reported by the query as well.
async fn end(client: Client, driver: JoinHandle<Result<(), tokio_postgres::Error>>) {
    drop(client);
    let _ended = driver.await;
}

fn quoted(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}
