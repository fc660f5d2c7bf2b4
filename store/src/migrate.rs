//! The schema: plain SQL files, applied in order under one lock, each in its own transaction,
//! recorded with its checksum.
//!
//! Forward only: a file that has landed is never changed. A schema newer than this binary knows, or
//! a recorded checksum that is not that of our file, refuses the start instead of guessing.

use std::time::Duration;

use deadpool_postgres::ClientWrapper;
use dg_projections::Code;
use dg_projections::hash::Hash;
use time::OffsetDateTime;
use tokio::time::Instant;

use crate::database::Object;
use crate::failpoint::{self, Point};
use crate::{Store, StoreError};

/// A step of the schema.
#[derive(Debug, Clone, Copy)]
pub struct Migration {
    /// 1, 2, 3, ...
    pub version: i32,
    /// What it brings.
    pub name: &'static str,
    /// The SQL.
    pub sql: &'static str,
    /// The later step that says all of it again, if one does: then a database that lacks this one is
    /// spared its SQL, which may want more rights than its successor's.
    pub said_again_by: Option<i32>,
}

impl Migration {
    /// SHA-256 of the SQL.
    pub fn checksum(&self) -> Hash {
        Hash::of(self.sql.as_bytes())
    }
}

macro_rules! migration {
    ($version:literal, $name:literal, $file:literal) => {
        Migration {
            version: $version,
            name: $name,
            sql: include_str!(concat!("../../migrations/", $file)),
            said_again_by: None,
        }
    };
}

const MIGRATIONS: &[Migration] = &[
    migration!(1, "event_log", "V0001__event_log.sql"),
    migration!(2, "projections", "V0002__projections.sql"),
    Migration {
        said_again_by: Some(6),
        ..migration!(3, "append_function", "V0003__append_function.sql")
    },
    migration!(4, "partitions", "V0004__partitions.sql"),
    migration!(5, "runs", "V0005__runs.sql"),
    migration!(6, "append_function_of_owners", "V0006__append_function_of_owners.sql"),
    migration!(7, "admit_in_one_update", "V0007__admit_in_one_update.sql"),
    migration!(8, "append_without_jit", "V0008__append_without_jit.sql"),
    migration!(9, "look_among_the_added", "V0009__look_among_the_added.sql"),
    migration!(10, "move_heads_together", "V0010__move_heads_together.sql"),
];

/// Every step this binary knows, in order.
#[cfg(not(feature = "failpoints"))]
pub fn migrations() -> &'static [Migration] {
    MIGRATIONS
}

/// The same; of a binary under test also the step of a later release, whose SQL is in the file that
/// `DECISIONGRAPH_TEST_LATER_STEP` names.
#[cfg(feature = "failpoints")]
pub fn migrations() -> &'static [Migration] {
    static ALL: std::sync::LazyLock<Vec<Migration>> = std::sync::LazyLock::new(|| {
        let later = std::env::var_os("DECISIONGRAPH_TEST_LATER_STEP").map(|file| {
            let sql = std::fs::read_to_string(&file);
            let sql = sql.unwrap_or_else(|error| panic!("{}: {error}", file.display()));
            let version = MIGRATIONS.len() as i32 + 1;
            Migration { version, name: "later", sql: sql.leak(), said_again_by: None }
        });
        MIGRATIONS.iter().copied().chain(later).collect()
    });
    &ALL
}

/// A step that the database has taken.
#[derive(Debug, Clone, PartialEq, Eq)]
#[allow(missing_docs, reason = "the columns of dg_schema_migrations")]
pub struct AppliedMigration {
    pub version: i32,
    pub name: String,
    pub checksum: Hash,
    pub applied_at: OffsetDateTime,
    pub binary_version: String,
}

/// How a database departs from what this binary knows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Drift {
    /// The database has a step that this binary does not know.
    Newer {
        /// The step.
        version: i32,
        /// Its name.
        name: String,
        /// The release that applied it.
        binary_version: String,
    },
    /// A step was applied from another text than ours.
    Changed {
        /// The step.
        version: i32,
        /// Its name.
        name: String,
        /// What was applied.
        applied: Hash,
        /// What we have.
        known: Hash,
    },
}

