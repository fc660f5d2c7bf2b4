//! The generator from outside: the lines of many plans, admitted by the contract itself.

use std::collections::{BTreeMap, HashSet};

use dg_projections::admission::{Admission, LogView};
use dg_projections::event::{self, DEFAULT_TENANT, Event, EventType, Keeping, LogEvent};
use dg_projections::model::Model;
use serde_json::Value;
use serde_json::value::RawValue;
use sha2::{Digest, Sha256};

use super::{Plan, lines};

fn plan(traces: u64, events_per_trace: u32, tenants: u32) -> Plan {
    Plan { traces, events_per_trace, tenants, seed: 42, ..Plan::default() }
}

fn events(plan: Plan) -> Vec<Event> {
    let parse = |line: String| event::parse_line(&line, DEFAULT_TENANT, Keeping::NewNumbers);
    lines(plan).map(|line| parse(line).expect("the contract holds").event).collect()
}

/// The tenants' logs, after the contract has admitted every event as new.
fn admitted(events: &[Event]) -> BTreeMap<&str, (LogView, Vec<LogEvent>)> {
    let mut logs = BTreeMap::<&str, (LogView, Vec<LogEvent>)>::new();
    for event in events {
        let (view, log) = logs.entry(&event.tenant_id).or_default();
        let Ok(Admission::Insert { log_seq }) = view.admit(event, None) else {
            panic!("not new or not next: {event:?}");
        };
        log.push(LogEvent::from_event(event, log_seq));
    }
    logs
}

#[test]
fn same_plan_same_bytes() {
    let mut hash = Sha256::new();
    for line in lines(plan(40, 13, 3)) {
        hash.update(line);
        hash.update("\n");
    }
    let hex: String = hash.finalize().iter().map(|byte| format!("{byte:02x}")).collect();
    assert_eq!(hex, "caf20fb660cac9f8755b4aef2bfaffa95f695d551836b343741dbcd2f7ace5eb");
}

#[test]
fn another_seed_shares_no_event() {
    let other = lines(Plan { seed: 43, ..plan(50, 8, 1) });
    let ids = |line: String| line[..60].to_owned();
    let first: HashSet<String> = lines(plan(50, 8, 1)).map(ids).collect();
    assert_eq!(other.map(ids).filter(|id| first.contains(id)).count(), 0);
}

#[test]
fn every_length_is_a_valid_log() {
    for events_per_trace in 1..=20 {
        for tenants in [1, 3] {
            let plan = plan(37, events_per_trace, tenants);
            let events = events(plan);
            assert_eq!(events.len() as u64, plan.event_count());
            let logs = admitted(&events);
            assert_eq!(logs.values().map(|(view, _)| view.traces.len()).sum::<usize>(), 37);
            for end in logs.values().flat_map(|(view, _)| view.traces.values()) {
                assert_eq!(end.next_seq, i64::from(events_per_trace));
                assert_eq!(end.finished, events_per_trace > 1);
            }
            for (_, log) in logs.values() {
                Model::new().apply_all(log).expect("every event can be projected");
            }
            check_precedents(&events);
        }
    }
}

fn check_precedents(events: &[Event]) {
    let mut started = HashSet::new();
    for event in events {
        if event.event_type == EventType::PrecedentCited {
            let payload: Value = serde_json::from_str(&event.payload).expect("JSON");
            let cited = payload["cited_trace_id"].as_str().expect("required").to_owned();
            assert_ne!(cited, event.trace_id);
            assert!(started.contains(&(&event.tenant_id, cited)), "{event:?}");
        }
        started.insert((&event.tenant_id, event.trace_id.clone()));
    }
}

#[test]
fn tenants_have_names_unless_there_is_one() {
    assert_eq!(admitted(&events(plan(5, 2, 1))).into_keys().collect::<Vec<_>>(), [DEFAULT_TENANT]);
    let three = events(plan(5, 2, 3));
    let names: Vec<&str> = admitted(&three).into_keys().collect();
    assert_eq!(names, ["tenant-0001", "tenant-0002", "tenant-0003"]);
    assert!(lines(plan(5, 2, 1)).all(|line| !line.contains("tenant")));
}

