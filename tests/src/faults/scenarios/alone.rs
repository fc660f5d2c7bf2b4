//! What is covered up while others are about: a wake-up that was lost, as long as the directory looks
//! all the time; retries that the next life has forgotten, as long as trouble is short.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use crate::events;
use crate::faults::Arena;
use crate::faults::workload::TENANTS;
use crate::log::{ALL, parsed};

const POLL: &str = "DECISIONGRAPH_PROJECTION_POLL_INTERVAL_MS";
/// How often the directory looks in other scenarios; see `arena.rs`.
const OFTEN: &str = "50";
/// No look comes while the scenario goes on.
const NEVER: &str = "3600000";
/// Tenants of a round: each gets a few events in a row, and then nothing.
const SILENT: usize = 40;
/// A page is applied, and its worker is not done with it for so long that the next event comes meanwhile.
/// Nobody waits for the connections that it had.
const HELD_UP: &str = "worker_apply_after=delay";
/// How long a wake-up may take, with all that goes on beside.
const SOON: Duration = Duration::from_secs(20);
/// Far more than a worker tries before it writes down that it has: a life that has forgotten them is
/// seen below this for seconds.
const MANY: i64 = 20;
/// So many tries take no longer, on a machine with far more to do than it can.
const TRIES: Duration = Duration::from_secs(180);
/// A run's row is written and not committed for so long that others ask meanwhile.
const SLOW_ADMISSION: &str = "run_admit_before=delay";
/// A rebuild is to be served, and is not yet for so long that others go on meanwhile.
const SLOW_SWITCH: &str = "switch_decide_after=delay";
/// One projection cannot be written, for as long as this stands. No other is harmed: what failed as an
/// outage would close the way to the database for whoever writes retries down.
const NO_ROOM: &str = "CREATE FUNCTION no_room() RETURNS trigger LANGUAGE plpgsql AS
        $$ BEGIN RAISE 'no room' USING ERRCODE = 'disk_full'; END $$;
    CREATE TRIGGER no_room BEFORE INSERT OR UPDATE OR DELETE ON dg_trace_summary
        FOR EACH STATEMENT EXECUTE FUNCTION no_room()";
const ROOM: &str = "DROP FUNCTION no_room CASCADE";

/// The last event of a tenant is applied because its append wakes the workers, and for no other
/// reason; also when it came while a worker was at the page before.
pub(super) fn silence(arena: &mut Arena, rounds: usize) {
    for round in 0..rounds {
        live(arena, NEVER, HELD_UP);
        arena.daemons[0].until_ready();
        let sql = arena.sql();
        for number in 0..SILENT {
            let tenant = format!("silent-{round}-{number}");
            let lines = parsed(&tenant, &events::whole_trace("t"));
            for line in lines.into_iter().take(1 + arena.random.below(4)) {
                arena.append(&line);
                // Of every other tenant the next comes while a worker is held up behind the first, however fast appends are.
                if number % 2 == 0 && line.event.trace_seq == 0 {
                    arena.expect_within(SOON, "a first event is applied", |_| {
                        let begun =
                            "FROM dg_projection_cursors WHERE last_log_seq > 0 AND tenant_id";
                        sql.one(&format!("SELECT count(*) {begun} = '{tenant}'")) != "0"
                    });
                }
                // At any moment of a page, however long that takes here.
                let most = 1 << arena.random.below(8);
                let pause = arena.random.below(most) as u64;
                arena.pass(Duration::from_millis(pause));
            }
            arena.count_fault("silence after the last event");
        }
        arena.expect_within(SOON, "tenants that have fallen silent are current", |_| {
            sql.one(
                "SELECT count(*) FROM dg_tenant_heads AS h
                 CROSS JOIN unnest('{context_graph,trace_summary,precedent_index}'::text[]) AS name
                 LEFT JOIN dg_projection_cursors AS c
                    ON c.tenant_id = h.tenant_id AND c.projection_name = name
                 WHERE starts_with(h.tenant_id, 'silent-')
                    AND c.last_log_seq IS DISTINCT FROM h.last_log_seq",
            ) == "0"
        });
        live(arena, OFTEN, "");
    }
}

/// Operators are in each other's way, by way of two daemons: who looked before another's run is there
/// would find nothing.
pub(super) fn many_runs(arena: &mut Arena, rounds: usize) {
    armed(arena, SLOW_ADMISSION);
    for _ in 0..rounds {
        arena.pass(Duration::from_secs(8));
        arena.count_fault("a spell of slow admissions");
    }
}

/// What is rebuilt is given to readers while another daemon's workers, which no pause of this one
/// stops, move what they are served.
pub(super) fn switches(arena: &mut Arena, rounds: usize) {
    armed(arena, SLOW_SWITCH);
    for _ in 0..rounds {
        arena.count_fault("a spell of slow switches");
        let began = Instant::now();
        while began.elapsed() < Duration::from_secs(30) {
            for tenant in TENANTS {
                let projection = *arena.random.pick(&ALL);
                let rebuild = ["rebuild", projection, "-t", tenant, "--reason", "a switch"];
                // Refused while another is at work.
                let _ = arena.daemons[0].cli(&rebuild);
            }
            arena.pass(Duration::from_millis(100));
        }
    }
}

/// Other lives of all daemons, in which this goes wrong.
fn armed(arena: &mut Arena, fail_points: &str) {
    for daemon in &mut arena.daemons {
        daemon.stop();
        daemon.arm(fail_points);
        daemon.spawn();
    }
}

/// Another life, whose directory looks so often and in which this goes wrong.
fn live(arena: &mut Arena, poll: &str, fail_points: &str) {
    let daemon = &mut arena.daemons[0];
    if !daemon.has_ended() {
        daemon.kill();
    }
    daemon.set(POLL, poll);
    daemon.arm(fail_points);
    daemon.spawn();
}

/// A projection cannot be written for so long that it is written down; the daemon dies meanwhile, and
/// its next life goes on counting. When all is well again nothing of it is left open.
pub(super) fn long_trouble(arena: &mut Arena, rounds: usize) {
    for _ in 0..rounds {
        arena.sql().rows(NO_ROOM);
        arena.count_fault("a projection that cannot be written for long");
        let mut known = BTreeMap::new();
        let mut until = |arena: &Arena, least: i64| {
            arena.expect_within(TRIES, "retries are written down", |arena| {
                let retries = retries(arena);
                for (who, retries) in &retries {
                    let before = known.insert(who.clone(), *retries).unwrap_or(0);
                    if *retries < before {
                        let told = format!("{retries} retries of {who}, and there were {before}");
                        arena.wrong(told);
                    }
                }
                retries.values().any(|retries| *retries >= least)
            });
        };
        until(arena, MANY);
        live(arena, OFTEN, "");
        arena.count_fault("kill -9 of the daemon");
        until(arena, MANY + 4);
        arena.sql().rows(ROOM);
        arena.pass_about(Duration::from_millis(500));
    }
}

/// Of each worker that waits for the database, as far as they are written down.
fn retries(arena: &Arena) -> BTreeMap<String, i64> {
    let rows = arena.sql().rows(
        "SELECT concat_ws(' ', tenant_id, projection_name, failure_id), retry_count
         FROM dg_projection_failures WHERE status = 'open' AND recoverable",
    );
    let retries = rows.into_iter().filter_map(|row| match row.as_slice() {
        [Some(who), Some(retries)] => Some((who.clone(), retries.parse().ok()?)),
        _ => None,
    });
    retries.collect()
}
