//! Runs as JSON, and back as far as people are shown it.

use dg_projections::compare::Difference;
use dg_projections::json::Json;
use dg_runtime::RunView;
use dg_store::{Run, RunStep};

use super::{hash, instant, list, number, object, optional_number, seconds, text};

/// A run.
pub fn run(view: &RunView) -> Json {
    let RunView { run, events_per_second, eta_seconds } = view;
    object([
        ("run_id", text(&run.key.run_id)),
        ("tenant_id", text(&run.key.tenant_id)),
        ("projection_name", text(&run.projection_name)),
        ("mode", text(run.mode.as_str())),
        ("dry_run", Json::from(run.dry_run)),
        ("status", text(run.status.as_str())),
        ("phase", Json::from(run.phase.clone())),
        ("reason", text(&run.reason)),
        ("requested_by", Json::from(run.requested_by.clone())),
        ("requested_at", instant(Some(run.requested_at))),
        ("started_at", instant(run.started_at)),
        ("finished_at", instant(run.finished_at)),
        ("since_log_seq", number(run.since_log_seq)),
        ("until_log_seq", optional_number(run.until_log_seq)),
        ("processed_events", number(run.processed_events)),
        ("last_log_seq", number(run.last_log_seq)),
        ("total_events", optional_number(run.total_events)),
        ("events_per_second", events_per_second.map_or(Json::Null, seconds)),
        ("eta_seconds", eta_seconds.map_or(Json::Null, seconds)),
        ("error_code", Json::from(run.error_code.clone())),
        ("error_message", Json::from(run.error_message.clone())),
        ("owner", Json::from(run.owner.clone())),
        ("is_equal", run.is_equal().map_or(Json::Null, Json::from)),
        ("difference", first_difference(run).map_or(Json::Null, Difference::to_json)),
        ("steps", list(&run.steps, step)),
    ])
}

/// A run in a list of what is going on.
pub(super) fn short(view: &RunView) -> Json {
    let run = &view.run;
    object([
        ("run_id", text(&run.key.run_id)),
        ("tenant_id", text(&run.key.tenant_id)),
        ("projection_name", text(&run.projection_name)),
        ("mode", text(run.mode.as_str())),
        ("status", text(run.status.as_str())),
        ("phase", Json::from(run.phase.clone())),
    ])
}

fn step(step: &RunStep) -> Json {
    let compared = step.comparison.as_ref();
    let difference = compared.and_then(|one| one.difference.as_ref());
    object([
        ("projection_name", text(step.projection.as_str())),
        ("generation", optional_number(step.generation.map(i64::from))),
        ("processed_events", number(step.processed_events)),
        ("last_log_seq", number(step.last_log_seq)),
        ("compared_log_seq", optional_number(compared.map(|one| one.log_seq))),
        ("digest", hash(compared.map(|one| one.digest))),
        ("digest_before", hash(compared.map(|one| one.digest_before))),
        ("difference", difference.map_or(Json::Null, Difference::to_json)),
        ("not_compared", Json::from(step.not_compared.clone())),
        ("switched_at", instant(step.switched_at)),
        ("switch_ms", optional_number(step.switch_ms)),
        ("finished_at", instant(step.finished_at)),
    ])
}

fn first_difference(run: &Run) -> Option<&Difference> {
    run.steps.iter().find_map(|step| step.comparison.as_ref()?.difference.as_ref())
}

/// The difference in a run or a step of it, in whose words people are told.
pub fn difference_of(value: &Json) -> Option<Difference> {
    let found = value.get("difference").filter(|found| !found.is_null())?;
    Some(Difference::from_json(found))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_difference_is_told_in_the_words_it_was_found_in() {
        let found = Difference {
            table: "dg_trace_summary".to_owned(),
            key: "deal-1".to_owned(),
            field: Some("title".to_owned()),
            expected: Some("a".to_owned()),
            found: None,
            log_seq: Some(7),
            event_id: Some("e1".to_owned()),
        };
        let run = object([("difference", found.to_json())]);
        assert_eq!(difference_of(&run), Some(found));
        assert_eq!(difference_of(&object([("difference", Json::Null)])), None);
    }
}
