//! The handlers of reads.

use std::collections::BTreeSet;
use std::sync::Arc;

use bytes::Bytes;
use dg_projections::event::EventType;
use dg_projections::json::{Json, canonical};
use dg_projections::projection::Projection;
use dg_projections::subgraph::Bounds;
use dg_projections::{Code, Rejection};
use dg_runtime::Runtime;
use dg_store::{
    Direction, EdgeCursor, EdgesQuery, EventFilter, PrecedentQuery, ProjectionHealth,
    RecordedEvent, StoreError,
};
use futures_util::{Stream, stream};
use hyper::header::ACCEPT;
use hyper::http::request::Parts;

use super::Context;
use super::query::Query;
use super::respond::{Answer, Refusal, streamed};
use crate::wire::{self, object};

/// Events of a page, and of a list at most.
const PAGE: i64 = 1_000;
const MAX_LIST: i64 = 10_000;

/// A request as a handler sees it.
pub(crate) struct Asked<'a> {
    pub(crate) context: &'a Arc<Context>,
    pub(crate) tenant: &'a str,
    pub(crate) query: &'a mut Query,
    pub(crate) parts: &'a Parts,
}

type Handled = Result<Answer, Refusal>;

pub(crate) async fn status(asked: Asked<'_>) -> Handled {
    let runtime = asked.context.runtime.get()?;
    let snapshot = runtime.snapshot().await?;
    // The picture is worth having while the database is away, too.
    let schema =
        runtime.gate().run(|store| async move { store.migration_status().await }).await.ok();
    let projections = &asked.context.config.projections;
    Ok(wire::status(&snapshot, projections, schema.as_ref(), &asked.context.owner).into())
}

pub(crate) async fn health(asked: Asked<'_>) -> Handled {
    let runtime = asked.context.runtime.get()?;
    let all = asked.query.flag("all")?;
    let (tenant, names) = (asked.tenant, asked.context.config.projections.as_slice());
    let one = (!all).then_some(tenant);
    let found = runtime.gate().run(|store| async move { store.health(one, names).await }).await?;
    let workers = runtime.snapshot().await?.workers;
    let status = |tenant: &str, projection: &ProjectionHealth| {
        let running = workers.iter().map(|(worker, _)| worker).find(|worker| {
            worker.key.tenant_id == tenant
                && worker.key.projection.as_str() == projection.projection_name
        });
        match running {
            Some(worker) => worker.status,
            None if projection.open_failures > 0 => "failed",
            None if projection.is_stale => "starting",
            None => "idle",
        }
    };
    let shown: Vec<Json> = found
        .iter()
        .map(|one| wire::health(one, |projection| status(&one.tenant_id, projection)))
        .collect();
    if all {
        return Ok(Json::Array(shown).into());
    }
    shown.into_iter().next().map(Answer::from).ok_or_else(|| no_tenant(tenant))
}

fn no_tenant(tenant: &str) -> Refusal {
    Rejection::new(Code::NotFound, format!("tenant '{tenant}' has no events")).into()
}

pub(crate) async fn workers(asked: Asked<'_>) -> Handled {
    let runtime = asked.context.runtime.get()?;
    let (state, all) = (asked.query.text("state"), asked.query.flag("all")?);
    let header_names_one = asked.parts.headers.contains_key("x-tenant-id") && !all;
    let workers = runtime.snapshot().await?.workers;
    let shown = workers.iter().filter(|(worker, _)| {
        let tenant_fits = !header_names_one || worker.key.tenant_id == asked.tenant;
        tenant_fits && state.as_ref().is_none_or(|state| worker.status == state)
    });
    let owner = &asked.context.owner;
    Ok(Json::Array(
        shown.map(|(worker, restarts)| wire::worker(worker, *restarts, owner)).collect(),
    )
    .into())
}

pub(crate) async fn failures(asked: Asked<'_>) -> Handled {
    let runtime = asked.context.runtime.get()?;
    let (tenant, all) = (asked.tenant, asked.query.flag("all")?);
    let found =
        runtime.gate().run(|store| async move { store.failures(tenant, all).await }).await?;
    Ok(Json::Array(found.iter().map(wire::failure).collect()).into())
}

