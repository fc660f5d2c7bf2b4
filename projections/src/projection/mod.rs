//! The three projections: pure functions from a tenant's events, in log order, to row changes.
//!
//! ```text
//! page of LogEvents ──┐
//!                     ├─ project ─► Changes (deduplicated, in key order) + how far it got
//! Traces (what the  ──┘
//! page continues)
//! ```
//!
//! Invariants:
//! - each event is checked before it is applied: its hash, its shape, its place in its trace;
//! - projecting stops at the first event that fails, and what came before it stands;
//! - the changes of two consecutive pages, applied in order, equal those of the joined page.

mod graph;
mod precedent;
mod summary;
mod traces;

use std::collections::BTreeMap;
use std::fmt;

use crate::error::{Code, Rejection};
use crate::event::{EventType, Facts, LogEvent};
use crate::hash::Hash;
use crate::json;
use crate::rows::{EdgeRow, NodeRow, PolicyEvalRow, PrecedentRow, SummaryRow};

pub use traces::{Candidate, PrimaryEntity, TraceState, Traces};

/// The projections.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Projection {
    /// Nodes and edges of everything a decision touched.
    ContextGraph,
    /// One row a trace.
    TraceSummary,
    /// What policies decided and where exceptions were asked for.
    PrecedentIndex,
}

impl Projection {
    /// All of them, in the documented order.
    pub const ALL: [Projection; 3] =
        [Projection::ContextGraph, Projection::TraceSummary, Projection::PrecedentIndex];

    /// The stable name.
    pub const fn as_str(self) -> &'static str {
        match self {
            Projection::ContextGraph => "context_graph",
            Projection::TraceSummary => "trace_summary",
            Projection::PrecedentIndex => "precedent_index",
        }
    }

    /// The projection of a name.
    pub fn from_name(name: &str) -> Option<Projection> {
        Projection::ALL.into_iter().find(|projection| projection.as_str() == name)
    }
}

impl fmt::Display for Projection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// What happens to a trace's summary.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SummaryChange {
    /// A row that does not exist yet, complete.
    Insert(SummaryRow),
    /// A trace that started in an earlier page has finished.
    Finish(SummaryFinish),
}

/// The end of a trace.
#[derive(Debug, Clone, PartialEq, Eq)]
#[allow(missing_docs, reason = "the names are the contract's")]
pub struct SummaryFinish {
    pub trace_id: String,
    pub outcome: String,
    pub finished_at: String,
    pub last_log_seq: i64,
}

/// Row changes in key order: writers that share rows lock them in one order.
///
/// A node, edge or evaluation that exists already is left as it is, unless a change has the smaller
/// `log_seq`: then the change owns it. Precedents replace rows of the same key.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[allow(missing_docs, reason = "one field a table")]
pub struct Changes {
    pub nodes: BTreeMap<String, NodeRow>,
    pub edges: BTreeMap<String, EdgeRow>,
    pub summaries: BTreeMap<String, SummaryChange>,
    pub policy_evals: BTreeMap<String, PolicyEvalRow>,
    pub precedents: BTreeMap<String, PrecedentRow>,
}

/// An event that a projection can never apply, and why.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Poison {
    /// Its place in the log.
    pub log_seq: i64,
    /// The event.
    pub event_id: String,
    /// Its trace.
    pub trace_id: String,
    /// Code and message.
    pub reason: Rejection,
}

impl Poison {
    fn new(event: &LogEvent, reason: Rejection) -> Poison {
        Poison {
            log_seq: event.log_seq,
            event_id: event.event_id.clone(),
            trace_id: event.trace_id.clone(),
            reason,
        }
    }
}

impl fmt::Display for Poison {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "event {} (log_seq {}, trace {}): {}",
            self.event_id, self.log_seq, self.trace_id, self.reason
        )
    }
}

/// What became of a page.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Projected {
    /// The changes of the events that were applied.
    pub changes: Changes,
    /// How many events of the page were applied, from its start.
    pub applied: usize,
    /// The event that stopped it.
    pub poison: Option<Poison>,
}

/// A stored event that passed its checks.
struct Checked<'a> {
    event: &'a LogEvent,
    facts: Facts<'a>,
}

/// Applies a page of one tenant's events, in log order, to one projection.
///
/// `traces` holds what the page continues and is carried forward: pass it on to the next page, or
/// load it for the page (see [`Traces::load`]).
pub fn project(projection: Projection, page: &[LogEvent], traces: &mut Traces) -> Projected {
    let mut projected = Projected::default();
    projected.go_on(projection, page, traces);
    projected
}

impl Projected {
    /// Applies the next page: what both pages change is as if they were one. After a poison nothing
    /// is applied.
    pub fn go_on(&mut self, projection: Projection, page: &[LogEvent], traces: &mut Traces) {
        for event in page {
            if self.poison.is_some() {
                return;
            }
            match apply(projection, event, traces, &mut self.changes) {
                Ok(()) => self.applied += 1,
                Err(reason) => self.poison = Some(Poison::new(event, reason)),
            }
        }
    }
}

fn apply(
    projection: Projection,
    event: &LogEvent,
    traces: &mut Traces,
    changes: &mut Changes,
) -> Result<(), Rejection> {
    let checked = check(event)?;
    let trace = traces.advance(&checked)?;
    match projection {
        Projection::ContextGraph => graph::apply(&checked, changes),
        Projection::TraceSummary => summary::apply(&checked, changes),
        Projection::PrecedentIndex => precedent::apply(&checked, trace, changes)?,
    }
    if matches!(checked.facts, Facts::TraceFinished { .. }) {
        traces.close(&event.trace_id);
    }
    Ok(())
}

/// Recomputes the hash and reads the facts: nothing in storage is trusted.
fn check(event: &LogEvent) -> Result<Checked<'_>, Rejection> {
    let computed = Hash::of(event.payload.as_bytes());
    if computed != event.payload_hash {
        let message = format!("payload hash is {computed}, the log says {}", event.payload_hash);
        return Err(Rejection::new(Code::Conflict, message));
    }
    let event_type = EventType::from_name(&event.event_type).ok_or_else(|| {
        Rejection::new(Code::SchemaViolation, format!("unknown event type '{}'", event.event_type))
    })?;
    let payload = json::borrow(&event.payload)
        .map_err(|error| Rejection::at(Code::SchemaViolation, "$.payload", error))?;
    Ok(Checked { event, facts: Facts::of(event_type, &payload)? })
}
