//! Makes the socket directory, private to the account of Postgres.
//!
//! Trust authentication rests on this directory: it must be a real directory with mode 0700 that
//! belongs to the account or, when we are root, to root. In `/tmp`, where the name is known and
//! anybody may come first, one that belongs to somebody else is refused and never changed.

use std::fs::{self, DirBuilder, Permissions};
use std::io;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, PermissionsExt};
use std::path::Path;

use nix::unistd::geteuid;

use super::account::Account;
use super::error::EmbeddedError;

/// Makes sure of the directory.
pub(super) fn prepare(dir: &Path, account: &Account) -> Result<(), EmbeddedError> {
    match DirBuilder::new().mode(0o700).create(dir) {
        Ok(()) => {}
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => check(dir, account)?,
        Err(error) => return Err(EmbeddedError::io("create", dir)(error)),
    }
    fs::set_permissions(dir, Permissions::from_mode(0o700))
        .map_err(EmbeddedError::io("close to others", dir))?;
    account.own(dir)
}

/// Refuses what is not a directory (also a link to one) and what belongs to somebody else.
fn check(dir: &Path, account: &Account) -> Result<(), EmbeddedError> {
    let refuse = |problem| EmbeddedError::SocketDir { path: dir.to_owned(), problem };
    let meta = fs::symlink_metadata(dir).map_err(EmbeddedError::io("look at", dir))?;
    if !meta.is_dir() {
        return Err(refuse("it is not a directory".to_owned()));
    }
    let (uid, _) = account.ids();
    if meta.uid() != uid && meta.uid() != geteuid().as_raw() {
        return Err(refuse(format!("it belongs to uid {}, not {uid}", meta.uid())));
    }
    Ok(())
}
