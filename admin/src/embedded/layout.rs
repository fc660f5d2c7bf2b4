//! Where the files of a cluster are.
//!
//! ```text
//! <data_dir>/               0755, so that the account of Postgres may pass through
//!   pg/                     0755
//!     data/                 0700, the cluster; exists only when complete (see `initdb`)
//!     run/                  0700, the socket, unless its path would be too long
//!     postgres.log          0600
//!     lock                  held by the daemon while it lives (see `lock`)
//! ```
//! All paths are absolute: the programs run with `/` as their working directory.
//! Directories that were there before keep their mode, except the socket directory.

use std::fs::{self, DirBuilder, File, OpenOptions, Permissions};
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt, PermissionsExt, fchown};
use std::path::{Path, PathBuf};

use nix::fcntl::OFlag;
use nix::unistd::geteuid;
use sha2::{Digest, Sha256};

use super::error::{EmbeddedError, LOOK};
use super::version::Major;

/// The name of the socket for port 5432 in its directory.
pub(super) const SOCKET_NAME: &str = ".s.PGSQL.5432";

/// The longest path a Unix socket can have: `sun_path` has 108 bytes with the closing NUL.
const MAX_SOCKET_PATH: usize = 107;

/// The directory of the Postgres socket for a data directory: the same answer for the daemon and
/// for each client command, whether or not the cluster runs.
///
/// It is `<data_dir>/pg/run`; where the socket's path would exceed the 107 bytes that the system
/// allows, `/tmp/decisiongraph-<16 hex digits of the SHA-256 of the canonical data directory>`.
pub fn socket_dir(data_dir: &Path) -> PathBuf {
    socket_dir_of(&canonical(data_dir))
}

fn socket_dir_of(canonical: &Path) -> PathBuf {
    let inside = canonical.join("pg/run");
    if inside.join(SOCKET_NAME).as_os_str().len() <= MAX_SOCKET_PATH {
        return inside;
    }
    let digest = Sha256::digest(canonical.as_os_str().as_bytes());
    let name: String = digest.iter().take(8).map(|byte| format!("{byte:02x}")).collect();
    PathBuf::from(format!("/tmp/decisiongraph-{name}"))
}

/// The canonical path, or the absolute one of something that does not exist yet.
fn canonical(path: &Path) -> PathBuf {
    let absolute = || std::path::absolute(path).unwrap_or_else(|_| path.to_owned());
    path.canonicalize().unwrap_or_else(|_| absolute())
}

/// The paths of one data directory.
#[derive(Clone, Debug)]
pub(super) struct Layout {
    /// The data directory.
    pub(super) root: PathBuf,
    /// `pg/`: all that belongs to the embedded Postgres.
    pub(super) pg: PathBuf,
    /// The cluster itself.
    pub(super) cluster: PathBuf,
    /// Where the socket is.
    pub(super) socket_dir: PathBuf,
    /// The server's log.
    pub(super) log: PathBuf,
}

impl Layout {
    /// The paths, without touching anything.
    pub(super) fn of(data_dir: &Path) -> Self {
        let root = canonical(data_dir);
        let pg = root.join("pg");
        let (cluster, log) = (pg.join("data"), pg.join("postgres.log"));
        Self { socket_dir: socket_dir_of(&root), root, cluster, log, pg }
    }

    /// Makes the data directory and `pg/` if they are missing.
    pub(super) fn prepare(data_dir: &Path) -> Result<Self, EmbeddedError> {
        make_open_dir(data_dir)?;
        let layout = Self::of(data_dir);
        make_open_dir(&layout.pg)?;
        Ok(layout)
    }

    /// Opens a file in `pg/` for reading and appending, made if missing. Root gives it to the owner
    /// of `pg/`, who may run the daemon next time, and follows no link that one may have laid.
    pub(super) fn open(&self, path: &Path, mode: u32) -> Result<File, EmbeddedError> {
        let file = OpenOptions::new()
            .read(true)
            .append(true)
            .create(true)
            .mode(mode)
            .custom_flags(OFlag::O_NOFOLLOW.bits())
            .open(path)
            .map_err(EmbeddedError::io("open", path))?;
        if geteuid().is_root() {
            let owner = fs::metadata(&self.pg);
            owner
                .and_then(|pg| fchown(&file, Some(pg.uid()), Some(pg.gid())))
                .map_err(EmbeddedError::io("change the owner of", path))?;
        }
        Ok(file)
    }

