//! Pages held against views made by hand: every text that comes from outside is hostile here.

use std::collections::BTreeSet;

use dg_projections::Code;
use dg_projections::hash::Hash;
use dg_projections::projection::Projection;
use dg_projections::rows::{EdgeRow, NodeRow, SummaryRow};
use dg_runtime::worker::{LastError, WorkerKey, WorkerSnapshot};
use dg_runtime::{DatabaseState, Parked, RunView};
use dg_store::{
    Failure, Health, Lag, LatestTrace, ProjectionHealth, RecordedEvent, Run, RunKey, RunMode,
    RunStatus, RunStep, TenantHead,
};
use time::OffsetDateTime;

use super::*;
use crate::console::view::{Actors, Daemon, Graph, Overview, Tenant, Tenants, Trace};

const EVIL: &str = "<script>alert(1)</script>\"'&<img src=x>`</td>";
const AT: OffsetDateTime = OffsetDateTime::UNIX_EPOCH;
const CLOCK: Clock = Clock { now: AT, is_live: false };

fn evil() -> String {
    EVIL.to_owned()
}

fn some() -> Option<String> {
    Some(evil())
}

fn daemon() -> Daemon {
    let database = DatabaseState::Down { since: AT, reason: evil(), probes: 1 };
    Daemon { owner: evil(), started_at: AT, waits_for: None, database }
}

fn worker(tenant: &str, status: &'static str) -> (WorkerSnapshot, u64) {
    let error = LastError {
        code: Code::Internal,
        message: evil(),
        log_seq: Some(1),
        trace_id: some(),
        event_id: some(),
    };
    let key = WorkerKey {
        tenant_id: tenant.to_owned(),
        projection: Projection::ContextGraph,
        partition: 0,
    };
    let snapshot = WorkerSnapshot {
        key,
        started_at: AT,
        status,
        cursor: Some(7),
        last_sync_at: Some(AT),
        sync_count: 1,
        retry_count: 2,
        next_retry_at: Some(AT),
        last_error: Some(error),
        is_busy: false,
    };
    (snapshot, 3)
}

fn parked() -> Parked {
    Parked { since: AT, reason: evil(), worker: None, next_attempt_at: AT }
}

fn actors() -> Actors {
    let workers = ["failed", "retrying", "idle"].map(|status| worker(EVIL, status)).to_vec();
    Actors { workers, parked: [(evil(), parked())].into() }
}

fn lag(tenant: Option<&str>, pending_events: i64, open_failures: i64) -> Lag {
    Lag {
        tenant_id: tenant.map(str::to_owned),
        projection_name: "trace_summary".to_owned(),
        pending_events,
        lag_seconds: 1.5,
        last_log_seq: Some(5),
        open_failures,
    }
}

fn failure() -> Failure {
    Failure {
        failure_id: evil(),
        tenant_id: evil(),
        projection_name: evil(),
        partition: 0,
        log_seq: Some(161),
        trace_id: some(),
        event_id: some(),
        error_code: evil(),
        error_message: evil(),
        recoverable: false,
        retry_count: 1,
        status: evil(),
        recorded_at: AT,
        resolved_at: None,
    }
}

fn run() -> RunView {
    let step = RunStep {
        projection: Projection::TraceSummary,
        generation: Some(2),
        since_applied: None,
        processed_events: 10,
        last_log_seq: 10,
        comparison: None,
        not_compared: some(),
        switched_at: Some(AT),
        switch_ms: Some(8),
        finished_at: Some(AT),
    };
    let run = Run {
        key: RunKey { tenant_id: evil(), run_id: evil() },
        projection_name: evil(),
        mode: RunMode::Rebuild,
        dry_run: false,
        status: RunStatus::Running,
        phase: some(),
        reason: evil(),
        requested_by: some(),
        requested_at: AT,
        started_at: Some(AT),
        finished_at: None,
        since_log_seq: 0,
        until_log_seq: Some(20),
        processed_events: 10,
        last_log_seq: 10,
        total_events: Some(40),
        error_code: some(),
        error_message: some(),
        owner: some(),
        work_ms: 1_500,
        steps: vec![step],
    };
    RunView { run, events_per_second: Some(1_234.0), eta_seconds: Some(2.0) }
}

