//! Databases as a whole: the one of an embedded cluster, and scratch ones that come and go.

use tokio::task::JoinHandle;
use tokio_postgres::Client;
use tokio_postgres::error::SqlState;

use crate::{StoreError, Target};

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
pub async fn ensure_database(server: &Target, name: &str) -> Result<Reached, StoreError> {
    let (client, driver) = match server.connect().await {
        Ok(connected) => connected,
        Err(error) if error.sqlstate.as_deref() == Some(SqlState::CANNOT_CONNECT_NOW.code()) => {
            return Ok(Reached::Starting);
        }
        Err(error) => return Ok(Reached::Unreachable(error.message)),
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

/// Makes an empty database beside that of `server`; the way to it.
///
/// # Errors
/// When the server cannot be reached, or the role may not make databases.
pub async fn create_database(server: &Target, name: &str) -> Result<Target, StoreError> {
    // From template0: nobody can be connected to it, so it can always be copied.
    execute(server, &format!("CREATE DATABASE {} TEMPLATE template0", quoted(name))).await?;
    Ok(server.database(name))
}

/// Drops a database, whoever is still connected to it.
///
/// # Errors
/// When the server cannot be reached.
pub async fn drop_database(server: &Target, name: &str) -> Result<(), StoreError> {
    execute(server, &format!("DROP DATABASE IF EXISTS {} WITH (FORCE)", quoted(name))).await
}

async fn execute(server: &Target, sql: &str) -> Result<(), StoreError> {
    let (client, driver) = server.connect().await?;
    let done = client.batch_execute(sql).await;
    end(client, driver).await;
    Ok(done?)
}

/// The connection ends with its client; what it reports was reported by the query as well.
async fn end(client: Client, driver: JoinHandle<()>) {
    drop(client);
    let _ended = driver.await;
}

fn quoted(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}
