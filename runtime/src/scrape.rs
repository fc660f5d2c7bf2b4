//! What a scrape and a check of readiness ask of the runtime. Each question has its own patience, so
//! that what does not answer costs the rest nothing; what has not answered is unknown, not as it was.

use std::time::Duration;

use dg_store::{Lag, PoolStatus, StoreError};

use crate::metrics::gauges::{Children, Found, count};
use crate::metrics::tenants::OTHER;
use crate::metrics::{Label, Page};
use crate::supervisor::{Key, SupervisorRef};
use crate::{DatabaseState, Runtime, Snapshot};

/// How long a question may take; whoever scrapes waits for ten seconds as a rule.
const PATIENCE: Duration = Duration::from_secs(3);
/// How long a database may take to answer at all.
const SIGN_OF_LIFE: Duration = Duration::from_secs(2);

impl Runtime {
    /// The gauges as they are now; those of lag tell the `most` most lagging tenants one by one.
    pub async fn gauges(&self, most: usize) -> Page {
        let (lags, runs, actors, children) = tokio::join!(
            tokio::time::timeout(PATIENCE, self.lags(most)),
            tokio::time::timeout(PATIENCE, self.runs.count()),
            tokio::time::timeout(PATIENCE, self.snapshot()),
            tokio::time::timeout(PATIENCE, self.children()),
        );
        if let Ok(Err(error)) = &lags
            && !error.is_outage
        {
            tracing::warn!(code = %error.code, reason = %error, "the lag of tenants is not known");
        }
        // Whoever has just been answered need not knock.
        let is_up = matches!(lags, Ok(Ok(_))) || self.unreachable().await.is_none();
        let PoolStatus { used, idle, waiting, max } = self.gate().store().pool_status();
        let names = || self.settings().projections.iter().map(|one| one.as_str()).collect();
        let found = Found {
            is_up,
            pool: vec![("used", used), ("idle", idle), ("waiting", waiting), ("max", max)],
            lags: told(lags),
            runs: told(runs),
            actors: told(actors).map(|snapshot: Snapshot| (snapshot, names())),
            children: children.ok().flatten(),
        };
        found.page()
    }

    /// Why the database cannot be reached, if it cannot be: asked now, beside the pool, whose
    /// connections may all be in use.
    pub async fn unreachable(&self) -> Option<String> {
        if let DatabaseState::Down { reason, .. } = self.gate().state() {
            return Some(reason);
        }
        match tokio::time::timeout(SIGN_OF_LIFE, self.gate().store().knock()).await {
            Ok(answer) => answer.err().map(|error| error.message),
            Err(_) => Some(format!("no answer in {} s", SIGN_OF_LIFE.as_secs())),
        }
    }

    /// The lag of the `most` most lagging tenants, and of the others together.
    ///
    /// # Errors
    /// When the database cannot be asked.
    pub async fn lags(&self, most: usize) -> Result<Vec<Lag>, StoreError> {
        let names: Vec<&str> = self.settings().projections.iter().map(|one| one.as_str()).collect();
        let (names, most) = (names.as_slice(), i64::try_from(most).unwrap_or(i64::MAX));
        self.gate().run(|store| async move { store.lags(names, most, OTHER).await }).await
    }

    /// None when a supervisor does not answer; one that is starting has no children.
    async fn children(&self) -> Option<Vec<Children>> {
        let tenants = self.tenants.supervisor.get().map(SupervisorRef::of);
        Some(vec![
            children_of(Label::Root, Some(self.root.clone())).await?,
            children_of(Label::Lanes, self.lanes.supervisor()).await?,
            children_of(Label::Replays, self.runs.supervisor()).await?,
            children_of(Label::Tenants, tenants).await?,
        ])
    }
}

async fn children_of<K: Key>(
    label: Label,
    supervisor: Option<SupervisorRef<K>>,
) -> Option<Children> {
    let Some(supervisor) = supervisor else { return Some(count::<K>(label, &[])) };
    Some(count(label, &supervisor.which_children().await.ok()?))
}

fn told<T, E, Elapsed>(answer: Result<Result<T, E>, Elapsed>) -> Option<T> {
    answer.ok()?.ok()
}
