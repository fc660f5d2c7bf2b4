//! Which database this is: what a statement about it names, so that nobody takes it for another's.

use crate::timeline::TIMELINE;
use crate::{Store, StoreError};

/// A database, as its server knows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Identity {
    /// Its name.
    pub database: String,
    /// The release of the server.
    pub server_version: String,
    /// What a cluster is given by `initdb` and shares with its standbys and physical backups alone;
    /// none where the server does not tell it.
    pub system_identifier: Option<String>,
    /// Its history: one more after each promotion and each recovery to an earlier moment; none where
    /// the server does not tell it.
    pub timeline: Option<i32>,
    /// Whether it follows another.
    pub is_standby: bool,
    /// Whether it takes no writes.
    pub is_read_only: bool,
}

/// What an auditor asks beside the digests.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Standpoint {
    /// Where the tenant's log ends.
    pub last_log_seq: i64,
    /// How many events it has.
    pub event_count: i64,
    /// The release of the server.
    pub server_version: String,
    /// The version of the schema.
    pub schema_version: i32,
}

const IDENTITY: &str = "SELECT current_database()::text, current_setting('server_version'),
        pg_is_in_recovery(), current_setting('transaction_read_only') = 'on',
        has_function_privilege('pg_control_system()', 'EXECUTE')
            AND has_function_privilege('pg_control_checkpoint()', 'EXECUTE')";

const STANDPOINT: &str = "SELECT last_log_seq, event_count, current_setting('server_version'),
        (SELECT coalesce(max(version), 0) FROM dg_schema_migrations)
    FROM dg_tenant_heads WHERE tenant_id = $1";

impl Store {
    /// Which database this is.
    ///
    /// # Errors
    /// When the database cannot be asked.
    pub async fn identity(&self) -> Result<Identity, StoreError> {
        let client = self.client().await?;
        let row = client.query_one(IDENTITY, &[]).await?;
        let mut identity = Identity {
            database: row.try_get(0)?,
            server_version: row.try_get(1)?,
            system_identifier: None,
            timeline: None,
            is_standby: row.try_get(2)?,
            is_read_only: row.try_get(3)?,
        };
        // Everybody may ask, unless a provider has taken it away.
        if row.try_get(4)? {
            // A standby writes none: its last restart point says which one it follows.
            let sql = format!(
                "SELECT s.system_identifier::text, coalesce(nullif({TIMELINE}, 0), c.timeline_id)
                 FROM pg_control_system() AS s, pg_control_checkpoint() AS c"
            );
            let row = client.query_one(&sql, &[]).await?;
            identity.system_identifier = row.try_get(0)?;
            identity.timeline = row.try_get(1)?;
        }
        Ok(identity)
    }

    /// Where a tenant's log is, and the versions of those that keep it; none without a log.
    ///
    /// # Errors
    /// When the database cannot be asked.
    pub async fn standpoint(&self, tenant: &str) -> Result<Option<Standpoint>, StoreError> {
        let client = self.client().await?;
        let statement = client.prepare_cached(STANDPOINT).await?;
        let row = client.query_opt(&statement, &[&tenant]).await?;
        let standpoint = |row: tokio_postgres::Row| {
            Ok(Standpoint {
                last_log_seq: row.try_get(0)?,
                event_count: row.try_get(1)?,
                server_version: row.try_get(2)?,
                schema_version: row.try_get(3)?,
            })
        };
        row.map(standpoint).transpose()
    }
}
