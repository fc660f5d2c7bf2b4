//! A run: what, why, how far, and what came of each step.

use dg_runtime::RunView;
use dg_store::RunStep;
use time::OffsetDateTime;

use super::{Region, lists, region};
use crate::console::html::{Html, el};
use crate::console::parts::{
    Clock, Column, code, empty, error, facts, headed, nothing, number, or_unseen, progress, state,
    table, tenant,
};
use crate::console::view::Run;
use crate::output::{duration, grouped};

pub(super) fn regions(id: &str, run: &Run, clock: Clock) -> Vec<Region> {
    let card_of = |found: &Option<RunView>| match found {
        Some(view) => card(view, clock),
        None => el("p").class("quiet").text(format!("There is no run {id}.")).into(),
    };
    let mut regions = vec![region("run", or_unseen(run, card_of))];
    if let Ok(Some(view)) = run {
        regions.push(region("steps", headed("Steps", steps(&view.run.steps, clock))));
    }
    regions
}

fn card(view: &RunView, clock: Clock) -> Html {
    let run = &view.run;
    let bound = run.until_log_seq;
    let until = bound.map_or_else(String::new, |end| format!(" up to {}", grouped(end)));
    let result = match run.is_equal() {
        Some(true) => state("equal"),
        Some(false) => state("different"),
        None => nothing(),
    };
    let mut said = vec![
        ("status", lists::status(run)),
        ("tenant", tenant(&run.key.tenant_id)),
        ("what", Html::text(format!("{}{until}", lists::what(run)))),
        ("reason", Html::text(&run.reason)),
        ("progress", progress(run.processed_events, run.total_events)),
        ("rate", lists::rate(view).map_or_else(nothing, Html::text)),
        ("result", result),
        ("requested", clock.ago(run.requested_at).and(by(run.requested_by.as_deref()))),
        ("started", clock.ago_if(run.started_at).and(by(run.owner.as_deref()))),
        ("finished", clock.ago_if(run.finished_at)),
        ("worked for", Html::text(duration(run.work_ms as f64 / 1e3))),
        ("identifier", code(&run.key.run_id)),
    ];
    if let Some(code) = &run.error_code {
        let message = run.error_message.as_deref().unwrap_or_default();
        said.push(("error", error(code, message)));
    }
    facts(said)
}

fn by(who: Option<&str>) -> Html {
    who.map_or_else(Html::default, |who| Html::text(format!(" by {who}")))
}

fn steps(steps: &[RunStep], clock: Clock) -> Html {
    if steps.is_empty() {
        return empty("None yet.");
    }
    let columns = [
        Column::Name("Projection"),
        Column::Number("Generation"),
        Column::Number("Events"),
        Column::Number("Cursor"),
        Column::Text("Compared"),
        Column::Text("Switched"),
        Column::Text("Finished"),
    ];
    let row = |step: &RunStep| {
        vec![
            Html::text(step.projection.as_str()),
            step.generation.map_or_else(nothing, |number| Html::text(number.to_string())),
            number(step.processed_events),
            number(step.last_log_seq),
            compared(step),
            switched(step.switched_at, step.switch_ms, clock),
            clock.ago_if(step.finished_at),
        ]
    };
    let differences = steps.iter().filter_map(|step| {
        let difference = step.comparison.as_ref()?.difference.as_ref()?;
        let words = format!("{}: {difference}", step.projection);
        let notice = el("div").class("notice bad");
        Some(
            notice.child(el("strong").text("What was served was wrong")).child(el("p").text(words)),
        )
    });
    let differences: Html = differences.collect();
    differences.and(table("Steps", &columns, steps.iter().map(row).collect()))
}

fn compared(step: &RunStep) -> Html {
    match (&step.comparison, &step.not_compared) {
        (Some(found), _) => {
            let word = if found.difference.is_none() { "equal" } else { "different" };
            state(word).and(Html::text(format!(" at {}", grouped(found.log_seq))))
        }
        (None, Some(why)) => Html::text(format!("not compared: {why}")),
        (None, None) => nothing(),
    }
}

fn switched(at: Option<OffsetDateTime>, took: Option<i64>, clock: Clock) -> Html {
    let Some(at) = at else { return nothing() };
    let took = took.map_or_else(String::new, |took| format!(" in {} ms", grouped(took)));
    clock.ago(at).and(Html::text(took))
}
