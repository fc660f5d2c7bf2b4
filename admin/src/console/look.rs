//! Looks at the daemon for a page: nothing here waits longer than its patience, and what cannot be
//! seen says why.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use dg_projections::rows::EdgeRow;
use dg_projections::subgraph::Bounds;
use dg_runtime::{DatabaseState, RunView, Runtime};
use dg_store::{EventFilter, RunFilter, Store, StoreError, Subgraph};

use super::Console;
use super::route::Page;
use super::view::{
    Actors, Daemon, Graph, Overview, Run, Seen, Shown, Tenant, Tenants, Trace, View,
};
use crate::server::OPEN;

/// How long an answer may take; the page says so when it takes longer.
const PATIENCE: Duration = Duration::from_secs(3);
/// Samples of the charts: five minutes.
const SAMPLES: usize = 300;
/// Tenants by lag, and of each kind of thing that is listed beside something else.
const LISTED: i64 = 20;
/// Tenants of a page by name.
const TENANTS: i64 = 100;
/// Events of a page of a trace.
const EVENTS: i64 = 100;
/// What of a trace is drawn.
const NODES: usize = 80;
const EDGES: usize = 120;

/// What the second ring around a trace is reached by: only what is the trace's own. Its entities and
/// policies have edges to all other traces.
const OWN_EDGES: [&str; 5] = [
    "trace_requested_exception",
    "exception_approved_by",
    "trace_proposed_action",
    "trace_committed_action",
    "action_targets_entity",
];

/// Looks at what a page shows.
pub(super) async fn look(console: &Console, page: &Page) -> View {
    let runtime = console.runtime.get().map_err(|error| error.message);
    let database = match &runtime {
        Ok(runtime) => runtime.gate().state(),
        Err(reason) => {
            DatabaseState::Down { since: console.started_at, reason: reason.clone(), probes: 0 }
        }
    };
    let daemon = Daemon {
        owner: console.owner.clone(),
        started_at: console.started_at,
        waits_for: runtime.as_ref().err().cloned(),
        database,
    };
    let eye = Eye { runtime };
    let shown = match page {
        Page::Overview => Shown::Overview(eye.overview(console).await),
        Page::Tenants { prefix, after } => Shown::Tenants(eye.tenants(prefix, after).await),
        Page::Tenant(name) => Shown::Tenant(eye.tenant(name, console).await),
        Page::Trace { tenant, trace, after } => {
            let payloads = console.shows_payloads;
            Shown::Trace(Box::new(eye.trace((tenant, trace), *after, payloads).await))
        }
        Page::Run(id) => Shown::Run(id.clone(), Box::new(eye.run(id).await)),
    };
    View { daemon, shown }
}

/// The runtime, or why there is none.
struct Eye {
    runtime: Seen<Arc<Runtime>>,
}

impl Eye {
    async fn overview(&self, console: &Console) -> Overview {
        let (actors, lags, runs, failures) = tokio::join!(
            self.actors(|_| true),
            self.see(|runtime| async move { runtime.lags(LISTED as usize).await }),
            self.runs(None),
            self.ask(|store| async move { store.newest_failures(None, false, LISTED).await }),
        );
        Overview { samples: console.history.last(SAMPLES), actors, lags, runs, failures }
    }

    async fn tenants(&self, prefix: &str, after: &str) -> Tenants {
        let read =
            |store: Store| async move { store.tenants_page(prefix, after, TENANTS + 1).await };
        let mut heads = self.ask(read).await;
        let has_more = cut(&mut heads, TENANTS);
        Tenants { prefix: prefix.to_owned(), heads, has_more }
    }

    async fn tenant(&self, name: &str, console: &Console) -> Tenant {
        let names = console.projections.as_slice();
        let (health, actors, failures, runs, traces) = tokio::join!(
            self.ask(|store| async move { store.health(Some(name), names).await }),
            self.actors(|tenant| tenant == name),
            self.ask(|store| async move { store.newest_failures(Some(name), true, LISTED).await }),
            self.runs(Some(name)),
            self.ask(|store| async move { store.latest_traces(name, LISTED).await }),
        );
        let health = health.map(|mut found| found.pop());
        Tenant { name: name.to_owned(), health, actors, failures, runs, traces }
    }

    async fn trace(
        &self,
        (tenant, trace): (&str, &str),
        after: Option<i64>,
        has_payloads: bool,
    ) -> Trace {
        let filter = EventFilter {
            trace_id: Some(trace.to_owned()),
            since_log_seq: after,
            ..EventFilter::default()
        };
        let filter = &filter;
        let list =
            |store: Store| async move { store.list_events(tenant, filter, EVENTS + 1).await };
        let mut events = self.ask(list).await;
        let has_more = cut(&mut events, EVENTS);
        if !has_payloads && let Ok(events) = &mut events {
            events.iter_mut().for_each(|event| event.payload.clear());
        }
        // What the log of this trace says is enough: on a busy tenant projections are always a
        // little behind the end.
        let last = events.as_ref().ok().and_then(|events| Some(events.last()?.log_seq));
        let enough = last.or(after).unwrap_or(0);
        let summary =
            |store: Store| async move { store.as_of(enough).trace_summary(tenant, trace).await };
        let graph = |store: Store| async move { graph(store.as_of(enough), tenant, trace).await };
        let (summary, graph) = tokio::join!(self.ask(summary), self.ask(graph));
        Trace {
            tenant: tenant.to_owned(),
            trace: trace.to_owned(),
            summary,
            events,
            has_payloads,
            is_later: after.is_some(),
            has_more,
            graph,
        }
    }

