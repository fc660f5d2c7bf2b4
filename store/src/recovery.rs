//! What `doctor --recovered` counts: over all tenants, in few statements, with bounded answers.
//!
//! Nothing here believes a worker or a stored sum that can be counted again. Examples are a few; the
//! figures are of all.

use crate::database::snapshot;
use crate::{Store, StoreError};

/// How many are named of those that are counted.
const EXAMPLES: i64 = 3;

/// How the projections of all tenants stand to their logs.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Standings {
    /// Tenants with events.
    pub tenants: i64,
    /// Their events, as the heads count them.
    pub events: i64,
    /// Tenants times projections.
    pub projections: i64,
    /// Those before the end of their log.
    pub behind: i64,
    /// Those past it.
    pub beyond: i64,
    /// Those that did not apply as many events as there are.
    pub miscounted: i64,
    /// The first of them: tenant and projection.
    pub examples: Vec<(String, String)>,
}

/// What waits for somebody: how many, and the first of them.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Waiting {
    /// How many.
    pub count: i64,
    /// The first of them: tenant and what of it.
    pub examples: Vec<(String, String)>,
}

/// Runs that are not finished.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct OpenRuns {
    /// Waiting for their turn, or at work.
    pub active: i64,
    /// Stopped in the middle.
    pub interrupted: Waiting,
    /// At work, by their word, and not heard of.
    pub stalled: Waiting,
}

/// A page of logs, each counted and held against its head.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct CountedLogs {
    /// How many logs.
    pub logs: i64,
    /// How many events were counted in them.
    pub events: i64,
    /// Those whose events are not those that the head speaks of: the tenant, and what is wrong.
    pub damaged: Vec<(String, String)>,
    /// The last tenant of the page; none when there are no more.
    pub last: Option<String>,
}

/// What the server knows of its archive.
#[derive(Debug, Clone, PartialEq)]
pub struct Archive {
    /// `archive_mode`.
    pub mode: String,
    /// Segments archived since the statistics began.
    pub archived: i64,
    /// For how long nothing was archived, in seconds; none before the first.
    pub age_seconds: Option<f64>,
    /// Whether the last attempt failed.
    pub is_failing: bool,
}

const STANDINGS: &str = "WITH place AS (
        SELECT head.tenant_id, head.last_log_seq AS log_end, head.event_count,
            name.projection_name, coalesce(min(c.last_log_seq), 0) AS least,
            coalesce(max(c.last_log_seq), 0) AS foremost, coalesce(sum(c.applied_events), 0) AS applied
        FROM dg_tenant_heads AS head
        CROSS JOIN unnest($1::text[]) AS name (projection_name)
        LEFT JOIN dg_projections AS p
            ON p.tenant_id = head.tenant_id AND p.projection_name = name.projection_name
        LEFT JOIN dg_projection_cursors AS c
            ON c.tenant_id = p.tenant_id AND c.projection_name = p.projection_name
            AND c.generation = p.active_generation
        WHERE head.event_count > 0
        GROUP BY head.tenant_id, name.projection_name),
    bad AS (SELECT tenant_id, projection_name FROM place
        WHERE least < log_end OR foremost > log_end OR applied <> event_count
        ORDER BY tenant_id, projection_name LIMIT $2)
    SELECT (SELECT count(*) FROM dg_tenant_heads WHERE event_count > 0),
        (SELECT coalesce(sum(event_count), 0)::bigint FROM dg_tenant_heads),
        count(*), count(*) FILTER (WHERE least < log_end),
        count(*) FILTER (WHERE foremost > log_end), count(*) FILTER (WHERE applied <> event_count),
        (SELECT coalesce(array_agg(tenant_id), '{}') FROM bad),
        (SELECT coalesce(array_agg(projection_name), '{}') FROM bad)
    FROM place";

// What is tried again by itself waits for nobody.
const OPEN_FAILURES: &str = "SELECT count(*) OVER (), tenant_id, projection_name
    FROM dg_projection_failures WHERE status = 'open' AND NOT recoverable
    ORDER BY tenant_id, projection_name LIMIT $1";

