//! The one transaction of a projection: rows, cursor and failure resolution, or nothing.
//!
//! It begins with the cursor, naming the place it starts from and the number of partitions. Nobody
//! else's transaction can then write the same partition until this one ends, and if the cursor has
//! moved already, or the number has changed, or another generation has taken the place of this one, or
//! the batch was read from another history of the database, it writes nothing:
//! [`Committed::Superseded`].
//!
//! Edges in large numbers are copied into their table ([`graph`]), which knows no conflict. Where one is
//! met the transaction begins anew and merges all rows.

mod graph;

use std::sync::LazyLock;

use deadpool_postgres::Transaction;
use dg_projections::projection::{Changes, Projection, SummaryChange};
use tokio_postgres::types::ToSql;

use crate::database::{LOOKUPS, writing};
use crate::failpoint::{self, Point};
use crate::failures::RESOLVE_FAILURES;
use crate::timeline::{TIMELINE, Timeline};
use crate::{Cursor, Share, Store, StoreError};

/// A batch to commit.
#[derive(Debug)]
pub struct Commit<'a> {
    /// The tenant.
    pub tenant: &'a str,
    /// The projection.
    pub projection: Projection,
    /// The cursor that the batch was read from.
    pub from: Cursor,
    /// The cursor after it.
    pub to: Cursor,
    /// The history that it was read from.
    pub timeline: Timeline,
    /// Its rows.
    pub changes: &'a Changes,
    /// Whether readers see the generation: then the failures that it passes are resolved.
    pub is_live: bool,
}

/// What became of a batch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Committed {
    /// Rows and cursor are in.
    Done {
        /// Failures that the cursor has passed.
        resolved: u64,
    },
    /// Somebody else moved the cursor, the number of partitions is another, the generation is retired,
    /// or the database is no longer the one that was read: nothing was written.
    Superseded,
}

static MOVE_CURSOR: LazyLock<String> = LazyLock::new(|| {
    format!(
        "UPDATE dg_projection_cursors
         SET last_log_seq = $6, applied_events = $7, updated_at = now()
         WHERE tenant_id = $1 AND projection_name = $2 AND generation = $3 AND partition = $4
             AND partitions = $8 AND last_log_seq = $5
             AND (respread_at IS NULL OR respread_at >= $6) AND NOT retired
             AND {TIMELINE} = $9"
    )
});

impl Store {
    /// Commits a batch.
    ///
    /// # Errors
    /// When the transaction failed; nothing is in, unless the connection broke around the commit:
    /// the cursor tells.
    pub async fn commit(&self, batch: &Commit<'_>) -> Result<Committed, StoreError> {
        match self.commit_rows(batch, true).await {
            Err(error) if error.is_unique_violation() => self.commit_rows(batch, false).await,
            outcome => outcome,
        }
    }

    async fn commit_rows(&self, batch: &Commit<'_>, copies: bool) -> Result<Committed, StoreError> {
        let mut client = self.client().await?;
        let transaction = writing(&mut client).await?;
        let name = batch.projection.as_str();
        let moving = transaction.prepare_cached(&MOVE_CURSOR).await?;
        let resolving = transaction.prepare_cached(RESOLVE_FAILURES).await?;
        let Share { partition, partitions } = batch.from.share;
        let from: [&(dyn ToSql + Sync); 9] = [
            &batch.tenant,
            &name,
            &batch.from.generation,
            &partition,
            &batch.from.last_log_seq,
            &batch.to.last_log_seq,
            &batch.to.applied_events,
            &partitions,
            &batch.timeline.0,
        ];
        let passed: [&(dyn ToSql + Sync); 5] =
            [&batch.tenant, &name, &partition, &batch.to.last_log_seq, &partitions];
        let resolve = async {
            match batch.is_live {
                true => transaction.execute(&resolving, &passed).await,
                false => Ok(0),
            }
        };
        let rows = Rows {
            transaction: &transaction,
            tenant: batch.tenant,
            generation: batch.from.generation,
            copies,
        };
        // Sent one behind the other in one go, and done in this order. After one that fails all others
        // fail as well, saying only that the transaction is aborted: the first error is the true one.
        let (settings, moved, resolved, written) = tokio::join!(
            transaction.batch_execute(LOOKUPS),
            transaction.execute(&moving, &from),
            resolve,
            rows.write(batch.changes),
        );
        settings?;
        if moved? == 0 {
            return Ok(Committed::Superseded); // dropping the transaction rolls it back
        }
        let resolved = resolved?;
        written?;
        failpoint::pass_on(&*transaction, Point::CommitBefore, name).await?;
        transaction.commit().await?;
        failpoint::pass(Point::CommitAfter, name).await?;
        Ok(Committed::Done { resolved })
    }
}

