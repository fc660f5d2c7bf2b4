//! What must be in place before there is a runtime, and the runtime as soon as it is.

use std::sync::Arc;
use std::time::Duration;

use dg_projections::Code;
use dg_runtime::{Runtime, Settings};
use dg_store::failpoint::{self, Point};
use dg_store::{Store, StoreError};

use crate::config::Migrate;
use crate::failure::Failure;
use crate::server::FillRuntime;

/// How long to wait for another daemon that is migrating.
const MIGRATION_PATIENCE: Duration = Duration::from_secs(60);
/// How often a database that is away is tried while the daemon starts.
const START_RETRY: Duration = Duration::from_secs(1);

/// Brings the schema up to date, however long the database is away, and fills the slot.
pub(super) async fn start_runtime(
    schema: Schema,
    store: Store,
    settings: Settings,
    fill: FillRuntime,
) -> Result<(), Failure> {
    while let Err(error) = schema.prepare().await {
        if error.code != Code::Storage {
            return Err(Failure::from(error).help(SCHEMA_HELP));
        }
        let unchanged = fill.borrow().as_ref().is_err_and(|reason| *reason == error.message);
        if !unchanged {
            tracing::warn!(code = "storage", reason = %error, "database away; the daemon goes on trying");
            drop(fill.send_replace(Err(error.message)));
        }
        tokio::time::sleep(START_RETRY).await;
    }
    schema.store.close();
    let runtime = Runtime::start(store, settings).await;
    let runtime = runtime.map_err(|error| Failure::new(Code::Internal, error.to_string()))?;
    drop(fill.send_replace(Ok(Arc::new(runtime))));
    failpoint::hit(Point::StartAfter, "").await;
    tracing::info!("ready");
    Ok(())
}

const SCHEMA_HELP: &str =
    "`decisiongraph migrate status` shows the schema; run the release that made it, or a later one";

/// What must be in place before there is a runtime.
pub(super) struct Schema {
    /// As the owner of the tables.
    pub(super) store: Store,
    pub(super) migrate: Migrate,
    pub(super) with_roles: bool,
}

impl Schema {
    async fn prepare(&self) -> Result<(), StoreError> {
        match self.migrate {
            Migrate::Apply => {
                self.store.migrate(env!("CARGO_PKG_VERSION"), MIGRATION_PATIENCE).await?;
            }
            Migrate::Check => self.check().await?,
        }
        if self.with_roles {
            self.store.apply_roles().await?;
        }
        Ok(())
    }

    async fn check(&self) -> Result<(), StoreError> {
        let status = self.store.migration_status().await?;
        status.check()?;
        if status.pending.is_empty() {
            return Ok(());
        }
        let message = format!(
            "schema: steps {:?} are pending and --migrate=check forbids to apply them",
            status.pending
        );
        Err(StoreError::new(Code::Conflict, message))
    }
}
