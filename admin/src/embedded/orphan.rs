//! Ends what an earlier daemon left running, so that our own server can start.
//!
//! A daemon that was killed leaves its postgres behind as an orphan. Before each start every
//! postgres process of this cluster is found in `/proc`: a postmaster is stopped as one would by
//! hand (fast, then immediate shutdown), backends that outlived their postmaster are ended. Only
//! then `postmaster.pid` and the socket's lock file are removed. Postgres would mostly see by
//! itself that they are stale, but not when their number now belongs to another program of the same
//! user, or to a zombie that nobody reaps. Removing them is safe because no process of the cluster
//! is left, and because the caller holds the lock of the data directory.
//!
//! Without `/proc` nothing is found and nothing removed: Postgres' own checks decide.

use std::ffi::OsStr;
use std::fs;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use tokio::time::{Instant, sleep};

use super::error::EmbeddedError;
use super::layout::{Layout, SOCKET_NAME};

/// The names of processes that work on a cluster.
const PROGRAMS: [&str; 2] = ["postgres", "initdb"];
/// Signals for an orphaned postmaster, each with the patience it is given.
const POSTMASTER: [(Signal, Duration); 3] = [
    (Signal::SIGINT, Duration::from_secs(10)),
    (Signal::SIGQUIT, Duration::from_secs(10)),
    (Signal::SIGKILL, Duration::from_secs(5)),
];
/// The same for backends without a postmaster.
const BACKENDS: [(Signal, Duration); 2] =
    [(Signal::SIGQUIT, Duration::from_secs(5)), (Signal::SIGKILL, Duration::from_secs(5))];

/// What works on a cluster that never became one; nothing there is worth an orderly end.
const UNFINISHED: [(Signal, Duration); 1] = [(Signal::SIGKILL, Duration::from_secs(5))];

/// Ends an `initdb`, and the postgres it runs, that an earlier start left at work in `dir`.
pub(super) async fn end_initdb(dir: &Path) -> Result<(), EmbeddedError> {
    let found = processes().filter(|pid| belongs(*pid, dir)).collect();
    end(found, dir, &UNFINISHED).await
}

/// Ends every postgres of the cluster and removes its lock files. The caller's own server must
/// have ended before.
pub(super) async fn clear(layout: &Layout) -> Result<(), EmbeddedError> {
    if !Path::new("/proc/self/stat").exists() {
        return Ok(());
    }
    let cluster = &layout.cluster;
    let noted = fs::read_to_string(cluster.join("postmaster.pid")).ok();
    let noted = noted.as_deref().and_then(parse_pid).filter(|pid| belongs(*pid, cluster));
    let started = || processes().filter(|pid| started_with(*pid, cluster));
    if let Some(pid) = noted.or_else(|| started().next()) {
        end(vec![pid], cluster, &POSTMASTER).await?;
        tracing::warn!(pid, cluster = %cluster.display(), "took over from an orphaned postgres");
    }
    let left: Vec<u32> = processes().filter(|pid| belongs(*pid, cluster)).collect();
    end(left, cluster, &BACKENDS).await?;
    let lock_of_socket = layout.socket_dir.join(format!("{SOCKET_NAME}.lock"));
    let socket = layout.socket_dir.join(SOCKET_NAME);
    for path in [cluster.join("postmaster.pid"), socket, lock_of_socket] {
        remove(&path)?;
    }
    Ok(())
}

/// Sends the signals in turn until none of the processes is left.
async fn end(
    mut pids: Vec<u32>,
    cluster: &Path,
    signals: &[(Signal, Duration)],
) -> Result<(), EmbeddedError> {
    for (signal, patience) in signals {
        let deadline = Instant::now() + *patience;
        for pid in &pids {
            send(*pid, *signal);
        }
        while !pids.is_empty() && Instant::now() < deadline {
            sleep(Duration::from_millis(20)).await;
            pids.retain(|pid| belongs(*pid, cluster));
        }
    }
    match pids.first() {
        Some(pid) => Err(EmbeddedError::Unstoppable { pid: *pid, path: cluster.to_owned() }),
        None => Ok(()),
    }
}