fn health() -> Health {
    let projection = ProjectionHealth {
        projection_name: evil(),
        generation: Some(1),
        last_log_seq: 5,
        applied_events: 5,
        pending_events: 2,
        lag_seconds: 3.0,
        cursor_age_seconds: None,
        is_stale: true,
        digest: Some(Hash::of(b"")),
        digest_log_seq: Some(5),
        digest_updated_at: Some(AT),
        open_failures: 1,
        partitions: Vec::new(),
    };
    Health {
        tenant_id: evil(),
        event_log_last_seq: 7,
        event_count: 7,
        full_digest: None,
        projections: vec![projection],
    }
}

fn event() -> RecordedEvent {
    RecordedEvent {
        tenant_id: evil(),
        log_seq: 1,
        recorded_at: AT,
        event_id: evil(),
        trace_id: evil(),
        trace_seq: 0,
        event_type: evil(),
        occurred_at: evil(),
        producer_id: evil(),
        source_system: evil(),
        source_subsystem: some(),
        actor_type: evil(),
        actor_id: evil(),
        idempotency_key: evil(),
        correlation_id: some(),
        causation_event_id: some(),
        schema_version: 1,
        tags: vec![evil()],
        payload: evil(),
        payload_hash: Hash::of(b""),
    }
}

fn graph() -> Graph {
    let node = |id: String| NodeRow {
        node_id: id,
        node_type: evil(),
        trace_id: evil(),
        log_seq: 1,
        created_at: evil(),
        attrs: evil(),
    };
    let center = format!("trace:{EVIL}");
    let edge = EdgeRow {
        edge_id: evil(),
        edge_type: evil(),
        from_node_id: center.clone(),
        to_node_id: evil(),
        trace_id: evil(),
        log_seq: 1,
        created_at: evil(),
        attrs: evil(),
    };
    Graph { nodes: vec![node(center), node(evil())], edges: vec![edge], truncated: true }
}

fn trace(has_payloads: bool) -> Trace {
    let summary = SummaryRow {
        trace_id: evil(),
        workflow: evil(),
        title: evil(),
        primary_entity_type: evil(),
        primary_entity_system: some(),
        primary_entity_id: evil(),
        outcome: some(),
        started_at: evil(),
        finished_at: some(),
        event_count: 2,
        last_log_seq: 2,
    };
    Trace {
        tenant: evil(),
        trace: evil(),
        summary: Ok(summary),
        events: Ok(vec![event()]),
        has_payloads,
        is_later: false,
        has_more: true,
        graph: Ok(graph()),
    }
}

fn overview(lags: Vec<Lag>, actors: Actors) -> Overview {
    Overview {
        samples: Vec::new(),
        actors: Ok(actors),
        lags: Ok(lags),
        runs: Ok(vec![run()]),
        failures: Ok(vec![failure()]),
    }
}

/// Each page, full of hostile text.
fn all() -> Vec<(Page, Shown)> {
    let head = TenantHead { tenant_id: evil(), last_log_seq: 7, event_count: 7 };
    let latest = LatestTrace {
        trace_id: evil(),
        last_log_seq: 7,
        last_event_type: evil(),
        recorded_at: AT,
        title: some(),
        workflow: some(),
        outcome: some(),
    };
    let tenant = Tenant {
        name: evil(),
        health: Ok(Some(health())),
        actors: Ok(actors()),
        failures: Ok(vec![failure()]),
        runs: Ok(vec![run()]),
        traces: Ok(vec![latest]),
    };
    let tenants = Tenants { prefix: evil(), heads: Ok(vec![head]), has_more: true };
    let lags = vec![lag(Some(EVIL), 3, 1), lag(None, 0, 0)];
    vec![
        (Page::Overview, Shown::Overview(overview(lags, actors()))),
        (Page::Tenants { prefix: evil(), after: evil() }, Shown::Tenants(tenants)),
        (Page::Tenant(evil()), Shown::Tenant(tenant)),
        (Page::trace(EVIL, EVIL), Shown::Trace(Box::new(trace(true)))),
        (Page::Run(evil()), Shown::Run(evil(), Box::new(Ok(Some(run()))))),
    ]
}

#[test]
fn whatever_is_shown_a_page_has_only_its_own_markup() {
    for (page, shown) in all() {
        let html = document(&page, &View { daemon: daemon(), shown }, CLOCK);
        assert!(html.contains("&lt;script&gt;alert(1)&lt;/script&gt;"), "{html}");
        assert_eq!(html.matches("<script").count(), 1, "{page:?}: {html}");
        assert!(!html.contains("<img") && !html.contains("alert(1)<"), "{page:?}: {html}");
        assert!(!html.contains("style=\""), "the policy forbids it: {html}");
    }
    let html = refusal(EVIL, EVIL);
    assert_eq!((html.matches("<script").count(), html.matches("<img").count()), (1, 0), "{html}");
}

