//! A deterministic, valid log as JSON Lines, for trials and benchmarks.
//!
//! The same [`Plan`] gives the same bytes on every machine and in every version: a test pins a
//! SHA-256. Nothing is remembered about events already made: identifiers and contents are functions
//! of the seed and of an event's place in the log, so memory does not grow with the log (a tenant
//! costs its window of open traces).
//!
//! - `rng`: the numbers; `ids`: identifiers that cannot repeat
//! - `schedule`: which trace moves next; `kind`: which event type it has reached
//! - `payload`: what the event says, padded to the asked size; `line`: the envelope around it
//!
//! Invariants: every event passes the contract's checks; a trace starts once, has no gap and ends at
//! its last event (a trace of one event stays open); a trace refers only to its own earlier events
//! and to traces of its tenant that started before it; no text can trip the content guard.
//! Deliberately absent: reading the clock, writing files, and faults (trials inject those).

mod ids;
mod line;
mod pattern;
mod payload;
mod rng;
mod schedule;
#[cfg(test)]
mod tests;

use line::Clock;
use schedule::Schedule;

const MAX_TRACES: u64 = 1_000_000_000;
const MAX_EVENTS_PER_TRACE: u32 = 1_000_000;
const MAX_EVENTS: u64 = 10_000_000_000;
const MAX_PAYLOAD_BYTES: usize = 1_000_000;
const MAX_TENANTS: u32 = 100_000;

/// What to generate. The same plan always gives the same log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Plan {
    /// Traces in the whole log; tenants share them as evenly as can be.
    pub traces: u64,
    /// Events of each trace; 8 is the standard workload.
    pub events_per_trace: u32,
    /// Bytes of each payload in canonical JSON. A payload that needs more without any padding stays
    /// as it is, so 0 asks for the smallest.
    pub payload_bytes: usize,
    /// Tenants, named `tenant-0001` and on. With one, lines carry no tenant and the default applies.
    pub tenants: u32,
    /// Seed of every choice and identifier.
    pub seed: u64,
}

impl Default for Plan {
    /// The standard workload of the benchmarks: 160,000 events.
    fn default() -> Self {
        Self { traces: 20_000, events_per_trace: 8, payload_bytes: 510, tenants: 1, seed: 1 }
    }
}

impl Plan {
    /// Checks the ranges.
    ///
    /// # Errors
    /// Says which value is out of range and what the range is.
    pub fn validate(&self) -> Result<(), String> {
        within("traces", self.traces, 1, MAX_TRACES)?;
        let per_trace = u64::from(self.events_per_trace);
        within("events per trace", per_trace, 1, MAX_EVENTS_PER_TRACE.into())?;
        within("payload bytes", self.payload_bytes as u64, 0, MAX_PAYLOAD_BYTES as u64)?;
        within("tenants", self.tenants.into(), 1, MAX_TENANTS.into())?;
        if u64::from(self.tenants) > self.traces {
            let Self { tenants, traces, .. } = self;
            return Err(format!(
                "{tenants} tenants cannot share {traces} traces: one each at least"
            ));
        }
        within("traces times events per trace", self.event_count(), 1, MAX_EVENTS)
    }

    /// Events in the whole log.
    #[must_use]
    pub fn event_count(&self) -> u64 {
        self.traces.saturating_mul(self.events_per_trace.into())
    }
}

fn within(what: &str, value: u64, least: u64, most: u64) -> Result<(), String> {
    if (least..=most).contains(&value) {
        return Ok(());
    }
    Err(format!("{what} must be between {least} and {most}, not {value}"))
}

/// The log's lines in order, each a JSON object without a trailing newline.
///
/// Lazy, and of constant memory. A plan that [`Plan::validate`] refuses gives no lines.
pub fn lines(plan: Plan) -> impl Iterator<Item = String> {
    let mut clock = Clock::new(plan.seed);
    let places = plan.validate().ok().map(|()| Schedule::new(&plan)).into_iter().flatten();
    places.map(move |place| line::write(&plan, &place, clock.tick()))
}