    /// Whether a cluster was made here. Needs no right to enter it, but one to come before it.
    pub(super) fn has_cluster(&self) -> Result<bool, EmbeddedError> {
        Ok(self.owner()?.is_some())
    }

    /// Uid and gid of the cluster directory, if there is one.
    pub(super) fn owner(&self) -> Result<Option<(u32, u32)>, EmbeddedError> {
        match fs::metadata(&self.cluster) {
            Ok(meta) => Ok(Some((meta.uid(), meta.gid()))),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(EmbeddedError::io(LOOK, &self.cluster)(error)),
        }
    }

    /// Refuses a cluster of another user, unless we are root and can become that user.
    pub(super) fn check_owner(&self) -> Result<(), EmbeddedError> {
        let uid = geteuid().as_raw();
        match self.owner()? {
            Some((owner, _)) if uid != 0 && uid != owner => {
                Err(EmbeddedError::NotOwner { path: self.cluster.clone(), owner, uid })
            }
            _ => Ok(()),
        }
    }

    /// The major version of the cluster, if there is one.
    pub(super) fn major(&self) -> Result<Option<Major>, EmbeddedError> {
        if !self.has_cluster()? {
            return Ok(None);
        }
        let path = self.cluster.clone();
        let text = match fs::read_to_string(path.join("PG_VERSION")) {
            Ok(text) => text,
            Err(error) => {
                let problem = format!("cannot read PG_VERSION: {error}");
                return Err(EmbeddedError::NotACluster { path, problem });
            }
        };
        let problem = format!("PG_VERSION says {:?}", text.trim());
        Major::parse(&text).map(Some).ok_or(EmbeddedError::NotACluster { path, problem })
    }
}

/// Makes a directory others may pass through, whatever the umask; leaves an existing one as it is.
fn make_open_dir(path: &Path) -> Result<(), EmbeddedError> {
    if path.is_dir() {
        return Ok(());
    }
    DirBuilder::new()
        .recursive(true)
        .mode(0o755)
        .create(path)
        .and_then(|()| fs::set_permissions(path, Permissions::from_mode(0o755)))
        .map_err(EmbeddedError::io("create", path))
}

#[cfg(test)]
mod tests {
    use super::{Layout, MAX_SOCKET_PATH, SOCKET_NAME, socket_dir, socket_dir_of};
    use std::path::{Path, PathBuf};

    /// A data directory whose socket path has exactly this many bytes.
    fn with_socket_path_of(bytes: usize) -> PathBuf {
        let fixed = Path::new("/").join("pg/run").join(SOCKET_NAME).as_os_str().len() + 1;
        Path::new("/").join("d".repeat(bytes - fixed))
    }

    #[test]
    fn the_socket_is_inside_as_long_as_its_path_fits() {
        let fits = with_socket_path_of(MAX_SOCKET_PATH);
        assert_eq!(socket_dir_of(&fits), fits.join("pg/run"));
        assert_eq!(socket_dir_of(&fits).join(SOCKET_NAME).as_os_str().len(), 107);
    }

    #[test]
    fn a_longer_path_gives_a_short_name_in_tmp() {
        let long = with_socket_path_of(MAX_SOCKET_PATH + 1);
        let dir = socket_dir_of(&long);
        let name = dir.to_str().and_then(|dir| dir.strip_prefix("/tmp/decisiongraph-"));
        assert!(name.is_some_and(|hex| hex.len() == 16), "{}", dir.display());
        assert_eq!(dir, socket_dir_of(&long));
        assert_ne!(dir, socket_dir_of(&with_socket_path_of(MAX_SOCKET_PATH + 2)));
    }

    #[test]
    fn a_relative_data_dir_gives_absolute_paths() {
        assert!(socket_dir(Path::new(".no-such-directory")).is_absolute());
        assert!(Layout::of(Path::new(".no-such-directory")).cluster.is_absolute());
    }
}
