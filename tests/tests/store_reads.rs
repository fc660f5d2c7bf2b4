//! Reads of the log: filters, traces, pages while the log grows.

#![allow(clippy::unwrap_used, reason = "tests")]

use dg_projections::Code;
use dg_projections::event::{EventType, Line};
use dg_store::{Cursor, EventFilter, RecordedEvent, Store};
use dg_tests::log::{append_all, generated_lines, parsed};
use dg_tests::{Database, Random, events};

/// Traces of different lengths that interleave, at times whose text order is not their order.
fn odd_times() -> Vec<Line> {
    let times = [
        "2026-05-04T10:00:00Z",
        "2026-05-04T12:00:00+02:00", // the same instant
        "2026-05-04T09:59:59.999999Z",
        "2026-05-04T23:30:00-11:00", // the next day in UTC
        "2026-05-05T05:00:00.5+14:00",
        "1969-12-31T23:59:59.25Z",
        "0001-01-01T00:00:00Z",
        "9999-12-31T23:59:59Z",
    ];
    let mut lines = Vec::new();
    for seq in 0..6 {
        for trace in ["t", "u", "v", "w"] {
            let text = &events::whole_trace(trace)[seq];
            let time = times[(lines.len() * 5 + seq) % times.len()];
            let (before, after) = text.split_once(r#""occurred_at":""#).unwrap();
            let after = after.split_once('"').unwrap().1;
            lines.push(format!(r#"{before}"occurred_at":"{time}"{after}"#));
        }
    }
    parsed("a", &lines)
}

fn naive(lines: &[Line], filter: &EventFilter) -> Vec<i64> {
    let keeps = |(at, line): &(i64, &Line)| {
        let event = &line.event;
        filter.trace_id.as_ref().is_none_or(|trace| *trace == event.trace_id)
            && filter.event_type.is_none_or(|kind| kind == event.event_type)
            && filter.since_log_seq.is_none_or(|since| *at > since)
            && filter.until_log_seq.is_none_or(|until| *at <= until)
            && filter.since_occurred_at.is_none_or(|since| event.occurred_instant > since)
            && filter.until_occurred_at.is_none_or(|until| event.occurred_instant <= until)
    };
    (1..).zip(lines).filter(keeps).map(|(at, _)| at).collect()
}

fn numbers(events: &[RecordedEvent]) -> Vec<i64> {
    events.iter().map(|event| event.log_seq).collect()
}

#[tokio::test]
async fn every_combination_of_filters_lists_what_a_scan_would() {
    let (_database, store) = Database::with_schema().await;
    let lines = odd_times();
    append_all(&store, "a", &lines, 7).await;
    append_all(&store, "b", &generated_lines("b", 3, 8, 1), 100).await;
    let mut random = Random::seeded(41);
    for combination in 0..64 * 4 {
        let on = |bit: usize| ((combination % 64) >> bit) & 1 == 1;
        let mut time = || random.pick(&lines).event.occurred_instant;
        let (since, until) = (time(), time());
        let filter = EventFilter {
            trace_id: on(0).then(|| random.pick(&lines).event.trace_id.clone()),
            event_type: on(1).then(|| *random.pick(&EventType::ALL)),
            since_log_seq: on(2).then(|| random.below(12) as i64),
            until_log_seq: on(3).then(|| 12 + random.below(14) as i64),
            since_occurred_at: on(4).then_some(since.min(until)),
            until_occurred_at: on(5).then_some(since.max(until)),
        };
        filter.check().unwrap();
        let expected = naive(&lines, &filter);
        let limit = 1 + random.below(24);
        let found = store.list_events("a", &filter, limit as i64).await.unwrap();
        assert_eq!(numbers(&found), expected[..limit.min(expected.len())], "{filter:?}");
    }
}

#[tokio::test]
async fn bounds_exclude_where_they_begin_and_include_where_they_end() {
    let (_database, store) = Database::with_schema().await;
    let lines = odd_times();
    append_all(&store, "a", &lines, 100).await;
    let list = async |filter: EventFilter| {
        filter.check().unwrap();
        numbers(&store.list_events("a", &filter, 100).await.unwrap())
    };
    let none = EventFilter::default();
    let of = |since, until| EventFilter {
        since_log_seq: Some(since),
        until_log_seq: Some(until),
        ..EventFilter::default()
    };
    assert_eq!(list(of(3, 6)).await, [4, 5, 6]);
    assert_eq!(list(of(3, 3)).await, Vec::<i64>::new());
    assert_eq!(
        list(EventFilter { since_log_seq: Some(24), ..none.clone() }).await,
        Vec::<i64>::new()
    );
    // The same instant, whatever its offset.
    let noon = parsed("a", &[events::started("x").replace("10:00:00Z", "15:30:00+05:30")]);
    let noon = Some(noon[0].event.occurred_instant);
    let after = list(EventFilter { since_occurred_at: noon, ..none.clone() }).await;
    let until = list(EventFilter { until_occurred_at: noon, ..none.clone() }).await;
    let at = list(EventFilter { since_occurred_at: noon, until_occurred_at: noon, ..none.clone() });
    assert_eq!(at.await, Vec::<i64>::new());
    for (number, line) in (1..).zip(&lines) {
        let exactly = ["2026-05-04T10:00:00Z", "2026-05-04T12:00:00+02:00"];
        let is_noon = exactly.contains(&&*line.event.occurred_at);
        assert_eq!(after.contains(&number), !until.contains(&number), "{number}");
        assert!(!is_noon || until.contains(&number), "{number}");
    }
}

#[test]
fn bounds_the_wrong_way_round_are_an_invalid_argument() {
    let lines = odd_times();
    let (early, late) = (lines[0].event.occurred_instant, lines[6].event.occurred_instant);
    let (early, late) = (early.min(late), early.max(late));
    let none = EventFilter::default();
    for wrong in [
        EventFilter { since_log_seq: Some(4), until_log_seq: Some(3), ..none.clone() },
        EventFilter { since_occurred_at: Some(late), until_occurred_at: Some(early), ..none },
    ] {
        assert_eq!(wrong.check().unwrap_err().code, Code::InvalidArgument);
    }
}

#[tokio::test]
async fn a_trace_is_read_from_any_place_and_says_where_it_continues() {
    let (_database, store) = Database::with_schema().await;
    let lines = odd_times();
    append_all(&store, "a", &lines[..22], 100).await;
    for (trace, length) in [("t", 6), ("u", 6), ("v", 5), ("w", 5)] {
        for since in [None, Some(-1), Some(0), Some(2), Some(4), Some(5), Some(9)] {
            let slice = store.trace("a", trace, since).await.unwrap();
            let found: Vec<i64> = slice.events.iter().map(|event| event.trace_seq).collect();
            let first = since.map_or(0, |since| since + 1);
            assert_eq!(found, (first..length).collect::<Vec<_>>(), "{trace} since {since:?}");
            assert_eq!((slice.next_trace_seq, slice.finished), (length, length == 6));
        }
    }
    for (tenant, trace) in [("a", "x"), ("b", "t"), ("", "t")] {
        assert_eq!(store.trace(tenant, trace, None).await.unwrap_err().code, Code::NotFound);
    }
}

#[tokio::test]
async fn an_event_comes_back_as_it_was_given() {
    let (_database, store) = Database::with_schema().await;
    let text = events::started("té ʼ\u{2028}").replace(
        r#""payload":{"#,
        r#""correlation_id":"c","causation_event_id":"e","schema_version":7,"tags":["a b","é"],"payload":{"nul":"\u0000","big":123456789012345678901234567890,"#,
    );
    let lines = parsed("a", &[text.replace(r#""system":"s""#, r#""system":"s","subsystem":"x""#)]);
    append_all(&store, "a", &lines, 1).await;
    let found = store.list_events("a", &EventFilter::default(), 1).await.unwrap().remove(0);
    let given = &lines[0].event;
    assert_eq!((found.tenant_id, found.log_seq, found.trace_seq), ("a".to_owned(), 1, 0));
    assert_eq!((found.event_id, found.trace_id), (given.event_id.clone(), given.trace_id.clone()));
    assert_eq!((found.payload, found.payload_hash), (given.payload.clone(), given.payload_hash));
    assert_eq!((found.occurred_at, found.tags), (given.occurred_at.clone(), given.tags.clone()));
    assert_eq!(found.source_subsystem.as_deref(), Some("x"));
    assert_eq!(found.correlation_id.as_deref(), Some("c"));
    assert_eq!(found.causation_event_id.as_deref(), Some("e"));
    assert_eq!((found.schema_version, found.event_type.as_str()), (7, "TraceStarted"));
}

async fn pages(store: &Store, filter: &EventFilter, limit: i64, end: i64) -> Vec<RecordedEvent> {
    let mut all: Vec<RecordedEvent> = Vec::new();
    while all.last().map_or(0, |event| event.log_seq) < end {
        let since_log_seq = all.last().map(|event| event.log_seq);
        let page = EventFilter { since_log_seq, ..filter.clone() };
        all.extend(store.list_events("a", &page, limit).await.unwrap());
    }
    all
}

#[tokio::test(flavor = "multi_thread")]
async fn pages_are_complete_and_do_not_overlap_while_the_log_grows() {
    let (database, store) = Database::with_schema().await;
    let lines = generated_lines("a", 40, 8, 6);
    let last = lines.last().unwrap().event.trace_id.clone();
    let of_trace: Vec<i64> = (1..)
        .zip(&lines)
        .filter(|(_, line)| line.event.trace_id == last)
        .map(|(at, _)| at)
        .collect();
    let filter = EventFilter { trace_id: Some(last), ..EventFilter::default() };
    let reading = tokio::spawn(async move {
        let all = pages(&store, &EventFilter::default(), 7, 320).await;
        let own = pages(&store, &filter, 3, 320).await;
        (numbers(&all), numbers(&own))
    });
    append_all(&database.store(), "a", &lines, 5).await;
    let (all, own) = reading.await.unwrap();
    assert_eq!((all, own), ((1..=320).collect(), of_trace));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_page_of_large_events_is_cut_by_bytes_and_the_pages_together_are_whole() {
    use dg_projections::event::{Keeping, parse_line};
    use dg_projections::projection::Projection;
    let (_database, store) = Database::with_schema().await;
    let text = "x".repeat(3 << 20);
    let line = |trace: i64| {
        let event = format!(
            r#"{{"event_id":"e{trace}","trace_id":"t{trace}","trace_seq":0,"event_type":"TraceStarted","occurred_at":"2026-01-01T00:00:00Z","source":{{"producer_id":"p","system":"s"}},"actor":{{"actor_type":"agent","actor_id":"a"}},"idempotency_key":"k{trace}","payload":{{"workflow":"w","title":"x","primary_entity":{{"entity_type":"y","entity_id":"z"}},"text":"{text}"}}}}"#
        );
        parse_line(&event, "a", Keeping::NewNumbers).unwrap()
    };
    store.append("a", &(1..=7).map(line).collect::<Vec<_>>()).await.unwrap();
    let (mut cursor, mut sizes) = (0, Vec::new());
    loop {
        let page = store
            .read_page("a", Projection::ContextGraph, Cursor::whole(1, cursor, 0), 100)
            .await
            .unwrap();
        let Some(last) = page.events.last() else { break };
        cursor = last.log_seq;
        sizes.push(page.events.len());
        assert_eq!(page.more, cursor < 7);
    }
    assert_eq!((cursor, sizes), (7, vec![3, 3, 1]));
    let listed = store.list_events("a", &EventFilter::default(), 100).await.unwrap();
    assert_eq!(listed.len(), 3);
}
