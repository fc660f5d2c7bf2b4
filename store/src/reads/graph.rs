//! The context graph: subgraphs around a node, and the edges of a node page by page.

use std::fmt;

use deadpool_postgres::Transaction;
use dg_projections::projection::Projection;
use dg_projections::rows::{EdgeRow, NodeRow};
use dg_projections::subgraph::{Bounds, Walk};
use dg_projections::{Code, Rejection};
use tokio_postgres::types::ToSql;

use super::current_generation;
use crate::database::{Object, snapshot};
use crate::rows::StoredRow;
use crate::{Store, StoreError};

/// A part of the graph.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Subgraph {
    /// By `node_id`.
    pub nodes: Vec<NodeRow>,
    /// By `edge_id`.
    pub edges: Vec<EdgeRow>,
    /// Whether a bound cut it short.
    pub truncated: bool,
}

/// Which edges of a node.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[allow(missing_docs, reason = "the names are the contract's")]
pub enum Direction {
    Incoming,
    Outgoing,
    Both,
}

impl Direction {
    /// The stable word.
    pub const fn as_str(self) -> &'static str {
        match self {
            Direction::Incoming => "incoming",
            Direction::Outgoing => "outgoing",
            Direction::Both => "both",
        }
    }

    /// The direction of a word.
    pub fn from_word(word: &str) -> Option<Direction> {
        [Direction::Incoming, Direction::Outgoing, Direction::Both]
            .into_iter()
            .find(|direction| direction.as_str() == word)
    }
}

/// Where a page of edges ended. As text: `direction:log_seq:edge_id`.
#[derive(Debug, Clone, PartialEq, Eq)]
#[allow(missing_docs, reason = "the names are the contract's")]
pub struct EdgeCursor {
    pub direction: Direction,
    pub log_seq: i64,
    pub edge_id: String,
}

impl fmt::Display for EdgeCursor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}:{}", self.direction.as_str(), self.log_seq, self.edge_id)
    }
}

impl EdgeCursor {
    /// A cursor from its text.
    ///
    /// # Errors
    /// `invalid_argument` for any other text.
    pub fn from_text(text: &str) -> Result<EdgeCursor, Rejection> {
        let mut parts = text.splitn(3, ':');
        let direction = parts.next().and_then(Direction::from_word);
        let log_seq = parts.next().and_then(|number| number.parse().ok());
        match (direction, log_seq, parts.next()) {
            (Some(direction), Some(log_seq), Some(edge_id)) => {
                Ok(EdgeCursor { direction, log_seq, edge_id: edge_id.to_owned() })
            }
            _ => Err(Rejection::new(
                Code::InvalidArgument,
                "cursor is not one that a page of edges gave",
            )),
        }
    }
}

/// A page of a node's edges to ask for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EdgesQuery {
    /// The node's key.
    pub node_id: String,
    /// Which edges.
    pub direction: Direction,
    /// 1..=10000.
    pub limit: i64,
    /// Where the page before ended.
    pub cursor: Option<EdgeCursor>,
}

impl EdgesQuery {
    /// Refuses what cannot be asked.
    ///
    /// # Errors
    /// `invalid_argument`.
    pub fn check(&self) -> Result<(), Rejection> {
        if !(1..=10_000).contains(&self.limit) {
            return Err(Rejection::new(Code::InvalidArgument, "limit must be in 1..=10000"));
        }
        match &self.cursor {
            Some(cursor) if cursor.direction != self.direction => Err(Rejection::new(
                Code::InvalidArgument,
                format!(
                    "the cursor is of direction {}, not {}",
                    cursor.direction.as_str(),
                    self.direction.as_str()
                ),
            )),
            _ => Ok(()),
        }
    }
}

/// A page of a node's edges.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EdgePage {
    /// By (`log_seq`, `edge_id`).
    pub edges: Vec<EdgeRow>,
    /// Where the next page begins; none after the last.
    pub next: Option<EdgeCursor>,
}

impl Store {
    /// The subgraph around a node, breadth first.
    ///
    /// # Errors
    /// `projection_out_of_date` behind the log; `not_found` for an unknown node.
    pub async fn subgraph(
        &self,
        tenant: &str,
        center: &str,
        bounds: Bounds,
    ) -> Result<Subgraph, StoreError> {
        let mut client = self.client().await?;
        let graph = Graph::open(&mut client, tenant, self.enough).await?;
        if graph.nodes(&[center]).await?.is_empty() {
            let message = format!("node '{center}' is not in the graph of tenant '{tenant}'");
            return Err(StoreError::new(Code::NotFound, message));
        }
        let edge_types: Vec<String> = bounds.edge_types.iter().cloned().collect();
        let mut walk = Walk::start(center, bounds);
        while let Some(frontier) = walk.frontier() {
            let frontier: Vec<&str> = frontier.iter().map(String::as_str).collect();
            let edges = graph.touching(&frontier, &edge_types, walk.edge_budget()).await?;
            walk.visit(edges);
        }
        let found = walk.finish();
        let ids: Vec<&str> = found.nodes.iter().map(String::as_str).collect();
        let nodes = graph.nodes(&ids).await?;
        Ok(Subgraph {
            nodes,
            edges: found.edges.into_values().collect(),
            truncated: found.truncated,
        })
    }

