//! What must be after every scenario, whatever went wrong in it.

mod log;
mod runs;
mod usage;

use std::collections::BTreeSet;

use dg_projections::json::Json;
use dg_store::Verdict;

pub(super) use self::usage::{Usage, usage};
use super::workload::{CURSED, TENANTS};
use super::{Arena, digests};
use crate::Sql;
use crate::log::ALL;

/// What the checker counted.
#[derive(Debug, Default)]
pub(super) struct Counted {
    /// Acknowledged events that are not in the log, or under another number.
    pub(super) lost: usize,
    /// Events that are in the log more than once.
    pub(super) doubled: usize,
    /// Events in the log.
    pub(super) events: usize,
}

/// Looks at everything; what is wrong goes to the history.
pub(super) fn check(arena: &mut Arena) -> Counted {
    runs::settle(arena);
    until_current(arena);
    let sql = arena.sql();
    let counted = log::check(arena, &sql);
    check_proofs(arena);
    digests::check(arena);
    check_counts(arena, &sql);
    check_retry(arena, &sql);
    check_failures(arena, &sql);
    runs::check(arena);
    usage::check_sessions(arena, &sql);
    for daemon in &arena.daemons {
        usage::check(arena, daemon);
    }
    counted
}

fn until_current(arena: &Arena) {
    for tenant in TENANTS {
        arena.expect(&format!("every projection of {tenant} is current"), |arena| {
            let health = arena.daemons[0].cli(&["health", "-t", tenant, "-o", "json"]);
            health.code == 0 && health.json().get("is_stale").and_then(Json::as_bool) == Some(false)
        });
    }
}

/// Rows and digests are those of the model that projects the log once more.
fn check_proofs(arena: &Arena) {
    let (runtime, store) = arena.store();
    for tenant in TENANTS {
        match runtime.block_on(store.verify(tenant, &|_, _| ())) {
            Ok(Verdict::Proven(_)) => {}
            Ok(Verdict::Different(difference)) => arena.wrong(format!("{tenant}: {difference}")),
            Err(error) => arena.wrong(format!("{tenant} cannot be verified: {error}")),
        }
    }
}

/// What was applied is what is in the log.
fn check_counts(arena: &Arena, sql: &Sql) {
    let wrong = sql.rows(&format!(
        "SELECT concat_ws(' ', h.tenant_id, p.projection_name, 'applied', sum(c.applied_events),
            'at', min(c.last_log_seq), 'of', h.event_count, 'counted', l.count)
         FROM dg_tenant_heads AS h JOIN dg_projections AS p USING (tenant_id)
         JOIN dg_projection_cursors AS c ON c.tenant_id = p.tenant_id
            AND c.projection_name = p.projection_name AND c.generation = p.active_generation
         JOIN (SELECT tenant_id, count(*) FROM dg_event_log GROUP BY tenant_id) AS l
            ON l.tenant_id = h.tenant_id
         WHERE h.tenant_id <> '{CURSED}'
         GROUP BY h.tenant_id, h.event_count, h.last_log_seq, p.projection_name, l.count
         HAVING sum(c.applied_events) <> h.event_count OR l.count <> h.event_count
            OR min(c.last_log_seq) <> h.last_log_seq"
    ));
    wrong.into_iter().flatten().flatten().for_each(|what| arena.wrong(what));
}

/// Whoever has the poison tried again is heard: it fails once more, and that is counted.
fn check_retry(arena: &Arena, sql: &Sql) {
    let retries = || {
        let count = format!(
            "SELECT retry_count FROM dg_projection_failures WHERE status = 'open'
                AND tenant_id = '{CURSED}' AND projection_name = 'trace_summary'"
        );
        let row = sql.rows(&count).into_iter().flatten().flatten().next();
        row.and_then(|count| count.parse::<i64>().ok())
    };
    let before = retries();
    let asked = arena.daemons[0].cli(&["retry", "trace_summary", "-t", CURSED]);
    if asked.code != 0 {
        arena.wrong(format!("the poison cannot be tried again: {asked:?}"));
    }
    arena.expect("a retry of the poison is counted", |_| retries() > before);
}

/// Open dead letters are those of the one event that is poison, once for each projection that it is
/// poison to.
fn check_failures(arena: &Arena, sql: &Sql) {
    let open = sql.rows(
        "SELECT concat_ws(' ', tenant_id, projection_name, log_seq, error_code)
         FROM dg_projection_failures WHERE status = 'open' ORDER BY 1",
    );
    let open: Vec<String> = open.into_iter().flatten().flatten().collect();
    let expected = |projection: &str| format!("{CURSED} {projection} 1 schema_violation");
    let known: BTreeSet<String> = ALL.into_iter().map(expected).collect();
    for failure in &open {
        if !known.contains(failure) {
            arena.wrong(format!("an open failure without cause: {failure}"));
        }
    }
    if !open.contains(&expected("trace_summary")) {
        arena.wrong(format!("the poison is not among the open failures: {open:?}"));
    }
    if open.iter().collect::<BTreeSet<_>>().len() < open.len() {
        arena.wrong(format!("a failure is open twice: {open:?}"));
    }
}
