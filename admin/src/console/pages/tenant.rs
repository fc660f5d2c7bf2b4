//! A tenant: how far its projections are, who is at work on them, what failed, what ran, what
//! happened last.

use dg_store::{Health, LatestTrace, ProjectionHealth};

use super::{Region, lists, region};
use crate::console::html::{Html, el};
use crate::console::parts::{
    self, Clock, Column, code, empty, facts, headed, link, nothing, number, or_unseen, prose,
    seconds, state, table,
};
use crate::console::route::Page;
use crate::console::view::{Actors, Seen, Tenant, Worker};
use crate::server::worker_state;

pub(super) fn regions(tenant: &Tenant, clock: Clock) -> Vec<Region> {
    if matches!(tenant.health, Ok(None)) {
        return vec![region("health", empty("No tenant of this name has events."))];
    }
    let own = |health: &Option<Health>| match health {
        Some(health) => projections(health, &tenant.actors, clock),
        None => Html::default(),
    };
    let failures = or_unseen(&tenant.failures, |all| lists::failures(all, false, clock));
    let runs = or_unseen(&tenant.runs, |runs| lists::runs(runs, false, clock));
    let traces = or_unseen(&tenant.traces, |traces| latest(traces, &tenant.name, clock));
    vec![
        region("health", headed("Projections", or_unseen(&tenant.health, own))),
        region("workers", headed("Workers", or_unseen(&tenant.actors, |all| workers(all, clock)))),
        region("failures", headed("Failures", failures)),
        region("runs", headed("Runs", runs)),
        region("traces", headed("Latest traces", traces)),
    ]
}

fn projections(health: &Health, actors: &Seen<Actors>, clock: Clock) -> Html {
    let full = health.full_digest.map_or_else(nothing, |digest| code(&digest.to_string()));
    let facts = facts(vec![
        ("events", number(health.event_count)),
        ("last number", number(health.event_log_last_seq)),
        ("digest of all", full),
    ]);
    let columns = [
        Column::Name("Projection"),
        Column::Text("State"),
        Column::Number("Cursor"),
        Column::Number("Waiting"),
        Column::Number("Lag"),
        Column::Number("Generation"),
        Column::Number("Failures"),
        Column::Text("Digest"),
    ];
    let row = |one: &ProjectionHealth| {
        let word = match actors {
            Ok(actors) => state(worker_state(&actors.workers, &health.tenant_id, one)),
            Err(_) => nothing(),
        };
        vec![
            Html::text(&one.projection_name),
            word,
            number(one.last_log_seq),
            number(one.pending_events),
            seconds(one.lag_seconds),
            one.generation.map_or_else(nothing, |number| Html::text(number.to_string())),
            number(one.open_failures),
            digest(one, clock),
        ]
    };
    facts.and(table("Projections", &columns, health.projections.iter().map(row).collect()))
}

/// The digest, and what it stands for.
fn digest(one: &ProjectionHealth, clock: Clock) -> Html {
    let (Some(digest), Some(log_seq)) = (one.digest, one.digest_log_seq) else {
        return nothing();
    };
    let words = Html::text("at ").and(number(log_seq)).and(Html::text(", "));
    code(&digest.to_string())
        .and(el("small").child(words).child(clock.ago_if(one.digest_updated_at)))
}

fn workers(actors: &Actors, clock: Clock) -> Html {
    let parked: Html = actors
        .parked
        .values()
        .map(|parked| {
            let next = clock.ago(parked.next_attempt_at);
            el("div")
                .class("notice bad")
                .child(el("strong").text("Parked: its workers crash for ever"))
                .child(
                    el("p").text(&parked.reason).child(Html::text(". Next attempt ")).child(next),
                )
                .child(el("p").child(prose("`decisiongraph retry PROJECTION` tries at once.")))
        })
        .collect();
    if actors.workers.is_empty() {
        return parked.and(empty("None at work: the tenant is at rest."));
    }
    let columns = [
        Column::Name("Worker"),
        Column::Text("State"),
        Column::Number("Cursor"),
        Column::Text("Last sync"),
        Column::Number("Retries"),
        Column::Text("Next retry"),
        Column::Number("Restarts"),
        Column::Text("Error"),
    ];
    let row = |(worker, restarts): &Worker| {
        let error = worker.last_error.as_ref();
        let error = error.map_or_else(nothing, |one| parts::error(one.code.as_str(), &one.message));
        vec![
            Html::text(format!("{}/{}", worker.key.projection, worker.key.partition)),
            state(worker.status),
            worker.cursor.map_or_else(nothing, number),
            clock.ago_if(worker.last_sync_at),
            number(worker.retry_count.into()),
            clock.ago_if(worker.next_retry_at),
            number(i64::try_from(*restarts).unwrap_or(i64::MAX)),
            error,
        ]
    };
    let mut order: Vec<&Worker> = actors.workers.iter().collect();
    order.sort_by(|a, b| a.0.key.cmp(&b.0.key));
    parked.and(table("Workers", &columns, order.into_iter().map(row).collect()))
}

fn latest(traces: &[LatestTrace], tenant: &str, clock: Clock) -> Html {
    if traces.is_empty() {
        return empty("None.");
    }
    let columns = [
        Column::Name("Trace"),
        Column::Text("Title"),
        Column::Text("Outcome"),
        Column::Text("Last event"),
        Column::Number("Number"),
        Column::Text("Recorded"),
    ];
    let row = |one: &LatestTrace| {
        let outcome = match &one.outcome {
            Some(outcome) => state(outcome),
            None => el("span").class("quiet").text("under way").into(),
        };
        vec![
            link(&Page::trace(tenant, &one.trace_id), &one.trace_id),
            one.title.as_ref().map_or_else(nothing, Html::text),
            outcome,
            Html::text(&one.last_event_type),
            number(one.last_log_seq),
            clock.ago(one.recorded_at),
        ]
    };
    table("Latest traces", &columns, traces.iter().map(row).collect())
}