    /// A page of the edges of a node.
    ///
    /// # Errors
    /// `projection_out_of_date` behind the log. A node without edges has an empty page.
    pub async fn edges_of(&self, tenant: &str, query: &EdgesQuery) -> Result<EdgePage, StoreError> {
        let mut client = self.client().await?;
        let graph = Graph::open(&mut client, tenant, self.enough).await?;
        let mut edges = graph.page(query).await?;
        let more = edges.len() as i64 > query.limit;
        edges.truncate(query.limit as usize);
        let last = edges.last().filter(|_| more);
        let next = last.map(|edge| EdgeCursor {
            direction: query.direction,
            log_seq: edge.log_seq,
            edge_id: edge.edge_id.clone(),
        });
        Ok(EdgePage { edges, next })
    }
}

struct Graph<'a> {
    transaction: Transaction<'a>,
    tenant: &'a str,
    generation: i32,
}

impl<'a> Graph<'a> {
    async fn open(
        client: &'a mut Object,
        tenant: &'a str,
        enough: i64,
    ) -> Result<Graph<'a>, StoreError> {
        let transaction = snapshot(client, false).await?;
        let generation =
            current_generation(&transaction, tenant, Projection::ContextGraph, enough).await?;
        Ok(Graph { transaction, tenant, generation })
    }

    /// One by one by their key: of `= ANY`, a planner without statistics makes a walk of the graph.
    async fn nodes(&self, ids: &[&str]) -> Result<Vec<NodeRow>, StoreError> {
        let sql = format!(
            "SELECT {} FROM unnest($3::text[]) AS asked (asked_id)
             CROSS JOIN LATERAL (SELECT * FROM dg_cg_nodes AS n WHERE n.tenant_id = $1
                AND n.generation = $2 AND n.node_id = asked.asked_id LIMIT 1) AS found
             ORDER BY node_id",
            NodeRow::COLUMNS
        );
        let statement = self.transaction.prepare_cached(&sql).await?;
        let rows =
            self.transaction.query(&statement, &[&self.tenant, &self.generation, &ids]).await?;
        rows.iter().map(NodeRow::decode).collect()
    }

    /// The edges that touch the frontier, by `edge_id`. UNION makes an edge between two frontier
    /// nodes come once and lets each side use its own index, in whose order it asks.
    async fn touching(
        &self,
        frontier: &[&str],
        edge_types: &[String],
        limit: usize,
    ) -> Result<Vec<EdgeRow>, StoreError> {
        let side = |column: &str| {
            format!(
                "SELECT e.* FROM unnest($3::text[]) AS asked (node_id)
                 CROSS JOIN LATERAL (SELECT * FROM dg_cg_edges AS l
                    WHERE l.tenant_id = $1 AND l.generation = $2 AND l.{column} = asked.node_id
                    ORDER BY l.log_seq OFFSET 0) AS e
                 WHERE cardinality($4::text[]) = 0 OR edge_type = ANY($4)"
            )
        };
        let sql = format!(
            "SELECT {} FROM ({} UNION {}) AS edges ORDER BY edge_id LIMIT $5",
            EdgeRow::COLUMNS,
            side("from_node_id"),
            side("to_node_id")
        );
        let limit = i64::try_from(limit).unwrap_or(i64::MAX);
        let statement = self.transaction.prepare_cached(&sql).await?;
        let arguments: [&(dyn ToSql + Sync); 5] =
            [&self.tenant, &self.generation, &frontier, &edge_types, &limit];
        let rows = self.transaction.query(&statement, &arguments).await?;
        rows.iter().map(EdgeRow::decode).collect()
    }

    /// One edge more than asked for, to know whether there is a next page.
    async fn page(&self, query: &EdgesQuery) -> Result<Vec<EdgeRow>, StoreError> {
        let side = |column: &str| {
            format!(
                "(SELECT * FROM dg_cg_edges WHERE tenant_id = $1 AND generation = $2 AND {column} = $3
                 AND (log_seq, edge_id) > ($4, $5) ORDER BY log_seq, edge_id LIMIT $6)"
            )
        };
        let from = match query.direction {
            Direction::Outgoing => side("from_node_id"),
            Direction::Incoming => side("to_node_id"),
            Direction::Both => format!("{} UNION {}", side("from_node_id"), side("to_node_id")),
        };
        let sql = format!(
            "SELECT {} FROM ({from}) AS edges ORDER BY log_seq, edge_id LIMIT $6",
            EdgeRow::COLUMNS
        );
        let (log_seq, edge_id) = query
            .cursor
            .as_ref()
            .map_or((0, ""), |cursor| (cursor.log_seq, cursor.edge_id.as_str()));
        let limit = query.limit + 1;
        let statement = self.transaction.prepare_cached(&sql).await?;
        let arguments: [&(dyn ToSql + Sync); 6] =
            [&self.tenant, &self.generation, &query.node_id, &log_seq, &edge_id, &limit];
        let rows = self.transaction.query(&statement, &arguments).await?;
        rows.iter().map(EdgeRow::decode).collect()
    }
}
