//! A batch answers as its events one after the other, and each as the four rules read out loud.

mod common;

use common::tenant::{Entry, event, view};
use dg_projections::Code;
use dg_projections::admission::Admission;
use dg_projections::event::{Event, EventType};
use proptest::prelude::*;
use serde_json::json;

/// The four rules by looking through the log.
fn naive(log: &[Entry], event: &Event, keep: Option<i64>) -> Result<Admission, Code> {
    let same_key = |(other, ..): &&Entry| {
        (&other.source.producer_id, &other.idempotency_key)
            == (&event.source.producer_id, &event.idempotency_key)
    };
    if let Some((other, log_seq, _)) = log.iter().find(same_key) {
        let same = other.trace_id == event.trace_id
            && other.event_type == event.event_type
            && other.payload == event.payload;
        return match (same, keep) {
            (false, _) => Err(Code::IdempotencyConflict),
            (true, Some(keep)) if keep != *log_seq => Err(Code::Conflict),
            _ => Ok(Admission::Reused { log_seq: *log_seq, event_id: other.event_id.clone() }),
        };
    }
    let trace = || log.iter().filter(|(other, ..)| other.trace_id == event.trace_id);
    if trace().any(|(other, ..)| other.event_type == EventType::TraceFinished) {
        return Err(Code::Conflict);
    }
    let starts = event.event_type == EventType::TraceStarted;
    if event.trace_seq != trace().count() as i64 || starts != (event.trace_seq == 0) {
        return Err(Code::EventSequenceInvalid);
    }
    let last = log.last().map_or(0, |(_, log_seq, _)| *log_seq);
    let own_numbers = log.iter().any(|(.., kept)| !kept);
    let fits = keep.is_none_or(|keep| keep > last && !own_numbers);
    if !fits || log.iter().any(|(other, ..)| other.event_id == event.event_id) {
        return Err(Code::Conflict);
    }
    Ok(Admission::Insert { log_seq: keep.unwrap_or(last + 1) })
}

/// What a producer tries: trace, its next number or this one, type, key, identifier, title, kept
/// number above the last.
type Attempt = (u8, Option<i64>, u8, u8, u8, bool, Option<i64>);

fn attempts() -> impl Strategy<Value = Vec<Attempt>> {
    let seq = prop_oneof![3 => Just(None), 1 => (0..4i64).prop_map(Some)];
    let keep = prop_oneof![2 => Just(None), 1 => (0..3i64).prop_map(Some)];
    let one = (0..3u8, seq, 0..6u8, 0..24u8, 0..32u8, any::<bool>(), keep);
    prop::collection::vec(one, 1..30)
}

fn attempt(log: &[Entry], attempt: &Attempt) -> (Event, Option<i64>) {
    let (trace, seq, kind, key, id, note, above) = attempt;
    let trace = format!("t{trace}");
    let next = log.iter().filter(|(event, ..)| event.trace_id == trace).count() as i64;
    let seq = seq.unwrap_or(next);
    let event_type = match (kind, seq) {
        (0, _) => EventType::TraceFinished,
        (1, _) | (_, 0) => EventType::TraceStarted,
        _ => EventType::InputObserved,
    };
    let fields = [
        ("/idempotency_key", json!(format!("k{key}"))),
        ("/event_id", json!(format!("e{id}"))),
        ("/payload/note", json!(note)),
    ];
    let last = log.last().map_or(0, |(_, log_seq, _)| *log_seq);
    (event(&trace, seq, event_type, &fields), above.map(|above| last + above))
}

fn append(log: &mut Vec<Entry>, event: &Event, keep: Option<i64>, admission: &Admission) {
    if let Admission::Insert { log_seq } = admission {
        log.push((event.clone(), *log_seq, keep.is_some()));
    }
}

proptest! {
    #![proptest_config(common::cases(128))]

    #[test]
    fn batches_of_any_size_answer_as_one_event_after_the_other(
        attempts in attempts(),
        size in 1..8usize,
    ) {
        let (mut log, mut tried) = (Vec::new(), Vec::new());
        for one in &attempts {
            let (event, keep) = attempt(&log, one);
            let answer = view(&log).admit(&event, keep);
            let code = answer.clone().map_err(|rejection| rejection.code);
            prop_assert_eq!(code, naive(&log, &event, keep));
            if let Ok(admission) = &answer {
                append(&mut log, &event, keep, admission);
            }
            tried.push((event, keep, answer));
        }
        let mut batched = Vec::new();
        for batch in tried.chunks(size) {
            let mut view = view(&batched);
            for (event, keep, answer) in batch {
                let found = view.admit(event, *keep);
                prop_assert_eq!(&found, answer);
                if let Ok(admission) = &found {
                    append(&mut batched, event, *keep, admission);
                }
            }
        }
        prop_assert_eq!(batched, log);
    }
}
