//! `tenants`: a daemon finds the logs of 1,000 tenants, 200 events each, and all their 3,000 workers
//! begin at once; against `project` of as many events in one tenant.

use std::time::{Duration, Instant};

use super::project::{project, until_all_visible};
use super::stage::{Scene, Stage};
use super::{Effort, Figure, Sample, fill, median_of};
use crate::failure::Failure;
use crate::generate::{Plan, lines};

const TENANTS: u64 = 1_000;
/// Traces of 8 events.
const TRACES_EACH: u64 = 25;
pub(super) const LOOK: Duration = Duration::from_millis(50);

pub(super) async fn all(
    stage: &Stage,
    effort: Effort,
    say: &dyn Fn(&str),
) -> Result<Vec<Figure>, Failure> {
    let count = effort.scaled(TENANTS);
    Ok(vec![median_of("tenants", effort, say, || tenants(stage, count)).await?])
}

async fn tenants(stage: &Stage, count: u64) -> Result<Sample, Failure> {
    let each = Plan { traces: TRACES_EACH, ..Plan::default() };
    let one = project(stage, Plan { traces: count * TRACES_EACH, ..each }).await?;
    let scene = stage.scene().await?;
    fill_tenants(&scene, count, each).await?;
    let started = Instant::now();
    let daemon = stage.daemon(&scene, &[]).await?;
    until_all_visible(&scene, count as usize, each.event_count() as i64, LOOK).await?;
    let took = started.elapsed();
    let peak_rss_kb = daemon.peak_rss_kb()?;
    daemon.stop().await?;
    let mut settings = scene.store.server_settings().await?;
    settings.push(("tenants".to_owned(), count.to_string()));
    stage.clear(scene).await;
    let events = count * each.event_count();
    let floor = Some(one.took);
    Ok(Sample { events, took, floor, peak_rss_kb, settings, ..Sample::default() })
}

/// Gives so many tenants logs of their own.
pub(super) async fn fill_tenants(scene: &Scene, count: u64, each: Plan) -> Result<(), Failure> {
    for number in 0..count {
        let plan = Plan { seed: number + 1, ..each };
        fill(scene, &format!("tenant-{number:05}"), lines(plan)).await?;
    }
    Ok(())
}