#[test]
fn payloads_are_canonical_and_exactly_as_long_as_asked() {
    #[derive(serde::Deserialize)]
    struct Line<'a> {
        #[serde(borrow)]
        payload: &'a RawValue,
    }
    for payload_bytes in [510, 511, 512, 2_000, 65_536] {
        for line in lines(Plan { payload_bytes, ..plan(6, 14, 1) }) {
            let payload = serde_json::from_str::<Line<'_>>(&line).expect("JSON").payload.get();
            assert_eq!(payload.len(), payload_bytes);
            let sorted: BTreeMap<String, Value> = serde_json::from_str(payload).expect("JSON");
            assert_eq!(serde_json::to_string(&sorted).expect("JSON"), payload);
        }
    }
}

#[test]
fn small_payloads_stay_as_they_are() {
    let smallest: Vec<String> = lines(Plan { payload_bytes: 0, ..plan(5, 14, 1) }).collect();
    assert!(smallest.iter().all(|line| line.ends_with(r#","writeup":""}}"#)));
    assert_eq!(lines(Plan { payload_bytes: 1, ..plan(5, 14, 1) }).collect::<Vec<_>>(), smallest);
}

#[test]
fn nothing_trips_the_content_guard() {
    for line in lines(Plan { payload_bytes: 20_000, ..plan(100, 16, 2) }) {
        let line = line.to_lowercase();
        for pattern in event::PATTERNS {
            assert!(!line.contains(&pattern.to_lowercase()), "{pattern} in {line}");
        }
    }
}

#[test]
fn times_only_advance() {
    let events = events(plan(50, 8, 2));
    assert_eq!(events[0].occurred_at, "2026-01-01T00:00:00.000Z");
    assert!(events.windows(2).all(|pair| pair[0].occurred_instant < pair[1].occurred_instant));
}

#[test]
fn the_standard_workload_makes_a_node_and_an_edge_an_event() {
    let events = events(plan(2_000, 8, 1));
    let mut model = Model::new();
    for (_, log) in admitted(&events).values() {
        model.apply_all(log).expect("every event can be projected");
    }
    let tables = model.tables;
    assert_eq!((events.len(), tables.edges.len()), (16_000, 16_000));
    // Shared by many traces: 4 policies in 3 versions and 48 agents.
    assert_eq!(tables.nodes.len(), 16_000 + 12 + 48);
    assert_eq!((tables.summaries.len(), tables.precedents.len()), (2_000, 4_000));
    let mean = tables.edges.keys().map(String::len).sum::<usize>() / tables.edges.len();
    assert!((132..=136).contains(&mean), "mean edge key of {mean} bytes");
}

#[test]
fn validate_names_what_is_out_of_range() {
    let standard = Plan::default();
    assert_eq!((standard.validate(), standard.event_count()), (Ok(()), 160_000));
    for (bad, message) in [
        (Plan { traces: 0, ..standard }, "traces must be between 1 and 1000000000, not 0"),
        (Plan { traces: u64::MAX, ..standard }, "traces must be between"),
        (
            Plan { events_per_trace: 0, ..standard },
            "events per trace must be between 1 and 1000000",
        ),
        (Plan { payload_bytes: 1_000_001, ..standard }, "payload bytes must be between 0"),
        (Plan { tenants: 0, ..standard }, "tenants must be between 1 and 100000, not 0"),
        (Plan { tenants: 20_001, ..standard }, "20001 tenants cannot share 20000 traces"),
        (
            Plan { traces: 1_000_000_000, events_per_trace: 11, ..standard },
            "traces times events per trace must be between 1 and 10000000000, not 11000000000",
        ),
    ] {
        let refused = bad.validate().expect_err(message);
        assert!(refused.starts_with(message), "{refused}");
        assert_eq!(lines(bad).count(), 0);
    }
}
