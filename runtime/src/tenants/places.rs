//! Places: only so many tenants are at work at once, so that memory does not grow with their number.
//! Who leaves, who waits, and who is next.
//!
//! Invariants:
//! - at rest is who has only idle workers, none of which has been told of something that it has not
//!   looked at since. It leaves after `tenant_idle_stop`; while others wait, who rests longest leaves at once;
//! - who has failed leaves at once as well, and does not wait: see `set_aside`;
//! - where that is not enough, who has had its place for a turn yields it and waits like everybody
//!   else: its workers finish their page and rest where they are. Who is stuck (retrying, paused by a run) leaves last;
//! - places are given in the order of asking: while the database is there, none has one for ever and
//!   none waits for ever;
//! - the keeper, which wakes, is also who stops, one thing at a time: a wake-up either comes before
//!   the decision and forbids it, or after the stop and starts the tenant again. What another process
//!   writes meanwhile is found by the directory.

use std::collections::{BTreeSet, VecDeque};
use std::time::{Duration, Instant};

use ractor::ActorRef;
use time::OffsetDateTime;

use super::parked::PARK_LONGEST;
use super::{KeeperMsg, KeeperState};
use crate::Settings;
use crate::gate::DatabaseState;
use crate::supervisor::SupervisorRef;
use crate::worker::{Input, WorkerMsg, WorkerSnapshot};

/// The longest time between two looks for tenants at rest: each costs a walk over all workers.
const LONGEST: Duration = Duration::from_secs(30);
const SHORTEST: Duration = Duration::from_millis(10);
/// Between two looks while others wait, at least, and how many places each makes free at the most: the keeper has
/// others to answer meanwhile.
const CROWDED: Duration = Duration::from_millis(100);
const AT_A_LOOK: usize = 200;
/// Looks take one part in so many of the keeper's time, at most.
const PART: u32 = 10;
/// How long who rests may still have a wake-up to read.
const SETTLES: Duration = Duration::from_millis(10);

/// Workers that a tenant at work has.
fn workers_each(settings: &Settings) -> usize {
    settings.projections.len() * settings.partitions.unsigned_abs() as usize
}

/// How many tenants may be at work at once: one at least.
pub(super) fn places(settings: &Settings) -> usize {
    (settings.max_workers / workers_each(settings).max(1)).max(1)
}

/// Has the keeper look for tenants at rest, after a while.
pub(super) fn look_later(keeper: &ActorRef<KeeperMsg>, settings: &Settings) {
    let after = (settings.tenant_idle_stop / 4).clamp(SHORTEST, LONGEST);
    keeper.send_after(after, || KeeperMsg::Sweep);
}

/// Tenants in the order of asking, each once.
#[derive(Debug, Default)]
pub(super) struct Queue {
    order: VecDeque<String>,
    names: BTreeSet<String>,
}

impl Queue {
    pub(super) fn is_empty(&self) -> bool {
        self.order.is_empty()
    }

    pub(super) fn len(&self) -> usize {
        self.order.len()
    }

    pub(super) fn put(&mut self, tenant: &str) {
        if self.names.insert(tenant.to_owned()) {
            self.order.push_back(tenant.to_owned());
        }
    }

    pub(super) fn has(&self, tenant: &str) -> bool {
        self.names.contains(tenant)
    }

    /// Before all others, wherever it was.
    fn put_first(&mut self, tenant: &str) {
        if !self.names.insert(tenant.to_owned()) {
            self.order.retain(|other| other != tenant);
        }
        self.order.push_front(tenant.to_owned());
    }

    fn first(&self) -> Option<&String> {
        self.order.front()
    }

    fn remove_first(&mut self) {
        if let Some(tenant) = self.order.pop_front() {
            self.names.remove(&tenant);
        }
    }
}

/// How a tenant that has a place stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Standing {
    /// Nothing to do since then.
    AtRest(OffsetDateTime),
    /// On its way to the tail, or writing down why it is not.
    AtWork,
    /// Whatever of it has not failed has nothing to do.
    Failed,
    /// It retries, or is paused by a run.
    Stuck,
    /// It stops, or is between two lives: it stays.
    Kept,
}

