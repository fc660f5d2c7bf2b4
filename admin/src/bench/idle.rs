//! `idle`: what a daemon costs whose 10,000 tenants are quiet: transactions, processor, memory.
//!
//! `idle` is a daemon that had all of them at work at once, `idle_started` one that was started when
//! they were quiet. Tenants rest sooner than by default, since nobody would wait; nothing else is set.

use std::path::Path;
use std::time::{Duration, Instant};

use dg_projections::Code;
use dg_projections::json::Json;

use super::project::until_all_visible;
use super::stage::{Daemon, Scene, Stage, rss_kb};
use super::tenants::fill_tenants;
use super::{Effort, Figure, Sample};
use crate::failure::Failure;
use crate::generate::Plan;
use crate::monitor::processor_seconds;

const TENANTS: u64 = 10_000;
const LOOK: Duration = Duration::from_millis(250);
const PATIENCE: Duration = Duration::from_secs(900);
const SOONER: [&str; 2] = ["--tenant-idle-stop-ms", "3000"];
/// What was put off is done once so few transactions end in so long: digests that are looked at once more,
/// what the server says of itself.
const SETTLES: Duration = Duration::from_secs(2);
const SETTLED: i64 = 50;

pub(super) async fn all(
    stage: &Stage,
    effort: Effort,
    say: &dyn Fn(&str),
) -> Result<Vec<Figure>, Failure> {
    let count = effort.scaled(TENANTS);
    let each = Plan { traces: 1, ..Plan::default() };
    let scene = stage.scene().await?;
    say("idle: tenants at work");
    fill_tenants(&scene, count, each).await?;
    let daemon = stage.daemon(&scene, &SOONER).await?;
    until_all_visible(&scene, count as usize, each.event_count() as i64, LOOK).await?;
    let at_work_mb = kept_mb(&daemon)?;
    let mut worked = rested(&scene, daemon, (effort, say)).await?;
    worked.measures.push(("MB while at work", at_work_mb));
    let daemon = stage.daemon(&scene, &SOONER).await?;
    let started = rested(&scene, daemon, (effort, say)).await?;
    stage.clear(scene).await;
    let of = |name, sample| {
        Figure::median(name, vec![Sample { events: count * each.event_count(), ..sample }])
    };
    Ok(vec![of("idle", worked), of("idle_started", started)])
}

/// Waits until nothing is at work any more, then measures.
async fn rested(
    scene: &Scene,
    daemon: Daemon,
    (effort, say): (Effort, &dyn Fn(&str)),
) -> Result<Sample, Failure> {
    say("idle: tenants come to rest");
    until_at_rest(scene, &daemon).await?;
    until_settled(scene).await?;
    say("idle: at rest");
    let process = daemon.process()?;
    let (started, worked) = (Instant::now(), processor_seconds(&process).unwrap_or_default());
    let ended = scene.store.transactions().await?;
    tokio::time::sleep(Duration::from_secs(effort.seconds)).await;
    let (took, ended) = (started.elapsed(), scene.store.transactions().await? - ended);
    let worked = processor_seconds(&process).unwrap_or_default() - worked;
    let measures = vec![
        // One is the look of ours.
        ("queries/s", (ended - 1).max(0) as f64 / took.as_secs_f64()),
        ("% of a core", 100.0 * worked / took.as_secs_f64()),
        ("MB", kept_mb(&daemon)?),
    ];
    let peak_rss_kb = daemon.peak_rss_kb()?;
    daemon.stop().await?;
    let settings = scene.store.server_settings().await?;
    Ok(Sample { took, peak_rss_kb, settings, measures, ..Sample::default() })
}

async fn until_at_rest(scene: &Scene, daemon: &Daemon) -> Result<(), Failure> {
    let (client, started) = (daemon.client(), Instant::now());
    loop {
        let status = client.get("/v1/status", &[]).await?;
        let workers = status.get("workers").and_then(Json::as_object);
        if workers.is_none_or(dg_projections::json::Object::is_empty)
            && scene.store.tenants_without_digests().await?.is_empty()
        {
            return Ok(());
        }
        if started.elapsed() > PATIENCE {
            return Err(Failure::new(Code::Internal, "the tenants do not come to rest"));
        }
        tokio::time::sleep(LOOK).await;
    }
}

async fn until_settled(scene: &Scene) -> Result<(), Failure> {
    let (started, mut before) = (Instant::now(), scene.store.transactions().await?);
    while started.elapsed() < PATIENCE {
        tokio::time::sleep(SETTLES).await;
        let now = scene.store.transactions().await?;
        if now - before < SETTLED {
            return Ok(());
        }
        before = now;
    }
    Err(Failure::new(Code::Internal, "the daemon goes on asking the database"))
}

fn kept_mb(daemon: &Daemon) -> Result<f64, Failure> {
    let process: &Path = &daemon.process()?;
    Ok(rss_kb(process) as f64 / 1024.0)
}
