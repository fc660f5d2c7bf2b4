//! What a projection must remember of the traces it is in the middle of.

use std::collections::{BTreeSet, HashMap};

use super::{Checked, Poison, Projection};
use crate::error::{Code, Rejection};
use crate::event::{Entity, EventType, Facts, LogEvent};

/// The entity that a trace is about.
#[derive(Debug, Clone, PartialEq, Eq)]
#[allow(missing_docs, reason = "the names are the contract's")]
pub struct PrimaryEntity {
    pub entity_type: String,
    pub system: Option<String>,
    pub entity_id: String,
}

/// An event that becomes a precedent when its trace finishes.
#[derive(Debug, Clone, PartialEq, Eq)]
#[allow(missing_docs, reason = "the names are the contract's")]
pub struct Candidate {
    pub event_id: String,
    pub log_seq: i64,
    pub policy_id: String,
    pub policy_version: String,
    pub exception_id: Option<String>,
}

/// An open trace.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct TraceState {
    /// The `trace_seq` that comes next.
    pub next_seq: i64,
    /// Known once its `TraceStarted` was seen.
    pub primary_entity: Option<PrimaryEntity>,
    /// Its policy evaluations and exceptions so far, in log order.
    pub candidates: Vec<Candidate>,
}

/// The open traces of a tenant.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Traces {
    open: HashMap<String, TraceState>,
}

impl Traces {
    /// No trace is open.
    pub fn new() -> Traces {
        Traces::default()
    }

    /// What a page continues and a fresh [`Traces`] does not know: for each such trace the
    /// `trace_seq` of its first event in the page, which must have a predecessor in the log.
    pub fn continued(page: &[LogEvent]) -> HashMap<&str, i64> {
        let mut first = HashMap::new();
        for event in page {
            first.entry(event.trace_id.as_str()).or_insert(event.trace_seq);
        }
        first.retain(|_, seq| *seq > 0);
        first
    }

    /// The traces of a page whose earlier events a projection needs in full: those that finish in
    /// the page but began before it, for precedents; none for the others.
    pub fn recalled(projection: Projection, page: &[LogEvent]) -> BTreeSet<&str> {
        if projection != Projection::PrecedentIndex {
            return BTreeSet::new();
        }
        let continued = Traces::continued(page);
        page.iter()
            .filter(|event| event.event_type == EventType::TraceFinished.as_str())
            .map(|event| event.trace_id.as_str())
            .filter(|trace_id| continued.contains_key(trace_id))
            .collect()
    }

    /// The traces that a page continues, from what the log says of them.
    ///
    /// `resumed`: of [`Traces::continued`], those whose predecessor the log holds; a trace left out
    /// is out of sequence. `recalled`: the earlier events of [`Traces::recalled`], in log order.
    ///
    /// # Errors
    /// A recalled event whose hash or shape is wrong: the log was damaged after it was applied.
    pub fn load(resumed: Vec<(String, i64)>, recalled: &[LogEvent]) -> Result<Traces, Poison> {
        let mut traces = Traces::new();
        for (trace_id, next_seq) in resumed {
            traces.open.entry(trace_id).or_default().next_seq = next_seq;
        }
        for event in recalled {
            let checked = super::check(event).map_err(|reason| Poison::new(event, reason))?;
            remember(traces.open.entry(event.trace_id.clone()).or_default(), &checked);
        }
        Ok(traces)
    }

    /// Checks that an event is the next of its trace and folds it into the trace's state.
    pub(super) fn advance(&mut self, checked: &Checked<'_>) -> Result<&TraceState, Rejection> {
        let event = checked.event;
        let starts = matches!(checked.facts, Facts::TraceStarted { .. });
        let expected = self.open.get(&event.trace_id).map_or(0, |trace| trace.next_seq);
        if event.trace_seq != expected || starts != (event.trace_seq == 0) {
            return Err(out_of_sequence(event, expected));
        }
        let trace = self.open.entry(event.trace_id.clone()).or_default();
        trace.next_seq += 1;
        remember(trace, checked);
        Ok(trace)
    }

    /// Forgets a trace that has finished, but for its place.
    pub(super) fn close(&mut self, trace_id: &str) {
        if let Some(trace) = self.open.get_mut(trace_id) {
            trace.primary_entity = None;
            trace.candidates = Vec::new();
        }
    }
}

fn out_of_sequence(event: &LogEvent, expected: i64) -> Rejection {
    let message = format!(
        "{} has trace_seq {} where the trace continues with {expected}",
        event.event_type, event.trace_seq
    );
    Rejection::new(Code::EventSequenceInvalid, message).with("expected_trace_seq", expected)
}

fn remember(trace: &mut TraceState, checked: &Checked<'_>) {
    let candidate = |policy_id: &str, policy_version: &str, exception_id: Option<&str>| Candidate {
        event_id: checked.event.event_id.clone(),
        log_seq: checked.event.log_seq,
        policy_id: policy_id.to_owned(),
        policy_version: policy_version.to_owned(),
        exception_id: exception_id.map(str::to_owned),
    };
    match &checked.facts {
        Facts::TraceStarted {
            primary_entity: Entity { entity_type, entity_id, system }, ..
        } => {
            trace.primary_entity = Some(PrimaryEntity {
                entity_type: entity_type.to_string(),
                system: system.as_deref().map(str::to_owned),
                entity_id: entity_id.to_string(),
            });
        }
        Facts::PolicyEvaluated { policy_id, policy_version } => {
            trace.candidates.push(candidate(policy_id, policy_version, None));
        }
        Facts::ExceptionRequested { exception_id, policy_id, policy_version } => {
            trace.candidates.push(candidate(policy_id, policy_version, Some(exception_id)));
        }
        Facts::InputObserved { .. }
        | Facts::EntityObserved { .. }
        | Facts::ApprovalRecorded { .. }
        | Facts::PrecedentCited { .. }
        | Facts::ActionProposed { .. }
        | Facts::ActionCommitted { .. }
        | Facts::TraceFinished { .. } => {}
    }
}
