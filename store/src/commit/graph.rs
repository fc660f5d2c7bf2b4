//! Rows of the graph, nine tenths of what projections write. They are merged into what is there; many
//! edges are copied instead. An edge is of one event, so it exists only where the batch was applied
//! before (a replay); its first edge tells.
//!
//! Nodes are shared, so a copy of them would first have to ask which exist: that costs as much as it
//! spares (measured: asking 5,000 takes as long as copying them, and merging less than both).

use dg_projections::projection::Changes;
use dg_projections::rows::{EdgeRow, NodeRow};
use tokio_postgres::types::ToSql;

use super::{Rows, column};
use crate::StoreError;
use crate::copy::{Field, copy};

/// From so many edges on they are copied.
const MANY: usize = 256;

const COPY_EDGES: &str =
    "COPY dg_cg_edges (tenant_id, generation, edge_id, edge_type, from_node_id,
    to_node_id, trace_id, log_seq, created_at, attrs) FROM STDIN (FORMAT binary)";

// By its key, in its order: see FINISHES.
const FIRST_EDGE: &str = "SELECT l.edge_id FROM dg_cg_edges AS l
    WHERE l.tenant_id = $1 AND l.generation = $2 AND l.edge_id >= $3 ORDER BY l.edge_id LIMIT 1";

const NODES: &str = "INSERT INTO dg_cg_nodes AS kept
        (tenant_id, generation, node_id, node_type, trace_id, log_seq, created_at, attrs)
    SELECT $1::text, $2::integer, node_id, node_type, trace_id, log_seq, created_at, attrs::jsonb
    FROM unnest($3::text[], $4::text[], $5::text[], $6::bigint[], $7::text[], $8::text[])
        AS change (node_id, node_type, trace_id, log_seq, created_at, attrs)
    ON CONFLICT (tenant_id, generation, node_id) DO UPDATE SET trace_id = excluded.trace_id,
        log_seq = excluded.log_seq, created_at = excluded.created_at, attrs = excluded.attrs
    WHERE excluded.log_seq < kept.log_seq";

const EDGES: &str = "INSERT INTO dg_cg_edges AS kept (tenant_id, generation, edge_id, edge_type,
        from_node_id, to_node_id, trace_id, log_seq, created_at, attrs)
    SELECT $1::text, $2::integer, edge_id, edge_type, from_node_id, to_node_id, trace_id, log_seq, created_at, attrs::jsonb
    FROM unnest($3::text[], $4::text[], $5::text[], $6::text[], $7::text[], $8::bigint[], $9::text[], $10::text[])
        AS change (edge_id, edge_type, from_node_id, to_node_id, trace_id, log_seq, created_at, attrs)
    ON CONFLICT (tenant_id, generation, edge_id) DO UPDATE SET edge_type = excluded.edge_type,
        from_node_id = excluded.from_node_id, to_node_id = excluded.to_node_id,
        trace_id = excluded.trace_id, log_seq = excluded.log_seq, created_at = excluded.created_at,
        attrs = excluded.attrs
    WHERE excluded.log_seq < kept.log_seq";

impl Rows<'_> {
    pub(super) async fn graph(&self, changes: &Changes) -> Result<(), StoreError> {
        let nodes: Vec<&NodeRow> = changes.nodes.values().collect();
        let edges: Vec<&EdgeRow> = changes.edges.values().collect();
        if nodes.is_empty() && edges.is_empty() {
            return Ok(());
        }
        if !self.copies || edges.len() < MANY {
            // In one go, the nodes first: what is told of edges after nodes that failed is not why.
            let (nodes, edges) = tokio::join!(self.merge_nodes(&nodes), self.merge_edges(&edges));
            return nodes.and(edges);
        }
        self.merge_nodes(&nodes).await?;
        match self.is_known(&edges[0].edge_id).await? {
            true => self.merge_edges(&edges).await,
            false => self.copy_edges(&edges).await,
        }
    }

    async fn is_known(&self, edge_id: &str) -> Result<bool, StoreError> {
        let statement = self.transaction.prepare_cached(FIRST_EDGE).await?;
        let arguments: [&(dyn ToSql + Sync); 3] = [&self.tenant, &self.generation, &edge_id];
        let found = self.transaction.query_opt(&statement, &arguments).await?;
        let found: Option<String> = found.map(|row| row.try_get(0)).transpose()?;
        Ok(found.is_some_and(|found| found == edge_id))
    }

    async fn copy_edges(&self, rows: &[&EdgeRow]) -> Result<(), StoreError> {
        let fields = rows.iter().map(|row| {
            [
                Field::Text(self.tenant),
                Field::Int4(self.generation),
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
        copy(self.transaction, COPY_EDGES, fields).await
    }

    async fn merge_nodes(&self, rows: &[&NodeRow]) -> Result<(), StoreError> {
        if rows.is_empty() {
            return Ok(());
        }
        let (ids, types) = (column!(rows, node_id, as_str), column!(rows, node_type, as_str));
        let (traces, seqs) = (column!(rows, trace_id, as_str), column!(rows, log_seq));
        let (created, attrs) = (column!(rows, created_at, as_str), column!(rows, attrs, as_str));
        self.execute(NODES, &[&ids, &types, &traces, &seqs, &created, &attrs]).await.map(drop)
    }

    async fn merge_edges(&self, rows: &[&EdgeRow]) -> Result<(), StoreError> {
        if rows.is_empty() {
            return Ok(());
        }
        let (ids, types) = (column!(rows, edge_id, as_str), column!(rows, edge_type, as_str));
        let (from, to) = (column!(rows, from_node_id, as_str), column!(rows, to_node_id, as_str));
        let (traces, seqs) = (column!(rows, trace_id, as_str), column!(rows, log_seq));
        let (created, attrs) = (column!(rows, created_at, as_str), column!(rows, attrs, as_str));
        let columns: [&(dyn ToSql + Sync); 8] =
            [&ids, &types, &from, &to, &traces, &seqs, &created, &attrs];
        self.execute(EDGES, &columns).await.map(drop)
    }
}