/// Stored digests while each is current, fresh ones otherwise or on demand.
pub(crate) async fn digests(asked: Asked<'_>) -> Handled {
    let runtime = asked.context.runtime.get()?;
    let (tenant, fresh) = (asked.tenant, asked.query.flag("fresh")?);
    let expected = Projection::ALL.len() + 1;
    let stored =
        runtime.gate().run(|store| async move { store.stored_digests(tenant).await }).await?;
    let current = stored.len() == expected && stored.iter().all(|digest| digest.is_current);
    let digests = if fresh || !current {
        // May take longer than a request's usual share: all rows are read.
        runtime
            .gate()
            .store()
            .compute_digests(tenant)
            .await
            .inspect_err(|error| runtime.gate().report(error))?
    } else {
        stored
    };
    Ok(wire::digests(tenant, &digests).into())
}

pub(crate) async fn events(asked: Asked<'_>) -> Handled {
    let runtime = asked.context.runtime.get()?;
    let query = asked.query;
    let event_type = match query.text("event_type") {
        None => None,
        Some(name) => Some(EventType::from_name(&name).ok_or_else(|| {
            Rejection::new(Code::InvalidArgument, format!("there is no event type '{name}'"))
        })?),
    };
    let filter = EventFilter {
        trace_id: query.text("trace_id"),
        event_type,
        since_log_seq: query.number("since_log_seq")?,
        until_log_seq: query.number("until_log_seq")?,
        since_occurred_at: query.instant("since_occurred_at")?,
        until_occurred_at: query.instant("until_occurred_at")?,
    };
    filter.check()?;
    let as_lines =
        asked.parts.headers.get(ACCEPT).is_some_and(|accept| accept == "application/x-ndjson");
    if as_lines {
        let limit = query.number("limit")?.unwrap_or(i64::MAX);
        return Ok(Answer::Lines(streamed(pages(runtime, asked.tenant.to_owned(), filter, limit))));
    }
    let limit = query.bounded("limit", 100, 1, MAX_LIST)?;
    let tenant = asked.tenant;
    let filter = &filter;
    let events = runtime
        .gate()
        .run(|store| async move { store.list_events(tenant, filter, limit).await })
        .await?;
    Ok(Answer::Data(array_of(&events)))
}

/// The events are JSON text already: their payloads must stay byte for byte.
fn array_of(events: &[RecordedEvent]) -> String {
    let texts: Vec<String> = events.iter().map(RecordedEvent::to_json).collect();
    format!("[{}]", texts.join(","))
}

struct Paging {
    runtime: Runtime,
    tenant: String,
    filter: EventFilter,
    left: i64,
}

/// All events of a filter as lines, a page at a time: memory does not grow with the log.
fn pages(
    runtime: Runtime,
    tenant: String,
    filter: EventFilter,
    limit: i64,
) -> impl Stream<Item = Result<Bytes, std::io::Error>> + Send + Sync {
    let start = Paging { runtime, tenant, filter, left: limit };
    let pages = stream::unfold(Some(start), |paging| async move {
        let mut paging = paging?;
        match next_page(&mut paging).await {
            Ok(Some(lines)) => Some((Ok(lines), Some(paging))),
            Ok(None) => None,
            Err(error) => Some((Err(std::io::Error::other(error.message)), None)),
        }
    });
    SyncStream(std::sync::Mutex::new(Box::pin(pages)))
}

async fn next_page(paging: &mut Paging) -> Result<Option<Bytes>, StoreError> {
    let (tenant, filter, limit) = (&paging.tenant, &paging.filter, paging.left.min(PAGE));
    if limit <= 0 {
        return Ok(None);
    }
    let page = paging
        .runtime
        .gate()
        .run(|store| async move { store.list_events(tenant, filter, limit).await })
        .await?;
    let Some(last) = page.last() else { return Ok(None) };
    paging.left -= page.len() as i64;
    paging.filter.since_log_seq = Some(last.log_seq);
    let mut lines = String::new();
    for event in &page {
        lines.push_str(&event.to_json());
        lines.push('\n');
    }
    Ok(Some(lines.into()))
}

/// A body must be `Sync`, which a future in the making is not; it is only ever polled by one.
struct SyncStream<S>(std::sync::Mutex<S>);

impl<S: Stream + Unpin> Stream for SyncStream<S> {
    type Item = S::Item;

    fn poll_next(
        mut self: std::pin::Pin<&mut Self>,
        context: &mut std::task::Context<'_>,
    ) -> std::task::Poll<Option<S::Item>> {
        let inner = self.0.get_mut().unwrap_or_else(std::sync::PoisonError::into_inner);
        std::pin::Pin::new(inner).poll_next(context)
    }
}

