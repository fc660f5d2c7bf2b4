//! Tenants at rest: their supervisor is stopped, with its workers, and nothing of them is kept.
//!
//! Invariants:
//! - at rest is who has only idle workers, none of which has had anything to do for
//!   `tenant_idle_stop`, nor been told of something that it has not looked at since;
//! - the keeper, which wakes, is also who stops, one thing at a time: a wake-up either comes before
//!   the decision and forbids it, or after the stop and starts the tenant again. What another process
//!   writes meanwhile is found by the directory.

use std::collections::BTreeMap;
use std::time::Duration;

use ractor::ActorRef;
use time::OffsetDateTime;

use super::{KeeperMsg, KeeperState, PARK_LONGEST};
use crate::Settings;
use crate::supervisor::SupervisorRef;
use crate::worker::WorkerSnapshot;

/// The longest time between two looks: each costs a walk over all workers.
const LONGEST: Duration = Duration::from_secs(30);
const SHORTEST: Duration = Duration::from_millis(10);

/// Has the keeper look for tenants at rest, after a while.
pub(super) fn look_later(keeper: &ActorRef<KeeperMsg>, settings: &Settings) {
    let after = (settings.tenant_idle_stop / 4).clamp(SHORTEST, LONGEST);
    keeper.send_after(after, || KeeperMsg::Sweep);
}

/// Whether a worker has been at rest for so long, and has looked since its tenant was woken.
fn is_at_rest(
    worker: &WorkerSnapshot,
    woken: Option<OffsetDateTime>,
    now: OffsetDateTime,
    limit: Duration,
) -> bool {
    worker.status == "idle"
        && worker
            .last_sync_at
            .is_some_and(|at| now - at >= limit && woken.is_none_or(|woken| woken <= at))
}

impl KeeperState {
    /// One message for each tenant that seems to be at rest, so that others are not kept waiting.
    pub(super) fn sweep(&mut self, myself: &ActorRef<KeeperMsg>) {
        let mut tenants: BTreeMap<String, bool> = BTreeMap::new();
        for (key, owner) in self.tenants.owners.owners() {
            let rests = self.rests(&owner.snapshot.borrow());
            let all = tenants.entry(key.tenant_id).or_insert(true);
            *all = *all && rests;
        }
        self.woken.retain(|tenant, _| tenants.contains_key(tenant));
        for (tenant, _) in tenants.into_iter().filter(|(_, rests)| *rests) {
            let _ = myself.cast(KeeperMsg::StopIfAtRest(tenant));
        }
        // Parked long ago and no more: it would begin anew.
        let now = OffsetDateTime::now_utc();
        self.attempts.retain(|tenant, (_, last)| {
            self.parked.contains_key(tenant) || now - *last <= 2 * PARK_LONGEST
        });
        look_later(myself, &self.tenants.settings);
    }

    fn rests(&self, worker: &WorkerSnapshot) -> bool {
        let woken = self.woken.get(&worker.key.tenant_id).copied();
        let limit = self.tenants.settings.tenant_idle_stop;
        is_at_rest(worker, woken, OffsetDateTime::now_utc(), limit)
    }

    /// Looks again: it may have been woken since.
    pub(super) async fn stop_if_at_rest(&mut self, tenant: &str) {
        let expected = self.tenants.keys(tenant).count();
        let rests = |all: &Self| {
            let workers = all.tenants.workers(tenant);
            workers.filter(|owner| all.rests(&owner.snapshot.borrow())).count() == expected
        };
        let Some(supervisor) = self.tenants.supervisor.get().filter(|_| rests(self)) else {
            return;
        };
        tracing::debug!(tenant, "tenant at rest, stopped");
        // One that is gone already has nothing to stop.
        let _ = SupervisorRef::of(supervisor).terminate_child(tenant.to_owned()).await;
        self.woken.remove(tenant);
        self.crashes.remove(tenant);
        self.restarts.retain(|key, _| key.tenant_id != tenant);
    }
}

#[cfg(test)]
mod tests {
    use dg_projections::projection::Projection;

    use super::*;
    use crate::worker::WorkerKey;

    const LIMIT: Duration = Duration::from_secs(10);

    fn worker(status: &'static str, synced: Option<OffsetDateTime>) -> WorkerSnapshot {
        let (tenant_id, projection) = ("a".to_owned(), Projection::ContextGraph);
        let key = WorkerKey { tenant_id, projection, partition: 0 };
        WorkerSnapshot { status, last_sync_at: synced, ..WorkerSnapshot::new(key) }
    }

    #[test]
    fn at_rest_is_who_is_idle_for_long_and_has_looked_since_it_was_woken() {
        let synced = OffsetDateTime::now_utc();
        let (soon, late) = (synced + LIMIT / 2, synced + LIMIT);
        let idle = worker("idle", Some(synced));
        assert!(is_at_rest(&idle, None, late, LIMIT));
        assert!(is_at_rest(&idle, Some(synced - LIMIT), late, LIMIT));
        assert!(!is_at_rest(&idle, None, soon, LIMIT));
        assert!(!is_at_rest(&idle, Some(soon), late, LIMIT));
        assert!(!is_at_rest(&worker("idle", None), None, late, LIMIT));
        for status in ["starting", "catching_up", "retrying", "failed", "paused", "stopping"] {
            assert!(!is_at_rest(&worker(status, Some(synced)), None, late, LIMIT), "{status}");
        }
    }
}
