//! What the pages show, as plain values: made by [`super::look`], turned into HTML by
//! [`super::pages`].

use std::collections::BTreeMap;

use dg_projections::rows::{EdgeRow, NodeRow, SummaryRow};
use dg_runtime::worker::WorkerSnapshot;
use dg_runtime::{DatabaseState, Parked, RunView};
use dg_store::{Failure, Health, Lag, LatestTrace, RecordedEvent, TenantHead};
use time::OffsetDateTime;

use crate::history::Sample;

/// What was seen, or why it could not be.
pub(super) type Seen<T> = Result<T, String>;

/// The daemon, at the head of every page.
#[derive(Debug, Clone)]
pub(super) struct Daemon {
    pub(super) owner: String,
    pub(super) started_at: OffsetDateTime,
    /// Why there is no runtime yet, if there is none.
    pub(super) waits_for: Option<String>,
    pub(super) database: DatabaseState,
}

/// A worker, and how often it was started again.
pub(super) type Worker = (WorkerSnapshot, u64);

/// The actors.
#[derive(Debug, Clone, Default)]
pub(super) struct Actors {
    pub(super) workers: Vec<Worker>,
    pub(super) parked: BTreeMap<String, Parked>,
}

/// The daemon as a whole.
#[derive(Debug, Clone)]
pub(super) struct Overview {
    pub(super) samples: Vec<Sample>,
    pub(super) actors: Seen<Actors>,
    /// Of the most lagging tenants, and of the others together, last.
    pub(super) lags: Seen<Vec<Lag>>,
    /// Those that are open, then the newest of the others.
    pub(super) runs: Seen<Vec<RunView>>,
    pub(super) failures: Seen<Vec<Failure>>,
}

/// Tenants by name.
#[derive(Debug, Clone)]
pub(super) struct Tenants {
    pub(super) prefix: String,
    pub(super) heads: Seen<Vec<TenantHead>>,
    /// Whether there are more after the last of them.
    pub(super) has_more: bool,
}

/// A tenant.
#[derive(Debug, Clone)]
pub(super) struct Tenant {
    pub(super) name: String,
    /// None for a tenant without events.
    pub(super) health: Seen<Option<Health>>,
    /// Its own.
    pub(super) actors: Seen<Actors>,
    pub(super) failures: Seen<Vec<Failure>>,
    pub(super) runs: Seen<Vec<RunView>>,
    pub(super) traces: Seen<Vec<LatestTrace>>,
}

/// A trace.
#[derive(Debug, Clone)]
pub(super) struct Trace {
    pub(super) tenant: String,
    pub(super) trace: String,
    pub(super) summary: Seen<SummaryRow>,
    /// A page of its events; none at all: the trace is not known. Without their payloads, unless
    /// those are shown.
    pub(super) events: Seen<Vec<RecordedEvent>>,
    /// Whether payloads are shown.
    pub(super) has_payloads: bool,
    /// Whether this page is not the first.
    pub(super) is_later: bool,
    /// Whether there are more after the last of them.
    pub(super) has_more: bool,
    pub(super) graph: Seen<Graph>,
}

/// What a trace has left in the context graph.
#[derive(Debug, Clone, Default)]
pub(super) struct Graph {
    pub(super) nodes: Vec<NodeRow>,
    pub(super) edges: Vec<EdgeRow>,
    pub(super) truncated: bool,
}

/// A run; none if there is no such run.
pub(super) type Run = Seen<Option<RunView>>;

/// What a page shows.
#[derive(Debug, Clone)]
pub(super) enum Shown {
    Overview(Overview),
    Tenants(Tenants),
    Tenant(Tenant),
    Trace(Box<Trace>),
    Run(String, Box<Run>),
}

impl Shown {
    /// Whether what the page is about does not exist, as far as can be told.
    pub(super) fn is_missing(&self) -> bool {
        match self {
            Shown::Overview(_) | Shown::Tenants(_) => false,
            Shown::Tenant(tenant) => matches!(tenant.health, Ok(None)),
            Shown::Trace(trace) => {
                !trace.is_later && trace.events.as_ref().is_ok_and(Vec::is_empty)
            }
            Shown::Run(_, run) => matches!(**run, Ok(None)),
        }
    }
}

/// A page as it stands.
#[derive(Debug, Clone)]
pub(super) struct View {
    pub(super) daemon: Daemon,
    pub(super) shown: Shown,
}
