//! Pages that come together, without a database.

#![allow(clippy::unwrap_used, reason = "tests")]

use std::time::Duration;

use dg_projections::event::{Keeping, LogEvent, parse_line};
use dg_projections::projection::{Projection, project};

use super::*;

const POLICY: &str =
    r#"{"policy":{"policy_id":"p","policy_version":"1"},"inputs":[],"decision":"allow"}"#;
const STARTED: &str =
    r#"{"workflow":"w","title":"T","primary_entity":{"entity_type":"e","entity_id":"1"}}"#;

/// Traces of three events that take turns, so that most pages continue some.
fn log(traces: usize) -> Vec<LogEvent> {
    let kinds = [
        ("TraceStarted", STARTED),
        ("PolicyEvaluated", POLICY),
        ("TraceFinished", r#"{"outcome":"success"}"#),
    ];
    let events = (0..3).flat_map(|seq| (0..traces).map(move |trace| (seq, trace)));
    let line = |(at, (seq, trace)): (i64, (usize, usize))| {
        let (kind, payload) = kinds[seq];
        let text = format!(
            r#"{{"event_id":"{trace}.{seq}","trace_id":"{trace}","trace_seq":{seq},"event_type":"{kind}","occurred_at":"2026-05-04T10:00:00Z","source":{{"producer_id":"p","system":"s"}},"actor":{{"actor_type":"agent","actor_id":"bot"}},"idempotency_key":"{trace}:{seq}","payload":{payload}}}"#
        );
        LogEvent::from_event(&parse_line(&text, "a", Keeping::NewNumbers).unwrap().event, at)
    };
    (1..).zip(events).map(line).collect()
}

fn key(projection: Projection) -> WorkerKey {
    WorkerKey { tenant_id: "a".to_owned(), projection, partition: 0 }
}

/// The pages of a log as the store reads them.
fn pages(projection: Projection, log: &[LogEvent], size: usize) -> Vec<Page> {
    let page = |(number, events): (usize, &[LogEvent])| {
        let resumed = Traces::continued(events).into_iter();
        let wanted = Traces::recalled(projection, events);
        let before = log[..number * size].iter();
        Page {
            events: events.to_vec(),
            end: events.last().unwrap().log_seq,
            resumed: resumed.map(|(trace, seq)| (trace.to_owned(), seq)).collect(),
            recalled: before.filter(|e| wanted.contains(&*e.trace_id)).cloned().collect(),
            more: true,
            ..Page::default()
        }
    };
    log.chunks(size).enumerate().map(page).collect()
}

fn joined(projection: Projection, log: &[LogEvent], size: usize) -> Work {
    let mut pages = pages(projection, log, size).into_iter();
    let batch = Batch::read(Duration::ZERO, Duration::ZERO);
    let from = Cursor::whole(1, 0, 0);
    let mut work = Work::new(&key(projection), from, pages.next().unwrap(), batch);
    pages.for_each(|page| work.take(&key(projection), page));
    work
}

#[test]
fn pages_that_come_together_change_what_they_would_as_one() {
    let log = log(20);
    for projection in Projection::ALL {
        let whole = project(projection, &log, &mut Traces::new());
        assert!(whole.changes != Default::default());
        for size in [1, 7, 20, 60] {
            let work = joined(projection, &log, size);
            assert_eq!(work.projected, whole, "{projection} by {size}");
            assert_eq!((work.to.last_log_seq, work.to.applied_events), (60, 60));
            assert_eq!(work.first, Some(identity(&log[0])));
        }
    }
}

#[test]
fn a_poison_event_ends_what_comes_together_before_it() {
    let mut log = log(20);
    log[33].payload = "{}".to_owned();
    for projection in Projection::ALL {
        for size in [1, 7, 20, 34, 60] {
            let work = joined(projection, &log, size);
            assert_eq!((work.to.last_log_seq, work.to.applied_events), (33, 33), "by {size}");
            let whole = project(projection, &log[..33], &mut Traces::new());
            assert_eq!(work.projected.changes, whole.changes);
            assert_eq!(work.projected.poison.as_ref().map(|poison| poison.log_seq), Some(34));
            assert!(matches!(work.outcome(), Outcome::Applied { to, more: true } if to == work.to));
            assert!(!work.goes_on());
        }
    }
}

#[test]
fn no_more_come_together_than_there_is_room_for() {
    let log = log(2);
    for (pages, applied, more, bytes, lent, expected) in [
        (1, 6, true, 0, false, true),
        (MOST_PAGES - 1, MOST_EVENTS - 1, true, MOST_BYTES - 1, false, true),
        (MOST_PAGES, 6, true, 0, false, false),
        (1, MOST_EVENTS, true, 0, false, false),
        (1, 6, true, MOST_BYTES, false, false),
        (1, 6, false, 0, false, false),
        (1, 6, true, 0, true, false),
    ] {
        let mut work = joined(Projection::ContextGraph, &log, 6);
        (work.pages, work.more, work.bytes, work.from.lent) = (pages, more, bytes, lent);
        work.projected.applied = applied;
        assert_eq!(work.has_room(), expected, "{pages} {applied} {more} {bytes} {lent}");
    }
}
