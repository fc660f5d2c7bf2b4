//! The ways into the log, side by side: two stores as two daemons have them, the lanes of a runtime,
//! and `dg_append`.

use std::sync::Arc;

use dg_projections::Code;
use dg_projections::event::Line;
use dg_runtime::Runtime;
use dg_store::{Answer, Store};
use tokio_postgres::Client;

use crate::Database;
use crate::by_hand::call_append;
use crate::log::running;

/// A way into the log.
#[derive(Debug)]
pub enum Way {
    /// A transaction of a store.
    Store(Store),
    /// A runtime's lane of the tenant, with live projections behind it.
    Lanes(Box<Runtime>),
    /// The function, called for one event at a time.
    Function(Client),
}

impl Way {
    /// Appends events of one tenant.
    ///
    /// # Panics
    /// When the database is in trouble: no writer's doing may make another's append fail.
    pub async fn append(&self, tenant: &str, batch: &[Line]) -> Vec<Answer> {
        match self {
            Way::Store(store) => store.append(tenant, batch).await.unwrap(),
            Way::Lanes(runtime) => runtime.append(tenant, batch).await.unwrap(),
            Way::Function(client) => {
                let mut answers = Vec::new();
                for line in batch {
                    let answer = call_append(client, line).await;
                    answers.push(answer.map_err(|error| {
                        assert_ne!(error.code, Code::Storage, "{error}");
                        error.to_rejection()
                    }));
                }
                answers
            }
        }
    }
}

/// Five ways into the log of a database, and the runtime among them.
///
/// # Panics
/// When one cannot be made.
pub async fn ways(database: &Database) -> (Vec<Arc<Way>>, Runtime) {
    let runtime = running(database.store()).await;
    let all = [
        Way::Store(database.store()),
        Way::Store(database.store()),
        Way::Lanes(Box::new(runtime.clone())),
        Way::Function(database.connect().await),
        Way::Function(database.connect().await),
    ];
    (all.into_iter().map(Arc::new).collect(), runtime)
}