// What exists stays as it is, unless the change comes earlier in the log: so partitions and
// generations may be written in any order. Rows come in key order, so two writers lock alike.

const SUMMARIES: &str = "INSERT INTO dg_trace_summary (tenant_id, generation, trace_id, workflow, title,
        primary_entity_type, primary_entity_system, primary_entity_id, outcome, started_at,
        finished_at, event_count, last_log_seq)
    SELECT $1::text, $2::integer, * FROM unnest($3::text[], $4::text[], $5::text[], $6::text[], $7::text[],
        $8::text[], $9::text[], $10::text[], $11::text[], $12::bigint[], $13::bigint[])
    ON CONFLICT (tenant_id, generation, trace_id) DO NOTHING";

// An upsert of rows that exist: by their key one by one, where a join of an UPDATE may read the
// whole table. One that is missing inserts nothing, and the count tells.
const FINISHES: &str =
    "INSERT INTO dg_trace_summary (tenant_id, generation, trace_id, workflow, title,
        primary_entity_type, primary_entity_system, primary_entity_id, outcome, started_at,
        finished_at, event_count, last_log_seq)
    SELECT s.tenant_id, s.generation, s.trace_id, s.workflow, s.title, s.primary_entity_type,
        s.primary_entity_system, s.primary_entity_id, finish.outcome, s.started_at,
        finish.finished_at, s.event_count + 1, finish.last_log_seq
    FROM unnest($3::text[], $4::text[], $5::text[], $6::bigint[])
        AS finish (trace_id, outcome, finished_at, last_log_seq)
    CROSS JOIN LATERAL (SELECT * FROM dg_trace_summary AS l
        WHERE l.tenant_id = $1 AND l.generation = $2 AND l.trace_id >= finish.trace_id
        ORDER BY l.trace_id LIMIT 1) AS s
    WHERE s.trace_id = finish.trace_id
    ON CONFLICT (tenant_id, generation, trace_id) DO UPDATE SET outcome = excluded.outcome,
        finished_at = excluded.finished_at, event_count = excluded.event_count,
        last_log_seq = excluded.last_log_seq";

const POLICY_EVALS: &str = "INSERT INTO dg_policy_eval_index AS kept (tenant_id, generation, index_id,
        trace_id, policy_id, policy_version, log_seq, created_at)
    SELECT $1::text, $2::integer, * FROM unnest($3::text[], $4::text[], $5::text[], $6::text[], $7::bigint[], $8::text[])
        AS change (index_id, trace_id, policy_id, policy_version, log_seq, created_at)
    ON CONFLICT (tenant_id, generation, index_id) DO UPDATE SET trace_id = excluded.trace_id,
        policy_id = excluded.policy_id, policy_version = excluded.policy_version,
        log_seq = excluded.log_seq, created_at = excluded.created_at
    WHERE excluded.log_seq < kept.log_seq";

const PRECEDENTS: &str = "INSERT INTO dg_precedent_index (tenant_id, generation, source_event_id, log_seq,
        trace_id, policy_id, policy_version, exception_id, primary_entity_type,
        primary_entity_system, primary_entity_id)
    SELECT $1::text, $2::integer, * FROM unnest($3::text[], $4::bigint[], $5::text[], $6::text[], $7::text[],
        $8::text[], $9::text[], $10::text[], $11::text[])
    ON CONFLICT (tenant_id, generation, source_event_id) DO UPDATE SET log_seq = excluded.log_seq,
        trace_id = excluded.trace_id, policy_id = excluded.policy_id,
        policy_version = excluded.policy_version, exception_id = excluded.exception_id,
        primary_entity_type = excluded.primary_entity_type,
        primary_entity_system = excluded.primary_entity_system,
        primary_entity_id = excluded.primary_entity_id";

struct Rows<'a> {
    transaction: &'a Transaction<'a>,
    tenant: &'a str,
    generation: i32,
    /// Whether edges may be copied into their table.
    copies: bool,
}

