//! Who keeps the daemon of a socket running, and so what its people are told to do about it.

use std::path::Path;

/// What starts it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Keeper {
    /// The unit: a daemon that root starts beside it by hand is another one.
    Service,
    /// Whoever runs `decisiongraph serve`.
    Hand,
}

impl Keeper {
    /// A socket in the system's directory is the unit's, where systemd runs.
    pub(crate) fn of(socket: &Path) -> Keeper {
        match socket.starts_with("/run") && Path::new("/run/systemd/system").exists() {
            true => Keeper::Service,
            false => Keeper::Hand,
        }
    }

    /// The command that starts it.
    pub(crate) const fn start(self) -> &'static str {
        match self {
            Keeper::Service => "systemctl start decisiongraph",
            Keeper::Hand => "decisiongraph serve",
        }
    }

    /// What ends and starts it again.
    pub(crate) fn restart(self, pid: i32) -> String {
        match self {
            Keeper::Service => "`systemctl restart decisiongraph`".to_owned(),
            Keeper::Hand => format!("`kill {pid}`, and when it has ended `decisiongraph serve`"),
        }
    }

    /// Whether it is to start the daemon by itself.
    pub(crate) fn is_enabled(self) -> bool {
        let wanted = [
            "multi-user.target.wants/decisiongraph.service",
            "sockets.target.wants/decisiongraph.socket",
        ];
        self == Keeper::Service
            && wanted.iter().any(|unit| Path::new("/etc/systemd/system").join(unit).is_symlink())
    }

    /// What to do where there is a socket and nobody listens: it ended, or is not there yet.
    pub(crate) const fn find_out(self) -> &'static str {
        match self {
            Keeper::Service => {
                "`systemctl status decisiongraph` shows whether it is starting, \
                 `journalctl -u decisiongraph` why it ended"
            }
            Keeper::Hand => {
                "it may be starting; if not, see its log for why it ended: \
                 `decisiongraph serve` takes the place over"
            }
        }
    }
}
