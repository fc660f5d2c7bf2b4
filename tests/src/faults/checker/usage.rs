//! What daemons take of the machine and of the server, when all is over.

use std::fmt;
use std::time::Duration;

use crate::faults::Arena;
use crate::{Daemon, Sql, try_until};

/// A daemon that was through a lot has no more than this when it is at rest again.
const MOST_DESCRIPTORS: u64 = 120;
const MOST_THREADS: u64 = 64;
const MOST_MEMORY_KB: u64 = 400 * 1024;
/// Sessions of a daemon: its pool, and that of the owner of the schema.
const MOST_SESSIONS: usize = 12;

/// A server ends a session that its daemon was cut off from within a minute: what it asks for signs of
/// life is quicker, but one whose transaction has failed waits for its client for as long as that.
const ENDED: Duration = Duration::from_secs(75);

const SESSIONS: &str = "SELECT concat_ws(' ', pid, application_name, state, 'since', state_change)
    FROM pg_stat_activity WHERE starts_with(application_name, 'decisiongraph')
    ORDER BY state_change";

/// No daemon has more sessions than it may, as soon as those are gone that the faults have cut off.
pub(super) fn check_sessions(arena: &Arena, sql: &Sql) {
    let most = MOST_SESSIONS * arena.daemons.len();
    let sessions =
        || -> Vec<String> { sql.rows(SESSIONS).into_iter().flatten().flatten().collect() };
    if try_until(ENDED, || (sessions().len() <= most).then_some(())).is_none() {
        let open = sessions();
        arena.wrong(format!("{} sessions are open, of {most} at most: {open:?}", open.len()));
    }
}

/// What a process uses.
#[derive(Debug, Clone, Copy)]
pub(in crate::faults) struct Usage {
    pub(in crate::faults) memory_kb: u64,
    pub(in crate::faults) threads: u64,
    pub(in crate::faults) descriptors: u64,
}

impl fmt::Display for Usage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Usage { memory_kb, threads, descriptors } = self;
        write!(f, "{memory_kb} kB, {threads} threads, {descriptors} descriptors")
    }
}

/// What a daemon uses now.
pub(in crate::faults) fn usage(daemon: &Daemon) -> Usage {
    let process = format!("/proc/{}", daemon.pid());
    let status = std::fs::read_to_string(format!("{process}/status")).unwrap_or_default();
    let of_status = |name: &str| -> u64 {
        let line = status.lines().find_map(|line| line.strip_prefix(name));
        let number = line.and_then(|line| line.split_whitespace().next()?.parse().ok());
        number.unwrap_or(u64::MAX)
    };
    let descriptors = std::fs::read_dir(format!("{process}/fd")).map_or(0, Iterator::count) as u64;
    Usage { memory_kb: of_status("VmRSS:"), threads: of_status("Threads:"), descriptors }
}

/// Memory, descriptors and threads are back to what they should be.
pub(super) fn check(arena: &Arena, daemon: &Daemon) {
    let Usage { memory_kb, threads, descriptors } = usage(daemon);
    for (what, found, most) in [
        ("kB of memory", memory_kb, MOST_MEMORY_KB),
        ("threads", threads, MOST_THREADS),
        ("descriptors", descriptors, MOST_DESCRIPTORS),
    ] {
        if found > most {
            arena.wrong(format!("a daemon has {found} {what}, of {most} at most"));
        }
    }
}