/// How a tenant of so many workers stands, by those that it has.
fn standing(
    workers: &[WorkerSnapshot],
    expected: usize,
    woken: Option<OffsetDateTime>,
) -> Standing {
    let all = |allowed: &[&str]| workers.iter().all(|worker| allowed.contains(&worker.status));
    let idle = workers.iter().filter(|worker| worker.status == "idle");
    let looked = idle.map(|worker| worker.last_sync_at);
    let has_looked =
        |at: Option<OffsetDateTime>| at.is_some_and(|at| woken.is_none_or(|it| it <= at));
    let all_have_looked = looked.clone().all(has_looked);
    if workers.len() != expected || workers.iter().any(|worker| worker.status == "stopping") {
        return Standing::Kept;
    }
    if workers.iter().any(|worker| worker.is_busy) {
        return Standing::AtWork;
    }
    match looked.flatten().max() {
        Some(since) if all_have_looked && all(&["idle"]) => Standing::AtRest(since),
        _ if all_have_looked && all(&["idle", "failed"]) => Standing::Failed,
        _ if !all(&["idle", "failed"]) && all(&["idle", "failed", "retrying", "paused"]) => {
            Standing::Stuck
        }
        _ => Standing::AtWork,
    }
}

/// A tenant that has a place.
#[derive(Debug)]
struct Seated {
    tenant: String,
    standing: Standing,
    /// When it was given its place.
    since: OffsetDateTime,
}

/// Whether it has been so for so long. What began in the future did so before the clock was set back: for how long is
/// not known, and nobody is to wait until then.
fn lasts(since: OffsetDateTime, least: Duration, now: OffsetDateTime) -> bool {
    now < since || now - since >= least
}

/// Who is to go.
#[derive(Debug, Default, PartialEq, Eq)]
struct Leave {
    /// They have nothing in flight, or the note of a failure.
    now: Vec<String>,
    /// After the page that each of their workers is at.
    soon: Vec<String>,
}

/// Who leaves now if so many places are `wanted`.
fn who_leaves(
    mut seated: Vec<Seated>,
    wanted: usize,
    (idle_stop, turn): (Duration, Duration),
    now: OffsetDateTime,
) -> Leave {
    let mut leave = Leave::default();
    seated.sort_by_key(|one| match one.standing {
        Standing::AtRest(since) => (0, since),
        Standing::Failed => (1, one.since),
        Standing::AtWork => (2, one.since),
        Standing::Stuck => (3, one.since),
        Standing::Kept => (4, one.since),
    });
    let mut wanted = wanted;
    for Seated { tenant, standing, since } in seated {
        let turn_is_over = wanted > 0 && lasts(since, turn, now);
        match standing {
            Standing::AtRest(rests)
                if lasts(rests, if wanted > 0 { SETTLES } else { idle_stop }, now) =>
            {
                leave.now.push(tenant);
            }
            Standing::Failed if wanted > 0 => leave.now.push(tenant),
            Standing::AtWork if turn_is_over => leave.soon.push(tenant),
            Standing::Stuck if turn_is_over => leave.now.push(tenant),
            Standing::AtRest(_)
            | Standing::Failed
            | Standing::AtWork
            | Standing::Stuck
            | Standing::Kept => continue,
        }
        wanted = wanted.saturating_sub(1);
    }
    leave
}

impl KeeperState {
    /// A regular look for those at rest.
    pub(super) fn sweep(&mut self, myself: &ActorRef<KeeperMsg>) {
        let seated = self.seated();
        self.woken.retain(|tenant, _| {
            seated.binary_search_by(|one| one.tenant.as_str().cmp(tenant)).is_ok()
        });
        self.see_off(myself, seated);
        // Parked long ago and no more: it would begin anew.
        let now = OffsetDateTime::now_utc();
        self.attempts.retain(|tenant, (_, last)| {
            self.parked.contains_key(tenant) || now - *last <= 2 * PARK_LONGEST
        });
        look_later(myself, &self.tenants.settings);
    }

    /// The tenant waits for a place.
    pub(super) fn queue(&mut self, myself: &ActorRef<KeeperMsg>, tenant: &str) {
        self.waiting.put(tenant);
        self.see_to_room(myself, tenant);
    }

    /// It gets a place, or the next that is free: somebody waits to see how it fares.
    pub(super) async fn come_first(&mut self, myself: &ActorRef<KeeperMsg>, tenant: &str) {
        if !self.come(tenant).await {
            self.waiting.put_first(tenant);
            self.see_to_room(myself, tenant);
        }
    }

    fn see_to_room(&mut self, myself: &ActorRef<KeeperMsg>, tenant: &str) {
        if !self.is_making_room {
            tracing::debug!(tenant, "tenants wait for others to come to rest");
            self.is_making_room = myself.cast(KeeperMsg::MakeRoom).is_ok();
        }
    }

