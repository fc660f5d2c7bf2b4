//! Append: one transaction a batch, a fixed number of round trips whatever its size.
//!
//! [`Store::append_shared`] takes events to be new and sends one statement, for several tenants at once;
//! it leaves out what is not as it was taken to be. [`Store::append_behind`] does so while the transaction before is
//! still under way. [`Store::ends_before_new`] tells whether they may be. [`Store::append_once`] looks first:
//! ```text
//! BEGIN ─ lock the head ─┬ used keys ─┬─ decide (pure) ─ insert ─ COMMIT
//!                        ├ trace ends ┤
//!                        └ event ids ─┘
//! ```
//! The lock is a statement of its own: what is read after it sees every append before it. The
//! decision is [`LogView::admit`]; the trigger of `dg_event_log` advances the head.

mod insert;
mod new;
mod shared;

use std::collections::BTreeMap;

use deadpool_postgres::Transaction;
use dg_projections::Rejection;
use dg_projections::admission::{Admission, Identity, LogView, Stored, TraceEnd};
use dg_projections::event::{EventType, Line};
use tokio_postgres::types::ToSql;

use crate::database::writing;
use crate::failpoint::{self, Point};
use crate::rows::{hash, tags_from};
use crate::{Store, StoreError};
use insert::PATIENCE;
pub(crate) use insert::{COPY, Rows};
pub use shared::{Fate, Part};
use shared::{Heads, is_held};

/// What became of one event.
pub type Answer = Result<Admission, Rejection>;

/// What became of a batch.
#[derive(Debug)]
pub enum Appended {
    /// Each event has its answer.
    Done(Vec<Answer>),
    /// The connection broke off around the commit: what is in is not known. Sending the same events
    /// again tells.
    Unknown {
        /// What the answers are if it was committed.
        decided: Vec<Answer>,
        /// How it broke off.
        error: StoreError,
    },
}

/// Why a batch was refused as a whole.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BatchRefusal {
    /// Which event of the batch was refused first, from 0.
    pub index: usize,
    /// Why.
    pub reason: Rejection,
}

impl Store {
    /// Appends events of one tenant, each with its own answer, in order: a refused event leaves its
    /// neighbours unharmed.
    ///
    /// # Errors
    /// When the transaction failed: none of the events is in, unless the connection broke around
    /// the commit; sending the same events again is always safe and tells.
    pub async fn append(&self, tenant: &str, batch: &[Line]) -> Result<Vec<Answer>, StoreError> {
        let batch: Vec<&Line> = batch.iter().collect();
        match self.append_once(tenant, &batch).await? {
            Appended::Done(answers) => Ok(answers),
            Appended::Unknown { error, .. } => Err(error),
        }
    }

    /// The same, telling a commit that broke off from a transaction that failed before it.
    ///
    /// # Errors
    /// When none of the events is in.
    pub async fn append_once(&self, tenant: &str, batch: &[&Line]) -> Result<Appended, StoreError> {
        self.append_under(None, tenant, batch).await
    }

    /// The same; nothing, if somebody holds the head or a key for longer than a moment.
    ///
    /// # Errors
    /// When none of the events is in.
    pub async fn append_at_once(
        &self,
        tenant: &str,
        batch: &[&Line],
    ) -> Result<Option<Appended>, StoreError> {
        let settings = format!("SET LOCAL lock_timeout = {PATIENCE}");
        match self.append_under(Some(&settings), tenant, batch).await {
            Err(error) if is_held(&error) => Ok(None),
            appended => appended.map(Some),
        }
    }

    async fn append_under(
        &self,
        settings: Option<&str>,
        tenant: &str,
        batch: &[&Line],
    ) -> Result<Appended, StoreError> {
        let mut client = self.client().await?;
        let transaction = writing(&mut client).await?;
        let answers = append_in(&transaction, settings, tenant, batch).await?;
        let adds = answers.iter().any(|answer| matches!(answer, Ok(Admission::Insert { .. })));
        match end(transaction, adds).await {
            Ok(()) => Ok(Appended::Done(answers)),
            // The server's own refusal of a commit rolled it back; only silence leaves it open.
            Err(error) if adds && error.is_outage => {
                Ok(Appended::Unknown { decided: answers, error })
            }
            Err(error) => Err(error),
        }
    }

    /// Appends events of one tenant that are taken to be new, all of them or none; nothing, if the log
    /// does not end at `head`, or somebody holds it, or one of the events is not to be inserted. It is told when the
    /// statement has `begun`, and others may be sent behind it.
    ///
    /// # Errors
    /// When the transaction failed: none of the events is in.
    pub async fn append_new(
        &self,
        tenant: &str,
        batch: &[&Line],
        head: i64,
        begun: &(dyn Fn() + Sync),
    ) -> Result<Option<Appended>, StoreError> {
        self.append_part(Part { tenant, head, lines: batch.to_vec() }, Heads::Free, begun).await
    }

