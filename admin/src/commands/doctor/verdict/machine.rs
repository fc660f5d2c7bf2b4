//! Disks and addresses.

use std::net::SocketAddr;

use crate::commands::doctor::finding::Verdict;

const GIB: u64 = 1 << 30;

/// The room of a file system, in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::commands::doctor) struct Space {
    /// For those who are not root.
    pub(in crate::commands::doctor) free: u64,
    pub(in crate::commands::doctor) total: u64,
}

/// Room for less than a tenth, or for less than 1 GiB, is little.
pub(in crate::commands::doctor) fn space(space: &Space, path: &str) -> Verdict {
    let Space { free, total } = *space;
    let percent = free.saturating_mul(100).checked_div(total).unwrap_or(0);
    let found = format!("{} of {} free ({percent} %) at {path}", readable(free), readable(total));
    if free < GIB || percent < 10 {
        let help = "make room or extend the disk (`decisiongraph runbook disk-full`): a full one stops every append until there is room";
        return Verdict::warning(found, help);
    }
    Verdict::ok(found)
}

fn readable(bytes: u64) -> String {
    match bytes < GIB {
        true => format!("{} MiB", bytes >> 20),
        false => format!("{:.1} GiB", bytes as f64 / GIB as f64),
    }
}

/// What is at the address for those who watch.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::commands::doctor) enum Address {
    /// Nothing.
    Free,
    /// A daemon.
    Ours,
    /// Another program.
    Other,
    /// It cannot be had, because of this.
    Refused(String),
}

pub(in crate::commands::doctor) fn metrics(
    found: &Address,
    address: SocketAddr,
    daemon_is_there: bool,
) -> Verdict {
    let other = "choose another --metrics-listen, or `off`";
    match found {
        Address::Ours if daemon_is_there => Verdict::ok(format!("{address} is a daemon's")),
        Address::Ours => Verdict::failed(
            format!("{address} is another daemon's"),
            "stop that daemon, or choose another --metrics-listen",
        ),
        Address::Free if daemon_is_there => {
            Verdict::ok(format!("{address} is free; the daemon was started with another"))
        }
        Address::Free => Verdict::ok(format!("{address} is free")),
        Address::Other => Verdict::failed(format!("{address} is another program's"), other),
        Address::Refused(why) => Verdict::failed(format!("{address} cannot be had: {why}"), other),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::commands::doctor::finding::Status;

    #[test]
    fn little_room_is_a_tenth_or_a_gibibyte() {
        let table = [
            (50 * GIB, 100 * GIB, Status::Ok),
            (10 * GIB, 100 * GIB, Status::Ok),
            (10 * GIB - 1, 100 * GIB, Status::Warning),
            (GIB, 5 * GIB, Status::Ok),
            (GIB - 1, 5 * GIB, Status::Warning),
            (0, 0, Status::Warning),
            (u64::MAX / 2, u64::MAX, Status::Warning), // absurd, and no panic
        ];
        for (free, total, expected) in table {
            let verdict = space(&Space { free, total }, "/x");
            assert_eq!(verdict.status, expected, "{free} of {total}: {}", verdict.found);
        }
        let found = space(&Space { free: 50 * GIB, total: 100 * GIB }, "/x").found;
        assert_eq!(found, "50.0 GiB of 100.0 GiB free (50 %) at /x");
        let found = space(&Space { free: GIB / 8, total: GIB }, "/x").found;
        assert_eq!(found, "128 MiB of 1.0 GiB free (12 %) at /x");
    }

    #[test]
    fn an_address_is_free_or_the_daemons() {
        let refused = || Address::Refused("Permission denied".to_owned());
        let table = [
            (Address::Free, false, Status::Ok),
            (Address::Free, true, Status::Ok),
            (Address::Ours, true, Status::Ok),
            (Address::Ours, false, Status::Failed),
            (Address::Other, true, Status::Failed),
            (Address::Other, false, Status::Failed),
            (refused(), false, Status::Failed),
        ];
        for (found, is_there, expected) in table {
            let verdict = metrics(&found, SocketAddr::from(([127, 0, 0, 1], 9464)), is_there);
            assert_eq!(verdict.status, expected, "{found:?} {is_there}");
        }
    }
}
