//! Rows of the graph, nine tenths of what projections write. They are merged into what is there; many
//! are copied instead. An edge is of one event, so it exists only where the batch was applied before (a
//! replay); its first edge tells.
//!
//! Nodes are shared. To ask which exist costs more than it spares (5,000 new ones in a table of 160,000: 44 ms
//! asked for and inserted, 35 merged, 17 inserted), so only whoever knows better has them copied.

use deadpool_postgres::{ClientWrapper, Transaction};
use dg_projections::projection::Changes;
use tokio_postgres::types::ToSql;

use super::Commit;
use super::statement::{Part, Statement, column};
use crate::StoreError;
use crate::copy::{Field, copy};

/// From so many edges on rows are copied.
const MANY: usize = 256;

const COPY_NODES: &str =
    "COPY dg_cg_nodes (tenant_id, generation, node_id, node_type, trace_id, log_seq, created_at, attrs)
    FROM STDIN (FORMAT binary)";

const COPY_EDGES: &str =
    "COPY dg_cg_edges (tenant_id, generation, edge_id, edge_type, from_node_id,
    to_node_id, trace_id, log_seq, created_at, attrs) FROM STDIN (FORMAT binary)";

// By its key, in its order: see `STANDING` of rows.rs.
const FIRST_EDGE: &str = "SELECT l.edge_id FROM dg_cg_edges AS l
    WHERE l.tenant_id = $1 AND l.generation = $2 AND l.edge_id >= $3 ORDER BY l.edge_id LIMIT 1";

const NODES: Part = Part {
    name: "nodes",
    types: &["text", "text", "text", "bigint", "text", "text"],
    sql: "INSERT INTO dg_cg_nodes AS kept
            (tenant_id, generation, node_id, node_type, trace_id, log_seq, created_at, attrs)
        SELECT $1::text, $6::integer, node_id, node_type, trace_id, log_seq, created_at, attrs::jsonb
        FROM unnest({columns}) AS change (node_id, node_type, trace_id, log_seq, created_at, attrs)
        WHERE EXISTS (SELECT FROM moved)
        ON CONFLICT (tenant_id, generation, node_id) DO UPDATE SET trace_id = excluded.trace_id,
            log_seq = excluded.log_seq, created_at = excluded.created_at, attrs = excluded.attrs
        WHERE excluded.log_seq < kept.log_seq",
};

const EDGES: Part = Part {
    name: "edges",
    types: &["text", "text", "text", "text", "text", "bigint", "text", "text"],
    sql: "INSERT INTO dg_cg_edges AS kept (tenant_id, generation, edge_id, edge_type,
            from_node_id, to_node_id, trace_id, log_seq, created_at, attrs)
        SELECT $1::text, $6::integer, edge_id, edge_type, from_node_id, to_node_id, trace_id, log_seq,
            created_at, attrs::jsonb
        FROM unnest({columns}) AS change (edge_id, edge_type, from_node_id, to_node_id, trace_id, log_seq,
            created_at, attrs)
        WHERE EXISTS (SELECT FROM moved)
        ON CONFLICT (tenant_id, generation, edge_id) DO UPDATE SET edge_type = excluded.edge_type,
            from_node_id = excluded.from_node_id, to_node_id = excluded.to_node_id,
            trace_id = excluded.trace_id, log_seq = excluded.log_seq, created_at = excluded.created_at,
            attrs = excluded.attrs
        WHERE excluded.log_seq < kept.log_seq",
};

/// Whether it pays to copy rows.
pub(super) fn are_many(changes: &Changes) -> bool {
    changes.edges.len() >= MANY
}

/// Whether it pays to copy the edges: there are many, and they are not there yet.
pub(super) async fn may_copy_edges(
    client: &ClientWrapper,
    batch: &Commit<'_>,
) -> Result<bool, StoreError> {
    let first = batch.changes.edges.keys().next();
    let Some(first) = first.filter(|_| are_many(batch.changes)) else { return Ok(false) };
    let statement = client.prepare_cached(FIRST_EDGE).await?;
    let key: [&(dyn ToSql + Sync); 3] = [&batch.tenant, &batch.from.generation, first];
    let found = client.query_opt(&statement, &key).await?;
    let found: Option<&str> = found.as_ref().map(|row| row.try_get(0)).transpose()?;
    Ok(found != Some(first))
}

pub(super) async fn copy_nodes(
    transaction: &Transaction<'_>,
    batch: &Commit<'_>,
) -> Result<(), StoreError> {
    let fields = batch.changes.nodes.values().map(|row| {
        [
            Field::Text(batch.tenant),
            Field::Int4(batch.from.generation),
            Field::Text(&row.node_id),
            Field::Text(&row.node_type),
            Field::Text(&row.trace_id),
            Field::Int8(row.log_seq),
            Field::Text(&row.created_at),
            Field::Jsonb(&row.attrs),
        ]
    });
    copy(transaction, COPY_NODES, fields).await
}

pub(super) async fn copy_edges(
    transaction: &Transaction<'_>,
    batch: &Commit<'_>,
) -> Result<(), StoreError> {
    let fields = batch.changes.edges.values().map(|row| {
        [
            Field::Text(batch.tenant),
            Field::Int4(batch.from.generation),
            Field::Text(&row.edge_id),
            Field::Text(&row.edge_type),
            Field::Text(&row.from_node_id),
            Field::Text(&row.to_node_id),
            Field::Text(&row.trace_id),
            Field::Int8(row.log_seq),
            Field::Text(&row.created_at),
            Field::Jsonb(&row.attrs),
        ]
    });
    copy(transaction, COPY_EDGES, fields).await
}

impl<'a> Statement<'a> {
    pub(super) fn put_nodes(&mut self, changes: &'a Changes) {
        let rows: Vec<_> = changes.nodes.values().collect();
        if rows.is_empty() {
            return;
        }
        let columns = vec![
            column!(rows, node_id, as_str),
            column!(rows, node_type, as_str),
            column!(rows, trace_id, as_str),
            column!(rows, log_seq),
            column!(rows, created_at, as_str),
            column!(rows, attrs, as_str),
        ];
        self.put(&NODES, columns);
    }

    pub(super) fn put_edges(&mut self, changes: &'a Changes) {
        let rows: Vec<_> = changes.edges.values().collect();
        if rows.is_empty() {
            return;
        }
        let columns = vec![
            column!(rows, edge_id, as_str),
            column!(rows, edge_type, as_str),
            column!(rows, from_node_id, as_str),
            column!(rows, to_node_id, as_str),
            column!(rows, trace_id, as_str),
            column!(rows, log_seq),
            column!(rows, created_at, as_str),
            column!(rows, attrs, as_str),
        ];
        self.put(&EDGES, columns);
    }
}
