//! `curve`: `project` and `rebuild` of 10,000, 100,000 and 1,000,000 events, each beside its floor; and
//! the last rate of each against its first.
//!
//! A start of a daemon is a part of `project`, and lowers the rate of the smallest log.

use std::time::Duration;

use dg_projections::event::DEFAULT_TENANT;

use super::project::caught_up;
use super::rebuild::rebuilt;
use super::stage::Stage;
use super::{Effort, Figure, Sample, fill};
use crate::failure::Failure;
use crate::generate::{Plan, lines};

/// Traces of 8 events; each size takes ten times as long as the one before.
const SIZES: [u64; 3] = [1_250, 12_500, 125_000];

pub(super) async fn all(
    stage: &Stage,
    effort: Effort,
    say: &dyn Fn(&str),
) -> Result<Vec<Figure>, Failure> {
    let (mut projects, mut rebuilds) = (Vec::new(), Vec::new());
    for (at, traces) in SIZES.into_iter().enumerate() {
        let plan = Plan { traces: effort.scaled(traces), ..Plan::default() };
        let effort = if at + 1 < SIZES.len() { effort } else { effort.once() };
        let (mut caught, mut built) = (Vec::new(), Vec::new());
        for round in 1..=effort.rounds {
            say(&format!(
                "curve of {} events: round {round} of {}",
                plan.event_count(),
                effort.rounds
            ));
            let (one, other) = both(stage, plan).await?;
            caught.push(one);
            built.push(other);
        }
        let events = plan.event_count();
        projects.push(Figure::median(format!("project_{events}"), caught));
        rebuilds.push(Figure::median(format!("rebuild_{events}"), built));
    }
    let ends = [curve("curve_project", &projects), curve("curve_rebuild", &rebuilds)];
    Ok(projects.into_iter().chain(rebuilds).chain(ends.into_iter().flatten()).collect())
}

async fn both(stage: &Stage, plan: Plan) -> Result<(Sample, Sample), Failure> {
    let scene = stage.scene().await?;
    fill(&scene, DEFAULT_TENANT, lines(plan)).await?;
    let caught = caught_up(stage, &scene, plan).await?;
    let built = rebuilt(stage, &scene, plan).await?;
    stage.clear(scene).await;
    Ok((caught, built))
}

/// The last size, with the time that it would have taken at the rate of the first as its floor.
fn curve(name: &str, sizes: &[Figure]) -> Option<Figure> {
    let (first, last) = (sizes.first()?.sample(), sizes.last()?.sample());
    let floor = Duration::from_secs_f64(last.events as f64 / first.rate(first.took).max(1e-9));
    Some(Figure::median(name, vec![Sample { floor: Some(floor), ..last.clone() }]))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_curve_is_its_last_rate_by_its_first() {
        let of = |events, secs| {
            let took = Duration::from_secs(secs);
            Figure::median("x", vec![Sample { events, took, ..Sample::default() }])
        };
        let curve = curve("curve", &[of(10, 1), of(100, 5), of(1_000, 125)]).unwrap();
        assert_eq!(curve.sample().ratio(), Some(0.8));
        assert_eq!(curve.sample().events, 1_000);
    }
}
