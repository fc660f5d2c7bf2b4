//! Which event type a trace of K events has at each place.
//!
//! The standard workload is K = 8. A shorter trace leaves out the end of the middle, so what remains
//! never refers to what is missing; a longer one repeats a cycle before its end.

use dg_projections::event::EventType::{self, *};

const START: [EventType; 7] = [
    TraceStarted,
    EntityObserved,
    InputObserved,
    PolicyEvaluated,
    ExceptionRequested,
    ApprovalRecorded,
    ActionProposed,
];
const CYCLE: [EventType; 5] =
    [InputObserved, PolicyEvaluated, EntityObserved, PrecedentCited, ActionCommitted];

/// Where in a trace the input stands that policies look at.
pub(super) const INPUT_SEQ: u32 = 2;
/// Where the exception stands that the approval is about.
pub(super) const EXCEPTION_SEQ: u32 = 4;
/// Where the action stands that is committed later.
pub(super) const ACTION_SEQ: u32 = 6;

/// The type of event `seq` in a trace of `events` events.
pub(super) fn kind_at(seq: u32, events: u32) -> EventType {
    if seq > 0 && seq + 1 == events {
        return TraceFinished;
    }
    let seq = seq as usize;
    START.get(seq).copied().unwrap_or_else(|| CYCLE[(seq - START.len()) % CYCLE.len()])
}

#[cfg(test)]
mod tests {
    use super::*;

    fn kinds(events: u32) -> Vec<EventType> {
        (0..events).map(|seq| kind_at(seq, events)).collect()
    }

    #[test]
    fn table_of_lengths() {
        assert_eq!(kinds(1), [TraceStarted]);
        assert_eq!(kinds(2), [TraceStarted, TraceFinished]);
        assert_eq!(kinds(4), [TraceStarted, EntityObserved, InputObserved, TraceFinished]);
        assert_eq!(kinds(8)[..7], START);
        assert_eq!(kinds(8)[7], TraceFinished);
        assert_eq!(kinds(13)[7..12], CYCLE);
        assert_eq!(kinds(18)[12..17], CYCLE);
    }

    #[test]
    fn what_others_refer_to_stands_where_they_look() {
        assert_eq!(START[INPUT_SEQ as usize], InputObserved);
        assert_eq!(START[EXCEPTION_SEQ as usize], ExceptionRequested);
        assert_eq!(START[ACTION_SEQ as usize], ActionProposed);
    }

    #[test]
    fn one_start_and_one_end_whatever_the_length() {
        for events in 2..60 {
            let kinds = kinds(events);
            assert_eq!(kinds.iter().position(|kind| *kind == TraceFinished), Some(kinds.len() - 1));
            assert_eq!(kinds.iter().rposition(|kind| *kind == TraceStarted), Some(0));
        }
    }
}
