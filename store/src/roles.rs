//! The roles of the database: append-only by privilege.

use dg_projections::Code;

use crate::{Store, StoreError};

/// What the daemon runs as where its database was made for it: may insert into the log, and neither
/// update nor delete an event.
pub const DAEMON_ROLE: &str = "dg_daemon";

const ROLES: &str = include_str!("../../migrations/roles.sql");

impl Store {
    /// Makes the roles where they are missing and gives each its privileges; see
    /// `migrations/roles.sql`.
    ///
    /// # Errors
    /// `conflict` before the schema is in place; otherwise what the server says, such as that this
    /// role may not make roles.
    pub async fn apply_roles(&self) -> Result<(), StoreError> {
        let status = self.migration_status().await?;
        if !status.pending.is_empty() {
            return Err(StoreError::new(
                Code::Conflict,
                "the schema comes first: steps are pending",
            ));
        }
        let mut client = self.client().await?;
        let transaction = client.transaction().await?;
        transaction.batch_execute(ROLES).await?;
        transaction.commit().await?;
        Ok(())
    }
}
