//! The embedded Postgres: a private cluster under the data directory, for `serve` without a
//! database URL.
//!
//! ```text
//! lock the data directory -> find the programs -> choose the account -> end orphans
//!     -> initdb (once) -> run `postgres` -> wait until it answers -> make the database
//! ```
//! Invariants:
//! - one daemon a data directory (a file lock); so whatever postgres is found running there at a
//!   start is an orphan and may be ended;
//! - a cluster directory is complete or absent;
//! - `postgres` is a direct child, reached by a socket in a 0700 directory only, and never runs with
//!   less durability than a server one would install by hand.
//!
//! Deliberately absent: TCP, passwords, downloads, upgrades between major versions, backups.

mod account;
mod database;
mod discover;
mod error;
mod initdb;
mod layout;
mod lock;
mod orphan;
mod server;
mod settings;
mod socket;
#[cfg(test)]
mod tests;
mod version;

use std::path::{Path, PathBuf};
use std::process::ExitStatus;
use std::time::Duration;

use tokio_postgres::Config;

use account::Account;
use discover::Binaries;
use layout::Layout;
use lock::Lock;
use server::Server;

pub use error::EmbeddedError;
pub use layout::socket_dir;

/// The superuser of the cluster.
const ROLE: &str = "decisiongraph";
/// The database in it.
const DATABASE: &str = "decisiongraph";
/// How long a server that still runs may take to stop before a restart.
const RESTART_PATIENCE: Duration = Duration::from_secs(10);

/// What the operator may choose.
#[derive(Clone, Debug, Default)]
pub struct Options {
    /// The directory of `initdb` and `postgres` (`postgres_bin_dir`); found if not given.
    pub bin_dir: Option<PathBuf>,
}

/// A cluster whose server was started by this process.
///
/// End it with [`Cluster::stop`]. Dropped instead, the server is asked for a fast shutdown but not
/// waited for; after a `kill -9` of the daemon it goes on as an orphan, which the next
/// [`Cluster::start`] takes over from. Nothing is lost in either case.
#[derive(Debug)]
pub struct Cluster {
    server: Server,
    layout: Layout,
    binaries: Binaries,
    account: Account,
    /// Last, so that it is released last.
    _lock: Lock,
}

impl Cluster {
    /// Makes the cluster of `data_dir` if there is none, starts it, and returns when it accepts
    /// connections to the database `decisiongraph`.
    ///
    /// Dropping the future half-way leaves nothing that the next start does not clean up.
    pub async fn start(data_dir: &Path, options: &Options) -> Result<Self, EmbeddedError> {
        let layout = Layout::prepare(data_dir)?;
        layout.check_owner()?;
        let lock = Lock::take(&layout).await?;
        let existing = layout.major()?.map(|major| (layout.cluster.as_path(), major));
        let binaries = discover::find(options.bin_dir.as_deref(), existing).await?;
        let account = Account::choose(&layout, &binaries).await?;
        orphan::clear(&layout).await?;
        if !layout.has_cluster()? {
            initdb::create(&layout, &binaries, &account).await?;
        }
        socket::prepare(&layout.socket_dir, &account)?;
        let server = Server::launch(&layout, &binaries, &account).await?;
        let cluster = Self { server, layout, binaries, account, _lock: lock };
        cluster.tell_started();
        Ok(cluster)
    }

    /// Connection settings: the socket directory, role and database `decisiongraph`.
    pub fn config(&self) -> Config {
        database::config(&self.layout, DATABASE)
    }

    /// The version of the server, `15.18`.
    pub fn version(&self) -> &str {
        self.binaries.version().as_str()
    }

    /// The server's process, until its end was seen by [`Cluster::exited`] or [`Cluster::stop`].
    pub fn pid(&self) -> Option<u32> {
        self.server.pid()
    }

    /// Waits until the server ends, by itself or by [`Cluster::stop`]; at once if it has ended.
    /// May be cancelled and called again.
    pub async fn exited(&mut self) -> ExitStatus {
        self.server.exited().await
    }

    /// Starts the server again after it ended; one that still runs is stopped first.
    pub async fn restart(&mut self) -> Result<(), EmbeddedError> {
        self.server.stop(RESTART_PATIENCE).await?;
        orphan::clear(&self.layout).await?;
        socket::prepare(&self.layout.socket_dir, &self.account)?;
        self.server = Server::launch(&self.layout, &self.binaries, &self.account).await?;
        self.tell_started();
        Ok(())
    }

    /// Stops the server: a fast shutdown, which disconnects clients, within `deadline`; then an
    /// immediate one, which costs a recovery at the next start; then a kill. Does nothing if it has
    /// ended.
    pub async fn stop(&mut self, deadline: Duration) -> Result<(), EmbeddedError> {
        let Some(pid) = self.pid() else { return Ok(()) };
        self.server.stop(deadline).await?;
        let status = self.exited().await;
        tracing::info!(pid, %status, "stopped the embedded Postgres");
        Ok(())
    }

    fn tell_started(&self) {
        tracing::info!(
            pid = self.pid(),
            version = self.version(),
            cluster = %self.layout.cluster.display(),
            socket_dir = %self.layout.socket_dir.display(),
            account = %self.account,
            "started the embedded Postgres"
        );
    }
}

/// What [`Cluster::start`] would take: the programs, and whether it may have the cluster. Changes
/// nothing. One line for people.
pub async fn inspect(data_dir: &Path, bin_dir: Option<&Path>) -> Result<String, EmbeddedError> {
    let layout = Layout::of(data_dir);
    layout.check_owner()?;
    let existing = layout.major()?.map(|major| (layout.cluster.as_path(), major));
    let binaries = discover::find(bin_dir, existing).await?;
    let version = binaries.version().as_str();
    Ok(match existing {
        Some((path, _)) => format!("Postgres {version}, for the cluster {}", path.display()),
        None => format!("Postgres {version}; no cluster yet"),
    })
}

/// Connection settings of the cluster of a data directory, whether or not it runs now; `None` if no
/// cluster was ever made there.
///
/// # Errors
/// When this user may not see whether there is one.
pub fn config_of(data_dir: &Path) -> Result<Option<Config>, EmbeddedError> {
    let layout = Layout::of(data_dir);
    Ok(layout.has_cluster()?.then(|| database::config(&layout, DATABASE)))
}

/// Whether that cluster has no socket now: it comes and goes with its daemon.
pub fn is_at_rest(data_dir: &Path) -> bool {
    let socket = socket_dir(data_dir).join(layout::SOCKET_NAME);
    // One that may not be seen is no sign of rest.
    socket.try_exists().is_ok_and(|exists| !exists)
}