pub(crate) async fn trace(asked: Asked<'_>, trace_id: &str) -> Handled {
    let runtime = asked.context.runtime.get()?;
    let since = asked.query.number("since_trace_seq")?;
    let tenant = asked.tenant;
    let slice = runtime
        .gate()
        .run(|store| async move { store.trace(tenant, trace_id, since).await })
        .await?;
    let head = object([
        ("finished", slice.finished.into()),
        ("next_trace_seq", slice.next_trace_seq.into()),
        ("tenant_id", tenant.into()),
        ("trace_id", trace_id.into()),
    ]);
    // The events go first by key order and are text already.
    let head = canonical(&head);
    Ok(Answer::Data(format!("{{\"events\":{},{}", array_of(&slice.events), &head[1..])))
}

pub(crate) async fn summary(asked: Asked<'_>, trace_id: &str) -> Handled {
    let runtime = asked.context.runtime.get()?;
    let tenant = asked.tenant;
    let row = runtime
        .gate()
        .run(|store| async move { store.trace_summary(tenant, trace_id).await })
        .await?;
    Ok(wire::summary(&row).into())
}

fn node(query: &mut Query) -> Result<String, Rejection> {
    Ok(format!("{}:{}", query.required("kind")?, query.required("id")?))
}

pub(crate) async fn graph(asked: Asked<'_>) -> Handled {
    let runtime = asked.context.runtime.get()?;
    let (query, config) = (asked.query, &asked.context.config);
    let center = node(query)?;
    let (most_nodes, most_edges) =
        (config.projection_max_nodes as i64, config.projection_max_edges as i64);
    let bounds = Bounds {
        max_depth: query.bounded("depth", 1, 0, 10)? as u32,
        max_nodes: query.bounded("max_nodes", 100.min(most_nodes), 1, most_nodes)? as usize,
        max_edges: query.bounded("max_edges", 100.min(most_edges), 1, most_edges)? as usize,
        node_types: query.list("node_type").into_iter().collect::<BTreeSet<_>>(),
        edge_types: query.list("edge_type").into_iter().collect::<BTreeSet<_>>(),
    };
    let (tenant, center) = (asked.tenant, center.as_str());
    let found = runtime
        .gate()
        .run(|store| async move { store.subgraph(tenant, center, bounds).await })
        .await?;
    Ok(wire::subgraph(&found).into())
}

pub(crate) async fn edges(asked: Asked<'_>) -> Handled {
    let runtime = asked.context.runtime.get()?;
    let query = asked.query;
    let word = query.text("direction").unwrap_or_else(|| "both".to_owned());
    let direction = Direction::from_word(&word).ok_or_else(|| {
        Rejection::new(
            Code::InvalidArgument,
            format!("direction must be incoming, outgoing or both, not '{word}'"),
        )
    })?;
    let edges = EdgesQuery {
        node_id: node(query)?,
        direction,
        limit: query.bounded("limit", 100, 1, 10_000)?,
        cursor: query.text("cursor").map(|text| EdgeCursor::from_text(&text)).transpose()?,
    };
    edges.check()?;
    let (tenant, edges) = (asked.tenant, &edges);
    let page =
        runtime.gate().run(|store| async move { store.edges_of(tenant, edges).await }).await?;
    let next = page.next.map_or(Json::Null, |cursor| Json::from(cursor.to_string()));
    let edges = Json::Array(page.edges.iter().map(wire::edge).collect());
    Ok(object([("edges", edges), ("next_cursor", next)]).into())
}

pub(crate) async fn precedents(asked: Asked<'_>) -> Handled {
    let runtime = asked.context.runtime.get()?;
    let query = asked.query;
    let wanted = PrecedentQuery {
        policy_id: query.text("policy_id"),
        policy_version: query.text("policy_version"),
        outcome: query.text("outcome"),
        entity_type: query.text("entity_type"),
        entity_id: query.text("entity_id"),
        limit: query.bounded("limit", 100, 1, 10_000)?,
    };
    wanted.check()?;
    let (tenant, wanted) = (asked.tenant, &wanted);
    let hits =
        runtime.gate().run(|store| async move { store.precedents(tenant, wanted).await }).await?;
    Ok(Json::Array(hits.iter().map(wire::precedent).collect()).into())
}
