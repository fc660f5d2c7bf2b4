//! Finished traces that decided alike.

use dg_projections::projection::Projection;
use dg_projections::{Code, Rejection};
use tokio_postgres::types::ToSql;

use super::current_generation;
use crate::database::snapshot;
use crate::{Store, StoreError};

/// What to look for; the default finds every finished trace.
#[derive(Debug, Clone, PartialEq, Eq)]
#[allow(missing_docs, reason = "the names are the contract's")]
pub struct PrecedentQuery {
    pub policy_id: Option<String>,
    /// Needs a `policy_id`.
    pub policy_version: Option<String>,
    pub outcome: Option<String>,
    pub entity_type: Option<String>,
    /// Needs an `entity_type`.
    pub entity_id: Option<String>,
    /// 1..=10000.
    pub limit: i64,
}

impl Default for PrecedentQuery {
    fn default() -> PrecedentQuery {
        PrecedentQuery {
            policy_id: None,
            policy_version: None,
            outcome: None,
            entity_type: None,
            entity_id: None,
            limit: 100,
        }
    }
}

impl PrecedentQuery {
    /// Refuses what cannot be asked.
    ///
    /// # Errors
    /// `invalid_argument`.
    pub fn check(&self) -> Result<(), Rejection> {
        let refuse = |message: &str| Err(Rejection::new(Code::InvalidArgument, message));
        if self.policy_version.is_some() && self.policy_id.is_none() {
            return refuse("a policy version needs a policy id");
        }
        if self.entity_id.is_some() && self.entity_type.is_none() {
            return refuse("an entity id needs an entity type");
        }
        if !(1..=10_000).contains(&self.limit) {
            return refuse("limit must be in 1..=10000");
        }
        Ok(())
    }
}

/// A trace that was found. The policy fields and `source_event_id` are those of its best row, and
/// none when no policy was asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
#[allow(missing_docs, reason = "the names are the contract's")]
pub struct PrecedentHit {
    pub trace_id: String,
    pub workflow: String,
    pub title: String,
    pub outcome: String,
    pub finished_at: Option<String>,
    pub last_log_seq: i64,
    pub primary_entity_type: String,
    pub primary_entity_system: Option<String>,
    pub primary_entity_id: String,
    pub policy_id: Option<String>,
    pub policy_version: Option<String>,
    pub exception_id: Option<String>,
    pub source_event_id: Option<String>,
}

// The best row of a trace: one with an exception, then the latest, then by source event.
const BY_POLICY: &str = "JOIN (
        SELECT DISTINCT ON (p.trace_id) p.trace_id, p.policy_id, p.policy_version, p.exception_id, p.source_event_id
        FROM dg_precedent_index AS p
        WHERE p.tenant_id = $1 AND p.generation = $3 AND p.policy_id = $4
            AND ($5::text IS NULL OR p.policy_version = $5)
        ORDER BY p.trace_id, (p.exception_id IS NULL), p.log_seq DESC, p.source_event_id
    ) AS best ON best.trace_id = s.trace_id";

// $3 to $5 are named so that both forms take the same parameters.
const ANY_POLICY: &str = "CROSS JOIN (SELECT NULL::text AS policy_id, NULL::text AS policy_version,
        NULL::text AS exception_id, NULL::text AS source_event_id
        WHERE $3::integer IS NOT NULL AND $4::text IS NULL AND $5::text IS NULL) AS best";

impl Store {
    /// Finished traces, the latest first, at most one hit a trace.
    ///
    /// # Errors
    /// `projection_out_of_date` while the precedents or the summaries are behind the log.
    pub async fn precedents(
        &self,
        tenant: &str,
        query: &PrecedentQuery,
    ) -> Result<Vec<PrecedentHit>, StoreError> {
        let mut client = self.client().await?;
        let transaction = snapshot(&mut client, false).await?;
        let summaries =
            current_generation(&transaction, tenant, Projection::TraceSummary, self.enough).await?;
        let precedents =
            current_generation(&transaction, tenant, Projection::PrecedentIndex, self.enough)
                .await?;
        let join = if query.policy_id.is_some() { BY_POLICY } else { ANY_POLICY };
        let sql = format!(
            "SELECT s.trace_id, s.workflow, s.title, s.outcome, s.finished_at, s.last_log_seq,
                s.primary_entity_type, s.primary_entity_system, s.primary_entity_id,
                best.policy_id, best.policy_version, best.exception_id, best.source_event_id
             FROM dg_trace_summary AS s {join}
             WHERE s.tenant_id = $1 AND s.generation = $2 AND s.outcome IS NOT NULL
                AND ($6::text IS NULL OR s.outcome = $6)
                AND ($7::text IS NULL OR s.primary_entity_type = $7)
                AND ($8::text IS NULL OR s.primary_entity_id = $8)
             ORDER BY s.last_log_seq DESC, s.trace_id LIMIT $9"
        );
        let statement = transaction.prepare_cached(&sql).await?;
        let arguments: [&(dyn ToSql + Sync); 9] = [
            &tenant,
            &summaries,
            &precedents,
            &query.policy_id,
            &query.policy_version,
            &query.outcome,
            &query.entity_type,
            &query.entity_id,
            &query.limit,
        ];
        let rows = transaction.query(&statement, &arguments).await?;
        rows.iter().map(hit_from).collect()
    }
}

fn hit_from(row: &tokio_postgres::Row) -> Result<PrecedentHit, StoreError> {
    Ok(PrecedentHit {
        trace_id: row.try_get(0)?,
        workflow: row.try_get(1)?,
        title: row.try_get(2)?,
        outcome: row.try_get(3)?,
        finished_at: row.try_get(4)?,
        last_log_seq: row.try_get(5)?,
        primary_entity_type: row.try_get(6)?,
        primary_entity_system: row.try_get(7)?,
        primary_entity_id: row.try_get(8)?,
        policy_id: row.try_get(9)?,
        policy_version: row.try_get(10)?,
        exception_id: row.try_get(11)?,
        source_event_id: row.try_get(12)?,
    })
}