#[test]
fn tags_are_closed_in_the_order_in_which_they_were_opened() {
    for (page, shown) in all() {
        let html = document(&page, &View { daemon: daemon(), shown }, CLOCK);
        let mut open = Vec::new();
        for tag in html.split('<').skip(2).filter_map(|part| part.split_once('>')) {
            let name = tag.0.split(' ').next().unwrap_or_default();
            match name.strip_prefix('/') {
                Some(name) => assert_eq!(open.pop(), Some(name), "{page:?}"),
                None if ["meta", "link", "input", "br"].contains(&name) => {}
                None => open.push(name),
            }
        }
        assert!(open.is_empty(), "{page:?}: {open:?}");
    }
}

#[test]
fn regions_are_the_same_however_much_of_a_page_is_known() {
    for (_, shown) in all() {
        let ids = |shown| -> Vec<&str> {
            let view = View { daemon: daemon(), shown };
            regions(&view, CLOCK).iter().map(|region| region.id).collect()
        };
        let known = ids(shown.clone());
        assert_eq!(known.iter().collect::<BTreeSet<_>>().len(), known.len(), "{known:?}");
        let unknown = || "away".to_owned();
        let unseen = match shown {
            Shown::Overview(overview) => Shown::Overview(Overview {
                actors: Err(unknown()),
                lags: Err(unknown()),
                runs: Err(unknown()),
                failures: Err(unknown()),
                ..overview
            }),
            Shown::Tenant(tenant) => Shown::Tenant(Tenant {
                health: Err(unknown()),
                actors: Err(unknown()),
                failures: Err(unknown()),
                runs: Err(unknown()),
                traces: Err(unknown()),
                ..tenant
            }),
            Shown::Trace(trace) => Shown::Trace(Box::new(Trace {
                summary: Err(unknown()),
                events: Err(unknown()),
                graph: Err(unknown()),
                ..*trace
            })),
            other => other,
        };
        assert_eq!(ids(unseen), known);
    }
}

#[test]
fn payloads_stand_on_a_page_only_where_they_are_shown() {
    let shown = |has_payloads| {
        let mut trace = trace(has_payloads);
        trace.events.as_mut().unwrap()[0].payload = "what was paid".to_owned();
        let shown = Shown::Trace(Box::new(trace));
        document(&Page::trace(EVIL, EVIL), &View { daemon: daemon(), shown }, CLOCK)
    };
    assert!(shown(true).contains("what was paid"));
    assert!(!shown(false).contains("what was paid"));
}

#[test]
fn a_tenant_is_in_the_state_that_asks_most_for_somebody() {
    let table: [(&[&'static str], i64, i64, bool, &str); 9] = [
        (&[], 0, 0, false, "at rest"),
        (&[], 3, 0, false, "behind"),
        (&[], 0, 1, false, "failed"),
        (&["idle", "idle"], 0, 0, false, "idle"),
        (&["idle", "idle"], 3, 0, false, "behind"),
        (&["idle", "catching_up"], 3, 0, false, "catching up"),
        (&["catching_up", "retrying"], 3, 0, false, "retrying"),
        (&["retrying", "failed"], 3, 0, false, "failed"),
        (&["failed"], 3, 1, true, "parked"),
    ];
    for (statuses, pending, failures, is_parked, word) in table {
        let workers = statuses.iter().map(|status| worker("a", status)).collect();
        let parked = if is_parked { [("a".to_owned(), parked())].into() } else { [].into() };
        let view = overview(vec![lag(Some("a"), pending, failures)], Actors { workers, parked });
        let regions = overview::regions(&view, CLOCK);
        let tenants = regions.iter().find(|region| region.id == "tenants").unwrap();
        let state = format!(">{word}</span>");
        assert!(tenants.html.as_str().contains(&state), "{statuses:?} {}", tenants.html.as_str());
    }
}

#[test]
fn the_most_lagging_come_first_and_the_others_last() {
    let lags = vec![lag(None, 99, 0), lag(Some("calm"), 0, 0), lag(Some("late"), 7, 0)];
    let regions = overview::regions(&overview(lags, Actors::default()), CLOCK);
    let html = regions.iter().find(|region| region.id == "tenants").unwrap().html.as_str();
    let places = [">late<", ">calm<", ">all others<"].map(|name| html.find(name).unwrap());
    assert!(places.is_sorted(), "{html}");
}
