//! What can go wrong with the embedded Postgres, and what to do about it.
//!
//! Every variant names the path or program concerned, on one line; [`EmbeddedError::help`] says what
//! the operator can do.

use std::io;
use std::path::{Path, PathBuf};
use std::process::ExitStatus;

/// Why the embedded Postgres could not be made, started or stopped.
#[derive(Debug, thiserror::Error)]
pub enum EmbeddedError {
    /// A file or directory of the cluster could not be used.
    #[error("cannot {action} {}: {source}", path.display())]
    Io {
        /// What was tried, as a verb.
        action: &'static str,
        /// On what.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// Another daemon holds the data directory.
    #[error("{} is in use by another daemon{}", path.display(), process(*.pid))]
    InUse {
        /// The data directory.
        path: PathBuf,
        /// The process that holds it, if it left its number.
        pid: Option<u32>,
    },
    /// No directory with both `initdb` and `postgres` was found.
    #[error("no Postgres server programs (initdb and postgres) on this machine")]
    NoPostgres,
    /// The configured `postgres_bin_dir` is of no use.
    #[error("postgres_bin_dir {} {problem}", dir.display())]
    BinDir {
        /// The directory given.
        dir: PathBuf,
        /// What is wrong with it.
        problem: String,
    },
    /// The cluster is of another major version than the programs.
    #[error("the cluster {} is of Postgres {cluster}, but found is {found}", path.display())]
    OtherMajor {
        /// The cluster directory.
        path: PathBuf,
        /// The major version the cluster was made with.
        cluster: String,
        /// The versions found, with their directories.
        found: String,
    },
    /// There is a directory where the cluster should be, but it is no cluster.
    #[error("{} is not a Postgres cluster: {problem}", path.display())]
    NotACluster {
        /// The directory.
        path: PathBuf,
        /// What is wrong with it.
        problem: String,
    },
    /// The cluster belongs to another user, and this process may not become that user.
    #[error("the cluster {} belongs to uid {owner}, this process runs as uid {uid}", path.display())]
    NotOwner {
        /// The cluster directory.
        path: PathBuf,
        /// Who owns it.
        owner: u32,
        /// Who we are.
        uid: u32,
    },
    /// Running as root, and there is no account that Postgres could run under.
    #[error("Postgres refuses to run as root, and no other account will do: {refusals}")]
    NoAccount {
        /// Each way that was tried and why it failed.
        refusals: String,
        /// The first directory on the way to the cluster that others may not enter.
        blocked_by: Option<PathBuf>,
    },
    /// `initdb` failed.
    #[error("initdb could not make a cluster in {} ({status}): {output}", path.display())]
    Initdb {
        /// The directory it worked in.
        path: PathBuf,
        /// How it ended.
        status: ExitStatus,
        /// The end of what it printed.
        output: String,
    },
    /// The socket directory exists and belongs to somebody else.
    #[error("the socket directory {} is not safe to use: {problem}", path.display())]
    SocketDir {
        /// The directory.
        path: PathBuf,
        /// What is wrong with it.
        problem: String,
    },
    /// Postgres ended before it accepted a connection.
    #[error("postgres ended while starting ({status}); the end of {}: {tail}", log.display())]
    Died {
        /// How it ended.
        status: ExitStatus,
        /// Its log file.
        log: PathBuf,
        /// The last lines of the log.
        tail: String,
    },
    /// Postgres runs but does not accept connections.
    #[error("postgres does not accept connections ({last}); the end of {}: {tail}", log.display())]
    NotReady {
        /// What the last attempt gave.
        last: String,
        /// Its log file.
        log: PathBuf,
        /// The last lines of the log.
        tail: String,
    },
    /// The database could not be looked up or created.
    #[error("cannot make the database in the cluster {}: {message}", path.display())]
    Database {
        /// The cluster directory.
        path: PathBuf,
        /// What Postgres said.
        message: String,
    },
    /// A postgres process outlives every signal.
    #[error("postgres process {pid} of {} does not end", path.display())]
    Unstoppable {
        /// The process.
        pid: u32,
        /// The cluster directory.
        path: PathBuf,
    },
}

/// To see whether something is there.
pub(super) const LOOK: &str = "look at";
const CLOSED: &str = "ask as the daemon's user, or root: nobody else may look there";
const WRITABLE: &str = "check that this user may write there and that the disk is not full, or \
    choose another --data-dir";
const STOP: &str = "stop that daemon, or choose another --data-dir";
const INSTALL: &str = "install the server (apt-get install postgresql; dnf install \
    postgresql-server; brew install postgresql), set postgres_bin_dir, or give a database URL";
const BIN_DIR: &str = "name the directory that holds initdb and postgres, or leave it out";
const RESTORE: &str = "restore it from a backup, or move it away to begin with an empty one";
const MESSAGE: &str = "see the message of Postgres; or give a database URL";

impl EmbeddedError {
    /// What the operator can do about it, where there is something.
    pub fn help(&self) -> Option<String> {
        Some(match self {
            Self::Io { action: LOOK, source, .. } if is_closed(source) => CLOSED.to_owned(),
            Self::Io { .. } => WRITABLE.to_owned(),
            Self::InUse { .. } => STOP.to_owned(),
            Self::NoPostgres => INSTALL.to_owned(),
            Self::BinDir { .. } => BIN_DIR.to_owned(),
            Self::OtherMajor { cluster, .. } => other_major(cluster),
            Self::NotACluster { .. } => RESTORE.to_owned(),
            Self::NotOwner { owner, .. } => {
                format!("run as uid {owner} or as root, or choose another --data-dir")
            }
            Self::NoAccount { blocked_by, .. } => account(blocked_by.as_deref()),
            Self::SocketDir { path, .. } => {
                format!("remove {}, or choose a --data-dir with a shorter path", path.display())
            }
            Self::Initdb { .. } | Self::Database { .. } => MESSAGE.to_owned(),
            Self::Died { log, .. } | Self::NotReady { log, .. } => format!("see {}", log.display()),
            Self::Unstoppable { pid, .. } => {
                format!("it may hang in the kernel (a dead disk?): look at /proc/{pid}/stack")
            }
        })
    }

    /// Whether there is something that this user may not see.
    pub(crate) fn is_closed(&self) -> bool {
        matches!(self, Self::Io { source, .. } if is_closed(source))
    }

    /// For `map_err`: an I/O error with what was tried on which path.
    pub(super) fn io(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Self {
        let path = path.to_owned();
        move |source| Self::Io { action, path, source }
    }
}

fn is_closed(error: &io::Error) -> bool {
    error.kind() == io::ErrorKind::PermissionDenied
}

fn other_major(cluster: &str) -> String {
    format!(
        "install Postgres {cluster}, convert the cluster with pg_upgrade, or choose another \
         --data-dir"
    )
}

fn account(blocked_by: Option<&Path>) -> String {
    let remedy = "create a user `postgres`, choose a --data-dir that others may traverse (such as \
        /var/lib/decisiongraph), run as another user than root, or give a database URL";
    match blocked_by {
        Some(dir) => format!("{} is closed to others: {remedy}", dir.display()),
        None => remedy.to_owned(),
    }
}

fn process(pid: Option<u32>) -> String {
    pid.map(|pid| format!(" (process {pid})")).unwrap_or_default()
}
