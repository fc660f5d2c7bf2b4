//! Other daemons on the same database: allowed, since a commit names the cursor it starts from, but
//! twice the work, and often a mistake. Told when one appears and when it is gone.

use std::collections::BTreeSet;
use std::time::Duration;

use tokio::sync::watch;

use crate::server::RuntimeSlot;

/// How often to look; the look is also what others know this daemon by.
const LOOK: Duration = Duration::from_secs(5);

/// Looks until told to stop. While the database is away there is nothing to tell: who was there
/// before counts as there.
pub(crate) async fn watch(runtime: RuntimeSlot, owner: String, mut stop: watch::Receiver<bool>) {
    let mut known = BTreeSet::new();
    loop {
        if let Ok(runtime) = runtime.get() {
            let look = |store: dg_store::Store| {
                let owner = &owner;
                async move { store.neighbours(owner).await }
            };
            if let Ok(found) = runtime.gate().run(look).await {
                let found = found.into_iter().collect();
                tell(&known, &found);
                known = found;
            }
        }
        if tokio::time::timeout(LOOK, stop.wait_for(|stop| *stop)).await.is_ok() {
            return;
        }
    }
}

fn tell(before: &BTreeSet<String>, now: &BTreeSet<String>) {
    for other in now.difference(before) {
        tracing::warn!(%other, "another daemon is at this database: both run, and do the same work");
    }
    for other in before.difference(now) {
        tracing::info!(%other, "the other daemon is gone");
    }
}
