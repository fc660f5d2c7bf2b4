//! Whole logs in pages and partitions: however they are cut, the tables are the same.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod common;

use std::collections::BTreeMap;

use common::Log;
use dg_projections::event::EventType::{self, *};
use dg_projections::event::LogEvent;
use dg_projections::model::{Model, Tables};
use dg_projections::projection::{Projection, Traces, project};
use proptest::prelude::*;
use serde_json::json;

/// Logs of interleaved traces that share entities, actors, policies and keys with colons.
fn logs() -> impl Strategy<Value = Vec<LogEvent>> {
    prop::collection::vec((0..5usize, 1..10usize, 0..3usize, 0..3usize), 1..40).prop_map(|steps| {
        const TRACES: [&str; 5] = ["t0", "t1", "a:b", "a", "é"];
        let names = ["a", "a:b", "b"];
        let mut log = Log::default();
        let mut finished = [false; 5];
        for (trace, kind, x, y) in steps {
            if finished[trace] {
                continue;
            }
            let starts = !log.events.iter().any(|event| event.trace_id == TRACES[trace]);
            let event_type = EventType::ALL[if starts { 0 } else { kind }];
            finished[trace] = event_type == TraceFinished;
            let (x, y) = (json!(names[x]), json!(names[y]));
            let members = match event_type {
                TraceStarted => {
                    vec![("/primary_entity/entity_type", x), ("/primary_entity/entity_id", y)]
                }
                InputObserved => vec![("/input_id", x)],
                EntityObserved => vec![("/entity/entity_type", x), ("/entity/entity_id", y)],
                PolicyEvaluated => vec![("/policy/policy_id", x), ("/policy/policy_version", y)],
                ExceptionRequested => vec![("/exception_id", x), ("/policy/policy_id", y)],
                ApprovalRecorded => vec![("/subject/subject_id", x), ("/approver/actor_id", y)],
                PrecedentCited => vec![("/cited_trace_id", x)],
                ActionProposed => vec![("/action_id", x), ("/target_entity/entity_id", y)],
                ActionCommitted => vec![("/action_id", x)],
                TraceFinished => vec![],
            };
            log.add(TRACES[trace], event_type, &members);
        }
        log.events
    })
}

/// What the store would load for a page.
fn load(projection: Projection, before: &[LogEvent], page: &[LogEvent]) -> Traces {
    let resumed = Traces::continued(page).into_iter().map(|(id, seq)| (id.to_owned(), seq));
    let recalled = Traces::recalled(projection, page);
    let earlier = before.iter().filter(|event| recalled.contains(&*event.trace_id)).cloned();
    Traces::load(resumed.collect(), &earlier.collect::<Vec<_>>()).unwrap()
}

proptest! {
    #![proptest_config(common::cases(128))]

    #[test]
    fn pages_and_partitions_in_any_order_give_the_same_tables(
        log in logs(),
        partition_of in prop::collection::vec(0..3usize, 5),
        turns in prop::collection::vec((0..3usize, 1..6usize, any::<bool>()), 1..40),
    ) {
        let mut whole = Model::new();
        whole.apply_all(&log).unwrap();
        let mut by_trace = BTreeMap::new();
        for event in &log {
            let next = partition_of[by_trace.len() % 5];
            by_trace.entry(event.trace_id.clone()).or_insert(next);
        }
        let logs = [0, 1, 2].map(|partition| {
            let mine = |event: &&LogEvent| by_trace[&event.trace_id] == partition;
            log.iter().filter(mine).cloned().collect::<Vec<_>>()
        });
        for projection in Projection::ALL {
            let mut found = Tables::default();
            let mut workers = [0, 1, 2].map(|_| (0, Traces::new()));
            let rest = [0, 1, 2].map(|partition| (partition, usize::MAX, false));
            for (partition, size, reload) in turns.iter().copied().chain(rest) {
                let (at, traces) = &mut workers[partition];
                let (before, after) = logs[partition].split_at(*at);
                let page = &after[..size.min(after.len())];
                if reload {
                    *traces = load(projection, before, page);
                }
                let mut projected = project(projection, page, traces);
                prop_assert_eq!(projected.poison, None);
                prop_assert_eq!(projected.applied, page.len());
                *at += page.len();
                found.apply(std::mem::take(&mut projected.changes));
                if reload {
                    *traces = load(projection, &logs[partition][..*at], &logs[partition][*at..]);
                }
            }
            let mut expected = Model::new();
            expected.apply(projection, &log).unwrap();
            prop_assert_eq!(&found, &expected.tables);
            let digests = (found.digests().unwrap(), whole.tables.digests().unwrap());
            prop_assert_eq!(digests.0.of(projection), digests.1.of(projection));
        }
    }
}
