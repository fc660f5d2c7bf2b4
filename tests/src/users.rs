//! Clients that are other users, as the kernel sees them.

use std::fs::Permissions;
use std::os::unix::fs::PermissionsExt as _;
use std::thread::JoinHandle;

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use rustix::thread::{Uid, set_thread_res_uid};

use crate::{Daemon, skip};

/// Nobody, and another one who is nobody.
pub const OTHERS: [u32; 2] = [65534, 65533];

/// Whether tests can be other users, with a line that says so if not.
pub fn can_be_others() -> bool {
    let can = nix::unistd::geteuid().is_root();
    if !can {
        skip("being another user takes root");
    }
    can
}

/// Runs some work on a thread of its own; as another user if one is named. Only that thread is.
///
/// # Panics
/// The thread does, when it cannot be that user.
pub fn spawn_as<T: Send + 'static>(
    uid: Option<u32>,
    work: impl FnOnce() -> T + Send + 'static,
) -> JoinHandle<T> {
    std::thread::spawn(move || {
        if let Some(uid) = uid.map(Uid::from_raw) {
            set_thread_res_uid(uid, uid, uid).unwrap();
        }
        work()
    })
}

/// Lets every user reach the socket, as far as its file goes.
///
/// # Panics
/// When the files are not ours.
pub fn let_everybody_in(daemon: &Daemon) {
    let open_up =
        |path: &std::path::Path, mode| std::fs::set_permissions(path, Permissions::from_mode(mode));
    open_up(daemon.directory().path(), 0o755).unwrap();
    open_up(&daemon.data_dir(), 0o755).unwrap();
    open_up(&daemon.socket(), 0o666).unwrap();
}

/// Lets this process have as many descriptors as it may: a crowd has one each.
///
/// # Panics
/// When the kernel does not let it.
pub fn raise_descriptor_limit() {
    let most = getrlimit(Resource::Nofile).maximum;
    setrlimit(Resource::Nofile, Rlimit { current: most, maximum: most }).unwrap();
}
