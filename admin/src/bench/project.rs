//! `project`: a daemon finds a full log and catches up with it, all three projections.
//!
//! The floor writes the very rows that came of it into copies of their tables.

use std::time::{Duration, Instant};

use dg_projections::Code;
use dg_projections::projection::Projection;

use super::stage::{Scene, Stage};
use super::{Effort, Figure, Sample, fill, median_of};
use crate::failure::Failure;
use crate::generate::Plan;

const LOOK: Duration = Duration::from_millis(10);
const PATIENCE: Duration = Duration::from_secs(600);

pub(super) async fn all(
    stage: &Stage,
    effort: Effort,
    say: &dyn Fn(&str),
) -> Result<Vec<Figure>, Failure> {
    let plan = effort.plan(1, 1);
    Ok(vec![median_of("project", effort, say, || project(stage, plan)).await?])
}

async fn project(stage: &Stage, plan: Plan) -> Result<Sample, Failure> {
    let scene = stage.scene().await?;
    fill(&scene, plan).await?;
    let started = Instant::now();
    let daemon = stage.daemon(&scene, &[]).await?;
    until_visible(&scene, plan.event_count() as i64).await?;
    let took = started.elapsed();
    let peak_rss_kb = daemon.peak_rss_kb()?;
    daemon.stop().await?;
    let floor = Some(scene.store.project_floor().await?);
    let settings = scene.store.server_settings().await?;
    stage.clear(scene).await;
    let events = plan.event_count();
    Ok(Sample { events, took, floor, each: Vec::new(), peak_rss_kb, settings })
}

/// Waits until all projections have reached a number.
pub(super) async fn until_visible(scene: &Scene, log_seq: i64) -> Result<(), Failure> {
    let names = Projection::ALL.map(Projection::as_str);
    let started = Instant::now();
    while scene.store.visible(&names).await?.iter().all(|(_, cursor)| *cursor < log_seq) {
        if started.elapsed() > PATIENCE {
            return Err(Failure::new(Code::Internal, "the log was not projected in time"));
        }
        tokio::time::sleep(LOOK).await;
    }
    Ok(())
}