/// Sends a signal to one process; that it is gone already is no error, and that we may not is seen
/// by its going on.
pub(super) fn send(pid: u32, signal: Signal) {
    let Ok(raw) = i32::try_from(pid) else { return };
    if let Err(error) = kill(Pid::from_raw(raw), signal) {
        tracing::debug!(pid, %signal, %error, "signal not delivered");
    }
}

/// The number in the first line of `postmaster.pid`; a single-user server writes it negated.
fn parse_pid(text: &str) -> Option<u32> {
    let number: i32 = text.lines().next()?.trim().parse().ok()?;
    (number != 0).then_some(number.unsigned_abs())
}

/// The numbers of all processes that can be seen.
fn processes() -> impl Iterator<Item = u32> {
    let entries = fs::read_dir("/proc").into_iter().flatten().flatten();
    entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok())
}

/// Whether this is a living postgres of the cluster: postmaster or one of its children, which all
/// have the cluster as their working directory; or the `initdb` that makes it.
fn belongs(pid: u32, cluster: &Path) -> bool {
    let home = || fs::read_link(format!("/proc/{pid}/cwd")).is_ok_and(|cwd| cwd == cluster);
    is_living_postgres(pid) && (home() || started_with(pid, cluster))
}

/// Whether this is a living postmaster that was given the cluster on its command line.
fn started_with(pid: u32, cluster: &Path) -> bool {
    is_living_postgres(pid)
        && fs::read(format!("/proc/{pid}/cmdline")).is_ok_and(|line| names(&line, cluster))
}

/// Whether a command line has the words `-D <cluster>`.
fn names(command_line: &[u8], cluster: &Path) -> bool {
    let words: Vec<_> = command_line.split(|byte| *byte == 0).map(OsStr::from_bytes).collect();
    words.windows(2).any(|pair| pair[0] == "-D" && pair[1] == cluster.as_os_str())
}

fn is_living_postgres(pid: u32) -> bool {
    let stat = fs::read(format!("/proc/{pid}/stat")).unwrap_or_default();
    parse_stat(&String::from_utf8_lossy(&stat))
        .is_some_and(|(name, state)| PROGRAMS.contains(&name) && !matches!(state, 'Z' | 'X'))
}

/// Name and state out of `/proc/<pid>/stat`: `12 (name, which may hold brackets) S 1 ...`.
fn parse_stat(stat: &str) -> Option<(&str, char)> {
    let (head, rest) = stat.rsplit_once(')')?;
    let (_, name) = head.split_once('(')?;
    Some((name, rest.trim_start().chars().next()?))
}

fn remove(path: &Path) -> Result<(), EmbeddedError> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            Err(EmbeddedError::io("remove", path)(error))
        }
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::{belongs, names, parse_pid, parse_stat};
    use std::path::Path;

    #[test]
    fn the_first_line_of_the_pid_file_is_the_pid() {
        let text = "4711\n/srv/pg/data\n1700000000\n5432\n/srv/pg/run\n\n  1234  5\nready   \n";
        assert_eq!(parse_pid(text), Some(4711));
        assert_eq!(parse_pid("-4711\n/srv/pg/data\n"), Some(4711));
        assert_eq!(parse_pid(""), None);
        assert_eq!(parse_pid("0\n"), None);
        assert_eq!(parse_pid("garbage\n12\n"), None);
    }

    #[test]
    fn stat_is_read_whatever_the_name() {
        assert_eq!(parse_stat("12 (postgres) S 1 12 12 0"), Some(("postgres", 'S')));
        assert_eq!(parse_stat("12 (a) Z (b) Z 1 12"), Some(("a) Z (b", 'Z')));
        assert_eq!(parse_stat(""), None);
    }

    #[test]
    fn a_command_line_names_its_cluster() {
        let line = b"/usr/lib/postgresql/15/bin/postgres\0-D\0/srv/pg/data\0-c\0port=1\0";
        assert!(names(line, Path::new("/srv/pg/data")));
        assert!(!names(line, Path::new("/srv/pg/data2")));
        assert!(!names(b"postgres: checkpointer \0\0", Path::new("/srv/pg/data")));
    }

    #[test]
    fn another_program_is_no_postgres_of_ours() {
        let here = std::env::current_dir().expect("a working directory");
        assert!(!belongs(std::process::id(), &here));
    }
}
