//! `precedent_index`: every policy evaluation at once; precedents when their trace finishes.

use super::{Changes, Checked, TraceState};
use crate::error::{Code, Rejection};
use crate::event::{Facts, LogEvent};
use crate::rows::{PolicyEvalRow, PrecedentRow};

pub(super) fn apply(
    checked: &Checked<'_>,
    trace: &TraceState,
    changes: &mut Changes,
) -> Result<(), Rejection> {
    let event = checked.event;
    match &checked.facts {
        Facts::PolicyEvaluated { policy_id, policy_version } => {
            let index_id =
                format!("{}:{policy_id}:{policy_version}:{}", event.trace_id, event.event_id);
            let row = PolicyEvalRow {
                index_id: index_id.clone(),
                trace_id: event.trace_id.clone(),
                policy_id: policy_id.to_string(),
                policy_version: policy_version.to_string(),
                log_seq: event.log_seq,
                created_at: event.occurred_at.clone(),
            };
            changes.policy_evals.entry(index_id).or_insert(row);
            Ok(())
        }
        Facts::TraceFinished { .. } => finish(event, trace, changes),
        _ => Ok(()),
    }
}

fn finish(event: &LogEvent, trace: &TraceState, changes: &mut Changes) -> Result<(), Rejection> {
    // The event before this one is in the log; if the first is not, somebody removed it.
    let Some(entity) = &trace.primary_entity else {
        let message = format!("the log no longer holds the start of trace {}", event.trace_id);
        return Err(Rejection::new(Code::EventSequenceInvalid, message));
    };
    for candidate in &trace.candidates {
        let row = PrecedentRow {
            source_event_id: candidate.event_id.clone(),
            log_seq: candidate.log_seq,
            trace_id: event.trace_id.clone(),
            policy_id: candidate.policy_id.clone(),
            policy_version: candidate.policy_version.clone(),
            exception_id: candidate.exception_id.clone(),
            primary_entity_type: entity.entity_type.clone(),
            primary_entity_system: entity.system.clone(),
            primary_entity_id: entity.entity_id.clone(),
        };
        changes.precedents.insert(candidate.event_id.clone(), row);
    }
    Ok(())
}
