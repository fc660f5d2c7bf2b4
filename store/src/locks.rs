//! Who keeps others from our tables: sessions that somebody waits for, transactions left open, and those of
//! others that hold locks for long.
//!
//! No privilege is needed: locks, and the pid, user and name of each session, are shown to everybody.
//! What a session of a stranger does, and since when, is not: then the wait of the others tells.

use tokio_postgres::Row;

use crate::doctor::tables;
use crate::neighbours::PREFIX;
use crate::{Store, StoreError};

/// A wait that is shorter is none to speak of: commits wait for each other all the time.
const WAITED_MS: i64 = 2000;
/// A transaction that does nothing for so long was left open, and one of others that is open for so long
/// may be in the way of the next. Ours never pause in between.
const OPEN_MS: i64 = 5000;

/// A session that others wait for, or that holds locks on our tables for long.
#[derive(Debug, Clone, PartialEq)]
pub struct Holder {
    /// Its process; 0 for a prepared transaction, which has none.
    pub pid: i32,
    /// Who it is of.
    pub user: Option<String>,
    /// What it calls itself, or what kind of process it is.
    pub application: Option<String>,
    /// What it does, such as `idle in transaction`, if we may know.
    pub state: Option<String>,
    /// For how long its transaction is open, if we may know.
    pub open_seconds: Option<f64>,
    /// How many sessions wait for it.
    pub waiters: i64,
    /// The longest of their waits.
    pub waited_seconds: f64,
}

impl Holder {
    /// The statement that ends it, or shows what can be ended.
    pub fn ended_by(&self) -> String {
        match self.pid {
            0 => "SELECT gid, owner, prepared FROM pg_prepared_xacts".to_owned(),
            pid => format!("SELECT pg_terminate_backend({pid})"),
        }
    }
}

// Only who does not wait itself can make room: the others of a queue go on when it does.
const HOLDERS: &str = "WITH at_ours AS (
        SELECT pid, bool_or(granted AND mode <> 'AccessShareLock') AS holds FROM pg_locks
        WHERE database = (SELECT oid FROM pg_database WHERE datname = current_database())
            AND relation IN (SELECT to_regclass(name)::oid FROM unnest($1::text[]) AS ours (name))
        GROUP BY pid),
    waits AS (
        SELECT pid, min(waitstart) AS since FROM pg_locks WHERE NOT granted GROUP BY pid),
    blocked AS (
        SELECT DISTINCT blocker AS pid, waits.pid AS waiter, waits.since
        FROM waits JOIN at_ours USING (pid) CROSS JOIN unnest(pg_blocking_pids(pid)) AS blocker
        WHERE waits.since < clock_timestamp() - $2::bigint * interval '1 ms'),
    holder AS (
        SELECT pid, count(*) AS waiters, min(since) AS since FROM blocked
        WHERE pid NOT IN (SELECT pid FROM waits) GROUP BY pid
        UNION ALL
        SELECT pid, 0, NULL FROM pg_stat_activity JOIN at_ours USING (pid)
        WHERE pid NOT IN (SELECT pid FROM blocked UNION ALL SELECT pid FROM waits)
            AND CASE WHEN state LIKE 'idle in transaction%' THEN state_change
                WHEN holds AND backend_type = 'client backend' AND NOT starts_with(application_name, $4)
                THEN xact_start END < clock_timestamp() - $3::bigint * interval '1 ms')
    SELECT pid, a.usename::text, coalesce(nullif(a.application_name, ''), a.backend_type), a.state,
        extract(epoch FROM clock_timestamp() - a.xact_start)::float8, waiters,
        coalesce(extract(epoch FROM clock_timestamp() - since), 0)::float8
    FROM holder LEFT JOIN pg_stat_activity AS a USING (pid)
    ORDER BY since, xact_start, pid";

impl Store {
    /// The sessions that keep others from our tables, the one that is waited for longest first.
    ///
    /// # Errors
    /// When the database cannot be asked.
    pub async fn lock_holders(&self) -> Result<Vec<Holder>, StoreError> {
        let client = self.client().await?;
        let rows = client.query(HOLDERS, &[&tables(), &WAITED_MS, &OPEN_MS, &PREFIX]).await?;
        rows.iter().map(holder_from).collect()
    }
}

fn holder_from(row: &Row) -> Result<Holder, StoreError> {
    Ok(Holder {
        pid: row.try_get(0)?,
        user: row.try_get(1)?,
        application: row.try_get(2)?,
        state: row.try_get(3)?,
        open_seconds: row.try_get(4)?,
        waiters: row.try_get(5)?,
        waited_seconds: row.try_get(6)?,
    })
}
