//! Reads of the projections.

use dg_projections::Rejection;
use dg_projections::json::Json;
use dg_projections::projection::Projection;
use dg_projections::subgraph::Bounds;
use dg_store::{Direction, EdgeCursor, EdgesQuery, PrecedentQuery, Store};

use crate::server::asked::{Asked, Handled, invalid};
use crate::server::query::Query;
use crate::server::waiting::WAIT;
use crate::wire::{self, object};

/// Rows of a list at most.
const MAX_LIST: i64 = 10_000;

/// The parameters of [`graph`].
pub(crate) const GRAPH: [&str; 8] =
    ["kind", "id", "depth", "max_nodes", "max_edges", "node_type", "edge_type", WAIT];
/// The parameters of [`edges`].
pub(crate) const EDGES: [&str; 6] = ["kind", "id", "direction", "limit", "cursor", WAIT];
/// The parameters of [`precedents`].
pub(crate) const PRECEDENTS: [&str; 7] =
    ["policy_id", "policy_version", "outcome", "entity_type", "entity_id", "limit", WAIT];

pub(crate) async fn summary(asked: Asked<'_>, trace_id: &str) -> Handled {
    let tenant = asked.tenant.as_str();
    let read = |store: Store| async move { store.trace_summary(tenant, trace_id).await };
    let row = asked.projected(&[Projection::TraceSummary], read).await?;
    Ok(wire::summary(&row).into())
}

/// The key of a node.
fn node(query: &Query) -> Result<String, Rejection> {
    Ok(format!("{}:{}", query.required("kind")?, query.required("id")?))
}

pub(crate) async fn graph(asked: Asked<'_>) -> Handled {
    let (query, config) = (&asked.query, asked.context.config.get());
    let center = node(query)?;
    let most_nodes = config.projection_max_nodes as i64;
    let most_edges = config.projection_max_edges as i64;
    let bounds = Bounds {
        max_depth: query.bounded("depth", 1, 0, 10)? as u32,
        max_nodes: query.bounded("max_nodes", 100.min(most_nodes), 1, most_nodes)? as usize,
        max_edges: query.bounded("max_edges", 100.min(most_edges), 1, most_edges)? as usize,
        node_types: query.list("node_type").into_iter().collect(),
        edge_types: query.list("edge_type").into_iter().collect(),
    };
    let (tenant, center, bounds) = (asked.tenant.as_str(), center.as_str(), &bounds);
    let read = |store: Store| async move { store.subgraph(tenant, center, bounds.clone()).await };
    let found = asked.projected(&[Projection::ContextGraph], read).await?;
    Ok(wire::subgraph(&found).into())
}

pub(crate) async fn edges(asked: Asked<'_>) -> Handled {
    let query = &asked.query;
    let word = query.text("direction").unwrap_or_else(|| "both".to_owned());
    let direction = Direction::from_word(&word).ok_or_else(|| {
        invalid(format!("parameter 'direction' must be incoming, outgoing or both, not '{word}'"))
    })?;
    let wanted = EdgesQuery {
        node_id: node(query)?,
        direction,
        limit: query.bounded("limit", 100, 1, MAX_LIST)?,
        cursor: query.text("cursor").map(|text| EdgeCursor::from_text(&text)).transpose()?,
    };
    wanted.check()?;
    let (tenant, wanted) = (asked.tenant.as_str(), &wanted);
    let read = |store: Store| async move { store.edges_of(tenant, wanted).await };
    let page = asked.projected(&[Projection::ContextGraph], read).await?;
    let next = page.next.map_or(Json::Null, |cursor| Json::from(cursor.to_string()));
    let edges = Json::Array(page.edges.iter().map(wire::edge).collect());
    Ok(object([("edges", edges), ("next_cursor", next)]).into())
}

/// What precedents are read from.
const NEEDED: [Projection; 2] = [Projection::TraceSummary, Projection::PrecedentIndex];

pub(crate) async fn precedents(asked: Asked<'_>) -> Handled {
    let query = &asked.query;
    let wanted = PrecedentQuery {
        policy_id: query.text("policy_id"),
        policy_version: query.text("policy_version"),
        outcome: query.text("outcome"),
        entity_type: query.text("entity_type"),
        entity_id: query.text("entity_id"),
        limit: query.bounded("limit", 100, 1, MAX_LIST)?,
    };
    wanted.check()?;
    let (tenant, wanted) = (asked.tenant.as_str(), &wanted);
    let read = |store: Store| async move { store.precedents(tenant, wanted).await };
    let hits = asked.projected(&NEEDED, read).await?;
    Ok(Json::Array(hits.iter().map(wire::precedent).collect()).into())
}
