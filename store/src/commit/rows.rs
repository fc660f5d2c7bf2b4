//! The rows that are merged: of each table one part of the statement.
//!
//! What exists stays as it is, unless the change comes earlier in the log: so partitions and generations may
//! be written in any order. Rows come in key order, so two writers lock alike.

use dg_projections::projection::{Changes, SummaryChange};

use super::statement::{Part, Statement, column};

const STARTED: Part = Part {
    name: "started",
    types: &[
        "text", "text", "text", "text", "text", "text", "text", "text", "text", "bigint", "bigint",
    ],
    sql: "INSERT INTO dg_trace_summary (tenant_id, generation, trace_id, workflow, title,
            primary_entity_type, primary_entity_system, primary_entity_id, outcome, started_at,
            finished_at, event_count, last_log_seq)
        SELECT $1::text, $6::integer, rows.* FROM unnest({columns}) AS rows
        WHERE EXISTS (SELECT FROM moved)
        ON CONFLICT (tenant_id, generation, trace_id) DO NOTHING",
};

/// The summaries of traces that finish. By their key one by one, where a join may read the whole table.
const STANDING: Part = Part {
    name: "standing",
    types: &["text", "text", "text", "bigint"],
    sql: "SELECT s.tenant_id, s.generation, s.trace_id, s.workflow, s.title, s.primary_entity_type,
            s.primary_entity_system, s.primary_entity_id, finish.outcome, s.started_at,
            finish.finished_at, s.event_count + 1 AS event_count, finish.last_log_seq
        FROM unnest({columns}) AS finish (trace_id, outcome, finished_at, last_log_seq)
        CROSS JOIN LATERAL (SELECT * FROM dg_trace_summary AS l
            WHERE l.tenant_id = $1 AND l.generation = $6 AND l.trace_id >= finish.trace_id
            ORDER BY l.trace_id LIMIT 1) AS s
        WHERE s.trace_id = finish.trace_id",
};

const FINISHED: Part = Part {
    name: "finished",
    types: &[],
    sql: "INSERT INTO dg_trace_summary (tenant_id, generation, trace_id, workflow, title,
            primary_entity_type, primary_entity_system, primary_entity_id, outcome, started_at,
            finished_at, event_count, last_log_seq)
        SELECT * FROM standing WHERE EXISTS (SELECT FROM moved)
        ON CONFLICT (tenant_id, generation, trace_id) DO UPDATE SET outcome = excluded.outcome,
            finished_at = excluded.finished_at, event_count = excluded.event_count,
            last_log_seq = excluded.last_log_seq",
};

const POLICY_EVALS: Part = Part {
    name: "policy_evals",
    types: &["text", "text", "text", "text", "bigint", "text"],
    sql: "INSERT INTO dg_policy_eval_index AS kept (tenant_id, generation, index_id,
            trace_id, policy_id, policy_version, log_seq, created_at)
        SELECT $1::text, $6::integer, rows.* FROM unnest({columns}) AS rows
        WHERE EXISTS (SELECT FROM moved)
        ON CONFLICT (tenant_id, generation, index_id) DO UPDATE SET trace_id = excluded.trace_id,
            policy_id = excluded.policy_id, policy_version = excluded.policy_version,
            log_seq = excluded.log_seq, created_at = excluded.created_at
        WHERE excluded.log_seq < kept.log_seq",
};

const PRECEDENTS: Part = Part {
    name: "precedents",
    types: &["text", "bigint", "text", "text", "text", "text", "text", "text", "text"],
    sql: "INSERT INTO dg_precedent_index (tenant_id, generation, source_event_id, log_seq,
            trace_id, policy_id, policy_version, exception_id, primary_entity_type,
            primary_entity_system, primary_entity_id)
        SELECT $1::text, $6::integer, rows.* FROM unnest({columns}) AS rows
        WHERE EXISTS (SELECT FROM moved)
        ON CONFLICT (tenant_id, generation, source_event_id) DO UPDATE SET log_seq = excluded.log_seq,
            trace_id = excluded.trace_id, policy_id = excluded.policy_id,
            policy_version = excluded.policy_version, exception_id = excluded.exception_id,
            primary_entity_type = excluded.primary_entity_type,
            primary_entity_system = excluded.primary_entity_system,
            primary_entity_id = excluded.primary_entity_id",
};

impl<'a> Statement<'a> {
    /// All rows but those of the graph.
    pub(super) fn put_other_rows(&mut self, changes: &'a Changes) {
        self.put_summaries(changes);
        self.put_policy_evals(changes);
        self.put_precedents(changes);
    }

    fn put_summaries(&mut self, changes: &'a Changes) {
        let (mut started, mut finished) = (Vec::new(), Vec::new());
        for change in changes.summaries.values() {
            match change {
                SummaryChange::Insert(row) => started.push(row),
                SummaryChange::Finish(end) => finished.push(end),
            }
        }
        if !started.is_empty() {
            let columns = vec![
                column!(started, trace_id, as_str),
                column!(started, workflow, as_str),
                column!(started, title, as_str),
                column!(started, primary_entity_type, as_str),
                column!(started, primary_entity_system, as_deref),
                column!(started, primary_entity_id, as_str),
                column!(started, outcome, as_deref),
                column!(started, started_at, as_str),
                column!(started, finished_at, as_deref),
                column!(started, event_count),
                column!(started, last_log_seq),
            ];
            self.put(&STARTED, columns);
        }
        if !finished.is_empty() {
            let columns = vec![
                column!(finished, trace_id, as_str),
                column!(finished, outcome, as_str),
                column!(finished, finished_at, as_str),
                column!(finished, last_log_seq),
            ];
            self.look_for(&STANDING, columns);
            self.put(&FINISHED, Vec::new());
        }
    }

    fn put_policy_evals(&mut self, changes: &'a Changes) {
        let rows: Vec<_> = changes.policy_evals.values().collect();
        if rows.is_empty() {
            return;
        }
        let columns = vec![
            column!(rows, index_id, as_str),
            column!(rows, trace_id, as_str),
            column!(rows, policy_id, as_str),
            column!(rows, policy_version, as_str),
            column!(rows, log_seq),
            column!(rows, created_at, as_str),
        ];
        self.put(&POLICY_EVALS, columns);
    }

    fn put_precedents(&mut self, changes: &'a Changes) {
        let rows: Vec<_> = changes.precedents.values().collect();
        if rows.is_empty() {
            return;
        }
        let columns = vec![
            column!(rows, source_event_id, as_str),
            column!(rows, log_seq),
            column!(rows, trace_id, as_str),
            column!(rows, policy_id, as_str),
            column!(rows, policy_version, as_str),
            column!(rows, exception_id, as_deref),
            column!(rows, primary_entity_type, as_str),
            column!(rows, primary_entity_system, as_deref),
            column!(rows, primary_entity_id, as_str),
        ];
        self.put(&PRECEDENTS, columns);
    }
}
