//! Faults of the machine: memory and clocks.

use std::time::Duration;

use dg_projections::json::Json;

use crate::faults::Arena;
use crate::faults::means::MemoryLimit;
use crate::faults::place::Means;
use crate::faults::workload::TENANTS;
use crate::{events, try_until};

const MOMENT: Duration = Duration::from_millis(400);
const MEGABYTE: usize = 1 << 20;
/// Less than a daemon needs for large payloads, in megabytes.
const LITTLE: u64 = 16;
/// Until the kernel has killed it.
const PATIENCE: Duration = Duration::from_secs(180);

/// The kernel kills the daemon under large payloads, and it comes back.
pub(super) fn out_of_memory(arena: &mut Arena, rounds: usize) {
    for _ in 0..rounds {
        let limit = match MemoryLimit::of(arena.daemons[0].pid(), LITTLE) {
            Ok(limit) => limit,
            Err(missing) => return arena.skip(missing),
        };
        // Named anew each time: what is in already takes little memory.
        let name = arena.random.below(usize::MAX);
        let large: String = (0..10).map(|at| large(&format!("large-{name}-{at}"))).collect();
        let killed = try_until(PATIENCE, || {
            let _ = arena.daemons[0].cli_with(&["import", "-", "-t", "large"], large.as_bytes());
            arena.daemons[0].has_ended().then_some(())
        });
        drop(limit);
        if killed.is_none() {
            return arena.wrong("the kernel does not kill a daemon that has no memory");
        }
        arena.count_fault("killed for want of memory");
        arena.daemons[0].spawn();
        arena.daemons[0].until_ready();
        // What was sent without an answer is sent again.
        let again = arena.daemons[0].cli_with(&["import", "-", "-t", "large"], large.as_bytes());
        if again.code != 0 {
            arena.wrong(format!("large payloads are refused: {}", again.stderr));
        }
        arena.pass_about(MOMENT);
    }
    let verified = arena.daemons[0].direct(&["verify", "-t", "large"]);
    if verified.code != 0 {
        arena.wrong(format!("large payloads: {}{}", verified.stdout, verified.stderr));
    }
}

fn large(trace: &str) -> String {
    let payload = format!(
        r#"{{"workflow":"w","title":"{}","primary_entity":{{"entity_type":"account","entity_id":"e"}}}}"#,
        "x".repeat(MEGABYTE)
    );
    events::event(trace, 0, "TraceStarted", &payload) + "\n"
}

/// Steps of a wall clock, in seconds.
const STEPS: [i64; 5] = [3600, -3600, 86_400, -86_400, 0];

/// The daemon's clock is set while it lives and between its lives.
pub(super) fn set_own_clock(arena: &mut Arena, rounds: usize) {
    for _ in 0..rounds {
        for step in STEPS {
            let Means::Clocks { daemon, .. } = &arena.means else { return };
            daemon.set(step);
            arena.count_fault("the daemon's clock set");
            live_on(arena);
            arena.daemons[0].kill();
            arena.daemons[0].spawn();
            arena.daemons[0].until_ready();
        }
    }
}

/// The server's clock is set while it lives.
pub(super) fn set_server_clock(arena: &mut Arena, rounds: usize) {
    for _ in 0..rounds {
        for step in STEPS {
            let Means::Clocks { server, .. } = &arena.means else { return };
            server.set(step);
            arena.count_fault("the server's clock set");
            live_on(arena);
        }
    }
}

/// Everything goes on, and nothing that is told of it is absurd.
fn live_on(arena: &mut Arena) {
    let before = arena.count();
    arena.expect("appends go on", |arena| arena.count() > before + 30);
    arena.pass_about(2 * MOMENT);
    for tenant in TENANTS {
        let health = arena.daemons[0].cli(&["health", "-t", tenant, "-o", "json"]);
        if health.code == 0 {
            check_spans("health", &health.json(), arena);
        }
    }
    let interrupted =
        arena.sql().one("SELECT count(*) FROM dg_projection_runs WHERE status = 'interrupted'");
    if interrupted != "0" {
        arena.wrong(format!("{interrupted} runs were taken for abandoned when a clock was set"));
    }
}

/// No span of time is negative.
fn check_spans(of: &str, value: &Json, arena: &Arena) {
    match value {
        Json::Object(members) => {
            for (name, member) in members.iter() {
                let text = dg_projections::json::canonical(member);
                if name.ends_with("_seconds") && text.starts_with('-') {
                    arena.wrong(format!("{of}: {name} is {text}"));
                }
                check_spans(of, member, arena);
            }
        }
        Json::Array(items) => items.iter().for_each(|item| check_spans(of, item, arena)),
        _ => {}
    }
}
