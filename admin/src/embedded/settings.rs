//! The server settings of the embedded Postgres.
//!
//! They stand on the command line, so they hold over anything in `postgresql.conf` and follow the
//! daemon's version, not the day the cluster was made. Settings not named here can be changed in
//! the cluster's `postgresql.conf`. All are known since Postgres 11. Who needs more control gives a
//! database URL.

use std::ffi::OsString;
use std::fs;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::Path;

use super::layout::Layout;

/// Name, value, reason.
const SETTINGS: [(&str, &str, &str); 11] = [
    ("listen_addresses", "", "reached by its Unix socket only"),
    ("port", "5432", "part of the socket's name; the directory is private, so it never clashes"),
    ("unix_socket_permissions", "0700", "a second fence inside the 0700 directory"),
    ("max_connections", "100", "the daemon's pool (16) and client commands, with room"),
    ("max_wal_size", "2GB", "a bulk import should not checkpoint all the time"),
    ("fsync", "on", "an answered append survives power loss"),
    ("synchronous_commit", "on", "the same"),
    ("full_page_writes", "on", "the same, for a page torn in the middle"),
    ("jit", "off", "statements are short, and a hardened unit forbids code made at run time"),
    ("logging_collector", "off", "messages go to standard error, which is our log file"),
    ("log_destination", "stderr", "the same"),
];

/// Shared buffers on an ordinary machine, and on one with less than [`SMALL_MACHINE_KB`].
const SHARED_BUFFERS: [&str; 2] = ["256MB", "64MB"];
const SMALL_MACHINE_KB: u64 = 1024 * 1024;

/// The command line of `postgres` for this cluster.
pub(super) fn arguments(layout: &Layout) -> Vec<OsString> {
    let mut arguments = vec!["-D".into(), layout.cluster.clone().into_os_string()];
    let mut set = |name: &str, value: OsString| {
        let mut setting = OsString::from(format!("{name}="));
        setting.push(value);
        arguments.extend(["-c".into(), setting]);
    };
    for (name, value, _reason) in SETTINGS {
        set(name, value.into());
    }
    let meminfo = fs::read_to_string("/proc/meminfo").unwrap_or_default();
    set("shared_buffers", shared_buffers(&meminfo).into());
    set("unix_socket_directories", quoted(&layout.socket_dir));
    arguments
}

fn shared_buffers(meminfo: &str) -> &'static str {
    let total = meminfo.lines().find_map(|line| line.strip_prefix("MemTotal:"));
    let kb = total.and_then(|rest| rest.trim().trim_end_matches(" kB").parse::<u64>().ok());
    let small = kb.is_some_and(|kb| kb < SMALL_MACHINE_KB);
    SHARED_BUFFERS[usize::from(small)]
}

/// The setting is a list: quotes keep commas and blanks in a path from ending it.
fn quoted(path: &Path) -> OsString {
    let mut bytes = vec![b'"'];
    for byte in path.as_os_str().as_bytes() {
        bytes.extend(std::iter::repeat_n(*byte, if *byte == b'"' { 2 } else { 1 }));
    }
    bytes.push(b'"');
    OsString::from_vec(bytes)
}

#[cfg(test)]
mod tests {
    use super::{quoted, shared_buffers};
    use std::path::Path;

    #[test]
    fn a_small_machine_gets_small_buffers() {
        assert_eq!(shared_buffers("MemTotal:       24685000 kB\nMemFree: 1 kB\n"), "256MB");
        assert_eq!(shared_buffers("MemTotal:         524288 kB\n"), "64MB");
        assert_eq!(shared_buffers(""), "256MB");
    }

    #[test]
    fn a_path_is_one_entry_of_the_list() {
        assert_eq!(quoted(Path::new("/a b,c")), "\"/a b,c\"");
        assert_eq!(quoted(Path::new("/a\"b")), "\"/a\"\"b\"");
    }
}