// A run says every few seconds that it is at work; after a minute nobody is.
const RUNS: &str = "WITH run AS (SELECT tenant_id, run_id::text AS run_id,
            CASE WHEN status = 'interrupted' THEN 'interrupted'
                WHEN status = 'running' AND seen_at < clock_timestamp() - interval '1 minute'
                    THEN 'stalled'
                ELSE 'active' END AS state
        FROM dg_projection_runs WHERE status IN ('queued', 'running', 'interrupted'))
    SELECT state, count(*), (array_agg(tenant_id ORDER BY tenant_id, run_id))[1:$1::integer],
        (array_agg(run_id ORDER BY tenant_id, run_id))[1:$1::integer]
    FROM run GROUP BY state";

// One snapshot for head and log: an append moves both at once.
const LOGS: &str = "SELECT head.tenant_id, head.last_log_seq, head.event_count, head.kept_numbers,
        log.events, coalesce(log.first, 0), coalesce(log.last, 0)
    FROM (SELECT * FROM dg_tenant_heads WHERE tenant_id > $1 ORDER BY tenant_id LIMIT $2) AS head
    CROSS JOIN LATERAL (SELECT count(*) AS events, min(log_seq) AS first, max(log_seq) AS last
        FROM dg_event_log AS l WHERE l.tenant_id = head.tenant_id) AS log
    ORDER BY head.tenant_id";

// From tenant to tenant by the key of the log, however long the logs are.
const HEADLESS: &str = "WITH RECURSIVE log AS (
        SELECT min(tenant_id) AS tenant_id FROM dg_event_log
        UNION ALL
        SELECT (SELECT min(l.tenant_id) FROM dg_event_log AS l WHERE l.tenant_id > log.tenant_id)
        FROM log WHERE log.tenant_id IS NOT NULL)
    SELECT count(*) OVER (), log.tenant_id, 'it has no head' FROM log
    WHERE log.tenant_id IS NOT NULL
        AND NOT EXISTS (SELECT 1 FROM dg_tenant_heads AS h WHERE h.tenant_id = log.tenant_id)
    ORDER BY log.tenant_id LIMIT $1";

const ARCHIVE: &str = "SELECT current_setting('archive_mode'), archived_count,
        extract(epoch FROM clock_timestamp() - last_archived_time)::float8,
        coalesce(last_failed_time > coalesce(last_archived_time, '-infinity'), false)
    FROM pg_stat_archiver";

impl Store {
    /// How these projections of all tenants stand to their logs.
    ///
    /// # Errors
    /// When the database cannot be asked.
    pub async fn standings(&self, projections: &[&str]) -> Result<Standings, StoreError> {
        let client = self.client().await?;
        let row = client.query_one(STANDINGS, &[&projections, &EXAMPLES]).await?;
        let (tenants, names): (Vec<String>, Vec<String>) = (row.try_get(6)?, row.try_get(7)?);
        Ok(Standings {
            tenants: row.try_get(0)?,
            events: row.try_get(1)?,
            projections: row.try_get(2)?,
            behind: row.try_get(3)?,
            beyond: row.try_get(4)?,
            miscounted: row.try_get(5)?,
            examples: tenants.into_iter().zip(names).collect(),
        })
    }

    /// The open dead letters of all tenants.
    ///
    /// # Errors
    /// When the database cannot be asked.
    pub async fn open_failures(&self) -> Result<Waiting, StoreError> {
        self.waiting(OPEN_FAILURES).await
    }

    /// Logs of tenants that have no head, and so are seen by nobody.
    ///
    /// # Errors
    /// When the database cannot be asked.
    pub async fn headless_logs(&self) -> Result<Waiting, StoreError> {
        self.waiting(HEADLESS).await
    }

