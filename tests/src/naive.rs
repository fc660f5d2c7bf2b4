//! The rules of append, once more and as plainly as can be: a list that is searched from its start;
//! and attempts to break them.

use std::collections::BTreeMap;

use dg_projections::admission::Admission;
use dg_projections::event::{Event, EventType, Line};
use dg_projections::{Code, Rejection};

use crate::log::parsed;
use crate::{Random, events};

/// What became of an event: its number, the number of the stored event, or the code of the refusal.
#[derive(Debug, Clone, PartialEq, Eq)]
#[allow(missing_docs, reason = "as above")]
pub enum Outcome {
    Inserted(i64),
    Reused(i64, String),
    Refused(Code),
}

impl From<&Result<Admission, Rejection>> for Outcome {
    fn from(answer: &Result<Admission, Rejection>) -> Outcome {
        match answer {
            Ok(Admission::Insert { log_seq }) => Outcome::Inserted(*log_seq),
            Ok(Admission::Reused { log_seq, event_id }) => {
                Outcome::Reused(*log_seq, event_id.clone())
            }
            Err(rejection) => Outcome::Refused(rejection.code),
        }
    }
}

/// The logs of all tenants.
#[derive(Debug, Clone, Default)]
pub struct NaiveLog(BTreeMap<String, Vec<Event>>);

impl NaiveLog {
    /// The events of a tenant; the one numbered `n` stands at `n - 1`.
    pub fn events(&self, tenant: &str) -> &[Event] {
        self.0.get(tenant).map_or(&[], Vec::as_slice)
    }

    /// The tenants that have events.
    pub fn tenants(&self) -> impl Iterator<Item = &str> {
        self.0.iter().filter(|(_, events)| !events.is_empty()).map(|(tenant, _)| tenant.as_str())
    }

    /// The `trace_seq` that comes next.
    pub fn next_seq(&self, tenant: &str, trace: &str) -> i64 {
        next_seq(self.events(tenant), trace)
    }

    /// Appends.
    pub fn append(&mut self, line: &Line) -> Outcome {
        let events = self.0.entry(line.event.tenant_id.clone()).or_default();
        let outcome = admit(events, &line.event);
        if matches!(outcome, Outcome::Inserted(_)) {
            events.push(line.event.clone());
        }
        outcome
    }
}

fn next_seq(events: &[Event], trace: &str) -> i64 {
    events.iter().filter(|event| event.trace_id == trace).count() as i64
}

/// What the end of this log would answer.
pub fn admit(events: &[Event], event: &Event) -> Outcome {
    let used = events.iter().position(|stored| {
        stored.source.producer_id == event.source.producer_id
            && stored.idempotency_key == event.idempotency_key
    });
    if let Some(at) = used {
        return if same(&events[at], event) {
            Outcome::Reused(at as i64 + 1, events[at].event_id.clone())
        } else {
            Outcome::Refused(Code::IdempotencyConflict)
        };
    }
    let ended = |stored: &Event| {
        stored.trace_id == event.trace_id && stored.event_type == EventType::TraceFinished
    };
    let next = next_seq(events, &event.trace_id);
    if events.iter().any(ended) {
        Outcome::Refused(Code::Conflict)
    } else if event.trace_seq != next
        || (event.event_type == EventType::TraceStarted) != (event.trace_seq == 0)
    {
        Outcome::Refused(Code::EventSequenceInvalid)
    } else if events.iter().any(|stored| stored.event_id == event.event_id) {
        Outcome::Refused(Code::Conflict)
    } else {
        Outcome::Inserted(events.len() as i64 + 1)
    }
}

/// What a second delivery must repeat: all but its number, its identifier and its time.
fn same(stored: &Event, event: &Event) -> bool {
    let unlike = Event {
        trace_seq: stored.trace_seq,
        event_id: stored.event_id.clone(),
        occurred_at: stored.occurred_at.clone(),
        occurred_instant: stored.occurred_instant,
        ..event.clone()
    };
    *stored == unlike
}

/// A stream of attempts: mostly the next event of some trace, often something that is wrong with it.
#[derive(Debug)]
pub struct Attempts {
    /// Where the draws come from.
    pub random: Random,
    tenants: Vec<String>,
    made: Vec<Line>,
    /// What the attempts so far make, if each is appended as it is drawn.
    pub expected: NaiveLog,
}

impl Attempts {
    /// Attempts on these tenants.
    pub fn new(random: Random, tenants: &[&str]) -> Attempts {
        let tenants = tenants.iter().map(|tenant| (*tenant).to_owned()).collect();
        Attempts { random, tenants, made: Vec::new(), expected: NaiveLog::default() }
    }

    /// From now on attempts are on this tenant alone.
    pub fn move_to(&mut self, tenant: &str) {
        self.tenants = vec![tenant.to_owned()];
        self.made.clear();
    }

    /// The next attempt.
    pub fn draw(&mut self) -> Line {
        let line = match self.random.below(10) {
            0 if !self.made.is_empty() => self.random.pick(&self.made).clone(),
            1 if !self.made.is_empty() => self.altered(),
            _ => self.fresh(),
        };
        self.made.push(line.clone());
        line
    }

    /// Something that was attempted before, with one difference.
    fn altered(&mut self) -> Line {
        let mut line = self.random.pick(&self.made).clone();
        let event = &mut line.event;
        match self.random.below(8) {
            0 => event.tags.push("other".to_owned()),
            1 => event.correlation_id = Some("other".to_owned()),
            2 => event.causation_event_id = Some("other".to_owned()),
            3 => event.schema_version += 1,
            4 => event.actor.actor_id.push('x'),
            5 => event.source.subsystem = Some("other".to_owned()),
            6 => event.source.producer_id.push('x'),
            _ => event.trace_seq += 1,
        }
        line
    }

    fn fresh(&mut self) -> Line {
        let tenant = self.random.pick(&self.tenants).clone();
        let trace = format!("t{}", self.random.below(6));
        let next = self.expected.next_seq(&tenant, &trace) as usize;
        let seq = match self.random.below(8) {
            0 => next + 1,
            1 => next.saturating_sub(1),
            _ => next,
        };
        let text = match (self.random.below(10), seq) {
            (0, 0) | (1..=2, 1..) => events::finished(&trace, seq),
            (_, 0) | (3, _) => {
                events::started(&trace).replace("_seq\":0", &format!("_seq\":{seq}"))
            }
            _ => events::observed(&trace, seq),
        };
        let mut line = parsed(&tenant, &[text]).remove(0);
        // Unlike those of an earlier attempt at the same place, but for one in ten.
        if !self.random.once_in(10) {
            line.event.event_id.push_str(&format!(".{}", self.made.len()));
        }
        if !self.random.once_in(10) {
            line.event.idempotency_key.push_str(&format!(".{}", self.made.len()));
        }
        line
    }
}
