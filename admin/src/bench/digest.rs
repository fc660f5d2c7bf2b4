//! `digest`: fresh digests of a full log's rows, asked for as `digest --fresh` does.
//!
//! The floor streams the same rows in the same order and hashes nothing.

use std::time::Instant;

use dg_projections::event::DEFAULT_TENANT;

use super::project::until_visible;
use super::stage::{Scene, Stage};
use super::{Effort, Figure, Sample, fill, median_of};
use crate::failure::Failure;
use crate::generate::{Plan, lines};

pub(super) async fn all(
    stage: &Stage,
    effort: Effort,
    say: &dyn Fn(&str),
) -> Result<Vec<Figure>, Failure> {
    let plan = effort.plan(1, 1);
    let scene = stage.scene().await?;
    fill(&scene, DEFAULT_TENANT, lines(plan)).await?;
    let scene_ref = &scene;
    let figure = median_of("digest", effort, say, || digest(stage, scene_ref, plan)).await?;
    stage.clear(scene).await;
    Ok(vec![figure])
}

/// Both twice, of which the second counts.
async fn digest(stage: &Stage, scene: &Scene, plan: Plan) -> Result<Sample, Failure> {
    let daemon = stage.daemon(scene, &[]).await?;
    until_visible(scene, plan.event_count() as i64).await?;
    let client = daemon.client();
    let fresh = [("fresh", Some("true".to_owned()))];
    scene.store.digest_floor(DEFAULT_TENANT).await?;
    client.get("/v1/digests", &fresh).await?;
    let floor = Some(scene.store.digest_floor(DEFAULT_TENANT).await?);
    let started = Instant::now();
    client.get("/v1/digests", &fresh).await?;
    let took = started.elapsed();
    let peak_rss_kb = daemon.peak_rss_kb()?;
    daemon.stop().await?;
    let settings = scene.store.server_settings().await?;
    let events = plan.event_count();
    Ok(Sample { events, took, floor, peak_rss_kb, settings, ..Sample::default() })
}
