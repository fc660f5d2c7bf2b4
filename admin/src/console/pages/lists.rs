//! Lists that stand on more than one page: runs and failures.

use dg_runtime::RunView;
use dg_store::{ALL_PROJECTIONS, Failure, Run};

use crate::console::html::{Html, el};
use crate::console::parts::{
    Clock, Column, code, empty, error, link, nothing, number, progress, state, table, tenant,
};
use crate::console::route::Page;
use crate::output::{duration, grouped};

/// Characters of a run's identifier among others.
const SHORT: usize = 8;

/// What is done at what.
pub(super) fn what(run: &Run) -> String {
    let mode = if run.dry_run { "dry run" } else { run.mode.as_str() };
    match run.projection_name.as_str() {
        ALL_PROJECTIONS => format!("{mode} of all"),
        name => format!("{mode} of {name}"),
    }
}

/// Where a run is in its life, and what it is at.
pub(super) fn status(run: &Run) -> Html {
    let phase = run.phase.as_deref().map(|phase| format!(" {phase}")).unwrap_or_default();
    state(run.status.as_str()).and(Html::text(phase))
}

/// What came of its comparisons, where they found something.
fn found(run: &Run) -> Html {
    match run.is_equal() {
        Some(false) => Html::text(" ").and(state("different")),
        Some(true) | None => Html::default(),
    }
}

/// Events a second, and how long the rest takes.
pub(super) fn rate(view: &RunView) -> Option<String> {
    let rate = format!("{} events/s", grouped(view.events_per_second? as i64));
    Some(match view.eta_seconds {
        Some(left) => format!("{rate}, {} left", duration(left)),
        None => rate,
    })
}

/// A short form of a run's identifier.
pub(super) fn short(id: &str) -> String {
    id.chars().take(SHORT).collect()
}

/// Runs, with their tenants unless they are all of one.
pub(super) fn runs(runs: &[RunView], has_tenants: bool, clock: Clock) -> Html {
    if runs.is_empty() {
        return empty("No run yet. `decisiongraph rebuild` or `replay` starts one.");
    }
    let mut columns = vec![Column::Text("Run"), Column::Text("Status")];
    if has_tenants {
        columns.push(Column::Name("Tenant"));
    }
    columns.extend(["What", "Progress", "Requested"].map(Column::Text));
    let row = |view: &RunView| {
        let run = &view.run;
        let id = link(&Page::Run(run.key.run_id.clone()), &short(&run.key.run_id));
        let mut row = vec![id, status(run).and(found(run))];
        if has_tenants {
            row.push(tenant(&run.key.tenant_id));
        }
        let rate = rate(view).filter(|_| run.status.is_active());
        let rate = rate.map(|rate| el("small").text(rate));
        let far = progress(run.processed_events, run.total_events);
        row.extend([
            Html::text(what(run)),
            far.and(rate.into_iter().collect::<Html>()),
            clock.ago(run.requested_at),
        ]);
        row
    };
    table("Runs", &columns, runs.iter().map(row).collect())
}

/// Dead letters, with their tenants unless they are all of one.
pub(super) fn failures(failures: &[Failure], has_tenants: bool, clock: Clock) -> Html {
    if failures.is_empty() {
        return empty("None.");
    }
    let mut columns = vec![Column::Text("Status")];
    if has_tenants {
        columns.push(Column::Name("Tenant"));
    }
    columns.extend([
        Column::Name("Projection"),
        Column::Number("Event"),
        Column::Text("Error"),
        Column::Number("Retries"),
        Column::Text("Recorded"),
    ]);
    let row = |failure: &Failure| {
        let mut row = vec![state(&failure.status)];
        if has_tenants {
            row.push(tenant(&failure.tenant_id));
        }
        row.extend([
            Html::text(&failure.projection_name),
            event(failure),
            error(&failure.error_code, &failure.error_message),
            number(failure.retry_count.into()),
            clock.ago(failure.recorded_at),
        ]);
        row
    };
    table("Failures", &columns, failures.iter().map(row).collect())
}

/// The event to blame, in its trace.
fn event(failure: &Failure) -> Html {
    match (failure.log_seq, &failure.trace_id) {
        (Some(log_seq), Some(trace)) => {
            link(&Page::trace(&failure.tenant_id, trace), &format!("#{}", grouped(log_seq)))
        }
        (Some(log_seq), None) => code(&format!("#{}", grouped(log_seq))),
        (None, _) => nothing(),
    }
}
