//! Connects to the cluster, and makes the database `decisiongraph` where it is missing.
//!
//! This is done at each start, not only after `initdb`: a kill may have come between the two.

use dg_store::{Reached, ensure_database};
use tokio_postgres::Config;

use super::error::EmbeddedError;
use super::layout::Layout;
use super::{DATABASE, ROLE};

/// Connection settings for a database of the cluster.
pub(super) fn config(layout: &Layout, database: &str) -> Config {
    let mut config = Config::new();
    config.host_path(&layout.socket_dir).port(5432).user(ROLE).dbname(database);
    config
}

/// Tries to connect, and makes the database if it is missing.
pub(super) async fn ensure(layout: &Layout) -> Result<Reached, EmbeddedError> {
    ensure_database(&config(layout, "postgres").into(), DATABASE).await.map_err(|error| {
        EmbeddedError::Database { path: layout.cluster.clone(), message: error.message }
    })
}
