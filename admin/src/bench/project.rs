//! `project`: a daemon finds a full log and catches up with it, all three projections.
//!
//! The floor writes the very rows that came of it into copies of their tables.

use std::time::{Duration, Instant};

use dg_projections::Code;
use dg_projections::event::DEFAULT_TENANT;
use dg_projections::projection::Projection;

use super::stage::{Scene, Stage};
use super::{Effort, Figure, Sample, fill, median_of};
use crate::failure::Failure;
use crate::generate::{Plan, lines};

const LOOK: Duration = Duration::from_millis(10);
const PATIENCE: Duration = Duration::from_secs(900);

pub(super) async fn all(
    stage: &Stage,
    effort: Effort,
    say: &dyn Fn(&str),
) -> Result<Vec<Figure>, Failure> {
    let plan = effort.plan(1, 1);
    Ok(vec![median_of("project", effort, say, || project(stage, plan)).await?])
}

/// A fresh log of one tenant, caught up with.
pub(super) async fn project(stage: &Stage, plan: Plan) -> Result<Sample, Failure> {
    let scene = stage.scene().await?;
    fill(&scene, DEFAULT_TENANT, lines(plan)).await?;
    let sample = caught_up(stage, &scene, plan).await?;
    stage.clear(scene).await;
    Ok(sample)
}

/// A daemon catches up with a log of one tenant, then the floor of what came of it.
pub(super) async fn caught_up(stage: &Stage, scene: &Scene, plan: Plan) -> Result<Sample, Failure> {
    let events = plan.event_count();
    let started = Instant::now();
    let daemon = stage.daemon(scene, &[]).await?;
    until_visible(scene, events as i64).await?;
    let took = started.elapsed();
    let peak_rss_kb = daemon.peak_rss_kb()?;
    daemon.stop().await?;
    let floor = Some(scene.store.project_floor().await?);
    let settings = scene.store.server_settings().await?;
    Ok(Sample { events, took, floor, peak_rss_kb, settings, ..Sample::default() })
}

/// Waits until all projections of the only tenant have reached a number.
pub(super) async fn until_visible(scene: &Scene, log_seq: i64) -> Result<(), Failure> {
    until_all_visible(scene, 1, log_seq, LOOK).await
}

/// Waits until all projections of so many tenants have reached a number.
pub(super) async fn until_all_visible(
    scene: &Scene,
    tenants: usize,
    log_seq: i64,
    look: Duration,
) -> Result<(), Failure> {
    let names = Projection::ALL.map(Projection::as_str);
    let started = Instant::now();
    loop {
        let visible = scene.store.visible(&names).await?;
        if visible.iter().filter(|(_, cursor)| *cursor >= log_seq).count() >= tenants {
            return Ok(());
        }
        if started.elapsed() > PATIENCE {
            return Err(Failure::new(Code::Internal, "the log was not projected in time"));
        }
        tokio::time::sleep(look).await;
    }
}
