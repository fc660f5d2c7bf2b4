//! The rules of append, once more and as plainly as can be: a list that is searched from its start.

use std::collections::BTreeMap;

use dg_projections::admission::Admission;
use dg_projections::event::{Event, EventType, Line};
use dg_projections::{Code, Rejection};

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
