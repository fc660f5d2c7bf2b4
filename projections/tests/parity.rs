//! The parity vectors through the pure projections, on in-memory tables.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use dg_projections::event::{Keeping, LogEvent, parse_line};
use dg_projections::json::{self, Json, canonical};
use dg_projections::model::Model;
use dg_projections::projection::Projection;

fn vectors() -> Json {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../tests/fixtures/parity_vectors.json");
    json::parse(&std::fs::read_to_string(path).unwrap()).unwrap()
}

fn log(scenario: &Json) -> Vec<LogEvent> {
    let events = scenario.get("events").and_then(Json::as_array).unwrap();
    let number = |(at, event): (usize, &Json)| {
        let line = parse_line(&canonical(event), "parity", Keeping::NewNumbers).unwrap();
        LogEvent::from_event(&line.event, at as i64 + 1)
    };
    events.iter().enumerate().map(number).collect()
}

#[test]
fn every_vector_gives_its_digests() {
    let vectors = vectors();
    let scenarios = vectors.get("scenarios").and_then(Json::as_array).unwrap();
    assert_eq!(scenarios.len(), 24);
    for scenario in scenarios {
        let mut model = Model::new();
        model.apply_all(&log(scenario)).unwrap();
        let digests = model.tables.digests().unwrap();
        let expected = scenario.get("expected_digests").unwrap();
        let name = scenario.get("scenario").and_then(Json::as_str).unwrap();
        for projection in Projection::ALL {
            let expected = expected.get(projection.as_str()).and_then(Json::as_str).unwrap();
            assert_eq!(digests.of(projection).to_string(), expected, "{name} {projection}");
        }
        let full = expected.get("full_projection").and_then(Json::as_str).unwrap();
        assert_eq!(digests.full_projection().to_string(), full, "{name}");
    }
}

#[test]
fn pages_of_any_size_give_the_same_tables_when_traces_are_loaded_for_each_page() {
    let vectors = vectors();
    for scenario in vectors.get("scenarios").and_then(Json::as_array).unwrap() {
        let log = log(scenario);
        let mut whole = Model::new();
        whole.apply_all(&log).unwrap();
        for size in [1, 2, 3, 7, 20] {
            let mut paged = dg_projections::model::Tables::default();
            for projection in Projection::ALL {
                for (at, page) in log.chunks(size).enumerate() {
                    let mut traces = load_traces(projection, &log[..at * size], page);
                    let projected =
                        dg_projections::projection::project(projection, page, &mut traces);
                    assert_eq!(projected.poison, None);
                    paged.apply(projected.changes);
                }
            }
            assert_eq!(paged, whole.tables, "pages of {size}");
        }
    }
}

/// What the store does with two queries.
fn load_traces(
    projection: Projection,
    before: &[LogEvent],
    page: &[LogEvent],
) -> dg_projections::projection::Traces {
    use dg_projections::projection::Traces;
    let resumed = Traces::continued(page).into_iter().map(|(trace_id, seq)| {
        assert!(before.iter().any(|e| e.trace_id == trace_id && e.trace_seq == seq - 1));
        (trace_id.to_owned(), seq)
    });
    let recalled = Traces::recalled(projection, page);
    let recalled: Vec<LogEvent> =
        before.iter().filter(|event| recalled.contains(event.trace_id.as_str())).cloned().collect();
    Traces::load(resumed.collect(), &recalled).unwrap()
}
