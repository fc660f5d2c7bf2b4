//! Looks at cursors, logs and runs the whole time: nothing moves back, for readers least of all; no
//! cursor is beyond its log or an event that failed; no two runs are at one projection. Digests are
//! written down, for the checker to hold against the log.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio_postgres::{Client, Config, NoTls, Row};

use super::history::History;

const PERIOD: Duration = Duration::from_millis(20);

/// One snapshot, of the tenants that the clients write to: what there is, how far it is, and how far it
/// may be. What is served is where readers are, whatever generation that is. An event that failed is
/// passed by nobody before it is resolved, and its retries are counted.
const PLACES: &str =
    "WITH ours AS (SELECT tenant_id FROM unnest(ARRAY['a', 'b', 'c']) AS ours (tenant_id)),
    served AS (
        SELECT p.tenant_id, p.projection_name, min(c.last_log_seq) AS least,
            sum(c.applied_events)::bigint AS applied
        FROM dg_projections AS p JOIN ours USING (tenant_id)
        JOIN dg_projection_cursors AS c ON c.tenant_id = p.tenant_id
            AND c.projection_name = p.projection_name AND c.generation = p.active_generation
        GROUP BY p.tenant_id, p.projection_name)
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
    FROM dg_projections AS p JOIN ours USING (tenant_id)
    UNION ALL
    SELECT concat_ws(' ', 'what is served of', s.tenant_id, s.projection_name), s.least, s.applied,
        coalesce((SELECT min(f.log_seq) - 1 FROM dg_projection_failures AS f
            WHERE f.tenant_id = s.tenant_id AND f.projection_name = s.projection_name
                AND f.status = 'open'), s.least)
    FROM served AS s
    UNION ALL
    SELECT concat_ws(' ', 'retries of', f.tenant_id, f.projection_name, f.failure_id, f.error_code,
        f.log_seq), f.retry_count, 0, f.retry_count
    FROM dg_projection_failures AS f WHERE f.status = 'open' AND NOT f.recoverable";

/// The digests that there are. Of the poison's tenant none is known to the clients.
const DIGESTS: &str = "SELECT tenant_id, log_seq, digest_name, 'sha256:' || encode(digest, 'hex')
    FROM dg_projection_digests";

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
                for wrong in rows.iter().flat_map(|row| compare(&mut known, Seen::from(row))) {
                    history.wrong(wrong);
                }
                note_digests(client, &history).await;
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

async fn note_digests(client: &Client, history: &History) {
    let rows = client.query(DIGESTS, &[]).await.unwrap_or_default();
    let digest = |row: &Row| (row.get(0), row.get(1), row.get(2), row.get(3));
    history.told().digests.extend(rows.iter().map(digest));
}

/// A thing that has a place.
#[derive(Debug, Clone)]
struct Seen {
    what: String,
    at: i64,
    count: i64,
    /// It may be no further.
    end: i64,
}

impl From<&Row> for Seen {
    fn from(row: &Row) -> Seen {
        Seen { what: row.get(0), at: row.get(1), count: row.get(2), end: row.get(3) }
    }
}

/// What is wrong with where it is, and with where it was when it was seen last.
fn compare(known: &mut BTreeMap<String, (i64, i64)>, seen: Seen) -> Vec<String> {
    let Seen { what, at, count, end } = seen;
    let mut wrong = Vec::new();
    if at > end {
        wrong.push(format!("{what} is at {at}, beyond its end, which is {end}"));
    }
    let before = known.insert(what.clone(), (at, count));
    if let Some((was_at, was)) = before.filter(|(was_at, was)| at < *was_at || count < *was) {
        wrong.push(format!("{what} moved back from {was_at} ({was}) to {at} ({count})"));
    }
    wrong
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_moves_back_or_goes_beyond_its_end_is_seen() {
        for (places, wrong) in [
            (&[(1, 1, 1), (1, 1, 2), (2, 2, 2)][..], &[][..]),
            (&[(3, 3, 2)], &["beyond its end, which is 2"]),
            (&[(3, 3, 3), (2, 3, 3)], &["moved back from 3 (3) to 2 (3)"]),
            (&[(3, 3, 3), (4, 2, 4)], &["moved back from 3 (3) to 4 (2)"]),
            (&[(3, 3, 3), (2, 2, 1)], &["beyond its end", "moved back"]),
            // Told once: from then on it is where it is.
            (&[(3, 3, 3), (2, 2, 3), (2, 2, 3)], &["moved back"]),
        ] {
            let mut known = BTreeMap::new();
            let seen = |&(at, count, end): &(i64, i64, i64)| {
                compare(&mut known, Seen { what: "it".to_owned(), at, count, end })
            };
            let found: Vec<String> = places.iter().flat_map(seen).collect();
            assert_eq!(found.len(), wrong.len(), "{places:?}: {found:?}");
            for (found, wrong) in found.iter().zip(wrong) {
                assert!(found.contains(wrong), "{places:?}: {found}");
            }
        }
    }
}
