//! `trace_summary`: a trace's start inserts its row, its end completes it, nothing else counts.

use super::{Changes, Checked, SummaryChange, SummaryFinish};
use crate::event::{Facts, LogEvent};
use crate::rows::SummaryRow;

pub(super) fn apply(checked: &Checked<'_>, changes: &mut Changes) {
    let event = checked.event;
    match &checked.facts {
        Facts::TraceStarted { workflow, title, primary_entity } => {
            let row = SummaryRow {
                trace_id: event.trace_id.clone(),
                workflow: workflow.to_string(),
                title: title.to_string(),
                primary_entity_type: primary_entity.entity_type.to_string(),
                primary_entity_system: primary_entity.system.as_deref().map(str::to_owned),
                primary_entity_id: primary_entity.entity_id.to_string(),
                outcome: None,
                started_at: event.occurred_at.clone(),
                finished_at: None,
                event_count: 1,
                last_log_seq: event.log_seq,
            };
            changes.summaries.insert(event.trace_id.clone(), SummaryChange::Insert(row));
        }
        Facts::TraceFinished { outcome } => finish(event, outcome, changes),
        _ => {}
    }
}

fn finish(event: &LogEvent, outcome: &str, changes: &mut Changes) {
    let end = SummaryFinish {
        trace_id: event.trace_id.clone(),
        outcome: outcome.to_owned(),
        finished_at: event.occurred_at.clone(),
        last_log_seq: event.log_seq,
    };
    match changes.summaries.get_mut(&event.trace_id) {
        Some(SummaryChange::Insert(row)) => end.complete(row),
        _ => {
            changes.summaries.insert(event.trace_id.clone(), SummaryChange::Finish(end));
        }
    }
}

impl SummaryFinish {
    /// Completes the row of the trace that ended.
    pub fn complete(self, row: &mut SummaryRow) {
        row.outcome = Some(self.outcome);
        row.finished_at = Some(self.finished_at);
        row.event_count += 1;
        row.last_log_seq = self.last_log_seq;
    }
}
