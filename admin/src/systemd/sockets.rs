//! The admin socket as systemd passes it: made, owned and kept by the unit `decisiongraph.socket`.

use std::os::unix::net::UnixListener;
use std::path::PathBuf;

use dg_projections::Code;
use listenfd::ListenFd;

use crate::failure::{Failure, exit};

/// `FileDescriptorName=` of the admin socket.
const NAME: &str = "admin";

/// A socket that is not ours to remove.
#[derive(Debug)]
pub(crate) struct Passed {
    pub(crate) listener: UnixListener,
    /// Where it is, if it has a place.
    pub(crate) path: Option<PathBuf>,
}

/// The admin socket, if systemd passes one. To be called before another process is started, which
/// would inherit it.
///
/// # Errors
/// When what is passed is no stream socket, or several are passed and none is called `admin`.
pub(crate) fn passed_socket() -> Result<Option<Passed>, Failure> {
    let names = std::env::var("LISTEN_FDNAMES").unwrap_or_default();
    let mut passed = ListenFd::from_env();
    let place = match place_of(&names, passed.len()) {
        Some(place) => place,
        None if passed.len() == 0 => return Ok(None),
        None => {
            return Err(refused(&format!("of the sockets '{names}' none is called {NAME}")));
        }
    };
    let listener = passed.take_unix_listener(place).map_err(|error| refused(&error.to_string()))?;
    let Some(listener) = listener else { return Ok(None) };
    listener.set_nonblocking(true)?;
    let path = listener.local_addr()?.as_pathname().map(PathBuf::from);
    Ok(Some(Passed { listener, path }))
}

fn refused(problem: &str) -> Failure {
    Failure::new(Code::InvalidArgument, format!("what systemd passes is not usable: {problem}"))
        .exit(exit::CONFIG)
        .help("pass one ListenStream= of a path, with FileDescriptorName=admin")
}

/// The one that is called so; the only one may be called as it likes.
fn place_of(names: &str, count: usize) -> Option<usize> {
    let named = names.split(':').take(count).position(|name| name == NAME);
    named.or((count == 1).then_some(0))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_admin_socket_is_found_by_name_or_because_it_is_alone() {
        let table = [
            ("", 0, None),
            ("", 1, Some(0)),
            ("unknown", 1, Some(0)),
            ("admin", 1, Some(0)),
            ("web:admin", 2, Some(1)),
            ("web:other", 2, None),
            ("web:other:admin", 2, None),
        ];
        for (names, count, expected) in table {
            assert_eq!(place_of(names, count), expected, "{names}");
        }
    }
}
