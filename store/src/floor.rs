//! What Postgres itself gives for the rows of a log: the floor that a benchmark of ours is held
//! against, in the same run, on a copy of the same table with all its keys.
//!
//! Nothing of ours stands between: no trigger, no head, no checks, no decision. One connection, one
//! statement a transaction.

use std::collections::BTreeMap;
use std::pin::pin;
use std::time::{Duration, Instant};

use crate::database::{Object, writing};
use dg_projections::event::Line;
use futures_util::{SinkExt as _, TryStreamExt as _};

use crate::append::{COPY, Rows};
use crate::page::LOG_EVENT_COLUMNS;
use crate::{Store, StoreError};

/// The tables that projections write.
const PROJECTED: [&str; 5] = [
    "dg_cg_nodes",
    "dg_cg_edges",
    "dg_trace_summary",
    "dg_policy_eval_index",
    "dg_precedent_index",
];

/// A connection, and a log that nothing keeps.
#[derive(Debug)]
pub struct Floor {
    client: Object,
    /// Of each tenant.
    last_log_seqs: BTreeMap<String, i64>,
}

impl Store {
    /// Makes the copy of the log anew, empty.
    ///
    /// # Errors
    /// When the database cannot be asked, or the role may not make tables.
    pub async fn floor(&self) -> Result<Floor, StoreError> {
        let client = self.client().await?;
        client
            .batch_execute(&format!(
                "DROP TABLE IF EXISTS {COPY};
                 CREATE TABLE {COPY} (LIKE dg_event_log INCLUDING ALL)"
            ))
            .await?;
        Ok(Floor { client, last_log_seqs: BTreeMap::new() })
    }
}

impl Store {
    /// Copies the rows of all projections, as they stand, into copies of their tables: how long
    /// Postgres takes to write them by binary `COPY` in one transaction.
    ///
    /// # Errors
    /// When the database refuses.
    pub async fn project_floor(&self) -> Result<Duration, StoreError> {
        let mut client = self.client().await?;
        let mut rows = Vec::new();
        for table in PROJECTED {
            let sql = format!(
                "DROP TABLE IF EXISTS floor_{table};
                 CREATE TABLE floor_{table} (LIKE {table} INCLUDING ALL)"
            );
            client.batch_execute(&sql).await?;
            let out = client.copy_out(&format!("COPY {table} TO STDOUT (FORMAT binary)")).await?;
            rows.push((table, out.try_collect::<Vec<_>>().await?));
        }
        let started = Instant::now();
        let transaction = writing(&mut client).await?;
        // A million edges take longer than any statement of ours may.
        transaction.batch_execute("SET LOCAL statement_timeout = 0").await?;
        for (table, pieces) in rows {
            let sql = format!("COPY floor_{table} FROM STDIN (FORMAT binary)");
            let mut sink = pin!(transaction.copy_in(&sql).await?);
            for piece in pieces {
                sink.feed(piece).await?;
            }
            sink.finish().await?;
        }
        transaction.commit().await?;
        Ok(started.elapsed())
    }
}

impl Floor {
    /// Inserts events as the next of their tenants' logs, so many a transaction; how long each took.
    ///
    /// # Errors
    /// When the database refuses.
    pub async fn insert(
        &mut self,
        lines: &[Line],
        per_transaction: usize,
    ) -> Result<Vec<Duration>, StoreError> {
        let mut took = Vec::with_capacity(lines.len().div_ceil(per_transaction));
        for batch in lines.chunks(per_transaction) {
            let mut rows = Rows::default();
            for Line { event, .. } in batch {
                let last = self.last_log_seqs.entry(event.tenant_id.clone()).or_default();
                *last += 1;
                rows.push(event, *last);
            }
            let started = Instant::now();
            rows.insert_copy(&self.client).await?;
            took.push(started.elapsed());
        }
        Ok(took)
    }

    /// Reads the real log of a tenant, page by page, the columns that a projector needs; how many
    /// bytes of payload came with each page, and how long it took.
    ///
    /// # Errors
    /// When the database cannot be asked.
    pub async fn read(
        &self,
        tenant: &str,
        page: i64,
    ) -> Result<Vec<(usize, Duration)>, StoreError> {
        let sql = format!(
            "SELECT {LOG_EVENT_COLUMNS} FROM dg_event_log
             WHERE tenant_id = $1 AND log_seq > $2 ORDER BY log_seq LIMIT $3"
        );
        let statement = self.client.prepare_cached(&sql).await?;
        let (mut cursor, mut pages) = (0_i64, Vec::new());
        loop {
            let started = Instant::now();
            let rows = self.client.query(&statement, &[&tenant, &cursor, &page]).await?;
            let Some(last) = rows.last() else { return Ok(pages) };
            cursor = last.try_get(0)?;
            let mut bytes = 0;
            for row in &rows {
                bytes += row.try_get::<_, &str>("payload_json")?.len();
            }
            pages.push((bytes, started.elapsed()));
        }
    }
}
