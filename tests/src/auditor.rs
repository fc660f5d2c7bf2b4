//! A reader beside everything that goes on: in one snapshot after another, it holds how many rows a
//! tenant's projections have against what its log says they must have at their cursors.

use std::time::Duration;

use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio_postgres::{Client, SimpleQueryMessage};

use crate::Database;

/// Rows that are missing: at its least cursor a projection has what the log has up to there.
const MISSING: &str = "WITH at AS (
        SELECT p.projection_name AS name, p.active_generation AS g, min(c.last_log_seq) AS least
        FROM dg_projections AS p JOIN dg_projection_cursors AS c ON c.tenant_id = p.tenant_id
            AND c.projection_name = p.projection_name AND c.generation = p.active_generation
        WHERE p.tenant_id = 'a' GROUP BY 1, 2),
    counts AS (
        SELECT 'summaries' AS what, least,
            (SELECT count(*) FROM dg_trace_summary WHERE tenant_id = 'a' AND generation = g) AS have,
            (SELECT count(*) FROM dg_event_log WHERE tenant_id = 'a' AND log_seq <= least
                AND event_type = 'TraceStarted') AS truth
        FROM at WHERE name = 'trace_summary'
        UNION ALL SELECT 'finished', least,
            (SELECT count(*) FROM dg_trace_summary WHERE tenant_id = 'a' AND generation = g
                AND outcome IS NOT NULL),
            (SELECT count(*) FROM dg_event_log WHERE tenant_id = 'a' AND log_seq <= least
                AND event_type = 'TraceFinished')
        FROM at WHERE name = 'trace_summary'
        UNION ALL SELECT 'traces in the graph', least,
            (SELECT count(*) FROM dg_cg_nodes WHERE tenant_id = 'a' AND generation = g
                AND node_type = 'trace'),
            (SELECT count(*) FROM dg_event_log WHERE tenant_id = 'a' AND log_seq <= least
                AND event_type = 'TraceStarted')
        FROM at WHERE name = 'context_graph'
        UNION ALL SELECT 'edges to policies', least,
            (SELECT count(*) FROM dg_cg_edges WHERE tenant_id = 'a' AND generation = g
                AND edge_type = 'trace_evaluated_policy'),
            (SELECT count(*) FROM dg_event_log WHERE tenant_id = 'a' AND log_seq <= least
                AND event_type = 'PolicyEvaluated')
        FROM at WHERE name = 'context_graph'
        UNION ALL SELECT 'evaluations', least,
            (SELECT count(*) FROM dg_policy_eval_index WHERE tenant_id = 'a' AND generation = g),
            (SELECT count(*) FROM dg_event_log WHERE tenant_id = 'a' AND log_seq <= least
                AND event_type = 'PolicyEvaluated')
        FROM at WHERE name = 'precedent_index'
        UNION ALL SELECT 'precedents', least,
            (SELECT count(*) FROM dg_precedent_index WHERE tenant_id = 'a' AND generation = g),
            (SELECT count(*) FROM dg_event_log AS l WHERE tenant_id = 'a' AND log_seq <= least
                AND event_type IN ('PolicyEvaluated', 'ExceptionRequested')
                AND EXISTS (SELECT 1 FROM dg_event_log AS f WHERE f.tenant_id = 'a'
                    AND f.trace_id = l.trace_id AND f.event_type = 'TraceFinished'
                    AND f.log_seq <= least))
        FROM at WHERE name = 'precedent_index')
    SELECT format('%s at log_seq %s: %s of %s', what, least, have, truth)
    FROM counts WHERE have < truth";

/// Reads tenant `a` until it is told to stop.
#[derive(Debug)]
pub struct Auditor {
    stop: watch::Sender<bool>,
    task: JoinHandle<Result<usize, String>>,
}

impl Auditor {
    /// Begins.
    pub async fn start(database: &Database) -> Auditor {
        let client = database.connect().await;
        let (stop, mut stopped) = watch::channel(false);
        let task = tokio::spawn(async move {
            let mut looks = 0;
            while !*stopped.borrow_and_update() {
                look(&client).await?;
                looks += 1;
                tokio::time::sleep(Duration::from_millis(2)).await;
            }
            Ok(looks)
        });
        Auditor { stop, task }
    }

    /// Asserts that no row was ever missing.
    ///
    /// # Panics
    /// When one was, or it never looked.
    pub async fn finish(self) {
        self.stop.send_replace(true);
        let looks = self.task.await.unwrap();
        assert!(looks.as_ref().is_ok_and(|looks| *looks > 0), "{looks:?}");
    }
}

async fn look(client: &Client) -> Result<(), String> {
    let answer = client.simple_query(MISSING).await.map_err(|error| format!("{error:?}"))?;
    let missing: Vec<&str> = answer
        .iter()
        .filter_map(|message| match message {
            SimpleQueryMessage::Row(row) => row.get(0),
            _ => None,
        })
        .collect();
    if missing.is_empty() { Ok(()) } else { Err(missing.join(", ")) }
}
