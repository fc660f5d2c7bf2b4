//! Databases for trials: beside one that is there, or in a cluster of our own; gone in the end.

use std::path::{Path, PathBuf};
use std::time::Duration;

use dg_store::{Target, create_database, drop_database};

use crate::embedded::{Cluster, Options};
use crate::failure::Failure;

/// Where clusters of our own are made: on a disk, where the temporary directory may be memory.
const DISK: &str = "/var/tmp";

/// A server that takes scratch databases.
#[derive(Debug)]
pub(crate) struct ScratchServer {
    server: Target,
    own: Option<(Box<Cluster>, PathBuf)>,
}

impl ScratchServer {
    /// The server of a database that is there.
    pub(crate) fn beside(server: Target) -> ScratchServer {
        ScratchServer { server, own: None }
    }

    /// A new cluster, which [`ScratchServer::close`] removes.
    ///
    /// # Errors
    /// When there is no Postgres to be started.
    pub(crate) async fn own(
        name: &str,
        bin_dir: Option<PathBuf>,
    ) -> Result<ScratchServer, Failure> {
        let disk = Path::new(DISK);
        let parent = if disk.is_dir() { disk.to_owned() } else { std::env::temp_dir() };
        let directory = parent.join(format!("{name}_{}", std::process::id()));
        let cluster = Box::new(Cluster::start(&directory, &Options { bin_dir }).await?);
        Ok(ScratchServer { server: cluster.config().into(), own: Some((cluster, directory)) })
    }

    /// Makes an empty database of this name, which [`ScratchServer::drop`] drops.
    ///
    /// # Errors
    /// When the server cannot be reached, or the role may not make databases.
    pub(crate) async fn create(&self, name: &str) -> Result<Target, Failure> {
        Ok(create_database(&self.server, name).await?)
    }

    /// Drops a database.
    pub(crate) async fn drop(&self, name: &str) {
        if let Err(error) = drop_database(&self.server, name).await {
            tracing::warn!(database = name, reason = %error, "a scratch database could not be dropped");
        }
    }

    /// Stops and removes the cluster, if it is our own.
    pub(crate) async fn close(self, patience: Duration) {
        let Some((mut cluster, directory)) = self.own else { return };
        let stopped = cluster.stop(patience).await.map_err(|error| error.to_string());
        if let Err(reason) = stopped.and_then(|()| remove(&directory)) {
            tracing::warn!(%reason, "the scratch cluster could not be removed");
        }
    }
}

fn remove(directory: &Path) -> Result<(), String> {
    std::fs::remove_dir_all(directory).map_err(|error| format!("{}: {error}", directory.display()))
}
