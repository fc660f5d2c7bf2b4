//! Faults of the daemon's process.

use std::process::Command;
use std::time::Duration;

use nix::sys::signal::Signal;

use crate::LogTo;
use crate::faults::Arena;
use crate::faults::workload::TENANTS;

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

/// The first is frozen; the second rebuilds everything and gives readers new generations; then the
/// first wakes up with the cursors of the old ones.
pub(super) fn stale_generations(arena: &mut Arena, rounds: usize) {
    for _ in 0..rounds {
        arena.daemons[0].signal(Signal::SIGSTOP);
        arena.count_fault("daemon frozen while generations switch");
        arena.pass(MOMENT);
        // Whoever is frozen in a transaction holds its locks; that is for Postgres to end.
        let frozen = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity
            WHERE starts_with(application_name, 'decisiongraph') AND state LIKE 'idle in transaction%'
                AND state_change < now() - interval '2 s'";
        for tenant in TENANTS {
            let before = served(arena, tenant);
            let ask = ["rebuild", "all", "-t", tenant, "--reason", "a daemon is frozen"];
            arena.expect("every generation has switched while a daemon is frozen", |arena| {
                let _ = arena.sql().rows(frozen);
                let _ = arena.daemons[1].cli(&ask);
                arena.pass(2 * MOMENT);
                served(arena, tenant).iter().zip(&before).all(|(now, before)| now > before)
            });
        }
        arena.daemons[0].signal(Signal::SIGCONT);
        arena.pass_about(4 * MOMENT);
    }
}

/// The generations that readers of a tenant are given, by projection.
fn served(arena: &Arena, tenant: &str) -> Vec<i64> {
    let rows = arena.sql().rows(&format!(
        "SELECT active_generation FROM dg_projections WHERE tenant_id = '{tenant}'
         ORDER BY projection_name"
    ));
    rows.into_iter().flatten().flatten().filter_map(|text| text.parse().ok()).collect()
}

/// What the daemon logs goes to a disk that is full, then to nobody.
pub(super) fn no_log(arena: &mut Arena, rounds: usize) {
    for _ in 0..rounds {
        for log_to in [LogTo::FullDisk, LogTo::Nobody] {
            arena.daemons[0].kill();
            arena.daemons[0].log_to(log_to);
            arena.daemons[0].spawn();
            arena.count_fault("nowhere to log to");
            arena.expect("the daemon is up without a log", |arena| {
                arena.daemons[0].cli(&["status", "-o", "json"]).says_up()
            });
            // Something to log about.
            arena.sql().rows(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity
                 WHERE starts_with(application_name, 'decisiongraph')",
            );
            let before = arena.count();
            arena.expect("appends go on without a log", |arena| arena.count() > before + 50);
            if arena.daemons[0].has_ended() {
                arena.wrong(format!("the daemon ended without a log ({log_to:?})"));
            }
        }
    }
}
