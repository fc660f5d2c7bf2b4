//! Decoding of columns that need more than a type, and streams of projection rows in key order.

use std::collections::BTreeMap;

use deadpool_postgres::Transaction;
use dg_projections::hash::Hash;
use dg_projections::json::{self, Json};
use dg_projections::model::Tables;
use dg_projections::projection::Projection;
use dg_projections::rows::{
    EdgeRow, NodeRow, PolicyEvalRow, PrecedentRow, Row as ProjectionRow, SummaryRow,
};
use futures_util::{Stream, StreamExt as _, TryStreamExt as _};
use tokio_postgres::Row;
use tokio_postgres::types::ToSql;

use crate::StoreError;
use crate::cursors::Standing;
use crate::database::snapshot;

/// 32 bytes.
pub(crate) fn hash(bytes: &[u8]) -> Result<Hash, StoreError> {
    let bytes =
        bytes.try_into().map_err(|_| StoreError::internal("a hash column has not 32 bytes"))?;
    Ok(Hash(bytes))
}

/// A JSON list of strings.
pub(crate) fn tags_from(text: &str) -> Result<Vec<String>, StoreError> {
    let parsed = json::parse(text).ok();
    let items = parsed.as_ref().and_then(Json::as_array);
    let texts =
        items.and_then(|items| items.iter().map(|item| item.as_str().map(str::to_owned)).collect());
    texts.ok_or_else(|| StoreError::internal("the tags of an event are not a list of strings"))
}

/// A projection row that knows its columns.
pub(crate) trait StoredRow: ProjectionRow {
    /// The select list, in the order that [`StoredRow::decode`] expects.
    const COLUMNS: &'static str;
    /// The key column, for order.
    const KEY: &'static str;

    fn decode(row: &Row) -> Result<Self, StoreError>;
}

/// All rows of one generation, in byte order of their keys (the columns are `COLLATE "C"`).
pub(crate) async fn stream<R: StoredRow>(
    transaction: &Transaction<'_>,
    tenant: &str,
    generation: i32,
) -> Result<impl Stream<Item = Result<R, StoreError>>, StoreError> {
    let sql = format!(
        "SELECT {} FROM {} WHERE tenant_id = $1 AND generation = $2 ORDER BY {}",
        R::COLUMNS,
        R::TABLE,
        R::KEY
    );
    let arguments: [&(dyn ToSql + Sync); 2] = [&tenant, &generation];
    let rows = transaction.query_raw(&sql, arguments).await?;
    Ok(rows.map(|row| R::decode(&row?)))
}

/// Canonical text of a `jsonb` column; the common case needs no parsing.
fn attrs(text: &str) -> Result<String, StoreError> {
    if text == "{}" {
        return Ok("{}".to_owned());
    }
    let value = json::parse(text).map_err(|error| StoreError::internal(error.to_string()))?;
    Ok(json::canonical(&value))
}

impl StoredRow for NodeRow {
    const COLUMNS: &'static str = "node_id, node_type, trace_id, log_seq, created_at, attrs::text";
    const KEY: &'static str = "node_id";

    fn decode(row: &Row) -> Result<NodeRow, StoreError> {
        Ok(NodeRow {
            node_id: row.try_get(0)?,
            node_type: row.try_get(1)?,
            trace_id: row.try_get(2)?,
            log_seq: row.try_get(3)?,
            created_at: row.try_get(4)?,
            attrs: attrs(row.try_get(5)?)?,
        })
    }
}

impl StoredRow for EdgeRow {
    const COLUMNS: &'static str =
        "edge_id, edge_type, from_node_id, to_node_id, trace_id, log_seq, created_at, attrs::text";
    const KEY: &'static str = "edge_id";

    fn decode(row: &Row) -> Result<EdgeRow, StoreError> {
        Ok(EdgeRow {
            edge_id: row.try_get(0)?,
            edge_type: row.try_get(1)?,
            from_node_id: row.try_get(2)?,
            to_node_id: row.try_get(3)?,
            trace_id: row.try_get(4)?,
            log_seq: row.try_get(5)?,
            created_at: row.try_get(6)?,
            attrs: attrs(row.try_get(7)?)?,
        })
    }
}

