//! Runs: replays and rebuilds as rows, so that they outlive whoever is at them.
//!
//! Invariants:
//! - a tenant and projection have one active run; one of `all` is one of each ([`admit`]);
//! - a status changes as [`RunStatus::after`] says, in one statement that names the one before: of
//!   two who would change it, one does;
//! - whoever runs it is named in the row and says so again and again; its writes name it, so that
//!   one who was taken for gone, or whose run was cancelled, changes nothing ([`progress`]);
//! - how far it is can always be told from its cursors: what stands in its row is for people.

pub(crate) mod admit;
mod progress;
mod status;

use std::fmt;

use dg_projections::compare::Difference;
use dg_projections::hash::Hash;
use dg_projections::json;
use dg_projections::projection::Projection;
use time::OffsetDateTime;
use tokio_postgres::Row;

pub use admit::NewRun;
pub use progress::{Ending, Progress};
pub use status::Turn;

use crate::rows::hash;
use crate::{Store, StoreError};

/// What a run does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum RunMode {
    /// Catch up from the cursor.
    Replay,
    /// Build the projection again from the first event.
    Rebuild,
}

impl RunMode {
    /// Both.
    pub const ALL: [RunMode; 2] = [RunMode::Replay, RunMode::Rebuild];

    /// The stable word.
    pub const fn as_str(self) -> &'static str {
        match self {
            RunMode::Replay => "replay",
            RunMode::Rebuild => "rebuild",
        }
    }

    /// The mode of a word.
    pub fn from_word(word: &str) -> Option<RunMode> {
        RunMode::ALL.into_iter().find(|mode| mode.as_str() == word)
    }
}

impl fmt::Display for RunMode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Where a run is in its life.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum RunStatus {
    /// Admitted, and nobody is at it yet.
    Queued,
    /// A daemon is at it.
    Running,
    /// Its work is done.
    Completed,
    /// Its work could not be done.
    Failed,
    /// An operator has ended it.
    Cancelled,
    /// Its daemon has stopped, or is gone.
    Interrupted,
}

impl RunStatus {
    /// All of them.
    pub const ALL: [RunStatus; 6] = [
        RunStatus::Queued,
        RunStatus::Running,
        RunStatus::Completed,
        RunStatus::Failed,
        RunStatus::Cancelled,
        RunStatus::Interrupted,
    ];

    /// The stable word.
    pub const fn as_str(self) -> &'static str {
        match self {
            RunStatus::Queued => "queued",
            RunStatus::Running => "running",
            RunStatus::Completed => "completed",
            RunStatus::Failed => "failed",
            RunStatus::Cancelled => "cancelled",
            RunStatus::Interrupted => "interrupted",
        }
    }

    /// The status of a word.
    pub fn from_word(word: &str) -> Option<RunStatus> {
        RunStatus::ALL.into_iter().find(|status| status.as_str() == word)
    }
}

impl fmt::Display for RunStatus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// The word for a run over all projections.
pub const ALL_PROJECTIONS: &str = "all";

/// Which run: a tenant's, by its identifier.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct RunKey {
    /// The tenant.
    pub tenant_id: String,
    /// A UUID.
    pub run_id: String,
}

impl fmt::Display for RunKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.tenant_id, self.run_id)
    }
}

/// A run as it stands.
#[derive(Debug, Clone, PartialEq)]
#[allow(missing_docs, reason = "the names are the contract's")]
pub struct Run {
    pub key: RunKey,
    /// The name of one projection, or [`ALL_PROJECTIONS`].
    pub projection_name: String,
    pub mode: RunMode,
    /// A rebuild that is compared with what is served and then dropped.
    pub dry_run: bool,
    pub status: RunStatus,
    /// What it is at, while it runs.
    pub phase: Option<String>,
    pub reason: String,
    pub requested_by: Option<String>,
    pub requested_at: OffsetDateTime,
    pub started_at: Option<OffsetDateTime>,
    pub finished_at: Option<OffsetDateTime>,
    pub since_log_seq: i64,
    pub until_log_seq: Option<i64>,
    pub processed_events: i64,
    pub last_log_seq: i64,
    pub total_events: Option<i64>,
    pub error_code: Option<String>,
    pub error_message: Option<String>,
    /// The daemon that is or was at it.
    pub owner: Option<String>,
    /// For how long it ran, over all its lives.
    pub work_ms: i64,
    /// In the order in which they are done.
    pub steps: Vec<RunStep>,
}

