//! What a benchmark asks of a database besides its own floor: how the server is set, how much work it
//! had, how long it takes to hand out rows that nobody hashes, and how to make its disk slow.

use std::pin::pin;
use std::time::{Duration, Instant};

use futures_util::TryStreamExt as _;
use tokio_postgres::types::ToSql;

use crate::database::snapshot;
use crate::{Store, StoreError};

/// The rows that digests are of, in the order of their keys.
const DIGESTED: [(&str, &str); 4] = [
    (
        "dg_cg_edges",
        "edge_id, edge_type, from_node_id, to_node_id, trace_id, log_seq, created_at, attrs::text",
    ),
    ("dg_cg_nodes", "node_id, node_type, trace_id, log_seq, created_at, attrs::text"),
    (
        "dg_trace_summary",
        "trace_id, workflow, title, primary_entity_type, primary_entity_system, primary_entity_id,
            outcome, started_at, finished_at, event_count, last_log_seq",
    ),
    (
        "dg_precedent_index",
        "source_event_id, log_seq, trace_id, policy_id, policy_version, exception_id,
            primary_entity_type, primary_entity_system, primary_entity_id",
    ),
];

impl Store {
    /// How the server is set, and how large the database is: what a figure depends on.
    ///
    /// # Errors
    /// When the database cannot be asked.
    pub async fn server_settings(&self) -> Result<Vec<(String, String)>, StoreError> {
        const SETTINGS: &str = "SELECT name, current_setting(name) FROM pg_settings
            WHERE name = ANY(ARRAY['server_version', 'fsync', 'synchronous_commit',
                'shared_buffers', 'max_wal_size', 'full_page_writes'])
            UNION ALL SELECT 'database_mb', (pg_database_size(current_database()) >> 20)::text
            ORDER BY 1";
        let rows = self.client().await?.query(SETTINGS, &[]).await?;
        rows.iter().map(|row| Ok((row.try_get(0)?, row.try_get(1)?))).collect()
    }

    /// Transactions that the database has ended so far, this one left out.
    ///
    /// # Errors
    /// When the database cannot be asked.
    pub async fn transactions(&self) -> Result<i64, StoreError> {
        const ENDED: &str = "SELECT xact_commit + xact_rollback FROM pg_stat_database
            WHERE datname = current_database()";
        Ok(self.client().await?.query_one(ENDED, &[]).await?.try_get(0)?)
    }

    /// Streams the rows of a tenant's digests in their order, and does nothing with them: how long
    /// Postgres and its wire take.
    ///
    /// # Errors
    /// When the database refuses.
    pub async fn digest_floor(&self, tenant: &str) -> Result<Duration, StoreError> {
        let mut client = self.client().await?;
        let transaction = snapshot(&mut client, true).await?;
        let started = Instant::now();
        for (table, columns) in DIGESTED {
            let key = columns.split(',').next().unwrap_or_default();
            let sql = format!(
                "SELECT {columns} FROM {table} WHERE tenant_id = $1 AND generation = $2 ORDER BY {key}"
            );
            let generation = 1;
            let arguments: [&(dyn ToSql + Sync); 2] = [&tenant, &generation];
            let mut rows = pin!(transaction.query_raw(&sql, arguments).await?);
            while rows.try_next().await?.is_some() {}
        }
        Ok(started.elapsed())
    }

    /// Whether the role may do everything.
    ///
    /// # Errors
    /// When the database cannot be asked.
    pub async fn is_superuser(&self) -> Result<bool, StoreError> {
        let sql = "SELECT current_setting('is_superuser') = 'on'";
        Ok(self.client().await?.query_one(sql, &[]).await?.try_get(0)?)
    }

    /// Lets each commit of later sessions of this database wait so long before it is flushed, as on a
    /// slow disk. It takes a superuser.
    ///
    /// # Errors
    /// When the database refuses.
    pub async fn slow_commits(&self, wait: Duration) -> Result<(), StoreError> {
        let sql = format!(
            "DO $$ BEGIN
                EXECUTE format('ALTER DATABASE %I SET commit_delay = {}', current_database());
                EXECUTE format('ALTER DATABASE %I SET commit_siblings = 0', current_database());
             END $$",
            wait.as_micros()
        );
        Ok(self.client().await?.batch_execute(&sql).await?)
    }
}