impl StoredRow for SummaryRow {
    const COLUMNS: &'static str = "trace_id, workflow, title, primary_entity_type,
        primary_entity_system, primary_entity_id, outcome, started_at, finished_at, event_count,
        last_log_seq";
    const KEY: &'static str = "trace_id";

    fn decode(row: &Row) -> Result<SummaryRow, StoreError> {
        Ok(SummaryRow {
            trace_id: row.try_get(0)?,
            workflow: row.try_get(1)?,
            title: row.try_get(2)?,
            primary_entity_type: row.try_get(3)?,
            primary_entity_system: row.try_get(4)?,
            primary_entity_id: row.try_get(5)?,
            outcome: row.try_get(6)?,
            started_at: row.try_get(7)?,
            finished_at: row.try_get(8)?,
            event_count: row.try_get(9)?,
            last_log_seq: row.try_get(10)?,
        })
    }
}

impl StoredRow for PolicyEvalRow {
    const COLUMNS: &'static str =
        "index_id, trace_id, policy_id, policy_version, log_seq, created_at";
    const KEY: &'static str = "index_id";

    fn decode(row: &Row) -> Result<PolicyEvalRow, StoreError> {
        Ok(PolicyEvalRow {
            index_id: row.try_get(0)?,
            trace_id: row.try_get(1)?,
            policy_id: row.try_get(2)?,
            policy_version: row.try_get(3)?,
            log_seq: row.try_get(4)?,
            created_at: row.try_get(5)?,
        })
    }
}

impl StoredRow for PrecedentRow {
    const COLUMNS: &'static str = "source_event_id, log_seq, trace_id, policy_id, policy_version,
        exception_id, primary_entity_type, primary_entity_system, primary_entity_id";
    const KEY: &'static str = "source_event_id";

    fn decode(row: &Row) -> Result<PrecedentRow, StoreError> {
        Ok(PrecedentRow {
            source_event_id: row.try_get(0)?,
            log_seq: row.try_get(1)?,
            trace_id: row.try_get(2)?,
            policy_id: row.try_get(3)?,
            policy_version: row.try_get(4)?,
            exception_id: row.try_get(5)?,
            primary_entity_type: row.try_get(6)?,
            primary_entity_system: row.try_get(7)?,
            primary_entity_id: row.try_get(8)?,
        })
    }
}

impl crate::Store {
    /// All rows of a tenant's active generations, in memory: for comparisons of small tenants.
    ///
    /// # Errors
    /// When the database cannot be asked.
    pub async fn tables(&self, tenant: &str) -> Result<Tables, StoreError> {
        let mut client = self.client().await?;
        let transaction = snapshot(&mut client, true).await?;
        let mut generations = Vec::new();
        for projection in Projection::ALL {
            let standing = Standing::read(&transaction, tenant, projection).await?;
            generations.push(standing.map_or(0, |standing| standing.generation));
        }
        let [graph, summary, precedent] = generations[..] else {
            return Err(StoreError::internal("there are three projections"));
        };
        Ok(Tables {
            nodes: table(&transaction, tenant, graph).await?,
            edges: table(&transaction, tenant, graph).await?,
            summaries: table(&transaction, tenant, summary).await?,
            policy_evals: table(&transaction, tenant, precedent).await?,
            precedents: table(&transaction, tenant, precedent).await?,
        })
    }
}

async fn table<R: StoredRow>(
    transaction: &Transaction<'_>,
    tenant: &str,
    generation: i32,
) -> Result<BTreeMap<String, R>, StoreError> {
    let rows = stream::<R>(transaction, tenant, generation).await?;
    let keyed = rows.map(|row| row.map(|row| (row.key().to_owned(), row)));
    keyed.try_collect().await
}
