//! The digests: refreshed once a tenant's projections have been at rest for a while, and on demand.
//!
//! Invariants:
//! - one refresh at a time in the process, requests' included, under a permit of its own: it takes
//!   no connection from workers, and a snapshot makes nobody wait;
//! - what stands at its cursor is not computed again: [`dg_store::Store::refresh_digests`] looks first;
//! - nothing here is a truth: a new life asks the database which digests are missing.
//!
//! A tenant that never rests is not refreshed by itself: its digests would be old when stored.

mod due;

use std::sync::Arc;
use std::time::{Duration, Instant};

use dg_projections::Code;
use dg_store::{DigestName, Refreshed, StoreError, StoredDigest};
use ractor::{Actor, ActorProcessingErr, ActorRef};

use crate::gate::Gate;
use crate::in_flight::{InFlight, caught};
use crate::metrics;
use crate::supervisor::StartFn;
use crate::tenants::Tenants;
use due::Due;

/// Before the next attempt when the database did not do its part.
const PAUSE: Duration = Duration::from_secs(5);

/// Computes and stores what is missing, or all `anew`, when it is its turn.
pub(crate) async fn refresh(
    gate: &Gate,
    tenant: &str,
    anew: bool,
) -> Result<Vec<StoredDigest>, StoreError> {
    let work = gate.stream(|store| async move { store.refresh_digests(tenant, anew).await });
    let Refreshed { mut digests, took } = work.await?;
    for (projection, took) in took {
        metrics::time_digest(projection, took);
        tracing::debug!(tenant, %projection, ms = took.as_millis(), "digest");
    }
    retain_full_of_these(&mut digests);
    Ok(digests)
}

/// The full digest is of three at its cursor, or it is left out.
fn retain_full_of_these(digests: &mut Vec<StoredDigest>) {
    let is_full = |one: &StoredDigest| one.name == DigestName::FullProjection.as_str();
    let Some(at) = digests.iter().find(|one| is_full(one)).map(|one| one.log_seq) else { return };
    if digests.iter().any(|one| one.log_seq != at) {
        digests.retain(|one| !is_full(one));
    }
}

pub(crate) struct Digests;

pub(crate) struct DigestsState {
    tenants: Tenants,
    due: Due,
    /// When the next tick comes, at the latest.
    armed: Option<Instant>,
    in_flight: Option<InFlight>,
    /// Whether the database has been asked which digests are missing.
    has_looked: bool,
    /// Whether the last attempt failed, so that trouble is told of once.
    is_troubled: bool,
}

#[derive(Debug)]
pub(crate) enum DigestsMsg {
    /// A worker of this tenant has reached the tail, and its cursor has moved.
    Rested(String),
    /// Something may be due.
    Tick,
    /// The first look is done.
    Looked(Result<Vec<String>, StoreError>),
    /// A refresh is done.
    Done(String, Result<(), StoreError>),
    /// It panicked.
    Crashed(String),
}

impl Digests {
    pub(crate) fn start_fn(tenants: &Tenants) -> StartFn {
        let tenants = tenants.clone();
        Arc::new(move |parent| {
            let tenants = tenants.clone();
            Box::pin(
                async move { parent.spawn(Digests, tenants).await.map(|(_, started)| started) },
            )
        })
    }
}

impl Actor for Digests {
    type Msg = DigestsMsg;
    type State = DigestsState;
    type Arguments = Tenants;

    async fn pre_start(
        &self,
        myself: ActorRef<DigestsMsg>,
        tenants: Tenants,
    ) -> Result<DigestsState, ActorProcessingErr> {
        tenants.digests.put(myself.clone());
        myself.cast(DigestsMsg::Tick)?;
        Ok(DigestsState {
            tenants,
            due: Due::default(),
            armed: None,
            in_flight: None,
            has_looked: false,
            is_troubled: false,
        })
    }

