//! Faults of Postgres.

use std::time::Duration;

use crate::Sql;
use crate::faults::Arena;
use crate::faults::workload::TENANTS;

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
        arena.postgres().kill();
        arena.count_fault("kill -9 of Postgres");
        arena.pass_about(MOMENT);
        arena.postgres().start_again();
    }
}

pub(super) fn stop_immediately(arena: &mut Arena, rounds: usize) {
    for _ in 0..rounds {
        arena.pass_about(MOMENT);
        arena.postgres().stop();
        arena.count_fault("immediate shutdown");
        arena.pass_about(2 * MOMENT);
        arena.postgres().start_again();
    }
}

pub(super) fn stop_fast(arena: &mut Arena, rounds: usize) {
    for _ in 0..rounds {
        arena.pass_about(MOMENT);
        arena.postgres().stop_fast();
        arena.count_fault("fast shutdown");
        arena.pass_about(2 * MOMENT);
        arena.postgres().start_again();
    }
}

/// The daemon's sessions are ended, and others take their places before it can.
pub(super) fn no_connections(arena: &mut Arena, rounds: usize) {
    for _ in 0..rounds {
        let sql = arena.sql();
        // Superusers have places of their own, and the daemon of the test is one: nothing is kept back.
        let most: usize = sql.one("SHOW max_connections").parse().unwrap_or(100);
        sql.rows(&format!("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE {OURS}"));
        let taken: Vec<Sql> = std::iter::from_fn(|| arena.try_sql()).take(most).collect();
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

/// Somebody else takes in the wrong order what a worker and an append take in theirs. The daemon's
/// transaction is the one that Postgres ends, since the other waits for longer before it looks.
pub(super) fn deadlock(arena: &mut Arena, rounds: usize) {
    let sql = arena.sql();
    let count = "SELECT deadlocks FROM pg_stat_database WHERE datname = current_database()";
    let before = sql.one(count);
    for round in 0..3 * rounds {
        let tenant = *arena.random.pick(&TENANTS);
        let (table, row) = [
            ("dg_cg_nodes", "dg_projection_cursors"),
            ("dg_trace_summary", "dg_projection_cursors"),
            ("dg_event_log", "dg_tenant_heads"),
        ][round % 3];
        sql.rows(&format!(
            "SET deadlock_timeout = '20s'; SET lock_timeout = '15s'; BEGIN;
             LOCK TABLE {table} IN SHARE MODE"
        ));
        arena.pass(MOMENT); // for the daemon to come to the table, with its row locked
        sql.try_run(&format!("SELECT 1 FROM {row} WHERE tenant_id = '{tenant}' FOR UPDATE"));
        sql.try_run("ROLLBACK");
        arena.count_fault("rows and tables locked crosswise");
        arena.pass_about(MOMENT);
    }
    // What a session counts is told a moment later.
    arena.expect("Postgres has ended a deadlock", |_| sql.one(count) != before);
}

/// As the database would have it for whoever does not say otherwise, beside other writers.
pub(super) fn serializable(arena: &mut Arena, rounds: usize) {
    let sql = arena.sql();
    let end = format!("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE {OURS}");
    for _ in 0..rounds {
        let setting = "default_transaction_isolation = 'serializable'";
        sql.rows(&format!("ALTER DATABASE postgres SET {setting}; {end}"));
        arena.count_fault("serializable by default");
        arena.pass_about(5 * MOMENT);
        sql.rows(&format!("ALTER DATABASE postgres RESET ALL; {end}"));
        arena.pass_about(MOMENT);
    }
}

/// The daemon's role, which is no superuser meanwhile, loses what it needs, and gets it back.
pub(super) fn revoke(arena: &mut Arena, rounds: usize) {
    arena.sql().try_run("CREATE ROLE keeper SUPERUSER LOGIN");
    let sql = Sql::connect(arena.postgres().config().user("keeper"));
    sql.rows("ALTER ROLE decisiongraph NOSUPERUSER");
    for _ in 0..rounds {
        for (right, table) in [
            ("INSERT", "dg_event_log"),
            ("INSERT", "dg_cg_nodes"),
            ("UPDATE", "dg_projection_cursors"),
            ("SELECT", "dg_tenant_heads"),
        ] {
            sql.rows(&format!("REVOKE {right} ON {table} FROM decisiongraph"));
            arena.count_fault("a privilege revoked");
            arena.pass_about(2 * MOMENT);
            sql.rows(&format!("GRANT {right} ON {table} TO decisiongraph"));
            arena.pass_about(MOMENT);
        }
    }
    sql.rows("ALTER ROLE decisiongraph SUPERUSER");
}

/// Nobody is let in for a while but the operator who is in already.
pub(super) fn refuse(arena: &mut Arena, rounds: usize) {
    let sql = arena.sql();
    let end = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity
        WHERE pid <> pg_backend_pid() AND backend_type = 'client backend'";
    for _ in 0..rounds {
        arena.postgres().admit("host all all all reject\n");
        sql.rows("SELECT pg_reload_conf()");
        arena.pass(MOMENT / 4);
        sql.rows(end);
        arena.count_fault("pg_hba refuses");
        arena.pass_about(3 * MOMENT);
        arena.postgres().admit_all();
        sql.rows("SELECT pg_reload_conf()");
        arena.pass_about(MOMENT);
    }
}
