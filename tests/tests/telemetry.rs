//! What the daemon tells of appends and reads: metrics, and log events without any payload.

#![allow(clippy::unwrap_used, reason = "tests")]

use dg_projections::json::{self, Json};
use dg_tests::events::{self, event, joined, started};
use dg_tests::{Stage, until};

const FLAGS: [&str; 4] = ["--log-format", "json", "--log-level", "warn,dg_runtime=trace"];
/// Stands in every payload of these tests, and must not stand in the log.
const CONFIDENTIAL: &str = "About confidential";

/// The log events of this message.
fn told(stage: &Stage, message: &str) -> Vec<Json> {
    let log = stage.daemon.log();
    let events = log.lines().filter_map(|line| json::parse(line).ok());
    events.filter(|event| text(event, "message") == message).collect()
}

fn text(event: &Json, field: &str) -> String {
    event.get(field).and_then(Json::as_str).unwrap_or_default().to_owned()
}

fn number(event: &Json, field: &str) -> i64 {
    event.get(field).and_then(Json::as_i64).unwrap_or(-1)
}

#[test]
fn each_outcome_of_an_append_is_told_without_its_payload() {
    let stage = Stage::new(&FLAGS);
    let first = started("confidential");
    let append = |lines: &[&str], flags: &[&str]| {
        stage.daemon.cli_with(&[&["append", "-"], flags].concat(), joined(lines).as_bytes());
    };
    let gap = event("gone", 7, "TraceFinished", r#"{"outcome":"success"}"#);
    append(&[&first], &[]);
    append(&[&first, &gap], &[]);
    append(&[r#"{"payload":"About confidential"}"#, "nonsense"], &[]);
    append(&[&events::started("u"), &gap], &["--atomic"]);

    let batches = told(&stage, "append");
    let [inserted, mixed] = &batches[..] else { panic!("{batches:?}") };
    let counts = |batch| ["inserted", "reused", "refused"].map(|field| number(batch, field));
    assert_eq!((counts(inserted), counts(mixed)), ([1, 0, 0], [0, 1, 1]));
    assert!(number(inserted, "bytes") > 50 && text(inserted, "tenant") == "default");
    assert!(inserted.get("ms").and_then(Json::as_f64).unwrap() > 0.0, "{inserted:?}");

    let single = told(&stage, "append of an event");
    let told_of = |event: &Json| ["result", "trace_id", "event_type"].map(|name| text(event, name));
    assert_eq!(
        single.iter().map(told_of).collect::<Vec<_>>(),
        [
            ["inserted", "confidential", "TraceStarted"],
            ["reused", "confidential", "TraceStarted"],
            ["event_sequence_invalid", "gone", "TraceFinished"],
        ]
    );

    let refused = told(&stage, "append refused");
    let told_of =
        |event: &Json| (text(event, "code"), text(event, "trace_id"), number(event, "refused"));
    let code = |code: &str| code.to_owned();
    assert_eq!(
        refused.iter().map(told_of).collect::<Vec<_>>(),
        [
            (code("event_sequence_invalid"), code("gone"), 1),
            (code("schema_violation"), code(""), 2),
            (code("event_sequence_invalid"), code("gone"), 1),
        ]
    );
    assert!(!stage.daemon.log().contains(CONFIDENTIAL), "{}", stage.daemon.log());
}

#[test]
fn pages_that_workers_and_lists_read_are_told_with_their_sizes() {
    let stage = Stage::new(&FLAGS);
    stage.import(&[started("confidential")]);
    stage.daemon.cli(&["export"]).ok();
    for by in ["context_graph", "trace_summary", "precedent_index", "list"] {
        let page = until("the page is told", || {
            let pages = told(&stage, "read");
            pages.into_iter().find(|page| text(page, "by") == by && number(page, "events") > 0)
        });
        assert_eq!((number(&page, "events"), &*text(&page, "tenant")), (1, "default"), "{page:?}");
        assert!(number(&page, "bytes") > 50, "{page:?}");
    }
    assert!(!stage.daemon.log().contains(CONFIDENTIAL));
}
