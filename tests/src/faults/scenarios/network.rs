//! Faults of the network between daemon and Postgres.

use std::time::{Duration, Instant};

use crate::faults::Arena;
use crate::faults::means::Loss;
use crate::faults::network::Weather;
use crate::faults::place::Means;

const MOMENT: Duration = Duration::from_millis(500);

/// This weather for a while, then fair weather, and again.
fn spells(arena: &mut Arena, rounds: usize, weather: Weather, long: Duration) {
    for _ in 0..rounds {
        arena.turn(weather);
        arena.count_fault("a spell of bad weather");
        arena.pass_about(long);
        arena.turn(Weather::Fair);
        arena.pass_about(MOMENT);
    }
}

pub(super) fn lose_answers(arena: &mut Arena, rounds: usize) {
    spells(arena, rounds, Weather::LosesAnswers(20), 4 * MOMENT);
}

pub(super) fn lose_requests(arena: &mut Arena, rounds: usize) {
    spells(arena, rounds, Weather::LosesRequests(20), 4 * MOMENT);
}

pub(super) fn truncate(arena: &mut Arena, rounds: usize) {
    spells(arena, rounds, Weather::Truncates(20), 4 * MOMENT);
}

pub(super) fn slow(arena: &mut Arena, rounds: usize) {
    spells(arena, rounds, Weather::Slow, 6 * MOMENT);
}

/// Longer than a call may take.
pub(super) fn swallow(arena: &mut Arena, rounds: usize) {
    spells(arena, rounds, Weather::SwallowsAnswers, 10 * MOMENT);
}

pub(super) fn silence(arena: &mut Arena, rounds: usize) {
    spells(arena, rounds, Weather::Silent, 10 * MOMENT);
}

/// How long it may take until the daemon says that its database is away.
const NOTICED: Duration = Duration::from_secs(20);

/// The kernel drops packets one way, the other, both, and takes the link down.
pub(super) fn drop_packets(arena: &mut Arena, rounds: usize) {
    let port = arena.port();
    for _ in 0..rounds {
        for loss in [Loss::Requests, Loss::Answers, Loss::All, Loss::Link] {
            let started = Instant::now();
            let Means::Network(netns) = &arena.means else { return };
            if let Err(missing) = netns.lose(loss, &port) {
                return arena.wrong(missing);
            }
            let says_up = |arena: &Arena| arena.daemons[0].cli(&["status", "-o", "json"]).says_up();
            arena.expect("the daemon says that its database is away", |arena| !says_up(arena));
            if started.elapsed() > NOTICED {
                arena.wrong(format!("{loss:?} was noticed after {:?}", started.elapsed()));
            }
            arena.count_fault("packets dropped");
            arena.pass_about(MOMENT);
            arena.means.mend();
            arena.expect("the daemon says that it is up", says_up);
            arena.pass_about(MOMENT);
        }
    }
}
