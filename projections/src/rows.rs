//! The rows of the projection tables: keys, owners, fields in one place for digests and proofs.

use std::borrow::Cow;

/// A row of a projection table, as `verify` and the digests see it.
pub trait Row: Sized + PartialEq {
    /// The table it stands in.
    const TABLE: &'static str;

    /// Its key within the tenant.
    fn key(&self) -> &str;

    /// The event that owns it.
    fn log_seq(&self) -> i64;

    /// Its fields besides the key, by column name, as text; `None` is NULL.
    fn fields(&self) -> Vec<(&'static str, Option<Cow<'_, str>>)>;
}

/// A node of the context graph.
#[derive(Debug, Clone, PartialEq, Eq)]
#[allow(missing_docs, reason = "the names are the contract's")]
pub struct NodeRow {
    pub node_id: String,
    pub node_type: String,
    pub trace_id: String,
    pub log_seq: i64,
    pub created_at: String,
    /// Canonical JSON; the projection always writes `{}`.
    pub attrs: String,
}

/// An edge of the context graph.
#[derive(Debug, Clone, PartialEq, Eq)]
#[allow(missing_docs, reason = "the names are the contract's")]
pub struct EdgeRow {
    pub edge_id: String,
    pub edge_type: String,
    pub from_node_id: String,
    pub to_node_id: String,
    pub trace_id: String,
    pub log_seq: i64,
    pub created_at: String,
    /// Canonical JSON; the projection always writes `{}`.
    pub attrs: String,
}

/// A trace at a glance.
#[derive(Debug, Clone, PartialEq, Eq)]
#[allow(missing_docs, reason = "the names are the contract's")]
pub struct SummaryRow {
    pub trace_id: String,
    pub workflow: String,
    pub title: String,
    pub primary_entity_type: String,
    pub primary_entity_system: Option<String>,
    pub primary_entity_id: String,
    pub outcome: Option<String>,
    pub started_at: String,
    pub finished_at: Option<String>,
    /// 1 for a trace that started, 2 for one that finished: the frozen behaviour.
    pub event_count: i64,
    pub last_log_seq: i64,
}

/// A policy evaluation.
#[derive(Debug, Clone, PartialEq, Eq)]
#[allow(missing_docs, reason = "the names are the contract's")]
pub struct PolicyEvalRow {
    pub index_id: String,
    pub trace_id: String,
    pub policy_id: String,
    pub policy_version: String,
    pub log_seq: i64,
    pub created_at: String,
}

/// A precedent: what a finished trace evaluated, or where it asked for an exception.
#[derive(Debug, Clone, PartialEq, Eq)]
#[allow(missing_docs, reason = "the names are the contract's")]
pub struct PrecedentRow {
    pub source_event_id: String,
    pub log_seq: i64,
    pub trace_id: String,
    pub policy_id: String,
    pub policy_version: String,
    pub exception_id: Option<String>,
    pub primary_entity_type: String,
    pub primary_entity_system: Option<String>,
    pub primary_entity_id: String,
}

fn text(value: &str) -> Option<Cow<'_, str>> {
    Some(Cow::Borrowed(value))
}

fn number(value: i64) -> Option<Cow<'static, str>> {
    Some(Cow::Owned(value.to_string()))
}

fn optional(value: &Option<String>) -> Option<Cow<'_, str>> {
    value.as_deref().map(Cow::Borrowed)
}

impl Row for NodeRow {
    const TABLE: &'static str = "dg_cg_nodes";

    fn key(&self) -> &str {
        &self.node_id
    }

    fn log_seq(&self) -> i64 {
        self.log_seq
    }

    fn fields(&self) -> Vec<(&'static str, Option<Cow<'_, str>>)> {
        vec![
            ("node_type", text(&self.node_type)),
            ("trace_id", text(&self.trace_id)),
            ("log_seq", number(self.log_seq)),
            ("created_at", text(&self.created_at)),
            ("attrs", text(&self.attrs)),
        ]
    }
}

impl Row for EdgeRow {
    const TABLE: &'static str = "dg_cg_edges";

    fn key(&self) -> &str {
        &self.edge_id
    }

    fn log_seq(&self) -> i64 {
        self.log_seq
    }

    fn fields(&self) -> Vec<(&'static str, Option<Cow<'_, str>>)> {
        vec![
            ("edge_type", text(&self.edge_type)),
            ("from_node_id", text(&self.from_node_id)),
            ("to_node_id", text(&self.to_node_id)),
            ("trace_id", text(&self.trace_id)),
            ("log_seq", number(self.log_seq)),
            ("created_at", text(&self.created_at)),
            ("attrs", text(&self.attrs)),
        ]
    }
}

impl Row for SummaryRow {
    const TABLE: &'static str = "dg_trace_summary";

    fn key(&self) -> &str {
        &self.trace_id
    }

    fn log_seq(&self) -> i64 {
        self.last_log_seq
    }

    fn fields(&self) -> Vec<(&'static str, Option<Cow<'_, str>>)> {
        vec![
            ("workflow", text(&self.workflow)),
            ("title", text(&self.title)),
            ("primary_entity_type", text(&self.primary_entity_type)),
            ("primary_entity_system", optional(&self.primary_entity_system)),
            ("primary_entity_id", text(&self.primary_entity_id)),
            ("outcome", optional(&self.outcome)),
            ("started_at", text(&self.started_at)),
            ("finished_at", optional(&self.finished_at)),
            ("event_count", number(self.event_count)),
            ("last_log_seq", number(self.last_log_seq)),
        ]
    }
}

impl Row for PolicyEvalRow {
    const TABLE: &'static str = "dg_policy_eval_index";

    fn key(&self) -> &str {
        &self.index_id
    }

    fn log_seq(&self) -> i64 {
        self.log_seq
    }

    fn fields(&self) -> Vec<(&'static str, Option<Cow<'_, str>>)> {
        vec![
            ("trace_id", text(&self.trace_id)),
            ("policy_id", text(&self.policy_id)),
            ("policy_version", text(&self.policy_version)),
            ("log_seq", number(self.log_seq)),
            ("created_at", text(&self.created_at)),
        ]
    }
}

impl Row for PrecedentRow {
    const TABLE: &'static str = "dg_precedent_index";

    fn key(&self) -> &str {
        &self.source_event_id
    }

    fn log_seq(&self) -> i64 {
        self.log_seq
    }

    fn fields(&self) -> Vec<(&'static str, Option<Cow<'_, str>>)> {
        vec![
            ("log_seq", number(self.log_seq)),
            ("trace_id", text(&self.trace_id)),
            ("policy_id", text(&self.policy_id)),
            ("policy_version", text(&self.policy_version)),
            ("exception_id", optional(&self.exception_id)),
            ("primary_entity_type", text(&self.primary_entity_type)),
            ("primary_entity_system", optional(&self.primary_entity_system)),
            ("primary_entity_id", text(&self.primary_entity_id)),
        ]
    }
}