    /// Gives places to those that wait, and looks for more while some are left.
    pub(super) async fn make_room(&mut self, myself: &ActorRef<KeeperMsg>) {
        self.give_places().await;
        self.is_making_room = !self.waiting.is_empty();
        if self.is_making_room {
            let started = Instant::now();
            let seated = self.seated();
            self.see_off(myself, seated);
            myself.send_after(CROWDED.max(PART * started.elapsed()), || KeeperMsg::MakeRoom);
        }
    }

    /// The places that are free, in the order of asking.
    async fn give_places(&mut self) {
        while let Some(tenant) = self.waiting.first().cloned() {
            self.leaving.remove(&tenant);
            if !self.come(&tenant).await {
                return;
            }
            self.waiting.remove_first();
        }
        self.leaving.clear();
    }

    /// All tenants that have a place, by name.
    fn seated(&self) -> Vec<Seated> {
        let owners = self.tenants.owners.owners();
        let expected = workers_each(&self.tenants.settings);
        let mut seated = Vec::new();
        for own in owners.chunk_by(|(a, _), (b, _)| a.tenant_id == b.tenant_id) {
            let workers: Vec<_> = own.iter().map(|(_, it)| it.snapshot.borrow().clone()).collect();
            let Some(since) = workers.iter().map(|worker| worker.started_at).min() else {
                continue;
            };
            let tenant = own[0].0.tenant_id.clone();
            let standing = standing(&workers, expected, self.woken.get(&tenant).copied());
            seated.push(Seated { tenant, standing, since });
        }
        seated
    }

    /// One message for each tenant that may go, so that others are not kept waiting.
    fn see_off(&mut self, myself: &ActorRef<KeeperMsg>, seated: Vec<Seated>) {
        // Who leaves and comes back takes no place of another; and nobody can do anything while the database is away.
        let wants = |tenant: &&String| !self.leaving.contains(*tenant);
        let wanted = match self.tenants.gate.state() {
            DatabaseState::Up => self.waiting.order.iter().filter(wants).take(AT_A_LOOK).count(),
            DatabaseState::Down { .. } => 0,
        };
        let Settings { tenant_idle_stop, tenant_turn, .. } = *self.tenants.settings;
        let times = (tenant_idle_stop, tenant_turn);
        let Leave { now, soon } = who_leaves(seated, wanted, times, OffsetDateTime::now_utc());
        self.leaving.clear();
        if wanted > 0 {
            self.leaving.extend(now.iter().chain(&soon).cloned());
        }
        for tenant in &soon {
            self.waiting.put(tenant);
            for owner in self.tenants.workers(tenant) {
                let _ = owner.actor.cast(WorkerMsg::Input(Input::Yield));
            }
        }
        for tenant in now {
            let _ = myself.cast(KeeperMsg::StopIfAtRest(tenant));
        }
    }

    /// Looks again: it may have been woken since.
    pub(super) async fn stop_if_at_rest(&mut self, tenant: &str) {
        let expected = workers_each(&self.tenants.settings);
        let workers: Vec<_> =
            self.tenants.workers(tenant).map(|owner| owner.snapshot.borrow().clone()).collect();
        let (now, idle_stop) = (OffsetDateTime::now_utc(), self.tenants.settings.tenant_idle_stop);
        let standing = standing(&workers, expected, self.woken.get(tenant).copied());
        let may_go = match standing {
            Standing::AtRest(since) => {
                self.leaving.contains(tenant) || lasts(since, idle_stop, now)
            }
            Standing::Failed | Standing::Stuck => self.leaving.contains(tenant),
            Standing::AtWork | Standing::Kept => false,
        };
        let Some(supervisor) = self.tenants.supervisor.get().filter(|_| may_go) else { return };
        tracing::debug!(tenant, "tenant stopped");
        // One that is gone already has nothing to stop.
        let _ = SupervisorRef::of(supervisor).terminate_child(tenant.to_owned()).await;
        if standing == Standing::Failed {
            self.set_aside.put(tenant, workers, now);
        }
        self.leaving.remove(tenant);
        self.woken.remove(tenant);
        self.crashes.remove(tenant);
        self.restarts.retain(|key, _| key.tenant_id != tenant);
        self.give_places().await;
    }
}

#[cfg(test)]
#[path = "places_tests.rs"]
mod tests;
