//! What clients asked and what they were told.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use dg_projections::event::Line;
use dg_store::failpoint::Point;

use crate::Random;

/// An event, as clients know it.
#[derive(Debug, Clone)]
pub(super) struct Sent {
    /// What was sent.
    pub(super) line: Line,
    /// The number that was acknowledged; none where nobody was told anything.
    pub(super) acknowledged: Option<i64>,
}

/// A tenant and the identifier of one of its events or traces.
pub(super) type Name = (String, String);

/// A digest that was stored: of which tenant, where it stands, its name and value.
pub(super) type StoredDigest = (String, i64, String, String);

/// Everything that clients know.
#[derive(Debug, Default)]
pub(super) struct Told {
    /// Events by tenant and identifier.
    pub(super) events: BTreeMap<Name, Sent>,
    /// Numbers in the order in which a client's events were acknowledged, by client and tenant.
    pub(super) orders: BTreeMap<Name, Vec<i64>>,
    /// Traces whose last event was acknowledged.
    pub(super) finished: Vec<Name>,
    /// Runs that were admitted.
    pub(super) runs: BTreeSet<String>,
    /// Digests that somebody could read at some time.
    pub(super) digests: BTreeSet<StoredDigest>,
    /// Requests of any kind.
    pub(super) requests: u64,
    /// Those whose outcome the client was not told.
    pub(super) unknown: u64,
    /// What clients saw that must not be.
    pub(super) wrong: Vec<String>,
    /// When the first of it was seen.
    pub(super) wrong_since: Option<Instant>,
    /// At which fail point that was.
    pub(super) wrong_at: Option<Point>,
    /// The fail point that the scenario is at.
    pub(super) at: Option<Point>,
    /// How often a failover has lost the last commits.
    pub(super) losses: u64,
    /// Events that were acknowledged and are gone with the server that had them.
    pub(super) gone: usize,
    /// Traces that have lost events so, by tenant and identifier.
    pub(super) broken: BTreeSet<Name>,
}

impl Told {
    /// A failover has lost the last commits: of each tenant what comes after this number, and all runs
    /// but these. Nobody can be held to what was told about the rest.
    pub(super) fn lose(&mut self, ends: &BTreeMap<String, i64>, runs: &BTreeSet<String>) {
        self.losses += 1;
        let end_of = |tenant: &str| ends.get(tenant).copied().unwrap_or(0);
        self.digests.retain(|(tenant, log_seq, ..)| *log_seq <= end_of(tenant));
        for sent in self.events.values_mut() {
            let event = &sent.line.event;
            if sent.acknowledged.is_some_and(|log_seq| log_seq > end_of(&event.tenant_id)) {
                sent.acknowledged = None;
                self.gone += 1;
                self.broken.insert((event.tenant_id.clone(), event.trace_id.clone()));
            }
        }
        for ((_, tenant), order) in &mut self.orders {
            order.retain(|log_seq| *log_seq <= end_of(tenant));
        }
        self.finished.retain(|trace| !self.broken.contains(trace));
        self.runs.retain(|run| runs.contains(run));
    }

    /// Whether a trace has lost events.
    pub(super) fn is_broken(&self, tenant: &str, trace: &str) -> bool {
        self.broken.contains(&(tenant.to_owned(), trace.to_owned()))
    }
}

/// The history of a scenario, shared by its clients.
#[derive(Debug, Default)]
pub(super) struct History(Mutex<Told>);

impl History {
    /// What is known so far; held for a moment only.
    pub(super) fn told(&self) -> MutexGuard<'_, Told> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A request is about to be made.
    pub(super) fn asked(&self) {
        self.told().requests += 1;
    }

    /// A request came to nothing that a client could know of.
    pub(super) fn unknown(&self) {
        self.told().unknown += 1;
    }

    /// Events are about to be sent, perhaps not for the first time.
    pub(super) fn sends(&self, lines: &[Line]) {
        let mut told = self.told();
        for line in lines {
            told.events
                .entry(name_of(line))
                .or_insert_with(|| Sent { line: line.clone(), acknowledged: None });
        }
    }

    /// An event was acknowledged to a client. Told once, in the order in which it sent them.
    pub(super) fn acknowledged(&self, client: &str, line: &Line, log_seq: i64) {
        let mut told = self.told();
        let event = &line.event;
        let order = told.orders.entry((client.to_owned(), event.tenant_id.clone())).or_default();
        order.push(log_seq);
        if event.event_type.as_str() == "TraceFinished" {
            told.finished.push((event.tenant_id.clone(), event.trace_id.clone()));
        }
        if let Some(sent) = told.events.get_mut(&name_of(line)) {
            sent.acknowledged = Some(log_seq);
        }
    }

    /// Something that must not be.
    pub(super) fn wrong(&self, what: impl Into<String>) {
        let mut told = self.told();
        if told.wrong.is_empty() {
            (told.wrong_since, told.wrong_at) = (Some(Instant::now()), told.at);
        }
        told.wrong.push(what.into());
    }

    /// Events that were acknowledged.
    pub(super) fn count(&self) -> usize {
        self.told().events.values().filter(|sent| sent.acknowledged.is_some()).count()
    }

    /// One of the traces whose last event was acknowledged: as often as not the newest, which
    /// projections may not have yet.
    pub(super) fn finished(&self, random: &mut Random) -> Option<Name> {
        let told = self.told();
        let newest = told.finished.last().filter(|_| random.once_in(2)).cloned();
        newest.or_else(|| (!told.finished.is_empty()).then(|| random.pick(&told.finished).clone()))
    }
}

fn name_of(line: &Line) -> Name {
    (line.event.tenant_id.clone(), line.event.event_id.clone())
}
