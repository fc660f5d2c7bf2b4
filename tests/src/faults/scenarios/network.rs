//! Faults of the network between daemon and Postgres.

use std::time::Duration;

use crate::faults::Arena;
use crate::faults::network::Weather;

const MOMENT: Duration = Duration::from_millis(500);

/// This weather for a while, then fair weather, and again.
fn spells(arena: &mut Arena, rounds: usize, weather: Weather, long: Duration) {
    for _ in 0..rounds {
        arena.network.turn(weather);
        arena.count_fault("a spell of bad weather");
        arena.pass_about(long);
        arena.network.turn(Weather::Fair);
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
