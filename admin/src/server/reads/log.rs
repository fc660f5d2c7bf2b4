//! Reads of the log. Events are JSON text already: their payloads stay byte for byte.

use std::sync::Arc;
use std::time::Instant;
use std::{future, io};

use bytes::Bytes;
use dg_projections::Rejection;
use dg_projections::event::EventType;
use dg_projections::json::canonical;
use dg_runtime::{Runtime, telemetry};
use dg_store::{EventFilter, RecordedEvent, Store, StoreError};
use futures_util::{Stream, StreamExt as _, TryStreamExt as _, stream};
use hyper::header::ACCEPT;
use tokio::sync::Semaphore;

use crate::server::asked::{Asked, Handled, invalid};
use crate::server::query::Query;
use crate::server::respond::{Answer, Body, JSON_LINES, streamed};
use crate::wire::object;

/// The parameters of [`events`].
pub(crate) const FILTERS: [&str; 7] = [
    "trace_id",
    "event_type",
    "since_log_seq",
    "until_log_seq",
    "since_occurred_at",
    "until_occurred_at",
    "limit",
];

/// Events of a page.
const PAGE: i64 = 250;
/// Pages that are read at once, so that requests of operators find a connection.
static TURNS: Semaphore = Semaphore::const_new(4);
/// Events of a list at most.
const MAX_LIST: i64 = 10_000;

fn filter(query: &Query) -> Result<EventFilter, Rejection> {
    let event_type = query.text("event_type").map(|name| {
        EventType::from_name(&name)
            .ok_or_else(|| invalid(format!("there is no event type '{name}'")))
    });
    let filter = EventFilter {
        trace_id: query.text("trace_id"),
        event_type: event_type.transpose()?,
        since_log_seq: query.number("since_log_seq")?,
        until_log_seq: query.number("until_log_seq")?,
        since_occurred_at: query.instant("since_occurred_at")?,
        until_occurred_at: query.instant("until_occurred_at")?,
    };
    filter.check()?;
    Ok(filter)
}

/// A list in an envelope, or all there is as lines.
pub(crate) async fn events(asked: Asked<'_>) -> Handled {
    let filter = filter(&asked.query)?;
    let as_lines = asked.headers.get(ACCEPT).is_some_and(|kind| kind == JSON_LINES);
    let left = match as_lines {
        true => asked.query.bounded("limit", i64::MAX, 1, i64::MAX)?,
        false => asked.query.bounded("limit", 100, 1, MAX_LIST)?,
    };
    let mut paging = Paging { runtime: asked.runtime()?, tenant: asked.tenant, filter, left };
    // Before the status is sent: that the database is away can still be said.
    let first = paging.next().await?;
    let pages = paging.pages(first);
    Ok(match as_lines {
        true => Answer::Lines(streamed(pages.map_ok(|page| lines(&page)))),
        false => Answer::Pieces(array(pages)),
    })
}

fn lines(page: &[RecordedEvent]) -> Bytes {
    let mut text = String::new();
    for event in page {
        text.push_str(&event.to_json());
        text.push('\n');
    }
    text.into()
}

fn array(pages: impl Stream<Item = io::Result<Vec<RecordedEvent>>> + Send + 'static) -> Body {
    let mut before = "[";
    let pieces = pages.map_ok(move |page| {
        let text = format!("{before}{}", joined(&page));
        before = ",";
        text.into()
    });
    streamed(pieces.chain(stream::once(future::ready(Ok("]".into())))))
}

fn joined(events: &[RecordedEvent]) -> String {
    let texts: Vec<String> = events.iter().map(RecordedEvent::to_json).collect();
    texts.join(",")
}

/// The events of a filter, a page at a time: memory does not grow with the log.
struct Paging {
    runtime: Arc<Runtime>,
    tenant: String,
    filter: EventFilter,
    left: i64,
}

impl Paging {
    /// The next page; empty at the end.
    async fn next(&mut self) -> Result<Vec<RecordedEvent>, StoreError> {
        let (tenant, filter, limit) = (&self.tenant, &self.filter, self.left.min(PAGE));
        if limit == 0 {
            return Ok(Vec::new());
        }
        let list = |store: Store| async move {
            let _turn = TURNS.acquire().await;
            store.list_events(tenant, filter, limit).await
        };
        let started = Instant::now();
        let page = self.runtime.gate().run(list).await?;
        let bytes = page.iter().map(|event| event.payload.len()).sum();
        telemetry::read(tenant, "list", (page.len(), bytes), started.elapsed());
        self.left -= page.len() as i64;
        if let Some(last) = page.last() {
            self.filter.since_log_seq = Some(last.log_seq);
        }
        Ok(page)
    }

    /// The pages from `first` on; those after it are not empty.
    fn pages(
        self,
        first: Vec<RecordedEvent>,
    ) -> impl Stream<Item = io::Result<Vec<RecordedEvent>>> + Send {
        let rest = stream::try_unfold(self, |mut paging| async move {
            let page = paging.next().await.map_err(cut_short)?;
            Ok((!page.is_empty()).then_some((page, paging)))
        });
        stream::once(future::ready(Ok(first))).chain(rest)
    }
}

/// The client sees no more than that the answer breaks off.
fn cut_short(error: StoreError) -> io::Error {
    tracing::warn!(code = %error.code, reason = %error, "a list of events was cut short");
    io::Error::other(error)
}

pub(crate) async fn trace(asked: Asked<'_>, trace_id: &str) -> Handled {
    let since = asked.query.number("since_trace_seq")?;
    let tenant = asked.tenant.as_str();
    let slice =
        asked.database(|store| async move { store.trace(tenant, trace_id, since).await }).await?;
    let head = canonical(&object([
        ("finished", slice.finished.into()),
        ("next_trace_seq", slice.next_trace_seq.into()),
        ("tenant_id", tenant.into()),
        ("trace_id", trace_id.into()),
    ]));
    // The events go first by key order.
    Ok(Answer::Data(format!("{{\"events\":[{}],{}", joined(&slice.events), &head[1..])))
}