impl std::fmt::Display for Drift {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Drift::Newer { version, name, binary_version } => write!(
                f,
                "the database has step {version} ({name}) of release {binary_version}, which this release does not know"
            ),
            Drift::Changed { version, name, applied, known } => write!(
                f,
                "step {version} ({name}) was applied as {applied}, this release has it as {known}"
            ),
        }
    }
}

/// Where a database stands.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct MigrationStatus {
    /// What it has.
    pub applied: Vec<AppliedMigration>,
    /// The versions it lacks.
    pub pending: Vec<i32>,
    /// What is wrong with it.
    pub drift: Vec<Drift>,
}

impl MigrationStatus {
    /// The newest step applied, 0 for none.
    pub fn version(&self) -> i32 {
        self.applied.last().map_or(0, |step| step.version)
    }

    /// Refuses a database that this binary must not touch.
    ///
    /// # Errors
    /// `conflict`, naming the first drift.
    pub fn check(&self) -> Result<(), StoreError> {
        self.drift.first().map_or(Ok(()), |drift| {
            Err(StoreError::new(Code::Conflict, format!("schema: {drift}")))
        })
    }

    fn of(applied: Vec<AppliedMigration>) -> MigrationStatus {
        let drift = applied.iter().filter_map(|step| {
            let (name, release) = (step.name.clone(), step.binary_version.clone());
            drift(step.version, name, step.checksum, release)
        });
        let drift = drift.collect();
        let is_applied = |version| applied.iter().any(|step| step.version == version);
        let versions = migrations().iter().map(|step| step.version);
        let pending = versions.filter(|version| !is_applied(*version)).collect();
        MigrationStatus { applied, pending, drift }
    }
}

/// How a step that a database has departs from what we know, if it does.
pub(crate) fn drift(
    version: i32,
    name: String,
    applied: Hash,
    binary_version: String,
) -> Option<Drift> {
    match migrations().iter().find(|step| step.version == version) {
        None => Some(Drift::Newer { version, name, binary_version }),
        Some(ours) if ours.checksum() != applied => {
            Some(Drift::Changed { version, name, applied, known: ours.checksum() })
        }
        Some(_) => None,
    }
}

/// One key for all releases: two daemons that start at once migrate once.
const LOCK_KEY: i64 = 0x6467_6d69_6772_6174;

const LOCK_POLL: Duration = Duration::from_millis(100);

const HISTORY: &str = "CREATE TABLE IF NOT EXISTS dg_schema_migrations (
    version        integer PRIMARY KEY,
    name           text NOT NULL,
    checksum       bytea NOT NULL,
    applied_at     timestamptz NOT NULL DEFAULT now(),
    binary_version text NOT NULL
)";

impl Store {
    /// Where the schema stands; changes nothing.
    ///
    /// # Errors
    /// When the database cannot be asked.
    pub async fn migration_status(&self) -> Result<MigrationStatus, StoreError> {
        let client = self.client().await?;
        let exists =
            client.query_one("SELECT to_regclass('dg_schema_migrations') IS NOT NULL", &[]);
        if !exists.await?.get::<_, bool>(0) {
            return Ok(MigrationStatus::of(Vec::new()));
        }
        let sql = "SELECT version, name, checksum, applied_at, binary_version
                   FROM dg_schema_migrations ORDER BY version";
        let rows = client.query(sql, &[]).await?;
        rows.iter().map(applied_from).collect::<Result<_, _>>().map(MigrationStatus::of)
    }

    /// Brings the schema to this binary's version, waiting up to `patience` for another that is at it.
    ///
    /// # Errors
    /// `conflict` on drift, `storage` when the lock was not to be had, or what the database said of
    /// a step; the steps before it stay applied.
    pub async fn migrate(
        &self,
        binary_version: &str,
        patience: Duration,
    ) -> Result<MigrationStatus, StoreError> {
        // Taken out of the pool: the lock is the session's, so if this is given up half-way, the
        // connection and with it the lock must end.
        let mut client = Object::take(self.client().await?);
        self.lock_migrations(&client, patience).await?;
        let outcome = self.apply_pending(&mut client, binary_version).await;
        // Ends with the connection, if it is broken.
        let _ = client.execute("SELECT pg_advisory_unlock($1)", &[&LOCK_KEY]).await;
        outcome?;
        self.migration_status().await
    }

