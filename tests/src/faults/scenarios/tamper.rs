//! Somebody changes rows behind the daemon's back, of a tenant that the clients leave alone.

use dg_projections::json::Json;

use crate::faults::Arena;
use crate::log::parsed;
use crate::{Answer, events, until};

const VICTIM: &str = "victim";

/// So many whole traces, appended and projected.
fn append(arena: &Arena, name: &str, traces: usize) {
    for trace in 0..traces {
        let texts = events::whole_trace(&format!("{name}-{trace}"));
        arena.append_by_hand(&parsed(VICTIM, &texts));
    }
}

fn until_current(arena: &Arena) {
    arena.daemons[0].until_current(VICTIM);
}

fn verify(arena: &Arena) -> Answer {
    arena.daemons[0].direct(&["verify", "-t", VICTIM])
}

fn rebuild(arena: &Arena, what: &str, how: &[&str]) -> Answer {
    let ask = ["rebuild", what, "-t", VICTIM, "--reason", "rows were changed", "--wait"];
    arena.daemons[0].cli(&[&ask, how].concat())
}

fn holds(arena: &Arena, is_so: bool, what: &str, answer: &Answer) {
    if !is_so {
        arena.wrong(format!("{what}: {answer:?}"));
    }
}

/// What is done to rows, of which projection.
const ROWS: [(&str, &str, &str); 4] = [
    ("changed", "trace_summary", "UPDATE dg_trace_summary SET title = 'another'"),
    ("deleted", "context_graph", "DELETE FROM dg_cg_edges"),
    (
        "added",
        "context_graph",
        "INSERT INTO dg_cg_nodes
         SELECT (jsonb_populate_record(n, '{\"node_id\": \"nobody\"}')).* FROM dg_cg_nodes AS n",
    ),
    ("deleted", "precedent_index", "DELETE FROM dg_precedent_index"),
];

/// Rows of projections: `verify` and a dry run find them, and a rebuild mends them.
pub(super) fn rows(arena: &mut Arena, rounds: usize) {
    for round in 0..rounds {
        for (at, (what, of, change)) in ROWS.iter().enumerate() {
            append(arena, &format!("rows-{round}-{at}"), 2);
            until_current(arena);
            let table = change.split_whitespace().find(|word| word.starts_with("dg_"));
            let table = table.unwrap_or_default();
            let key = format!(
                "tenant_id = '{VICTIM}' AND ctid = (SELECT max(ctid) FROM {table}
                 WHERE tenant_id = '{VICTIM}')"
            );
            arena.sql().tamper(&format!("{change} WHERE {key}"));
            arena.count_fault(&format!("a row {what}"));
            let found = verify(arena);
            holds(arena, found.code == 7, "verify finds no difference", &found);
            let dry = rebuild(arena, of, &["--dry-run"]);
            holds(arena, dry.code == 7, "a dry run finds no difference", &dry);
            let mended = rebuild(arena, of, &[]);
            holds(arena, mended.code == 0, "a rebuild does not mend", &mended);
            let proven = verify(arena);
            holds(arena, proven.code == 0, "a rebuild has mended nothing", &proven);
        }
    }
}

/// Events of the log: whoever meets one stops there and names it; nothing is left out silently.
pub(super) fn log(arena: &mut Arena, rounds: usize) {
    for round in 0..rounds {
        append(arena, &format!("log-{round}"), 1);
        until_current(arena);
        change_one_before_it_is_applied(arena, round);
        lose_the_last(arena, round);
    }
}

fn change_one_before_it_is_applied(arena: &mut Arena, round: usize) {
    let sql = arena.sql();
    let keeper = arena.sql();
    keeper.hold(VICTIM);
    append(arena, &format!("changed-{round}"), 2);
    let last = format!(
        "tenant_id = '{VICTIM}' AND log_seq = (SELECT last_log_seq - 3 FROM dg_tenant_heads
         WHERE tenant_id = '{VICTIM}')"
    );
    let payload = sql.one(&format!("SELECT payload_json FROM dg_event_log WHERE {last}"));
    sql.tamper(&format!(
        "UPDATE dg_event_log SET payload_json = replace(payload_json, '\"', ' \"') WHERE {last}"
    ));
    arena.count_fault("an event changed");
    keeper.release();
    until("the changed event is a dead letter, and nobody has it still ahead", || {
        let health = arena.daemons[0].cli(&["health", "-t", VICTIM, "-o", "json"]).json();
        let each = health.get("projections")?.as_array()?;
        let count = |one: &Json, what| one.get(what).and_then(Json::as_i64).unwrap_or_default();
        let has_stopped = |one: &Json| count(one, "open_failures") > 0;
        // Who had read it before it was changed has gone on.
        let is_done = |one: &Json| has_stopped(one) || count(one, "pending_events") == 0;
        (each.iter().any(has_stopped) && each.iter().all(is_done)).then_some(())
    });
    let open = failures(arena);
    holds(arena, open.stdout.contains("conflict"), "a changed event is no conflict", &open);
    let found = verify(arena);
    holds(arena, found.code == 7, "verify does not find a changed event", &found);
    holds(arena, found.stdout.contains("dg_event_log"), "verify does not name the log", &found);
    let payload = payload.replace('\'', "''");
    sql.tamper(&format!("UPDATE dg_event_log SET payload_json = '{payload}' WHERE {last}"));
    for projection in crate::log::ALL {
        let _ = arena.daemons[0].cli(&["retry", projection, "-t", VICTIM]);
    }
    until_current(arena);
    let proven = verify(arena);
    holds(arena, proven.code == 0, "a mended event does not heal", &proven);
}

/// The log ends before the cursors: its last events are lost, and others get their numbers.
fn lose_the_last(arena: &mut Arena, round: usize) {
    let sql = arena.sql();
    sql.tamper(&format!(
        "DELETE FROM dg_event_log AS l USING dg_tenant_heads AS h
            WHERE l.tenant_id = '{VICTIM}' AND h.tenant_id = '{VICTIM}'
              AND l.log_seq > h.last_log_seq - 6;
         UPDATE dg_tenant_heads SET last_log_seq = last_log_seq - 6, event_count = event_count - 6
            WHERE tenant_id = '{VICTIM}'"
    ));
    arena.count_fault("events lost after they were applied");
    until("every worker has stopped and says what helps", || {
        let open = failures(arena).stdout;
        (open.matches("but the log ends at").count() == 3 && open.contains("rebuild all"))
            .then_some(())
    });
    append(arena, &format!("others-{round}"), 2);
    let found = verify(arena);
    holds(arena, found.code == 7, "verify does not find lost events", &found);
    let mended = rebuild(arena, "all", &[]);
    holds(arena, matches!(mended.code, 0 | 7), "a rebuild does not mend a lost end", &mended);
    until_current(arena);
    let proven = verify(arena);
    holds(arena, proven.code == 0, "a rebuild has not mended a lost end", &proven);
}

fn failures(arena: &Arena) -> Answer {
    arena.daemons[0].cli(&["failures", "-t", VICTIM, "-o", "json"])
}
