//! Looks at cursors, logs and runs the whole time: nothing moves back, no cursor is beyond its log, no
//! two runs are at one projection.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio_postgres::{Client, Config, NoTls, Row};

use super::history::History;

const PERIOD: Duration = Duration::from_millis(20);

/// One snapshot, of the tenants that the clients write to: what there is, how far it is, and how far its
/// log is.
const PLACES: &str =
    "WITH ours AS (SELECT tenant_id FROM unnest(ARRAY['a', 'b', 'c']) AS ours (tenant_id))
    SELECT 'log ' || h.tenant_id, h.last_log_seq, h.event_count, h.last_log_seq
    FROM dg_tenant_heads AS h JOIN ours USING (tenant_id)
    UNION ALL
    SELECT concat_ws(' ', 'cursor', c.tenant_id, c.projection_name, c.generation, c.partition),
        c.last_log_seq, c.applied_events, coalesce(h.last_log_seq, 0)
    FROM dg_projection_cursors AS c JOIN ours USING (tenant_id)
    LEFT JOIN dg_tenant_heads AS h USING (tenant_id)
    UNION ALL
    SELECT concat_ws(' ', 'pointer', p.tenant_id, p.projection_name), p.active_generation, 0,
        p.active_generation
    FROM dg_projections AS p JOIN ours USING (tenant_id)";

/// Active runs that another active run is in the way of.
const OVERLAPS: &str = "SELECT concat_ws(' ', r.tenant_id, r.run_id, o.run_id)
    FROM dg_projection_runs AS r JOIN dg_projection_runs AS o
        ON o.tenant_id = r.tenant_id AND o.run_id < r.run_id
        AND (o.projection_name = r.projection_name OR 'all' IN (o.projection_name, r.projection_name))
    WHERE o.status IN ('queued', 'running') AND r.status IN ('queued', 'running')";

/// Somebody who looks.
#[derive(Debug)]
pub(super) struct Watcher {
    stop: watch::Sender<bool>,
    task: JoinHandle<u64>,
}

impl Watcher {
    /// Looks from now on. Must be called within a tokio runtime.
    pub(super) fn start(database: &Config, history: &Arc<History>) -> Watcher {
        let (stop, stopped) = watch::channel(false);
        let task = tokio::spawn(look_on(database.clone(), history.clone(), stopped));
        Watcher { stop, task }
    }

    /// How many looks there were.
    pub(super) async fn finish(self) -> u64 {
        self.stop.send_replace(true);
        self.task.await.expect("the watcher does not panic")
    }
}

async fn look_on(
    database: Config,
    history: Arc<History>,
    mut stopped: watch::Receiver<bool>,
) -> u64 {
    let (mut known, mut looks, mut losses) = (BTreeMap::new(), 0, 0);
    let mut connection: Option<Client> = None;
    while tokio::time::timeout(PERIOD, stopped.wait_for(|stop| *stop)).await.is_err() {
        if connection.is_none()
            && let Ok((client, driver)) = database.connect(NoTls).await
        {
            tokio::spawn(driver);
            connection = Some(client);
        }
        // What a failover has lost was seen before it.
        let before = history.told().losses;
        if std::mem::replace(&mut losses, before) != before {
            (known, connection) = (BTreeMap::new(), None);
        }
        let Some(client) = &connection else { continue };
        match client.query(PLACES, &[]).await {
            Ok(rows) => {
                looks += 1;
                rows.iter().for_each(|row| compare(&mut known, row, &history));
            }
            // Away, or without a schema yet.
            Err(error) if error.is_closed() => connection = None,
            Err(_) => {}
        }
        for row in overlaps(connection.as_ref()).await {
            history.wrong(format!("two runs are active at one projection: {row}"));
        }
    }
    looks
}

async fn overlaps(client: Option<&Client>) -> Vec<String> {
    let Some(client) = client else { return Vec::new() };
    let rows = client.query(OVERLAPS, &[]).await.unwrap_or_default();
    rows.iter().map(|row| row.get(0)).collect()
}

fn compare(known: &mut BTreeMap<String, (i64, i64)>, row: &Row, history: &History) {
    let what: String = row.get(0);
    let (at, count, end): (i64, i64, i64) = (row.get(1), row.get(2), row.get(3));
    if at > end {
        history.wrong(format!("{what} is at {at}, beyond its log, which ends at {end}"));
    }
    let before = known.insert(what.clone(), (at, count));
    if let Some((was_at, was)) = before.filter(|(was_at, was)| at < *was_at || count < *was) {
        history.wrong(format!("{what} moved back from {was_at} ({was}) to {at} ({count})"));
    }
}