/// One column of rows, as an array: numbers, or texts by the method that borrows them.
macro_rules! column {
    ($rows:expr, $field:ident $(, $borrow:ident)?) => {
        $rows.iter().map(|row| row.$field$(.$borrow())?).collect::<Vec<_>>()
    };
}
use column;

impl Rows<'_> {
    async fn write(&self, changes: &Changes) -> Result<(), StoreError> {
        self.graph(changes).await?;
        self.summaries(changes).await?;
        self.policy_evals(changes).await?;
        self.precedents(changes).await
    }

    /// Runs a statement whose first two parameters are tenant and generation.
    async fn execute(&self, sql: &str, columns: &[&(dyn ToSql + Sync)]) -> Result<u64, StoreError> {
        let statement = self.transaction.prepare_cached(sql).await?;
        let mut arguments: Vec<&(dyn ToSql + Sync)> = vec![&self.tenant, &self.generation];
        arguments.extend(columns);
        Ok(self.transaction.execute(&statement, &arguments).await?)
    }

    async fn summaries(&self, changes: &Changes) -> Result<(), StoreError> {
        let (mut started, mut finished) = (Vec::new(), Vec::new());
        for change in changes.summaries.values() {
            match change {
                SummaryChange::Insert(row) => started.push(row),
                SummaryChange::Finish(end) => finished.push(end),
            }
        }
        if !started.is_empty() {
            let (traces, workflows) =
                (column!(started, trace_id, as_str), column!(started, workflow, as_str));
            let (titles, types) =
                (column!(started, title, as_str), column!(started, primary_entity_type, as_str));
            let (systems, ids) = (
                column!(started, primary_entity_system, as_deref),
                column!(started, primary_entity_id, as_str),
            );
            let (outcomes, starts) =
                (column!(started, outcome, as_deref), column!(started, started_at, as_str));
            let (ends, counts) =
                (column!(started, finished_at, as_deref), column!(started, event_count));
            let last = column!(started, last_log_seq);
            let columns: [&(dyn ToSql + Sync); 11] = [
                &traces, &workflows, &titles, &types, &systems, &ids, &outcomes, &starts, &ends,
                &counts, &last,
            ];
            self.execute(SUMMARIES, &columns).await?;
        }
        if !finished.is_empty() {
            let (traces, outcomes) =
                (column!(finished, trace_id, as_str), column!(finished, outcome, as_str));
            let (ends, last) =
                (column!(finished, finished_at, as_str), column!(finished, last_log_seq));
            let updated = self.execute(FINISHES, &[&traces, &outcomes, &ends, &last]).await?;
            if updated != finished.len() as u64 {
                let lacking = finished.len() as u64 - updated;
                return Err(StoreError::internal(format!(
                    "{lacking} finished traces have no summary row"
                )));
            }
        }
        Ok(())
    }

    async fn policy_evals(&self, changes: &Changes) -> Result<(), StoreError> {
        let rows: Vec<_> = changes.policy_evals.values().collect();
        if rows.is_empty() {
            return Ok(());
        }
        let (ids, traces) = (column!(rows, index_id, as_str), column!(rows, trace_id, as_str));
        let (policies, versions) =
            (column!(rows, policy_id, as_str), column!(rows, policy_version, as_str));
        let (seqs, created) = (column!(rows, log_seq), column!(rows, created_at, as_str));
        self.execute(POLICY_EVALS, &[&ids, &traces, &policies, &versions, &seqs, &created])
            .await
            .map(drop)
    }

    async fn precedents(&self, changes: &Changes) -> Result<(), StoreError> {
        let rows: Vec<_> = changes.precedents.values().collect();
        if rows.is_empty() {
            return Ok(());
        }
        let (ids, seqs) = (column!(rows, source_event_id, as_str), column!(rows, log_seq));
        let (traces, policies) =
            (column!(rows, trace_id, as_str), column!(rows, policy_id, as_str));
        let (versions, exceptions) =
            (column!(rows, policy_version, as_str), column!(rows, exception_id, as_deref));
        let (types, systems) = (
            column!(rows, primary_entity_type, as_str),
            column!(rows, primary_entity_system, as_deref),
        );
        let entities = column!(rows, primary_entity_id, as_str);
        let columns: [&(dyn ToSql + Sync); 9] =
            [&ids, &seqs, &traces, &policies, &versions, &exceptions, &types, &systems, &entities];
        self.execute(PRECEDENTS, &columns).await.map(drop)
    }
}
