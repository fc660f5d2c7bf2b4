//! The socket file: made whole, never taken from a daemon that lives, never in place of anything
//! but a socket. One that systemd passes is used as it is, and left where it is.

use std::fs::Permissions;
use std::io::{Error, ErrorKind};
use std::os::unix::fs::{FileTypeExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

use dg_projections::Code;
use tokio::net::{UnixListener, UnixStream};

use crate::failure::Failure;
use crate::systemd::Passed;

/// A socket that listens.
#[derive(Debug)]
pub(crate) struct Listening {
    pub(crate) listener: UnixListener,
    /// Where it is.
    pub(crate) path: PathBuf,
    /// Whether it is ours to remove in the end.
    pub(crate) is_ours: bool,
}

/// The socket that systemd has passed, or else one of our own at `path`.
///
/// # Errors
/// As [`bind`].
pub(crate) async fn listen(passed: Option<Passed>, path: &Path) -> Result<Listening, Failure> {
    let Some(Passed { listener, path: place }) = passed else {
        let listener = bind(path).await?;
        return Ok(Listening { listener, path: path.to_owned(), is_ours: true });
    };
    let place = place.unwrap_or_else(|| path.to_owned());
    if place != path {
        tracing::warn!(
            socket = %place.display(), socket_path = %path.display(),
            "systemd listens elsewhere than socket_path says, where clients look"
        );
    }
    let listener = UnixListener::from_std(listener)?;
    Ok(Listening { listener, path: place, is_ours: false })
}

/// Binds the admin socket with mode 0660.
///
/// # Errors
/// `conflict` when the path is taken; otherwise what the system said.
async fn bind(path: &Path) -> Result<UnixListener, Failure> {
    let failed = |what: &str, error: &Error| {
        Failure::new(Code::Internal, format!("cannot {what} {}: {error}", path.display()))
            .help("choose another place with --socket-path")
    };
    make_way(path).await?;
    if let Some(parent) = path.parent() {
        std::fs::create_dir_all(parent).map_err(|error| failed("make the directory of", &error))?;
    }
    // Bound under another name and renamed when its mode is right: nobody connects in between.
    // The name is short: the path of a socket is, too.
    let young = young_name(path, std::process::id() as i32);
    let _ = std::fs::remove_file(&young);
    let listener = UnixListener::bind(&young).map_err(|error| failed("bind", &error))?;
    let mode = Permissions::from_mode(0o660);
    std::fs::set_permissions(&young, mode).map_err(|error| failed("set the mode of", &error))?;
    std::fs::rename(&young, path).map_err(|error| failed("name", &error))?;
    Ok(listener)
}

/// Where the socket of a process is bound before it has its name: the name that the kernel keeps.
pub(crate) fn young_name(path: &Path, pid: i32) -> PathBuf {
    path.with_file_name(format!(".{pid}"))
}

/// Removes the socket of a daemon that died. Only a refused connection proves that: one that is
/// busy, or another user's, fails otherwise.
async fn make_way(path: &Path) -> Result<(), Failure> {
    let taken = |by: &str| {
        let message = format!("{by} at {}", path.display());
        let help = "stop it, or choose another --data-dir or --socket-path";
        Err(Failure::new(Code::Conflict, message).help(help))
    };
    match std::fs::symlink_metadata(path) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(()),
        Ok(found) if !found.file_type().is_socket() => {
            return taken("something that is no socket is");
        }
        _ => {}
    }
    match UnixStream::connect(path).await {
        Ok(_) => taken("another daemon answers"),
        Err(error) if error.kind() == ErrorKind::ConnectionRefused => {
            tracing::debug!(path = %path.display(), "removing the socket of a daemon that died");
            std::fs::remove_file(path)
                .or_else(|error| taken(&format!("a dead socket cannot be removed ({error})")))
        }
        Err(error) => taken(&format!("another daemon may be ({error})")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A path of one test's own, and nothing there.
    fn place(name: &str) -> std::path::PathBuf {
        let path = std::env::temp_dir().join(format!("dg-{}-{name}", std::process::id()));
        let _ = std::fs::remove_file(&path);
        path
    }

    #[tokio::test]
    async fn a_dead_socket_is_replaced_and_a_living_one_is_not() {
        let path = place("bind");
        drop(std::os::unix::net::UnixListener::bind(&path).unwrap());
        let listener = bind(&path).await.unwrap();
        assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o660);
        let refused = bind(&path).await.unwrap_err();
        assert_eq!(refused.code, Code::Conflict.as_str());
        drop(listener);
        std::fs::remove_file(&path).unwrap();
    }

    #[tokio::test]
    async fn a_file_that_is_no_socket_is_left_alone() {
        let path = place("file");
        std::fs::write(&path, "precious").unwrap();
        let refused = bind(&path).await.unwrap_err();
        assert_eq!(refused.code, Code::Conflict.as_str());
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "precious");
        std::fs::remove_file(&path).unwrap();
    }
}
