//! Faults of a daemon that has a cluster of its own.

use std::time::Duration;

use crate::faults::Arena;

const MOMENT: Duration = Duration::from_millis(400);

/// kill -9 of the postmaster: the daemon starts another.
pub(super) fn kill_postmaster(arena: &mut Arena, rounds: usize) {
    for _ in 0..2 * rounds {
        arena.pass_about(MOMENT);
        arena.daemons[0].kill_database();
        arena.count_fault("kill -9 of the embedded postmaster");
        let before = arena.count();
        arena.expect("appends go on", |arena| arena.count() > before);
    }
}

/// kill -9 of the daemon: its postmaster is an orphan, which the next one takes over or ends.
pub(super) fn orphan(arena: &mut Arena, rounds: usize) {
    for _ in 0..2 * rounds {
        arena.pass_about(MOMENT);
        arena.daemons[0].kill();
        arena.count_fault("an orphaned postmaster");
        arena.daemons[0].spawn();
        let before = arena.count();
        arena.expect("appends go on", |arena| arena.count() > before);
    }
}
