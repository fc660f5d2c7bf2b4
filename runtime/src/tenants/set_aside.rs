//! Tenants that have failed and left their place to others: what they show meanwhile, and when they come back.
//!
//! Invariants:
//! - a failed worker does nothing until somebody asks for another try, so it needs no place; it stays known as failed;
//! - it is tried again when somebody asks, when a run at its tenant is over, when another worker of its tenant has something to
//!   do, and after a while without all that: nothing that was mended elsewhere waits for ever.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use dg_projections::projection::Projection;
use time::OffsetDateTime;

use crate::worker::WorkerSnapshot;

/// Until a tenant that is behind is tried again without being asked.
const AGAIN: Duration = Duration::from_secs(5 * 60);

/// Who is set aside, by name.
#[derive(Debug, Default)]
pub(super) struct SetAside(BTreeMap<String, Failed>);

#[derive(Debug)]
struct Failed {
    /// As they were when they left.
    workers: Vec<WorkerSnapshot>,
    /// Whether nothing could go on if the tenant had a place.
    is_all: bool,
    until: OffsetDateTime,
}

impl SetAside {
    /// A tenant leaves its place with these workers.
    pub(super) fn put(&mut self, tenant: &str, workers: Vec<WorkerSnapshot>, now: OffsetDateTime) {
        let until = now + AGAIN;
        let is_all = workers.iter().all(|worker| worker.status == "failed");
        let failed = workers.into_iter().filter(|worker| worker.status == "failed");
        let workers =
            failed.map(|it| WorkerSnapshot { next_retry_at: Some(until), ..it }).collect();
        self.0.insert(tenant.to_owned(), Failed { workers, is_all, until });
    }

    /// It may come back, and shows its failures until it does; whether it is set aside.
    pub(super) fn may_return(&mut self, tenant: &str) -> bool {
        let failed = self.0.get_mut(tenant);
        failed.map(|failed| failed.is_all = false).is_some()
    }

    /// It has come back.
    pub(super) fn remove(&mut self, tenant: &str) {
        self.0.remove(tenant);
    }

    /// Whether new events are nothing to a tenant: all of its workers have failed, and nobody has asked for another try.
    pub(super) fn has_all_of(&self, tenant: &str) -> bool {
        self.0.get(tenant).is_some_and(|failed| failed.is_all)
    }

    /// Whether it is for their failures alone that these projections of a tenant are behind, as far as is known, and they are
    /// not to be tried again yet.
    pub(super) fn explains(
        &self,
        tenant: &str,
        behind: &BTreeSet<Projection>,
        now: OffsetDateTime,
    ) -> bool {
        self.0.get(tenant).is_some_and(|failed| {
            let known: BTreeSet<_> = failed.workers.iter().map(|it| it.key.projection).collect();
            now < failed.until && behind.is_subset(&known)
        })
    }

    /// What they show.
    pub(super) fn workers(&self) -> impl Iterator<Item = &WorkerSnapshot> {
        self.0.values().flat_map(|failed| &failed.workers)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::worker::WorkerKey;

    fn worker(projection: Projection, status: &'static str) -> WorkerSnapshot {
        let key = WorkerKey { tenant_id: "a".to_owned(), projection, partition: 0 };
        WorkerSnapshot { status, ..WorkerSnapshot::new(key) }
    }

    #[test]
    fn failures_explain_what_is_behind_until_the_next_attempt_and_nothing_else() {
        use Projection::{ContextGraph, PrecedentIndex, TraceSummary};
        let now = OffsetDateTime::now_utc();
        let mut aside = SetAside::default();
        let others = [(TraceSummary, "failed"), (PrecedentIndex, "failed")];
        for (first, is_all) in [("idle", false), ("failed", true)] {
            let workers = [(ContextGraph, first)].into_iter().chain(others);
            let workers = workers.map(|(projection, status)| worker(projection, status));
            aside.put("a", workers.collect(), now);
            assert_eq!(aside.has_all_of("a"), is_all);
            assert_eq!(aside.workers().count(), if is_all { 3 } else { 2 });
            for (behind, at, expected) in [
                (vec![TraceSummary], now, true),
                (vec![TraceSummary, PrecedentIndex], now, true),
                (vec![TraceSummary, ContextGraph], now, is_all),
                (vec![TraceSummary], now + AGAIN, false),
            ] {
                let behind = behind.into_iter().collect();
                assert_eq!(aside.explains("a", &behind, at), expected, "{first} {behind:?}");
            }
        }
        assert!(!aside.explains("b", &BTreeSet::from([TraceSummary]), now));
        assert!(!aside.has_all_of("b"));
        assert!(aside.has_all_of("a") && aside.may_return("a") && !aside.has_all_of("a"));
        assert_eq!(aside.workers().count(), 3, "it has not come yet");
        aside.remove("a");
        assert_eq!((aside.workers().count(), aside.may_return("a")), (0, false));
    }
}
