//! Volumes of Postgres that are full for a while.

use std::time::Duration;

use crate::faults::Arena;
use crate::faults::place::Means;

const MOMENT: Duration = Duration::from_millis(500);

fn fill(arena: &mut Arena) -> bool {
    let Means::Volumes(volumes) = &arena.means else { return false };
    volumes[0].fill();
    arena.count_fault("a volume is full");
    true
}

/// Statements fail for want of space (53100), and go on when there is some.
pub(super) fn no_room_for_data(arena: &mut Arena, rounds: usize) {
    for _ in 0..rounds {
        arena.pass_about(MOMENT);
        if !fill(arena) {
            return arena.wrong("the place has no volume");
        }
        arena.expect("Postgres says that its disk is full", |arena| {
            arena.server_log().contains("No space left on device")
        });
        arena.pass_about(4 * MOMENT);
        arena.means.mend();
        arena.pass_about(MOMENT);
    }
}

/// Postgres panics and does not come up by itself: an operator makes room and starts it.
pub(super) fn no_room_for_wal(arena: &mut Arena, rounds: usize) {
    for _ in 0..rounds {
        arena.pass_about(MOMENT);
        if !fill(arena) {
            return arena.wrong("the place has no volume");
        }
        arena.expect("Postgres panics", |arena| arena.server_log().contains("PANIC:"));
        arena.pass_about(4 * MOMENT);
        arena.means.mend();
        arena.pass(MOMENT);
        if arena.postgres().has_crashed() {
            arena.count_fault("Postgres has panicked and stays down");
            arena.postgres().stop();
            arena.postgres().start_again();
        }
        arena.pass_about(MOMENT);
    }
}
