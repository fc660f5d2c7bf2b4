//! Faults at fail points, one point after the other, while everything is at work.

use std::time::{Duration, Instant};

use dg_store::failpoint::Point;
use nix::sys::signal::Signal;

use crate::faults::Arena;
use crate::faults::network::Weather;

/// A point that nobody has come by for so long is not reached.
const PATIENCE: Duration = Duration::from_secs(120);
/// How long a daemon has to come up before it counts as one that its point keeps down.
const START: Duration = Duration::from_secs(5);
/// How long a daemon is at work with a point that does not end it.
const LIFE: Duration = Duration::from_millis(700);

/// Points that a daemon comes by again and again. Those of a start on a database without a schema are
/// for the tests of migrations.
pub(super) fn is_of_life(point: Point) -> bool {
    !matches!(point, Point::MigrationBefore | Point::MigrationAfter)
}

/// The fault that this action is.
pub(in crate::faults) fn fault_at_point(action: &str) -> String {
    format!("{action} at a fail point")
}

/// A daemon after the other dies at a point: at its first hit, its second, and a random one.
pub(super) fn kill(arena: &mut Arena, rounds: usize) {
    for round in 0..rounds.min(3) {
        let seen = arena.hits();
        for point in arena.points() {
            arena.go_to(Some(point));
            let hit = match round {
                0 => 1,
                1 => 2,
                _ => later(seen.get(point.name()).copied().unwrap_or(0), arena),
            };
            live_until(arena, point, hit);
        }
    }
    arena.go_to(None);
}

/// One of the next 18 hits of a point that is come by all the time; of one that was seldom seen, as those of a
/// run are, one that a life comes by.
fn later(seen: u64, arena: &mut Arena) -> usize {
    match usize::try_from(seen / 40).unwrap_or(usize::MAX) {
        0..4 => 1 + arena.random.below(2),
        reach => 3 + arena.random.below(reach.min(18)),
    }
}

fn live_until(arena: &mut Arena, point: Point, hit: usize) {
    // Some are gone by once in a life.
    let is_once = matches!(
        point,
        Point::StartBefore | Point::StartAfter | Point::StopBefore | Point::StopAfter
    );
    let hit = if is_once { 1 } else { hit };
    let daemon = &mut arena.daemons[0];
    if !daemon.has_ended() {
        daemon.kill();
    }
    daemon.arm(&format!("{}=kill@{hit}", point.name()));
    daemon.spawn();
    let (started, mut is_told) = (Instant::now(), false);
    while !arena.daemons[0].has_ended() {
        if started.elapsed() > PATIENCE {
            arena.daemons[0].kill();
            return arena.wrong(format!("nobody comes by {} {hit} times", point.name()));
        }
        let is_of_stop = matches!(point, Point::StopBefore | Point::StopAfter);
        if is_of_stop && !is_told && started.elapsed() > LIFE {
            arena.daemons[0].signal(Signal::SIGTERM);
            is_told = true;
        }
        if point == Point::GateHandleBefore && started.elapsed() > LIFE {
            // The gate is told of outages alone.
            arena.turn(Weather::LosesRequests(1));
        }
        arena.pass(Duration::from_millis(10));
    }
    arena.turn(Weather::Fair);
    arena.count_fault("kill -9 at a fail point");
}

pub(super) fn panic(arena: &mut Arena, rounds: usize) {
    each(arena, rounds, "panic");
}

pub(super) fn error(arena: &mut Arena, rounds: usize) {
    each(arena, rounds, "error");
}

pub(super) fn drop_session(arena: &mut Arena, rounds: usize) {
    each(arena, rounds, "drop");
}

pub(super) fn delay(arena: &mut Arena, rounds: usize) {
    each(arena, rounds, "delay");
}

/// Something at some point, in three lives of the daemon.
pub(super) fn any(arena: &mut Arena, _rounds: usize) {
    let all = arena.points();
    for _ in 0..3 {
        let point = all[arena.random.below(all.len())];
        let action = match arena.random.below(5) {
            0 if point.can_fail() => "error",
            1 if point.has_session() => "drop",
            2 => "panic",
            3 => "delay",
            _ => "kill",
        };
        let hit = 1 + arena.random.below(6);
        let daemon = &mut arena.daemons[0];
        if !daemon.has_ended() {
            daemon.kill();
        }
        daemon.arm(&format!("{}={action}*1@{hit}", point.name()));
        daemon.spawn();
        arena.pass_about(2 * LIFE);
        arena.count_fault(&fault_at_point(action));
    }
}

/// At each point: once early and once later in a life of the daemon.
fn each(arena: &mut Arena, rounds: usize, action: &str) {
    for _ in 0..rounds {
        for point in arena.points() {
            arena.go_to(Some(point));
            let later = 2 + arena.random.below(6);
            let name = point.name();
            let daemon = &mut arena.daemons[0];
            if !daemon.has_ended() {
                daemon.kill();
            }
            daemon.arm(&format!("{name}={action}*1;{name}={action}*1@{later}"));
            daemon.spawn();
            until_under_way(arena);
            arena.pass_about(LIFE);
            arena.count_fault(&fault_at_point(action));
        }
    }
    arena.go_to(None);
}

/// A life that is over before anybody came by has met no fault. Some points keep it from beginning.
fn until_under_way(arena: &mut Arena) {
    let began = Instant::now();
    let is_up = |arena: &Arena| arena.daemons[0].cli(&["status", "-o", "json"]).says_up();
    while began.elapsed() < START && !arena.daemons[0].has_ended() && !is_up(arena) {
        arena.pass(Duration::from_millis(20));
    }
}
