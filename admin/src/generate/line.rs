//! The envelope: one JSON object on one line, written by hand because every value is plain ASCII
//! that needs no escape.

use std::fmt::Write as _;

use dg_projections::event::EventType;
use time::UtcDateTime;

use super::Plan;
use super::ids::{Purpose, uuid};
use super::pattern::kind_at;
use super::payload;
use super::rng::{Rng, key};
use super::schedule::Place;

/// 2026-01-01T00:00:00Z, when every log begins.
const START_MILLIS: i64 = 1_767_225_600_000;
/// The longest pause between two events of the log.
const LONGEST_STEP_MILLIS: u64 = 200;
const CLOCK_PURPOSE: u64 = 0xC10C;
const ACTOR_PURPOSE: u64 = 0xAC70;
const AGENTS: u64 = 48;

/// The time in the log: it advances a little with every event.
#[derive(Debug)]
pub(super) struct Clock {
    rng: Rng,
    millis: i64,
}

impl Clock {
    /// The clock of a seed, at the beginning.
    pub(super) const fn new(seed: u64) -> Self {
        Self { rng: Rng::new(key(seed, CLOCK_PURPOSE)), millis: START_MILLIS }
    }

    /// The time of the next event, in milliseconds of Unix time.
    pub(super) const fn tick(&mut self) -> i64 {
        let now = self.millis;
        self.millis += 1 + self.rng.below(LONGEST_STEP_MILLIS) as i64;
        now
    }
}

/// The line of the event at `place`, which happens at `millis`.
pub(super) fn write(plan: &Plan, place: &Place, millis: i64) -> String {
    let kind = kind_of(plan, place);
    let mut line = String::with_capacity(plan.payload_bytes + 640);
    line.push('{');
    if plan.tenants > 1 {
        put(&mut line, format_args!(r#""tenant_id":"tenant-{:04}","#, place.tenant + 1));
    }
    put_identity(&mut line, plan, place);
    put(&mut line, format_args!(r#""event_type":"{kind}","occurred_at":""#));
    put_time(&mut line, millis);
    line.push_str(r#"","source":{"producer_id":"generate","system":"workload"},"#);
    let agent = 1 + Rng::new(key(plan.seed, ACTOR_PURPOSE) ^ place.trace).below(AGENTS);
    put(&mut line, format_args!(r#""actor":{{"actor_id":"agent-{agent:02}","#));
    line.push_str(r#""actor_type":"agent"},"schema_version":1,"payload":"#);
    payload::write(&mut line, plan, place, kind);
    line.push('}');
    line
}

fn put_identity(line: &mut String, plan: &Plan, place: &Place) {
    let (seq, number) = (place.seq, place.event(plan, place.seq));
    let (event, trace) = (event_id(plan, number), trace_id(plan, place.trace));
    put(line, format_args!(r#""event_id":"{event}","trace_id":"{trace}","trace_seq":{seq},"#));
    put(line, format_args!(r#""idempotency_key":"{trace}:{seq}","#));
    if seq > 0 {
        let cause = event_id(plan, number - 1);
        put(line, format_args!(r#""causation_event_id":"{cause}","#));
    }
}

/// A tenant's first trace has nothing to cite and observes one input more instead.
fn kind_of(plan: &Plan, place: &Place) -> EventType {
    match kind_at(place.seq, plan.events_per_trace) {
        EventType::PrecedentCited if place.trace == place.first_trace => EventType::InputObserved,
        kind => kind,
    }
}

/// The identifier of trace `number`.
pub(super) fn trace_id(plan: &Plan, number: u64) -> String {
    uuid(plan.seed, Purpose::Trace, number)
}

/// Appends formatted text. Writing to a string cannot fail.
pub(super) fn put(text: &mut String, arguments: std::fmt::Arguments<'_>) {
    let _ = text.write_fmt(arguments);
}

fn event_id(plan: &Plan, number: u64) -> String {
    uuid(plan.seed, Purpose::Event, number)
}

fn put_time(line: &mut String, millis: i64) {
    let (seconds, millis) = (millis.div_euclid(1_000), millis.rem_euclid(1_000));
    // A plan ends before the year 2100, far within what a time holds.
    let at = UtcDateTime::from_unix_timestamp(seconds).unwrap_or(UtcDateTime::UNIX_EPOCH);
    let (year, month, day) = (at.year(), u8::from(at.month()), at.day());
    let (hour, minute, second) = at.as_hms();
    put(
        line,
        format_args!(
            "{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}.{millis:03}Z"
        ),
    );
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_rfc_3339() {
        for (after, expected) in [
            (0, "2026-01-01T00:00:00.000Z"),
            (86_399_999, "2026-01-01T23:59:59.999Z"),
            (59 * 86_400_000 + 7, "2026-03-01T00:00:00.007Z"),
        ] {
            let mut text = String::new();
            put_time(&mut text, START_MILLIS + after);
            assert_eq!(text, expected);
        }
    }

    #[test]
    fn the_clock_starts_at_the_start_and_always_advances() {
        let mut clock = Clock::new(5);
        let ticks: Vec<i64> = (0..1_000).map(|_| clock.tick()).collect();
        assert_eq!(ticks[0], START_MILLIS);
        assert!(ticks.windows(2).all(|pair| (1..=200).contains(&(pair[1] - pair[0]))));
    }
}