    /// The same behind a transaction under way, after which the log is to end at `head`: they are written while that
    /// one is committed, and wait for its end; nothing, if it ended otherwise or takes longer than a batch may.
    ///
    /// # Errors
    /// When the transaction failed: none of the events is in.
    pub async fn append_behind(
        &self,
        tenant: &str,
        batch: &[&Line],
        head: i64,
        begun: &(dyn Fn() + Sync),
    ) -> Result<Option<Appended>, StoreError> {
        self.append_part(Part { tenant, head, lines: batch.to_vec() }, Heads::Held, begun).await
    }

    async fn append_part(
        &self,
        part: Part<'_>,
        heads: Heads,
        begun: &(dyn Fn() + Sync),
    ) -> Result<Option<Appended>, StoreError> {
        let fate = self.append_parts(&[part], heads, begun).await?.pop();
        Ok(fate.and_then(|fate| match fate {
            Fate::Sent(appended) => Some(appended),
            Fate::LeftOut | Fate::Undone => None,
        }))
    }

    /// Appends events of any tenants in one transaction: all or nothing.
    ///
    /// # Errors
    /// As [`Store::append`]; the inner error is the first refusal, after which nothing is in.
    pub async fn append_atomic(
        &self,
        batch: &[Line],
    ) -> Result<Result<Vec<Admission>, BatchRefusal>, StoreError> {
        let mut by_tenant: BTreeMap<&str, Vec<usize>> = BTreeMap::new();
        for (index, line) in batch.iter().enumerate() {
            by_tenant.entry(&line.event.tenant_id).or_default().push(index);
        }
        let mut client = self.client().await?;
        let transaction = writing(&mut client).await?;
        let mut answers: Vec<Option<Answer>> = vec![None; batch.len()];
        // In tenant order, so that two batches cannot wait for each other.
        for (tenant, indices) in by_tenant {
            let lines: Vec<&Line> = indices.iter().map(|index| &batch[*index]).collect();
            let given = append_in(&transaction, None, tenant, &lines).await?;
            for (index, answer) in indices.into_iter().zip(given) {
                answers[index] = Some(answer);
            }
        }
        let mut admitted = Vec::with_capacity(batch.len());
        for (index, answer) in answers.into_iter().enumerate() {
            match answer {
                Some(Ok(admission)) => admitted.push(admission),
                Some(Err(reason)) => return Ok(Err(BatchRefusal { index, reason })), // rolls back
                None => return Err(StoreError::internal("an event of the batch got no answer")),
            }
        }
        let adds = admitted.iter().any(|admission| matches!(admission, Admission::Insert { .. }));
        end(transaction, adds).await?;
        Ok(Ok(admitted))
    }
}

/// A transaction that adds no event leaves nothing: no head of a tenant without a log, no write.
async fn end(transaction: Transaction<'_>, adds: bool) -> Result<(), StoreError> {
    if !adds {
        return Ok(transaction.rollback().await?);
    }
    failpoint::pass_on(&*transaction, Point::AppendCommitBefore, "").await?;
    transaction.commit().await?;
    failpoint::pass(Point::AppendCommitAfter, "").await
}

async fn append_in(
    transaction: &Transaction<'_>,
    settings: Option<&str>,
    tenant: &str,
    lines: &[&Line],
) -> Result<Vec<Answer>, StoreError> {
    let mut view = read_view(transaction, settings, tenant, lines).await?;
    let answers: Vec<Answer> =
        lines.iter().map(|line| view.admit(&line.event, line.log_seq)).collect();
    let mut rows = Rows::default();
    // Only what is written counts: a refused event must not lend its setting to its neighbours.
    let mut keeps = false;
    for (line, answer) in lines.iter().zip(&answers) {
        if let Ok(Admission::Insert { log_seq }) = answer {
            rows.push(&line.event, *log_seq);
            keeps |= line.log_seq.is_some();
        }
    }
    if keeps {
        transaction.batch_execute("SET LOCAL decisiongraph.keep_log_seq = 'on'").await?;
    }
    rows.insert(transaction).await?;
    if keeps {
        // The transaction may go on with a tenant that keeps none.
        transaction.batch_execute("SET LOCAL decisiongraph.keep_log_seq = 'off'").await?;
    }
    Ok(answers)
}

