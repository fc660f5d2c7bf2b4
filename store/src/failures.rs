//! Dead letters: what a projection could not apply, as rows.

use std::sync::LazyLock;

use dg_projections::Code;
use dg_projections::projection::Projection;
use time::OffsetDateTime;
use tokio_postgres::types::ToSql;

use crate::failpoint::{self, Point};
use crate::{Cursor, Store, StoreError};

/// A failure to record: one open failure a worker; the same one again counts as a retry.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewFailure<'a> {
    /// The tenant.
    pub tenant: &'a str,
    /// The projection.
    pub projection: Projection,
    /// The partition, from 0.
    pub partition: i32,
    /// The event to blame: number, trace, identifier.
    pub event: Option<(i64, &'a str, &'a str)>,
    /// The stable code.
    pub code: Code,
    /// What is wrong and what to do.
    pub message: &'a str,
    /// Retries made so far, of a recoverable one; the others are counted by their rows.
    pub retries: u32,
}

/// A failure as it stands.
#[derive(Debug, Clone, PartialEq, Eq)]
#[allow(missing_docs, reason = "the names are the contract's")]
pub struct Failure {
    pub failure_id: String,
    pub tenant_id: String,
    pub projection_name: String,
    pub partition: i32,
    pub log_seq: Option<i64>,
    pub trace_id: Option<String>,
    pub event_id: Option<String>,
    pub error_code: String,
    pub error_message: String,
    pub recoverable: bool,
    pub retry_count: i32,
    pub status: String,
    pub recorded_at: OffsetDateTime,
    pub resolved_at: Option<OffsetDateTime>,
}

// A recoverable failure tells how often it was tried again; it does not take the place of one that
// waits for an operator.
const RECORD: &str =
    "INSERT INTO dg_projection_failures AS open (tenant_id, projection_name, partition,
        log_seq, trace_id, event_id, error_code, error_message, recoverable, retry_count)
    VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10)
    ON CONFLICT (tenant_id, projection_name, partition) WHERE status = 'open' DO UPDATE SET
        retry_count = CASE WHEN excluded.recoverable THEN excluded.retry_count
            WHEN open.log_seq IS NOT DISTINCT FROM excluded.log_seq
            AND open.error_code = excluded.error_code THEN open.retry_count + 1 ELSE 0 END,
        recorded_at = CASE WHEN open.log_seq IS NOT DISTINCT FROM excluded.log_seq
            AND open.error_code = excluded.error_code THEN open.recorded_at ELSE now() END,
        log_seq = excluded.log_seq, trace_id = excluded.trace_id, event_id = excluded.event_id,
        error_code = excluded.error_code, error_message = excluded.error_message,
        recoverable = excluded.recoverable
    WHERE open.recoverable OR NOT excluded.recoverable";

const RECOVERABLE_RETRIES: &str = "SELECT retry_count FROM dg_projection_failures
    WHERE tenant_id = $1 AND projection_name = $2 AND partition = $3 AND status = 'open'
        AND recoverable";

/// What the cursor has passed, or what no event was to blame for. A worker beyond the number of
/// partitions has written for that of the cursor, too.
pub(crate) const RESOLVE_FAILURES: &str = "UPDATE dg_projection_failures
    SET status = 'resolved', resolved_at = now()
    WHERE tenant_id = $1 AND projection_name = $2 AND partition % $5 = $3 AND status = 'open'
        AND (log_seq IS NULL OR log_seq <= $4)";

