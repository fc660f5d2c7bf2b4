//! Under which account the server programs run.
//!
//! Postgres refuses to run as root. When this process is not root, it runs them as itself. As root:
//! 1. an existing cluster decides: owned by root, a user namespace; by another user, that user;
//! 2. for a new cluster the user `postgres`, if it exists and can reach the directory;
//! 3. otherwise a user namespace, in which root appears as an ordinary user: Postgres is content,
//!    files go on belonging to root, and no directory has to be opened to others. `unshare` executes
//!    the program in its own place, so Postgres stays a direct child.
//!
//! Nothing is guessed from mode bits: an account is taken when it can enter the directory and run
//! `postgres --version`. Children never keep the supplementary groups of root, their environment
//! is reduced to a few variables (no passwords, no `NOTIFY_SOCKET`, no `PG*`), and their working
//! directory is `/`.

use std::fmt;
use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt, lchown};
use std::path::{Path, PathBuf};
use std::process::Stdio;

use nix::unistd::{User, getegid, geteuid};
use tokio::process::Command;

use super::discover::Binaries;
use super::error::EmbeddedError;
use super::layout::Layout;

/// What a child may see of our environment.
const ENVIRONMENT: [&str; 4] = ["PATH", "LD_LIBRARY_PATH", "TZ", "TMPDIR"];

/// The account of the server programs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Account {
    /// The one of this process, which is not root.
    Own,
    /// Another user; needs root.
    User {
        /// Its number.
        uid: u32,
        /// Its group.
        gid: u32,
    },
    /// Root, shown to the program as this user by a user namespace.
    Namespace {
        /// The number shown; must be in the user database, where `initdb` looks it up.
        uid: u32,
        /// The group shown.
        gid: u32,
    },
}

impl Account {
    /// The account for the cluster of `layout`, existing or to be made.
    pub(super) async fn choose(
        layout: &Layout,
        binaries: &Binaries,
    ) -> Result<Self, EmbeddedError> {
        if !geteuid().is_root() {
            return Ok(Self::Own);
        }
        let (candidates, target) = match layout.owner()? {
            Some((0, _)) => (vec![Self::namespace()], &layout.cluster),
            Some((uid, gid)) => (vec![Self::User { uid, gid }], &layout.cluster),
            None => {
                let postgres = user("postgres").map(|(uid, gid)| Self::User { uid, gid });
                (postgres.into_iter().chain([Self::namespace()]).collect(), &layout.pg)
            }
        };
        let mut refusals = Vec::new();
        for account in candidates {
            match account.try_out(target, &binaries.postgres()).await {
                Ok(()) => return Ok(account),
                Err(problem) => refusals.push(format!("{account}: {problem}")),
            }
        }
        let (refusals, blocked_by) = (refusals.join("; "), closed_ancestor(target));
        Err(EmbeddedError::NoAccount { refusals, blocked_by })
    }

    fn namespace() -> Self {
        let (uid, gid) = user("postgres").or_else(|| user("nobody")).unwrap_or((65534, 65534));
        Self::Namespace { uid, gid }
    }

    /// A command that runs `program` under this account.
    pub(super) fn command(&self, program: &Path) -> Command {
        let mut command = match self {
            Self::Own => Command::new(program),
            Self::User { uid, gid } => {
                let mut command = Command::new(program);
                command.gid(*gid).uid(*uid);
                command
            }
            Self::Namespace { uid, gid } => {
                let mut command = Command::new("unshare");
                command.arg("--user");
                command.arg(format!("--map-user={uid}")).arg(format!("--map-group={gid}"));
                // Setting the uid, even to root, makes std drop the supplementary groups.
                command.arg("--").arg(program).uid(0);
                command
            }
        };
        let kept = ENVIRONMENT.into_iter().filter_map(|name| Some((name, std::env::var_os(name)?)));
        command.env_clear().envs(kept).env("LC_ALL", "C");
        command.current_dir("/").stdin(Stdio::null());
        command
    }

    /// Uid and gid that own this account's files.
    pub(super) fn ids(&self) -> (u32, u32) {
        match self {
            Self::Own => (geteuid().as_raw(), getegid().as_raw()),
            Self::User { uid, gid } => (*uid, *gid),
            Self::Namespace { .. } => (0, 0),
        }
    }

    /// Gives a directory to this account; never what a link points to.
    pub(super) fn own(&self, dir: &Path) -> Result<(), EmbeddedError> {
        let (uid, gid) = self.ids();
        let meta = fs::symlink_metadata(dir).map_err(EmbeddedError::io("look at", dir))?;
        if meta.uid() == uid && (meta.gid() == gid || *self == Self::Own) {
            return Ok(());
        }
        lchown(dir, Some(uid), Some(gid)).map_err(EmbeddedError::io("change the owner of", dir))
    }

    /// Whether this account exists, can enter `dir` and can run `postgres`; if not, why.
    async fn try_out(&self, dir: &Path, postgres: &Path) -> Result<(), String> {
        let mut command = self.command(Path::new("/bin/sh"));
        command.args(["-c", r#"cd "$0" && exec "$1" --version"#]).arg(dir).arg(postgres);
        let output = command.output().await;
        let program = command.as_std().get_program().display();
        let output = output.map_err(|error| format!("{program} does not run: {error}"))?;
        let problem = String::from_utf8_lossy(&output.stderr);
        output.status.success().then_some(()).ok_or_else(|| problem.trim().replace('\n', " "))
    }
}

impl fmt::Display for Account {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Own => f.write_str("own user"),
            Self::User { uid, .. } => write!(f, "uid {uid}"),
            Self::Namespace { .. } => f.write_str("user namespace"),
        }
    }
}

fn user(name: &str) -> Option<(u32, u32)> {
    let user = User::from_name(name).ok()??;
    (!user.uid.is_root()).then(|| (user.uid.as_raw(), user.gid.as_raw()))
}

/// The outermost directory on the way to `path` (itself included) that others may not enter.
fn closed_ancestor(path: &Path) -> Option<PathBuf> {
    let closed = |dir: &&Path| fs::metadata(dir).is_ok_and(|it| it.permissions().mode() & 1 == 0);
    path.ancestors().filter(closed).last().map(Path::to_owned)
}

#[cfg(test)]
mod tests {
    use super::{Account, user};
    use nix::unistd::geteuid;
    use std::path::Path;

    async fn id_of(account: &Account) -> String {
        let mut command = account.command(Path::new("/usr/bin/id"));
        let output = command.output().await.expect("id runs");
        String::from_utf8_lossy(&output.stdout).trim().to_owned()
    }

    #[tokio::test]
    async fn another_user_brings_no_groups_of_root() {
        let Some((uid, gid)) = user("nobody").filter(|_| geteuid().is_root()) else {
            println!("skipped: needs root and a user `nobody`");
            return;
        };
        let id = id_of(&Account::User { uid, gid }).await;
        assert!(id.starts_with(&format!("uid={uid}(nobody) gid={gid}")), "{id}");
        assert!(!id.contains("root"), "{id}");
    }

    #[tokio::test]
    async fn the_environment_is_not_passed_on() {
        let mut command = Account::Own.command(Path::new("/usr/bin/env"));
        let output = command.output().await.expect("env runs");
        let text = String::from_utf8_lossy(&output.stdout);
        assert!(text.contains("LC_ALL=C"), "{text}");
        assert!(!text.contains("CARGO"), "{text}");
    }
}