/// Locks the tenant's head and reads what the log says of these events.
async fn read_view(
    transaction: &Transaction<'_>,
    settings: Option<&str>,
    tenant: &str,
    lines: &[&Line],
) -> Result<LogView, StoreError> {
    let settings = async {
        match settings {
            Some(settings) => Ok(transaction.batch_execute(settings).await?),
            None => Ok(()),
        }
    };
    let ((), mut view) = tokio::try_join!(settings, lock_head(transaction, tenant))?;
    let events = || lines.iter().map(|line| &line.event);
    let producers: Vec<&str> = events().map(|event| event.source.producer_id.as_str()).collect();
    let keys: Vec<&str> = events().map(|event| event.idempotency_key.as_str()).collect();
    let mut traces: Vec<&str> = events().map(|event| event.trace_id.as_str()).collect();
    traces.sort_unstable();
    traces.dedup();
    let ids: Vec<&str> = events().map(|event| event.event_id.as_str()).collect();

    let by_key = transaction.prepare_cached(USED_KEYS).await?;
    let ends = transaction.prepare_cached(TRACE_ENDS).await?;
    let taken = transaction.prepare_cached(TAKEN_EVENT_IDS).await?;
    let by_key_arguments: [&(dyn ToSql + Sync); 3] = [&tenant, &producers, &keys];
    let ends_arguments: [&(dyn ToSql + Sync); 2] = [&tenant, &traces];
    let taken_arguments: [&(dyn ToSql + Sync); 2] = [&tenant, &ids];
    let (by_key, ends, taken) = tokio::try_join!(
        transaction.query(&by_key, &by_key_arguments),
        transaction.query(&ends, &ends_arguments),
        transaction.query(&taken, &taken_arguments),
    )?;
    for row in &by_key {
        view.by_key.insert((row.try_get(0)?, row.try_get(1)?), stored_from(row)?);
    }
    for row in &ends {
        let (last, event_type): (i64, &str) = (row.try_get(1)?, row.try_get(2)?);
        let finished = event_type == EventType::TraceFinished.as_str();
        view.traces.insert(row.try_get(0)?, TraceEnd { next_seq: last + 1, finished });
    }
    for row in &taken {
        view.event_ids.insert(row.try_get(0)?);
    }
    Ok(view)
}

const LOCK_HEAD: &str = "SELECT last_log_seq, kept_numbers OR event_count = 0
    FROM dg_tenant_heads WHERE tenant_id = $1 FOR UPDATE";

const CREATE_HEAD: &str = "INSERT INTO dg_tenant_heads (tenant_id, last_log_seq, event_count)
    VALUES ($1, 0, 0) ON CONFLICT (tenant_id) DO NOTHING";

async fn lock_head(transaction: &Transaction<'_>, tenant: &str) -> Result<LogView, StoreError> {
    let lock = transaction.prepare_cached(LOCK_HEAD).await?;
    let row = match transaction.query_opt(&lock, &[&tenant]).await? {
        Some(row) => row,
        None => {
            transaction.execute(CREATE_HEAD, &[&tenant]).await?;
            transaction.query_one(&lock, &[&tenant]).await?
        }
    };
    Ok(LogView {
        last_log_seq: row.try_get(0)?,
        takes_kept_numbers: row.try_get(1)?,
        ..LogView::default()
    })
}

// Each lookup asks for the first entry at or after its key, in the order of its index, and is held
// against the key outside. With equalities alone other indexes of the tenant look as good to a
// planner without statistics. See also `database::WALKS`.

const USED_KEYS: &str =
    "SELECT e.producer_id, e.idempotency_key, e.log_seq, e.event_id, e.payload_hash,
        e.trace_id, e.event_type, e.source_system, e.source_subsystem, e.actor_type, e.actor_id,
        e.correlation_id, e.causation_event_id, e.schema_version, e.tags::text
    FROM unnest($2::text[], $3::text[]) AS asked (producer_id, idempotency_key)
    CROSS JOIN LATERAL (SELECT * FROM dg_event_log AS l
        WHERE l.tenant_id = $1 AND l.producer_id = asked.producer_id
          AND l.idempotency_key >= asked.idempotency_key
        ORDER BY l.idempotency_key LIMIT 1) AS e
    WHERE e.idempotency_key = asked.idempotency_key";

const TRACE_ENDS: &str = "SELECT asked.trace_id, e.trace_seq, e.event_type
    FROM unnest($2::text[]) AS asked (trace_id)
    CROSS JOIN LATERAL (SELECT l.trace_seq, l.event_type FROM dg_event_log AS l
        WHERE l.tenant_id = $1 AND l.trace_id = asked.trace_id
        ORDER BY l.trace_seq DESC LIMIT 1) AS e";

const TAKEN_EVENT_IDS: &str = "SELECT asked.event_id FROM unnest($2::text[]) AS asked (event_id)
    CROSS JOIN LATERAL (SELECT l.event_id FROM dg_event_log AS l
        WHERE l.tenant_id = $1 AND l.event_id >= asked.event_id
        ORDER BY l.event_id LIMIT 1) AS e
    WHERE e.event_id = asked.event_id";

fn stored_from(row: &tokio_postgres::Row) -> Result<Stored, StoreError> {
    Ok(Stored {
        log_seq: row.try_get(2)?,
        event_id: row.try_get(3)?,
        identity: Identity {
            payload_hash: hash(row.try_get(4)?)?,
            trace_id: row.try_get(5)?,
            event_type: row.try_get(6)?,
            source: (row.try_get(0)?, row.try_get(7)?, row.try_get(8)?),
            actor: (row.try_get(9)?, row.try_get(10)?),
            correlation_id: row.try_get(11)?,
            causation_event_id: row.try_get(12)?,
            schema_version: row.try_get(13)?,
            tags: tags_from(row.try_get(14)?)?,
        },
    })
}
