//! `rebuild`: a rebuild of all projections of a full log, alone, and while 500 events/s are appended to
//! the same tenant; and how long those take to be visible meanwhile.
//!
//! The floor is that of `project`: the very rows, written into copies of their tables. Comparing what
//! was built with what is served, which a floor does not, is a part of the rebuild.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use bytes::Bytes;
use dg_projections::Code;
use dg_projections::event::DEFAULT_TENANT;
use dg_projections::json::Json;

use super::lag::{Unseen, send, watch};
use super::project::until_visible;
use super::stage::{Scene, Stage};
use super::{Effort, Figure, Sample, ended, fill, median_of};
use crate::client::Client;
use crate::failure::Failure;
use crate::generate::{Plan, lines};
use crate::server::JSON;

const LOOK: Duration = Duration::from_millis(20);
/// Live appends a second.
const RATE: u32 = 500;

pub(super) async fn all(
    stage: &Stage,
    effort: Effort,
    say: &dyn Fn(&str),
) -> Result<Vec<Figure>, Failure> {
    let plan = effort.plan(1, 1);
    let alone = median_of("rebuild", effort, say, || rebuild(stage, plan)).await?;
    say("rebuild_beside_500");
    let (beside, lag) = rebuild_beside(stage, plan).await?;
    Ok(vec![
        alone,
        Figure::median("rebuild_beside_500", vec![beside]),
        Figure::median("lag_500_beside_rebuild", vec![lag]),
    ])
}

async fn rebuild(stage: &Stage, plan: Plan) -> Result<Sample, Failure> {
    let scene = stage.scene().await?;
    fill(&scene, DEFAULT_TENANT, lines(plan)).await?;
    let sample = rebuilt(stage, &scene, plan).await?;
    stage.clear(scene).await;
    Ok(sample)
}

/// A daemon rebuilds all projections of the only tenant.
pub(super) async fn rebuilt(stage: &Stage, scene: &Scene, plan: Plan) -> Result<Sample, Failure> {
    let daemon = stage.daemon(scene, &[]).await?;
    until_visible(scene, plan.event_count() as i64).await?;
    let took = run(&daemon.client()).await?;
    let peak_rss_kb = daemon.peak_rss_kb()?;
    daemon.stop().await?;
    sample(scene, plan, took, peak_rss_kb).await
}

async fn sample(
    scene: &Scene,
    plan: Plan,
    took: Duration,
    peak_rss_kb: u64,
) -> Result<Sample, Failure> {
    let floor = Some(scene.store.project_floor().await?);
    let settings = scene.store.server_settings().await?;
    let events = plan.event_count();
    Ok(Sample { events, took, floor, peak_rss_kb, settings, ..Sample::default() })
}

/// The rebuild, and the lag of the appends beside it.
async fn rebuild_beside(stage: &Stage, plan: Plan) -> Result<(Sample, Sample), Failure> {
    let scene = stage.scene().await?;
    fill(&scene, DEFAULT_TENANT, lines(plan)).await?;
    let daemon = stage.daemon(&scene, &[]).await?;
    until_visible(&scene, plan.event_count() as i64).await?;
    let (unseen, ends) = (Arc::new(Unseen::default()), Arc::new(AtomicBool::new(false)));
    let (tell, all) = tokio::sync::watch::channel(None);
    let watcher = watch(scene.store.clone(), unseen.clone(), all);
    let (started, period) = (Instant::now(), Duration::from_secs(1) / RATE);
    let end = ends.clone();
    let texts = lines(Plan { seed: plan.seed + 1, ..Plan { traces: 1_000_000, ..plan } });
    let texts = texts.take_while(move |_| !end.load(Ordering::Relaxed));
    let tenant = DEFAULT_TENANT.to_owned();
    let sender = tokio::spawn(send(daemon.client(), tenant, texts, (started, period), unseen));
    let took = run(&daemon.client()).await?;
    ends.store(true, Ordering::Relaxed);
    let sent = ended(sender.await)?;
    let lasted = started.elapsed();
    tell.send_replace(Some(sent));
    let each = ended(watcher.await)?;
    let peak_rss_kb = daemon.peak_rss_kb()?;
    daemon.stop().await?;
    let rebuilt = sample(&scene, plan, took, peak_rss_kb).await?;
    stage.clear(scene).await;
    let settings = rebuilt.settings.clone();
    let lag =
        Sample { events: sent, took: lasted, each, peak_rss_kb, settings, ..Sample::default() };
    Ok((rebuilt, lag))
}

/// A rebuild of everything, from the request to its end.
async fn run(client: &Client) -> Result<Duration, Failure> {
    let request = r#"{"mode":"rebuild","projection_name":"all","reason":"benchmark"}"#;
    let started = Instant::now();
    let mut run = client.post("/v1/runs", &[], JSON, Bytes::from(request)).await?;
    let text = |run: &Json, key| run.get(key).and_then(Json::as_str).unwrap_or_default().to_owned();
    let path = format!("/v1/runs/{}", text(&run, "run_id"));
    while matches!(&*text(&run, "status"), "queued" | "running") {
        tokio::time::sleep(LOOK).await;
        run = client.get(&path, &[]).await?;
    }
    match &*text(&run, "status") {
        "completed" => Ok(started.elapsed()),
        other => {
            Err(Failure::new(Code::Internal, format!("the rebuild of a benchmark is {other}")))
        }
    }
}