    async fn waiting(&self, sql: &str) -> Result<Waiting, StoreError> {
        let rows = self.client().await?.query(sql, &[&EXAMPLES]).await?;
        let count = rows.first().map_or(Ok(0), |row| row.try_get(0))?;
        let example = |row: &tokio_postgres::Row| Ok((row.try_get(1)?, row.try_get(2)?));
        Ok(Waiting {
            count,
            examples: rows.iter().map(example).collect::<Result<_, StoreError>>()?,
        })
    }

    /// The runs of all tenants that are not finished.
    ///
    /// # Errors
    /// When the database cannot be asked.
    pub async fn open_runs(&self) -> Result<OpenRuns, StoreError> {
        let mut runs = OpenRuns::default();
        for row in &self.client().await?.query(RUNS, &[&(EXAMPLES as i32)]).await? {
            let (state, count): (&str, i64) = (row.try_get(0)?, row.try_get(1)?);
            let (tenants, ids): (Vec<String>, Vec<String>) = (row.try_get(2)?, row.try_get(3)?);
            let waiting = Waiting { count, examples: tenants.into_iter().zip(ids).collect() };
            match state {
                "interrupted" => runs.interrupted = waiting,
                "stalled" => runs.stalled = waiting,
                _ => runs.active = count,
            }
        }
        Ok(runs)
    }

    /// Counts the logs of the next tenants after one of that name, `most` of them.
    ///
    /// # Errors
    /// When the database cannot be asked.
    pub async fn count_logs(&self, after: &str, most: i64) -> Result<CountedLogs, StoreError> {
        let mut client = self.client().await?;
        let transaction = snapshot(&mut client, true).await?;
        let mut counted = CountedLogs::default();
        for row in &transaction.query(LOGS, &[&after, &most]).await? {
            let (tenant, found): (String, i64) = (row.try_get(0)?, row.try_get(4)?);
            counted.logs += 1;
            counted.events += found;
            let head = (row.try_get(1)?, row.try_get(2)?, row.try_get(3)?);
            if let Some(wrong) = amiss(head, (found, row.try_get(5)?, row.try_get(6)?)) {
                counted.damaged.push((tenant.clone(), wrong));
            }
            counted.last = Some(tenant);
        }
        Ok(counted)
    }

    /// What the server knows of its archive.
    ///
    /// # Errors
    /// When the database cannot be asked.
    pub async fn archive(&self) -> Result<Archive, StoreError> {
        let row = self.client().await?.query_one(ARCHIVE, &[]).await?;
        Ok(Archive {
            mode: row.try_get(0)?,
            archived: row.try_get(1)?,
            age_seconds: row.try_get(2)?,
            is_failing: row.try_get(3)?,
        })
    }
}

/// What is wrong with a log of so many events between these numbers, whose head says where it ends,
/// how many there are, and whether numbers may be left out.
fn amiss(
    (end, count, kept_numbers): (i64, i64, bool),
    (found, first, last): (i64, i64, i64),
) -> Option<String> {
    if found != count {
        return Some(format!("{found} events, and its head counts {count}"));
    }
    if last != end {
        return Some(format!("it ends at {last}, and its head says {end}"));
    }
    // As many different numbers as there are from the first to the last: none is left out.
    let is_whole = found == 0 || (first == 1 && last == found);
    (!kept_numbers && !is_whole).then(|| format!("{found} events between {first} and {last}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_log_is_whole_when_it_has_what_its_head_says_and_no_number_is_left_out() {
        let table = [
            ((0, 0, false), (0, 0, 0), None),
            ((5, 5, false), (5, 1, 5), None),
            ((9, 5, true), (5, 3, 9), None),
            ((5, 5, false), (4, 1, 5), Some("4 events, and its head counts 5")),
            ((5, 5, true), (4, 1, 5), Some("4 events, and its head counts 5")),
            ((5, 4, false), (4, 1, 4), Some("it ends at 4, and its head says 5")),
            ((5, 4, false), (4, 1, 5), Some("4 events between 1 and 5")),
            ((5, 4, false), (4, 2, 5), Some("4 events between 2 and 5")),
        ];
        for (head, log, expected) in table {
            assert_eq!(amiss(head, log).as_deref(), expected, "{head:?} {log:?}");
        }
    }
}
