//! The three projections on in-memory tables: what `verify` and the tests hold Postgres against.

use std::collections::BTreeMap;

use crate::digest::{GraphDigest, OutOfOrder, PrecedentDigest, SummaryDigest, full};
use crate::event::LogEvent;
use crate::hash::Hash;
use crate::projection::{Changes, Poison, Projection, SummaryChange, Traces, project};
use crate::rows::{EdgeRow, NodeRow, PolicyEvalRow, PrecedentRow, SummaryRow};

/// The tables of one tenant, by key.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[allow(missing_docs, reason = "one field a table")]
pub struct Tables {
    pub nodes: BTreeMap<String, NodeRow>,
    pub edges: BTreeMap<String, EdgeRow>,
    pub summaries: BTreeMap<String, SummaryRow>,
    pub policy_evals: BTreeMap<String, PolicyEvalRow>,
    pub precedents: BTreeMap<String, PrecedentRow>,
}

/// The digests of one tenant.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[allow(missing_docs, reason = "the names are the contract's")]
pub struct Digests {
    pub context_graph: Hash,
    pub trace_summary: Hash,
    pub precedent_index: Hash,
}

impl Digests {
    /// The digest of one projection.
    pub fn of(&self, projection: Projection) -> Hash {
        match projection {
            Projection::ContextGraph => self.context_graph,
            Projection::TraceSummary => self.trace_summary,
            Projection::PrecedentIndex => self.precedent_index,
        }
    }

    /// The digest over all three.
    pub fn full_projection(&self) -> Hash {
        full(self.context_graph, self.trace_summary, self.precedent_index)
    }
}

impl Tables {
    /// Applies changes as the store does: what exists stays, unless the change comes earlier in the
    /// log.
    pub fn apply(&mut self, changes: Changes) {
        keep_earliest(&mut self.nodes, changes.nodes, |row| row.log_seq);
        keep_earliest(&mut self.edges, changes.edges, |row| row.log_seq);
        keep_earliest(&mut self.policy_evals, changes.policy_evals, |row| row.log_seq);
        self.precedents.extend(changes.precedents);
        for (trace_id, change) in changes.summaries {
            match change {
                SummaryChange::Insert(row) => {
                    self.summaries.insert(trace_id, row);
                }
                SummaryChange::Finish(end) => {
                    if let Some(row) = self.summaries.get_mut(&trace_id) {
                        end.complete(row);
                    }
                }
            }
        }
    }

    /// The digests of the tables as they are.
    ///
    /// # Errors
    /// Never for tables keyed by their rows' own keys; an error names a row stored under another.
    pub fn digests(&self) -> Result<Digests, OutOfOrder> {
        let mut graph = GraphDigest::new();
        self.edges.values().try_for_each(|row| graph.edge(row))?;
        let mut graph = graph.nodes();
        self.nodes.values().try_for_each(|row| graph.node(row))?;
        let mut summary = SummaryDigest::new();
        self.summaries.values().try_for_each(|row| summary.row(row))?;
        let mut precedent = PrecedentDigest::new();
        self.precedents.values().try_for_each(|row| precedent.row(row))?;
        Ok(Digests {
            context_graph: graph.finish(),
            trace_summary: summary.finish(),
            precedent_index: precedent.finish(),
        })
    }
}

fn keep_earliest<R>(
    table: &mut BTreeMap<String, R>,
    changes: BTreeMap<String, R>,
    log_seq: impl Fn(&R) -> i64,
) {
    for (key, row) in changes {
        match table.get(&key) {
            Some(present) if log_seq(present) <= log_seq(&row) => {}
            _ => {
                table.insert(key, row);
            }
        }
    }
}

/// One tenant's projections, fed page by page from the first event.
#[derive(Debug, Clone, Default)]
pub struct Model {
    /// The rows so far.
    pub tables: Tables,
    traces: BTreeMap<Projection, Traces>,
}

impl Model {
    /// Nothing applied yet.
    pub fn new() -> Model {
        Model::default()
    }

    /// Applies a page to one projection.
    ///
    /// # Errors
    /// The event that the projection cannot apply; what came before it in the page is applied.
    pub fn apply(&mut self, projection: Projection, page: &[LogEvent]) -> Result<(), Poison> {
        let projected = project(projection, page, self.traces.entry(projection).or_default());
        self.tables.apply(projected.changes);
        projected.poison.map_or(Ok(()), Err)
    }

    /// Applies a page to all three projections.
    ///
    /// # Errors
    /// As [`Model::apply`], of the first projection that stops.
    pub fn apply_all(&mut self, page: &[LogEvent]) -> Result<(), Poison> {
        Projection::ALL.into_iter().try_for_each(|projection| self.apply(projection, page))
    }
}
