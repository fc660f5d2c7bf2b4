//! `context_graph`: for each event first its nodes, then its edges, each edge making sure that its
//! two ends exist. The first event in log order owns a row.

use super::{Changes, Checked};
use crate::event::{Entity, Facts, LogEvent};
use crate::rows::{EdgeRow, NodeRow};

/// The key of a node and what stands before its first colon.
#[derive(Debug, Clone, PartialEq, Eq)]
struct NodeKey {
    kind: &'static str,
    id: String,
}

impl NodeKey {
    fn new(kind: &'static str, identifier: &str) -> NodeKey {
        NodeKey { kind, id: [kind, identifier].join(":") }
    }

    /// What its kind and two identifiers together name.
    fn of_two(kind: &'static str, first: &str, second: &str) -> NodeKey {
        NodeKey { kind, id: [kind, first, second].join(":") }
    }

    fn entity(entity: &Entity<'_>) -> NodeKey {
        NodeKey::of_two("entity", &entity.entity_type, &entity.entity_id)
    }

    fn actor(actor_type: &str, actor_id: &str) -> NodeKey {
        NodeKey::of_two("actor", actor_type, actor_id)
    }

    fn trace(trace_id: &str) -> NodeKey {
        NodeKey::new("trace", trace_id)
    }

    /// The trace that a node belongs to when only an edge names it.
    fn owner_as_end<'a>(&'a self, event: &'a LogEvent) -> &'a str {
        match self.kind {
            "trace" => &self.id["trace:".len()..],
            _ => &event.trace_id,
        }
    }
}

pub(super) fn apply(checked: &Checked<'_>, changes: &mut Changes) {
    let event = checked.event;
    let trace = NodeKey::trace(&event.trace_id);
    let mut graph = Graph { event, changes };
    match &checked.facts {
        Facts::TraceStarted { primary_entity, .. } => {
            let entity = NodeKey::entity(primary_entity);
            graph.node(&trace);
            graph.node(&NodeKey::actor(&event.actor_type, &event.actor_id));
            graph.node(&entity);
            graph.edge("trace_involves_entity", &trace, &entity);
        }
        Facts::InputObserved { input_id } => {
            graph.node_and_edge("trace_observed_input", &trace, &NodeKey::new("input", input_id));
        }
        Facts::EntityObserved { entity } => {
            graph.node_and_edge("trace_involves_entity", &trace, &NodeKey::entity(entity));
        }
        Facts::PolicyEvaluated { policy_id, policy_version } => {
            let policy = NodeKey::of_two("policy", policy_id, policy_version);
            graph.node_and_edge("trace_evaluated_policy", &trace, &policy);
        }
        Facts::ExceptionRequested { exception_id, .. } => {
            let exception = NodeKey::new("exception", exception_id);
            graph.node_and_edge("trace_requested_exception", &trace, &exception);
        }
        Facts::ApprovalRecorded { approver_type, approver_id, exception_id } => {
            let approver = NodeKey::actor(approver_type, approver_id);
            graph.node(&approver);
            if let Some(exception_id) = exception_id {
                let exception = NodeKey::new("exception", exception_id);
                graph.edge("exception_approved_by", &exception, &approver);
            }
        }
        Facts::PrecedentCited { cited_trace_id } => {
            graph.edge("trace_cited_precedent", &trace, &NodeKey::trace(cited_trace_id));
        }
        Facts::ActionProposed { action_id, target_entity } => {
            let action = NodeKey::new("action", action_id);
            graph.node_and_edge("trace_proposed_action", &trace, &action);
            graph.edge("action_targets_entity", &action, &NodeKey::entity(target_entity));
        }
        Facts::ActionCommitted { action_id } => {
            graph.edge("trace_committed_action", &trace, &NodeKey::new("action", action_id));
        }
        Facts::TraceFinished { .. } => {}
    }
}

/// Collects the rows of one event; a row that is there already stays as it is.
struct Graph<'a> {
    event: &'a LogEvent,
    changes: &'a mut Changes,
}

impl Graph<'_> {
    fn node(&mut self, key: &NodeKey) {
        let event = self.event;
        self.insert_node(key, &event.trace_id);
    }

    fn insert_node(&mut self, key: &NodeKey, trace_id: &str) {
        if self.changes.nodes.contains_key(&key.id) {
            return;
        }
        let row = NodeRow {
            node_id: key.id.clone(),
            node_type: key.kind.to_owned(),
            trace_id: trace_id.to_owned(),
            log_seq: self.event.log_seq,
            created_at: self.event.occurred_at.clone(),
            attrs: "{}".to_owned(),
        };
        self.changes.nodes.insert(key.id.clone(), row);
    }

    fn edge(&mut self, edge_type: &str, from: &NodeKey, to: &NodeKey) {
        for end in [from, to] {
            self.insert_node(end, end.owner_as_end(self.event));
        }
        let edge_id = [edge_type, &from.id, &to.id, &self.event.event_id].join(":");
        let event = self.event;
        self.changes.edges.entry(edge_id).or_insert_with_key(|edge_id| EdgeRow {
            edge_id: edge_id.clone(),
            edge_type: edge_type.to_owned(),
            from_node_id: from.id.clone(),
            to_node_id: to.id.clone(),
            trace_id: event.trace_id.clone(),
            log_seq: event.log_seq,
            created_at: event.occurred_at.clone(),
            attrs: "{}".to_owned(),
        });
    }

    fn node_and_edge(&mut self, edge_type: &str, trace: &NodeKey, node: &NodeKey) {
        self.node(node);
        self.edge(edge_type, trace, node);
    }
}
