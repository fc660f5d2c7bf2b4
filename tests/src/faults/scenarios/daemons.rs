//! Faults of the daemon's process.

use std::process::Command;
use std::time::Duration;

use nix::sys::signal::Signal;

use crate::faults::Arena;

const MOMENT: Duration = Duration::from_millis(250);

pub(super) fn kill(arena: &mut Arena, rounds: usize) {
    for _ in 0..3 * rounds {
        arena.pass_about(MOMENT);
        arena.daemons[0].kill();
        arena.count_fault("kill -9 of the daemon");
        arena.daemons[0].spawn();
    }
}

pub(super) fn stop(arena: &mut Arena, rounds: usize) {
    for _ in 0..2 * rounds {
        arena.daemons[0].until_ready();
        arena.pass_about(MOMENT);
        let code = arena.daemons[0].stop();
        if code != 0 {
            arena.wrong(format!("an orderly stop exits {code}"));
        }
        arena.count_fault("SIGTERM");
        arena.daemons[0].spawn();
    }
}

pub(super) fn freeze(arena: &mut Arena, rounds: usize) {
    for _ in 0..2 * rounds {
        arena.daemons[0].signal(Signal::SIGSTOP);
        arena.count_fault("daemon frozen");
        arena.pass_about(4 * MOMENT);
        arena.daemons[0].signal(Signal::SIGCONT);
        arena.pass_about(2 * MOMENT);
    }
}

pub(super) fn kill_in_turn(arena: &mut Arena, rounds: usize) {
    for round in 0..3 * rounds {
        let daemon = round % arena.daemons.len();
        arena.pass_about(2 * MOMENT);
        arena.daemons[daemon].kill();
        arena.count_fault("kill -9 of a daemon");
        arena.pass_about(MOMENT);
        arena.daemons[daemon].spawn();
    }
}

/// The first is frozen in whatever it is at; the second goes on, also with what the first had begun;
/// then the first wakes up and ends what it was at.
pub(super) fn stale(arena: &mut Arena, rounds: usize) {
    for _ in 0..2 * rounds {
        arena.daemons[0].signal(Signal::SIGSTOP);
        arena.count_fault("daemon frozen while another goes on");
        arena.pass_about(6 * MOMENT);
        arena.daemons[0].signal(Signal::SIGCONT);
        arena.pass_about(2 * MOMENT);
    }
}

/// As `ulimit -n` would have it, from one moment to the next.
pub(super) fn no_descriptors(arena: &mut Arena, rounds: usize) {
    let limit = |arena: &Arena, most: &str| {
        let pid = arena.daemons[0].pid().to_string();
        let limit = format!("--nofile={most}:");
        let set = Command::new("prlimit").args(["--pid", &pid, &limit]).status();
        set.is_ok_and(|status| status.success())
    };
    for _ in 0..rounds {
        if !limit(arena, "16") {
            return arena.wrong("prlimit does not limit descriptors");
        }
        arena.count_fault("no descriptors");
        arena.pass_about(4 * MOMENT);
        limit(arena, "4096");
        arena.pass_about(2 * MOMENT);
    }
}