impl Run {
    /// Whether what was built equals what was served, as far as it was compared; none before.
    pub fn is_equal(&self) -> Option<bool> {
        let compared = || self.steps.iter().filter_map(|step| step.comparison.as_ref());
        compared().next().is_some().then(|| compared().all(|one| one.difference.is_none()))
    }
}

/// A run's part at one projection.
#[derive(Debug, Clone, PartialEq)]
pub struct RunStep {
    /// The projection.
    pub projection: Projection,
    /// What a rebuild builds.
    pub generation: Option<i32>,
    /// How many events were applied when a replay began.
    pub since_applied: Option<i64>,
    /// Events that it has applied.
    pub processed_events: i64,
    /// How far it is.
    pub last_log_seq: i64,
    /// What was built, held against what was served.
    pub comparison: Option<Comparison>,
    /// Why there was nothing to compare with.
    pub not_compared: Option<String>,
    /// When readers and workers were given what was built.
    pub switched_at: Option<OffsetDateTime>,
    /// For how many milliseconds the live workers were kept from their work for it.
    pub switch_ms: Option<i64>,
    /// When it was done.
    pub finished_at: Option<OffsetDateTime>,
}

/// Two generations of a projection at one cursor.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Comparison {
    /// The cursor.
    pub log_seq: i64,
    /// The digest of what was built.
    pub digest: Hash,
    /// The digest of what was served.
    pub digest_before: Hash,
    /// The first difference, in the order of tables and keys; also in rows that no digest covers.
    pub difference: Option<Difference>,
}

/// What a list of runs is narrowed to.
#[derive(Debug, Clone, Copy, Default)]
pub struct RunFilter<'a> {
    /// Of this tenant.
    pub tenant: Option<&'a str>,
    /// In one of these states; none: in any.
    pub statuses: &'a [RunStatus],
    /// At most so many, the newest.
    pub limit: i64,
}

const RUN: &str = "SELECT tenant_id, run_id::text, projection_name, mode, dry_run, status, phase,
        reason, requested_by, requested_at, started_at, finished_at, since_log_seq, until_log_seq,
        processed_events, last_log_seq, total_events, error_code, error_message, owner, work_ms
    FROM dg_projection_runs";

const STEPS: &str = "SELECT run_id::text, projection_name, generation, since_applied,
        processed_events, last_log_seq, compared_log_seq, digest, digest_before, difference,
        not_compared, switched_at, switch_ms, finished_at
    FROM dg_projection_run_steps WHERE run_id::text = ANY($1) AND tenant_id = ANY($2)
    ORDER BY run_id, step";

impl Store {
    /// A run by its identifier, of this tenant if one is named.
    ///
    /// # Errors
    /// When the database cannot be asked. What is no identifier is that of no run.
    pub async fn run(&self, tenant: Option<&str>, run_id: &str) -> Result<Option<Run>, StoreError> {
        if !is_uuid(run_id) {
            return Ok(None);
        }
        let sql =
            format!("{RUN} WHERE run_id = $1::text::uuid AND ($2::text IS NULL OR tenant_id = $2)");
        let client = self.client().await?;
        let rows = client.query(&sql, &[&run_id, &tenant]).await?;
        Ok(with_steps(&client, &rows).await?.pop())
    }

    /// Runs, the newest first.
    ///
    /// # Errors
    /// When the database cannot be asked.
    pub async fn runs(&self, filter: RunFilter<'_>) -> Result<Vec<Run>, StoreError> {
        let statuses: Vec<&str> = filter.statuses.iter().map(|status| status.as_str()).collect();
        let sql = format!(
            "{RUN} WHERE ($1::text IS NULL OR tenant_id = $1)
                AND (cardinality($2::text[]) = 0 OR status = ANY($2))
             ORDER BY requested_at DESC, run_id LIMIT $3"
        );
        let client = self.client().await?;
        let rows = client.query(&sql, &[&filter.tenant, &statuses, &filter.limit]).await?;
        with_steps(&client, &rows).await
    }

    /// How many runs there are, by mode and status.
    ///
    /// # Errors
    /// When the database cannot be asked.
    pub async fn count_runs(&self) -> Result<Vec<(RunMode, RunStatus, i64)>, StoreError> {
        let sql = "SELECT mode, status, count(*) FROM dg_projection_runs GROUP BY mode, status";
        let rows = self.client().await?.query(sql, &[]).await?;
        rows.iter().map(|row| Ok((mode(row, 0)?, status_of(row, 1)?, row.try_get(2)?))).collect()
    }
}