    async fn handle(
        &self,
        myself: ActorRef<DigestsMsg>,
        message: DigestsMsg,
        state: &mut DigestsState,
    ) -> Result<(), ActorProcessingErr> {
        let now = Instant::now();
        match message {
            DigestsMsg::Rested(tenant) => state.due.put(tenant, now + state.idle()),
            DigestsMsg::Tick => state.armed = state.armed.filter(|at| *at > now),
            DigestsMsg::Looked(found) => state.looked(found, now),
            DigestsMsg::Done(tenant, outcome) => state.done(tenant, outcome, now),
            DigestsMsg::Crashed(reason) => return Err(reason.into()),
        }
        state.go(&myself, now);
        Ok(())
    }
}

impl DigestsState {
    fn idle(&self) -> Duration {
        self.tenants.settings.digest_idle
    }

    fn looked(&mut self, found: Result<Vec<String>, StoreError>, now: Instant) {
        self.in_flight = None;
        match found {
            Ok(found) => {
                self.has_looked = true;
                // Those that a worker has told of keep their time.
                found
                    .into_iter()
                    .for_each(|tenant| self.due.put_if_absent(tenant, now + self.idle()));
            }
            Err(error) => self.failed("", &error, now),
        }
    }

    fn done(&mut self, tenant: String, outcome: Result<(), StoreError>, now: Instant) {
        self.in_flight = None;
        match outcome {
            Ok(()) => self.is_troubled = false,
            Err(error) if error.code == Code::Storage => {
                self.failed(&tenant, &error, now);
                self.due.put_if_absent(tenant, now + PAUSE);
            }
            // The same rows would give the same again: until the tenant moves, or somebody asks.
            Err(error) => tracing::error!(%tenant, reason = %error, "digests not computed"),
        }
    }

    /// Nothing is tried before the pause is over: what failed at one tenant fails at the next.
    fn failed(&mut self, tenant: &str, error: &StoreError, now: Instant) {
        self.due.pause(now + PAUSE);
        // While the database is away, the gate has told of it.
        if self.is_troubled || error.is_outage {
            tracing::debug!(tenant, reason = %error, "digests not refreshed");
        } else {
            tracing::warn!(tenant, code = %error.code, reason = %error, "digests not refreshed; trying again");
        }
        self.is_troubled = true;
    }

    /// Begins what is due, or sets the clock for it.
    fn go(&mut self, myself: &ActorRef<DigestsMsg>, now: Instant) {
        if self.in_flight.is_some() {
            return;
        }
        if !self.has_looked && !self.due.is_paused(now) {
            return self.look(myself);
        }
        while let Some(tenant) = self.due.take(now) {
            if !self.tenants.is_moving(&tenant) {
                return self.begin(myself, tenant);
            }
            self.due.put(tenant, now + self.idle());
        }
        let Some(next) = self.due.next(self.has_looked) else { return };
        if self.armed.is_none_or(|at| next < at) {
            self.armed = Some(next);
            myself.send_after(next.saturating_duration_since(now), || DigestsMsg::Tick);
        }
    }

    fn look(&mut self, myself: &ActorRef<DigestsMsg>) {
        let (gate, myself) = (self.tenants.gate.clone(), myself.clone());
        self.in_flight = Some(InFlight::begin(async move {
            let look = gate.run(|store| async move { store.tenants_without_digests().await });
            let outcome = caught(look).await;
            let _ = myself.cast(outcome.map_or_else(DigestsMsg::Crashed, DigestsMsg::Looked));
        }));
    }

    fn begin(&mut self, myself: &ActorRef<DigestsMsg>, tenant: String) {
        let (gate, myself) = (self.tenants.gate.clone(), myself.clone());
        self.in_flight = Some(InFlight::begin(async move {
            let outcome = caught(refresh(&gate, &tenant, false)).await;
            let done = |outcome: Result<_, _>| DigestsMsg::Done(tenant, outcome.map(drop));
            let _ = myself.cast(outcome.map_or_else(DigestsMsg::Crashed, done));
        }));
    }
}
