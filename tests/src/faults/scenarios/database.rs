//! Faults of Postgres.

use std::time::Duration;

use crate::Sql;
use crate::faults::Arena;

const MOMENT: Duration = Duration::from_millis(400);
/// Sessions of daemons, whichever.
const OURS: &str = "starts_with(application_name, 'decisiongraph')";

pub(super) fn end_sessions(arena: &mut Arena, rounds: usize) {
    let sql = arena.sql();
    for _ in 0..10 * rounds {
        let most = 1 + arena.random.below(4);
        let ended = sql.rows(&format!(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE {OURS}
             ORDER BY random() LIMIT {most}"
        ));
        for _ in ended {
            arena.count_fault("session ended");
        }
        arena.pass(Duration::from_millis(200));
    }
}

pub(super) fn kill(arena: &mut Arena, rounds: usize) {
    for _ in 0..rounds {
        arena.pass_about(MOMENT);
        arena.postgres.kill();
        arena.count_fault("kill -9 of Postgres");
        arena.pass_about(MOMENT);
        arena.postgres.start_again();
    }
}

pub(super) fn stop_immediately(arena: &mut Arena, rounds: usize) {
    for _ in 0..rounds {
        arena.pass_about(MOMENT);
        arena.postgres.stop();
        arena.count_fault("immediate shutdown");
        arena.pass_about(2 * MOMENT);
        arena.postgres.start_again();
    }
}

pub(super) fn stop_fast(arena: &mut Arena, rounds: usize) {
    for _ in 0..rounds {
        arena.pass_about(MOMENT);
        arena.postgres.stop_fast();
        arena.count_fault("fast shutdown");
        arena.pass_about(2 * MOMENT);
        arena.postgres.start_again();
    }
}

/// The daemon's sessions are ended, and others take their places before it can.
pub(super) fn no_connections(arena: &mut Arena, rounds: usize) {
    for _ in 0..rounds {
        let sql = arena.sql();
        // Superusers have places of their own, and the daemon of the test is one: nothing is kept back.
        let most: usize = sql.one("SHOW max_connections").parse().unwrap_or(100);
        sql.rows(&format!("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE {OURS}"));
        let taken: Vec<Sql> = std::iter::from_fn(|| arena.postgres.try_sql()).take(most).collect();
        arena.count_fault("no connection left");
        sql.rows(&format!("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE {OURS}"));
        arena.pass_about(3 * MOMENT);
        drop(taken);
        arena.pass_about(MOMENT);
    }
}

pub(super) fn hold_locks(arena: &mut Arena, rounds: usize) {
    for round in 0..2 * rounds {
        let sql = arena.sql();
        let table =
            ["dg_tenant_heads", "dg_projection_cursors", "dg_projections", "dg_projection_runs"]
                [round % 4];
        sql.rows(&format!("BEGIN; SELECT 1 FROM {table} FOR UPDATE"));
        arena.count_fault("rows locked");
        arena.pass_about(2 * MOMENT);
        sql.rows("ROLLBACK");
        arena.pass_about(MOMENT);
    }
}

/// Settings of the database count for sessions that begin after: those there are end.
pub(super) fn short_timeouts(arena: &mut Arena, rounds: usize) {
    let sql = arena.sql();
    let end = format!("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE {OURS}");
    for _ in 0..rounds {
        for setting in ["lock_timeout = '2ms'", "idle_in_transaction_session_timeout = '2ms'"] {
            sql.rows(&format!("ALTER DATABASE postgres SET {setting}; {end}"));
            arena.count_fault("a short time-out");
            arena.pass_about(3 * MOMENT);
            sql.rows(&format!("ALTER DATABASE postgres RESET ALL; {end}"));
            arena.pass_about(MOMENT);
        }
    }
}

pub(super) fn read_only(arena: &mut Arena, rounds: usize) {
    let sql = arena.sql();
    let end = format!("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE {OURS}");
    for _ in 0..rounds {
        sql.rows(&format!("ALTER DATABASE postgres SET default_transaction_read_only = on; {end}"));
        arena.count_fault("read-only");
        arena.pass_about(3 * MOMENT);
        sql.rows("SET transaction_read_only = off; ALTER DATABASE postgres RESET ALL");
        sql.rows(&end);
        arena.pass_about(MOMENT);
    }
}