/// Whether Postgres takes it for a UUID in its usual form.
fn is_uuid(text: &str) -> bool {
    let groups: Vec<&str> = text.split('-').collect();
    let is_hex = |group: &&str| group.bytes().all(|byte| byte.is_ascii_hexdigit());
    groups.iter().map(|group| group.len()).eq([8, 4, 4, 4, 12]) && groups.iter().all(is_hex)
}

async fn with_steps(client: &tokio_postgres::Client, rows: &[Row]) -> Result<Vec<Run>, StoreError> {
    let mut runs = rows.iter().map(run_from).collect::<Result<Vec<Run>, _>>()?;
    let ids: Vec<&str> = runs.iter().map(|run| run.key.run_id.as_str()).collect();
    let tenants: Vec<&str> = runs.iter().map(|run| run.key.tenant_id.as_str()).collect();
    if ids.is_empty() {
        return Ok(runs);
    }
    let steps = client.query(STEPS, &[&ids, &tenants]).await?;
    for row in &steps {
        let run_id: &str = row.try_get(0)?;
        if let Some(run) = runs.iter_mut().find(|run| run.key.run_id == run_id) {
            run.steps.push(step_from(row)?);
        }
    }
    Ok(runs)
}

fn mode(row: &Row, column: usize) -> Result<RunMode, StoreError> {
    RunMode::from_word(row.try_get(column)?)
        .ok_or_else(|| StoreError::internal("a run of an unknown mode"))
}

fn status_of(row: &Row, column: usize) -> Result<RunStatus, StoreError> {
    RunStatus::from_word(row.try_get(column)?)
        .ok_or_else(|| StoreError::internal("a run of an unknown status"))
}

fn run_from(row: &Row) -> Result<Run, StoreError> {
    Ok(Run {
        key: RunKey { tenant_id: row.try_get(0)?, run_id: row.try_get(1)? },
        projection_name: row.try_get(2)?,
        mode: mode(row, 3)?,
        dry_run: row.try_get(4)?,
        status: status_of(row, 5)?,
        phase: row.try_get(6)?,
        reason: row.try_get(7)?,
        requested_by: row.try_get(8)?,
        requested_at: row.try_get(9)?,
        started_at: row.try_get(10)?,
        finished_at: row.try_get(11)?,
        since_log_seq: row.try_get(12)?,
        until_log_seq: row.try_get(13)?,
        processed_events: row.try_get(14)?,
        last_log_seq: row.try_get(15)?,
        total_events: row.try_get(16)?,
        error_code: row.try_get(17)?,
        error_message: row.try_get(18)?,
        owner: row.try_get(19)?,
        work_ms: row.try_get(20)?,
        steps: Vec::new(),
    })
}

fn step_from(row: &Row) -> Result<RunStep, StoreError> {
    let name: &str = row.try_get(1)?;
    let projection = Projection::from_name(name)
        .ok_or_else(|| StoreError::internal("a step of an unknown projection"))?;
    let digest = |column| row.try_get::<_, Option<&[u8]>>(column)?.map(hash).transpose();
    let difference: Option<&str> = row.try_get(9)?;
    let difference = difference.map(difference_from).transpose()?;
    let comparison = match (row.try_get(6)?, digest(7)?, digest(8)?) {
        (Some(log_seq), Some(digest), Some(digest_before)) => {
            Some(Comparison { log_seq, digest, digest_before, difference })
        }
        _ => None,
    };
    Ok(RunStep {
        projection,
        generation: row.try_get(2)?,
        since_applied: row.try_get(3)?,
        processed_events: row.try_get(4)?,
        last_log_seq: row.try_get(5)?,
        comparison,
        not_compared: row.try_get(10)?,
        switched_at: row.try_get(11)?,
        switch_ms: row.try_get(12)?,
        finished_at: row.try_get(13)?,
    })
}

fn difference_from(text: &str) -> Result<Difference, StoreError> {
    let value = json::parse(text).map_err(|error| StoreError::internal(error.to_string()))?;
    Ok(Difference::from_json(&value))
}

#[cfg(test)]
mod tests {
    use super::is_uuid;

    #[test]
    fn only_a_uuid_is_the_identifier_of_a_run() {
        assert!(is_uuid("0b9c2f6e-3f0a-4c55-9b77-5b1f1e0d2a3c"));
        for text in
            ["", "1", "0b9c2f6e3f0a4c559b775b1f1e0d2a3c", "0b9c2f6e-3f0a-4c55-9b77-zz1f1e0d2a3c"]
        {
            assert!(!is_uuid(text), "{text}");
        }
    }
}
