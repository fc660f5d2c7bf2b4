//! The database of the daemon: the one that the configuration names, or a cluster of our own, kept alive.

use std::time::Duration;

use dg_store::Target;
use tokio::sync::watch;

use super::part::Part;
use super::settings::named_database;
use crate::config::Config;
use crate::embedded::{Cluster, Options};
use crate::failure::Failure;

/// What the embedded Postgres gets to stop in, however long the rest took.
const CLUSTER_PATIENCE: Duration = Duration::from_secs(10);
/// How long to wait before another try to start a server that does not.
const START_RETRY: Duration = Duration::from_secs(1);

/// The database that the configuration names, or a cluster of our own and its keeper.
pub(super) async fn open_database(config: &Config) -> Result<(Target, Option<Part>), Failure> {
    if let Some(database) = named_database(config)? {
        return Ok((database, None));
    }
    let options = Options { bin_dir: config.postgres_bin_dir.clone() };
    let cluster = Cluster::start(&config.data_dir, &options).await?;
    let database = cluster.config().into();
    Ok((database, Some(Part::start(move |stopped| keep(cluster, stopped)))))
}

/// Starts the cluster's server again whenever it ends by itself, until told to stop it.
async fn keep(mut cluster: Cluster, mut stopped: watch::Receiver<bool>) {
    loop {
        tokio::select! {
            _ = stopped.wait_for(|stop| *stop) => break,
            status = cluster.exited() => tracing::error!(%status, "the embedded Postgres ended by itself"),
        }
        while let Err(error) = cluster.restart().await {
            tracing::error!(%error, "the embedded Postgres does not start");
            if tokio::time::timeout(START_RETRY, stopped.wait_for(|stop| *stop)).await.is_ok() {
                return;
            }
        }
    }
    if let Err(error) = cluster.stop(CLUSTER_PATIENCE).await {
        tracing::error!(%error, "the embedded Postgres did not stop");
    }
}