/// No cursor may be beyond the log. What all partitions applied is held against the log where all stand
/// at its end: whichever arrives last finds them so. When one is behind, or the log has grown, there is
/// nothing to compare yet. A log that has nothing more and yet should, by its head, has lost its end:
/// head and events are written together, so no snapshot sees one without the other.
///
/// A cursor that is beyond the log no longer counts what the log has lost: so its count stays wrong when
/// the log has grown over its place, and what was passed over is never taken for applied.
static REACH_TAIL: LazyLock<String> = LazyLock::new(|| {
    format!(
        "WITH cursors AS (
            SELECT min(last_log_seq) AS least, max(last_log_seq) AS foremost,
                sum(applied_events)::bigint AS applied
            FROM dg_projection_cursors
            WHERE tenant_id = $1 AND projection_name = $2 AND generation = $6),
         miscounted AS (
            SELECT event_count, applied, last_log_seq FROM dg_tenant_heads CROSS JOIN cursors
            WHERE tenant_id = $1 AND (
              last_log_seq = $4 AND least = $4 AND foremost = $4 AND event_count <> applied
              OR last_log_seq > $4 AND NOT EXISTS (
                SELECT FROM dg_event_log WHERE tenant_id = $1 AND log_seq > $4))),
         beyond AS (
            SELECT last_log_seq FROM dg_tenant_heads WHERE tenant_id = $1 AND last_log_seq < $4),
         uncounted AS (
            UPDATE dg_projection_cursors AS c
            SET applied_events = greatest(0, c.applied_events - (applied - event_count))
            FROM cursors, dg_tenant_heads AS head
            WHERE head.tenant_id = $1 AND head.last_log_seq < $4 AND applied > event_count
              AND c.tenant_id = $1 AND c.projection_name = $2 AND c.generation = $6
              AND c.partition = $3 AND c.last_log_seq = $4),
         own AS (SELECT FROM dg_projection_cursors
            WHERE tenant_id = $1 AND projection_name = $2 AND generation = $6 AND partition = $3
              AND last_log_seq = $4 AND NOT retired),
         resolved AS ({RESOLVE_FAILURES} AND EXISTS (SELECT FROM own)
            AND NOT EXISTS (SELECT FROM miscounted) AND NOT EXISTS (SELECT FROM beyond) RETURNING 1)
         SELECT (SELECT count(*) FROM resolved), (SELECT event_count FROM miscounted),
            (SELECT applied FROM miscounted), EXISTS (SELECT FROM own),
            (SELECT last_log_seq FROM miscounted), (SELECT last_log_seq FROM beyond)"
    )
});

/// How the count of a projection compares with the log's at the same number.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Tail {
    /// Nothing was skipped.
    Sound {
        /// Failures that the cursor has passed, now resolved.
        resolved: u64,
    },
    /// Events were skipped, removed or added behind the log's back.
    Miscounted {
        /// How many events the log says it has.
        event_count: i64,
        /// How many the projection says it applied.
        applied_events: i64,
        /// Up to which number.
        log_seq: i64,
    },
    /// The log ends before the cursor: events were lost after they were applied.
    Beyond {
        /// Where it ends.
        log_end: i64,
    },
    /// The cursor does not stand there: somebody else has moved it, another generation is served, or
    /// it is gone.
    Moved,
}

impl Store {
    /// Records the open failure of a worker.
    ///
    /// # Errors
    /// When the database cannot be asked.
    pub async fn record_failure(&self, failure: &NewFailure<'_>) -> Result<(), StoreError> {
        let client = self.client().await?;
        let (log_seq, trace_id, event_id) = match failure.event {
            Some((log_seq, trace_id, event_id)) => (Some(log_seq), Some(trace_id), Some(event_id)),
            None => (None, None, None),
        };
        let name = failure.projection.as_str();
        let (code, recoverable) = (failure.code.as_str(), failure.code.is_recoverable());
        let retries =
            if recoverable { i32::try_from(failure.retries).unwrap_or(i32::MAX) } else { 0 };
        failpoint::pass_on(&***client, Point::FailureBefore, failure.tenant).await?;
        client
            .execute(
                RECORD,
                &[
                    &failure.tenant,
                    &name,
                    &failure.partition,
                    &log_seq,
                    &trace_id,
                    &event_id,
                    &code,
                    &failure.message,
                    &recoverable,
                    &retries,
                ],
            )
            .await?;
        failpoint::pass(Point::FailureAfter, failure.tenant).await
    }

