//! Who is at the other end of a connection, as the kernel says, and what they may do.

use std::sync::LazyLock;

use hyper::Method;
use tokio::net::UnixStream;

use crate::config::Config;

/// What a user may do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Role {
    /// Everything.
    Admin,
    /// Look.
    Observer,
    /// Nothing.
    Stranger,
    /// Nothing on this connection: the user has enough of them.
    Excess,
}

/// Who asks, as requests carry it.
#[derive(Debug, Clone, Copy)]
pub(super) struct Caller {
    /// The user, as far as the kernel knows it.
    pub(super) uid: Option<u32>,
    /// The process that connected; it may have ended since.
    pub(super) pid: Option<i32>,
    pub(super) role: Role,
}

impl Caller {
    /// Who is at the other end.
    pub(super) fn of(stream: &UnixStream, config: &Config) -> Caller {
        match stream.peer_cred() {
            Ok(peer) => Caller { uid: Some(peer.uid()), pid: peer.pid(), role: Role::Stranger }
                .under(config),
            Err(error) => {
                tracing::warn!(%error, "the kernel does not say who a peer is");
                Caller { uid: None, pid: None, role: Role::Stranger }
            }
        }
    }

    /// Whether requests of this connection are looked at.
    pub(super) fn is_admitted(&self) -> bool {
        self.may(&Method::GET)
    }

    /// The same caller with the role that this configuration gives: a reload changes it for
    /// connections that are open, too. Who has too many stays one too many.
    pub(super) fn under(self, config: &Config) -> Caller {
        let Some(uid) = self.uid.filter(|_| self.role != Role::Excess) else { return self };
        // Asked once: it stays the same, and is the kernel's to tell.
        static OWN: LazyLock<u32> = LazyLock::new(|| nix::unistd::geteuid().as_raw());
        Caller { role: role(uid, *OWN, (&config.admin_uids, &config.observer_uids)), ..self }
    }

    pub(super) fn may(&self, method: &Method) -> bool {
        match self.role {
            Role::Admin => true,
            Role::Observer => method == Method::GET,
            Role::Stranger | Role::Excess => false,
        }
    }
}

/// Root, the daemon's own user and `admins` may do everything, `observers` may look.
fn role(uid: u32, own: u32, (admins, observers): (&[u32], &[u32])) -> Role {
    if uid == 0 || uid == own || admins.contains(&uid) {
        Role::Admin
    } else if observers.contains(&uid) {
        Role::Observer
    } else {
        Role::Stranger
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_most_that_a_user_is_named_for_counts() {
        let lists: (&[u32], &[u32]) = (&[7, 8], &[8, 9]);
        for (uid, expected) in [
            (0, Role::Admin),
            (5, Role::Admin),
            (7, Role::Admin),
            (8, Role::Admin),
            (9, Role::Observer),
            (10, Role::Stranger),
        ] {
            assert_eq!(role(uid, 5, lists), expected, "{uid}");
        }
    }
}
