//! Whether events may be taken to be new: one statement for any number of tenants, which locks nothing. What it has
//! found may be otherwise a moment later, and is then found by the keys of the log.

use std::collections::{BTreeMap, HashMap};

use dg_projections::event::Line;
use tokio_postgres::types::ToSql;

use crate::{Store, StoreError};

// The arrays are hidden from the planner: a plan for one event would look cheaper than one for ten each time, and
// be made anew for ever. Each look-up asks for the first entry at or after its key, as those of `append` do.
const ENDS_BEFORE_NEW: &str =
    "WITH asked AS MATERIALIZED (
        SELECT * FROM unnest((SELECT $2::text[]), (SELECT $3::text[]), (SELECT $4::text[]), (SELECT $5::text[]))
            AS asked (tenant_id, producer_id, idempotency_key, event_id)),
    not_new AS MATERIALIZED (
        SELECT asked.tenant_id FROM asked
        CROSS JOIN LATERAL (SELECT l.idempotency_key FROM dg_event_log AS l
            WHERE l.tenant_id = asked.tenant_id AND l.producer_id = asked.producer_id
              AND l.idempotency_key >= asked.idempotency_key
            ORDER BY l.idempotency_key LIMIT 1) AS e
        WHERE e.idempotency_key = asked.idempotency_key
        UNION ALL
        SELECT asked.tenant_id FROM asked
        CROSS JOIN LATERAL (SELECT l.event_id FROM dg_event_log AS l
            WHERE l.tenant_id = asked.tenant_id AND l.event_id >= asked.event_id
            ORDER BY l.event_id LIMIT 1) AS e
        WHERE e.event_id = asked.event_id
        UNION ALL
        SELECT first.tenant_id
        FROM unnest((SELECT $6::text[]), (SELECT $7::text[]), (SELECT $8::bigint[]))
            AS first (tenant_id, trace_id, trace_seq)
        LEFT JOIN LATERAL (SELECT l.trace_seq, l.event_type FROM dg_event_log AS l
            WHERE l.tenant_id = first.tenant_id AND l.trace_id = first.trace_id
            ORDER BY l.trace_seq DESC LIMIT 1) AS last ON true
        WHERE coalesce(last.trace_seq, -1) <> first.trace_seq - 1 OR last.event_type = 'TraceFinished')
    SELECT tenant.tenant_id, coalesce(head.last_log_seq, 0)
    FROM unnest((SELECT $1::text[])) AS tenant (tenant_id)
    LEFT JOIN LATERAL (SELECT h.last_log_seq FROM dg_tenant_heads AS h
        WHERE h.tenant_id = tenant.tenant_id LIMIT 1) AS head ON true
    WHERE tenant.tenant_id NOT IN (SELECT not_new.tenant_id FROM not_new)";

impl Store {
    /// Where the log of each of these tenants ends, in their order, which is 0 before its first event; nothing for one
    /// that has one of the events already, by its key or its identifier, or whose traces they do not continue.
    ///
    /// # Errors
    /// When the database cannot be asked.
    pub async fn ends_before_new(
        &self,
        asked: &[(&str, Vec<&Line>)],
    ) -> Result<Vec<Option<i64>>, StoreError> {
        let tenants: Vec<&str> = asked.iter().map(|(tenant, _)| *tenant).collect();
        let (mut of, mut producers, mut keys, mut ids) = (vec![], vec![], vec![], vec![]);
        for (tenant, lines) in asked {
            for line in lines {
                of.push(*tenant);
                producers.push(line.event.source.producer_id.as_str());
                keys.push(line.event.idempotency_key.as_str());
                ids.push(line.event.event_id.as_str());
            }
        }
        let firsts = firsts(asked);
        let traced: Vec<&str> = firsts.keys().map(|(tenant, _)| *tenant).collect();
        let traces: Vec<&str> = firsts.keys().map(|(_, trace)| *trace).collect();
        let places: Vec<i64> = firsts.values().copied().collect();
        let client = self.client().await?;
        let look = client.prepare_cached(ENDS_BEFORE_NEW).await?;
        let arguments: [&(dyn ToSql + Sync); 8] =
            [&tenants, &of, &producers, &keys, &ids, &traced, &traces, &places];
        let rows = client.query(&look, &arguments).await?;
        let mut ends: HashMap<&str, i64> = HashMap::new();
        for row in &rows {
            ends.insert(row.try_get(0)?, row.try_get(1)?);
        }
        Ok(tenants.iter().map(|tenant| ends.get(tenant).copied()).collect())
    }
}

/// Where each trace of each tenant goes on: the first of its places among these events.
fn firsts<'a>(asked: &[(&'a str, Vec<&'a Line>)]) -> BTreeMap<(&'a str, &'a str), i64> {
    let mut firsts = BTreeMap::new();
    for (tenant, lines) in asked {
        for line in lines {
            let first = firsts.entry((*tenant, &*line.event.trace_id));
            let first: &mut i64 = first.or_insert(line.event.trace_seq);
            *first = line.event.trace_seq.min(*first);
        }
    }
    firsts
}
