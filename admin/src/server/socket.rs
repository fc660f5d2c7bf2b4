//! The socket file: made whole, never taken from a daemon that lives.

use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use dg_projections::Code;
use tokio::net::{UnixListener, UnixStream};

use crate::failure::Failure;

/// Binds the admin socket with mode 0660.
///
/// # Errors
/// `conflict` when a daemon answers there already; otherwise what the system said.
pub(crate) async fn bind(path: &Path) -> Result<UnixListener, Failure> {
    if UnixStream::connect(path).await.is_ok() {
        let message = format!("another daemon answers at {}", path.display());
        return Err(Failure::new(Code::Conflict, message)
            .help("stop it, or choose another --data-dir or --socket-path"));
    }
    let failed = |what: &str, error: &std::io::Error| {
        Failure::new(Code::Internal, format!("cannot {what} {}: {error}", path.display()))
    };
    match std::fs::remove_file(path) {
        Ok(()) => {
            tracing::debug!(path = %path.display(), "removed the socket of a daemon that died");
        }
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
        Err(error) => return Err(failed("remove", &error)),
    }
    if let Some(parent) = path.parent() {
        std::fs::create_dir_all(parent).map_err(|error| failed("make the directory of", &error))?;
    }
    // Bound under another name and renamed when its mode is right: nobody connects in between.
    let name = path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
    let young = path.with_file_name(format!(".{name}.{}", std::process::id() % 10_000));
    let _ = std::fs::remove_file(&young);
    let listener = UnixListener::bind(&young).map_err(|error| failed("bind", &error))?;
    let mode = std::fs::Permissions::from_mode(0o660);
    std::fs::set_permissions(&young, mode).map_err(|error| failed("set the mode of", &error))?;
    std::fs::rename(&young, path).map_err(|error| failed("name", &error))?;
    Ok(listener)
}