    async fn run(&self, id: &str) -> Run {
        self.see(|runtime| async move { runtime.run(None, id).await }).await
    }

    /// The open runs, and the newest.
    async fn runs(&self, tenant: Option<&str>) -> Seen<Vec<RunView>> {
        let list = |statuses| {
            self.see(move |runtime| async move {
                runtime.runs(RunFilter { tenant, statuses, limit: LISTED }).await
            })
        };
        let (open, newest) = tokio::join!(list(&OPEN), list(&[]));
        let (mut runs, newest) = (open?, newest?);
        for view in newest {
            if runs.len() < LISTED as usize && !runs.iter().any(|one| one.run.key == view.run.key) {
                runs.push(view);
            }
        }
        Ok(runs)
    }

    async fn actors(&self, is_wanted: impl Fn(&str) -> bool) -> Seen<Actors> {
        let seen = self.see(|runtime| async move { runtime.snapshot().await }).await?;
        let wanted = |worker: &super::view::Worker| is_wanted(&worker.0.key.tenant_id);
        Ok(Actors {
            workers: seen.workers.into_iter().filter(wanted).collect(),
            parked: seen.parked.into_iter().filter(|(tenant, _)| is_wanted(tenant)).collect(),
        })
    }

    /// Asks the database.
    async fn ask<T, W, F>(&self, work: W) -> Seen<T>
    where
        W: FnOnce(Store) -> F,
        F: Future<Output = Result<T, StoreError>>,
    {
        self.see(|runtime| async move { runtime.gate().run(work).await }).await
    }

    async fn see<T, W, F>(&self, work: W) -> Seen<T>
    where
        W: FnOnce(Arc<Runtime>) -> F,
        F: Future<Output = Result<T, StoreError>>,
    {
        // The head of the page says why, once.
        let runtime = self.runtime.clone().map_err(|_| "the daemon is starting")?;
        match tokio::time::timeout(PATIENCE, work(runtime)).await {
            Ok(Err(error)) if error.is_outage => Err("the database is away".to_owned()),
            Ok(outcome) => outcome.map_err(|error| error.message),
            Err(_) => Err(format!("no answer in {} s", PATIENCE.as_secs())),
        }
    }
}

/// Leaves so many; whether there were more.
fn cut<T>(seen: &mut Seen<Vec<T>>, most: i64) -> bool {
    let most = usize::try_from(most).unwrap_or(usize::MAX);
    match seen {
        Ok(list) if list.len() > most => {
            list.truncate(most);
            true
        }
        _ => false,
    }
}

/// What touches a trace, and what touches its own exceptions and actions.
async fn graph(store: Store, tenant: &str, trace: &str) -> Result<Graph, StoreError> {
    let center = format!("trace:{trace}");
    let bounds = |max_depth, edge_types| Bounds {
        max_depth,
        max_nodes: NODES,
        max_edges: EDGES,
        node_types: BTreeSet::new(),
        edge_types,
    };
    let near = store.subgraph(tenant, &center, bounds(1, BTreeSet::new())).await?;
    let own = OWN_EDGES.map(str::to_owned).into();
    let far = store.subgraph(tenant, &center, bounds(2, own)).await?;
    Ok(merged(near, far, trace))
}

/// Both together, each node and edge once. Of the second ring, only what the trace itself has done.
fn merged(near: Subgraph, far: Subgraph, trace: &str) -> Graph {
    let truncated = near.truncated || far.truncated;
    let is_new = |edge: &EdgeRow| {
        edge.trace_id == trace && !near.edges.iter().any(|known| known.edge_id == edge.edge_id)
    };
    let mut edges: Vec<EdgeRow> = far.edges.into_iter().filter(is_new).collect();
    edges.extend(near.edges.iter().cloned());
    edges.sort_by(|a, b| (a.log_seq, &a.edge_id).cmp(&(b.log_seq, &b.edge_id)));
    let mut nodes = near.nodes;
    for node in far.nodes {
        let is_end =
            |edge: &EdgeRow| [&edge.from_node_id, &edge.to_node_id].contains(&&node.node_id);
        if edges.iter().any(is_end) && !nodes.iter().any(|known| known.node_id == node.node_id) {
            nodes.push(node);
        }
    }
    // A bound may have left out an end: what is drawn has both.
    let is_there = |id: &str| nodes.iter().any(|node| node.node_id == id);
    edges.retain(|edge| is_there(&edge.from_node_id) && is_there(&edge.to_node_id));
    nodes.sort_by(|a, b| (a.log_seq, &a.node_id).cmp(&(b.log_seq, &b.node_id)));
    Graph { nodes, edges, truncated }
}
