//! A failover to an asynchronous replica that lacked the last commits, which are gone for good although
//! they were acknowledged: clients are held to nothing about them, and everything else must hold.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use crate::faults::Arena;
use crate::faults::place::Means;

const MOMENT: Duration = Duration::from_millis(500);

pub(super) fn lose_tail(arena: &mut Arena, rounds: usize) {
    // The old primary knows what the new one does not: it cannot follow it, and there is no third.
    let _ = rounds;
    arena.pass_about(MOMENT);
    let Means::Standby(standby) = &mut arena.means else { return };
    standby.stop();
    let before = arena.count();
    arena.expect("commits that the replica lacks", |arena| arena.count() > before + 100);
    arena.pass_about(MOMENT);
    arena.postgres().kill();
    arena.count_fault("the primary is gone with its last commits");
    arena.pass(MOMENT); // for answers that are on their way
    arena.exchange();
    // Nobody writes before it is known what is there.
    arena.postgres().set("default_transaction_read_only = on");
    arena.postgres().start_again();
    arena.postgres().promote();
    let sql = arena.postgres().sql();
    let (ends, runs) = (ends(&sql), runs(&sql));
    let gone = {
        let mut told = arena.told();
        told.lose(&ends, &runs);
        told.gone
    };
    sql.rows("ALTER SYSTEM SET default_transaction_read_only = off");
    sql.rows("SELECT pg_reload_conf()");
    if gone < 100 {
        arena.wrong(format!("only {gone} commits were lost: there was no fault"));
    }
    for _ in 0..gone {
        arena.count_fault("an acknowledged event lost with its server");
    }
    arena.pass_about(2 * MOMENT);
}

fn ends(sql: &crate::Sql) -> BTreeMap<String, i64> {
    let rows = sql.rows("SELECT tenant_id, last_log_seq FROM dg_tenant_heads");
    let end = |row: Vec<Option<String>>| Some((row[0].clone()?, row[1].as_ref()?.parse().ok()?));
    rows.into_iter().filter_map(end).collect()
}

fn runs(sql: &crate::Sql) -> BTreeSet<String> {
    sql.rows("SELECT run_id FROM dg_projection_runs").into_iter().flatten().flatten().collect()
}