    /// How often a worker has tried again in vain, as far as it was written down; 0 when nothing
    /// recoverable is open.
    ///
    /// # Errors
    /// When the database cannot be asked.
    pub async fn recoverable_retries(
        &self,
        tenant: &str,
        projection: Projection,
        partition: i32,
    ) -> Result<u32, StoreError> {
        let client = self.client().await?;
        let statement = client.prepare_cached(RECOVERABLE_RETRIES).await?;
        let name = projection.as_str();
        let row = client.query_opt(&statement, &[&tenant, &name, &partition]).await?;
        let retries: i32 = row.map_or(Ok(0), |row| row.try_get(0))?;
        Ok(retries.unsigned_abs())
    }

    /// What a partition does at the end of what it was given, in one round trip: holds its count
    /// against that of the log, and resolves the failures that its cursor has passed (a commit does
    /// so by itself, but there may be nothing to commit).
    ///
    /// # Errors
    /// When the database cannot be asked.
    pub async fn reach_tail(
        &self,
        tenant: &str,
        projection: Projection,
        at: Cursor,
    ) -> Result<Tail, StoreError> {
        let client = self.client().await?;
        let statement = client.prepare_cached(&REACH_TAIL).await?;
        let name = projection.as_str();
        let Cursor { generation, last_log_seq, share, .. } = at;
        let arguments: [&(dyn ToSql + Sync); 6] =
            [&tenant, &name, &share.partition, &last_log_seq, &share.partitions, &generation];
        let row = client.query_one(&statement, &arguments).await?;
        let resolved: i64 = row.try_get(0)?;
        let beyond: Option<i64> = row.try_get(5)?;
        let counts = row.try_get::<_, Option<i64>>(1)?.zip(row.try_get(2)?).zip(row.try_get(4)?);
        Ok(match counts {
            _ if !row.try_get::<_, bool>(3)? => Tail::Moved,
            _ if let Some(log_end) = beyond => Tail::Beyond { log_end },
            Some(((event_count, applied_events), log_seq)) => {
                Tail::Miscounted { event_count, applied_events, log_seq }
            }
            None => Tail::Sound { resolved: resolved.unsigned_abs() },
        })
    }

    /// The failures of a tenant, newest first: the open ones, or all.
    ///
    /// # Errors
    /// When the database cannot be asked.
    pub async fn failures(&self, tenant: &str, all: bool) -> Result<Vec<Failure>, StoreError> {
        self.newest_failures(Some(tenant), all, i64::MAX).await
    }

    /// The newest of them, at most so many; of all tenants if none is named.
    ///
    /// # Errors
    /// When the database cannot be asked.
    pub async fn newest_failures(
        &self,
        tenant: Option<&str>,
        all: bool,
        most: i64,
    ) -> Result<Vec<Failure>, StoreError> {
        let client = self.client().await?;
        let sql = "SELECT failure_id::text, tenant_id, projection_name, partition, log_seq, trace_id, event_id,
                       error_code, error_message, recoverable, retry_count, status, recorded_at, resolved_at
                   FROM dg_projection_failures
                   WHERE ($1::text IS NULL OR tenant_id = $1) AND (status = 'open' OR $2)
                   ORDER BY recorded_at DESC, failure_id LIMIT $3";
        let rows = client.query(sql, &[&tenant, &all, &most]).await?;
        rows.iter().map(failure_from).collect()
    }
}

fn failure_from(row: &tokio_postgres::Row) -> Result<Failure, StoreError> {
    Ok(Failure {
        failure_id: row.try_get(0)?,
        tenant_id: row.try_get(1)?,
        projection_name: row.try_get(2)?,
        partition: row.try_get(3)?,
        log_seq: row.try_get(4)?,
        trace_id: row.try_get(5)?,
        event_id: row.try_get(6)?,
        error_code: row.try_get(7)?,
        error_message: row.try_get(8)?,
        recoverable: row.try_get(9)?,
        retry_count: row.try_get(10)?,
        status: row.try_get(11)?,
        recorded_at: row.try_get(12)?,
        resolved_at: row.try_get(13)?,
    })
}