    /// A session lock on a connection that is held until the end; polled, so that a shutdown is
    /// never stuck behind it.
    async fn lock_migrations(
        &self,
        client: &ClientWrapper,
        patience: Duration,
    ) -> Result<(), StoreError> {
        let deadline = Instant::now() + patience;
        loop {
            let taken = client.query_one("SELECT pg_try_advisory_lock($1)", &[&LOCK_KEY]).await?;
            if taken.get::<_, bool>(0) {
                return Ok(());
            }
            if Instant::now() >= deadline {
                return Err(StoreError::timed_out("waiting for another migration", patience));
            }
            tokio::time::sleep(LOCK_POLL).await;
        }
    }

    async fn apply_pending(
        &self,
        client: &mut ClientWrapper,
        binary_version: &str,
    ) -> Result<(), StoreError> {
        client.batch_execute(HISTORY).await?;
        let status = self.migration_status().await?;
        status.check()?;
        for step in migrations().iter().filter(|step| status.pending.contains(&step.version)) {
            let transaction = client.transaction().await?;
            transaction
                .batch_execute("SET LOCAL lock_timeout = '10s'; SET LOCAL statement_timeout = 0")
                .await?;
            if step.said_again_by.is_none() {
                transaction.batch_execute(step.sql).await?;
            }
            let record =
                "INSERT INTO dg_schema_migrations (version, name, checksum, binary_version)
                          VALUES ($1, $2, $3, $4)";
            let checksum = step.checksum().0.to_vec();
            transaction
                .execute(record, &[&step.version, &step.name, &checksum, &binary_version])
                .await?;
            failpoint::pass_on(&*transaction, Point::MigrationBefore, step.name).await?;
            transaction.commit().await?;
            failpoint::hit(Point::MigrationAfter, step.name).await;
            tracing::info!(version = step.version, name = step.name, "schema step applied");
        }
        Ok(())
    }
}

fn applied_from(row: &tokio_postgres::Row) -> Result<AppliedMigration, StoreError> {
    Ok(AppliedMigration {
        version: row.try_get(0)?,
        name: row.try_get(1)?,
        checksum: crate::rows::hash(row.try_get(2)?)?,
        applied_at: row.try_get(3)?,
        binary_version: row.try_get(4)?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_contiguous_from_one() {
        for (at, step) in MIGRATIONS.iter().enumerate() {
            assert_eq!(step.version, at as i32 + 1);
            assert!(step.said_again_by.is_none_or(|later| later > step.version));
        }
    }

    fn applied(version: i32, checksum: Hash) -> AppliedMigration {
        AppliedMigration {
            version,
            name: "x".into(),
            checksum,
            applied_at: OffsetDateTime::UNIX_EPOCH,
            binary_version: "9.9.9".into(),
        }
    }

    #[test]
    fn status_names_pending_newer_and_changed_steps() {
        let ours = MIGRATIONS[0].checksum();
        let status = MigrationStatus::of(vec![applied(1, ours)]);
        assert_eq!((status.version(), status.drift.len()), (1, 0));
        assert_eq!(status.pending, MIGRATIONS[1..].iter().map(|s| s.version).collect::<Vec<_>>());
        let changed = MigrationStatus::of(vec![applied(1, Hash([7; 32]))]);
        assert!(matches!(changed.drift[..], [Drift::Changed { version: 1, .. }]));
        let newer = MigrationStatus::of(vec![applied(1, ours), applied(999, ours)]);
        assert!(matches!(newer.drift[..], [Drift::Newer { version: 999, .. }]));
        assert_eq!(newer.check().unwrap_err().code, Code::Conflict);
    }
}
