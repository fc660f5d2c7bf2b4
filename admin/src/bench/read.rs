//! `read`: a worker's pages, with all that comes with them; `export`: a tenant's log through the
//! socket, in the memory of a few pages.

use std::path::Path;
use std::time::{Duration, Instant};

use dg_projections::Code;
use dg_projections::event::DEFAULT_TENANT;
use dg_projections::projection::Projection;
use dg_store::{Cursor, Store};

use super::stage::{Scene, Stage, peak_rss_kb};
use super::{Effort, Figure, PAGE, Sample, ended, fill, median_of};
use crate::failure::Failure;
use crate::generate::lines;

pub(super) async fn all(
    stage: &Stage,
    effort: Effort,
    say: &dyn Fn(&str),
) -> Result<Vec<Figure>, Failure> {
    let plan = effort.plan(1, 1);
    let scene = stage.scene().await?;
    fill(&scene, DEFAULT_TENANT, lines(plan)).await?;
    let scene_ref = &scene;
    let figures = vec![
        median_of("read", effort, say, || read(scene_ref)).await?,
        median_of("export", effort, say, || export(stage, scene_ref)).await?,
    ];
    stage.clear(scene).await;
    Ok(figures)
}

/// The pages of the graph, whose worker needs most of an event.
async fn read(scene: &Scene) -> Result<Sample, Failure> {
    let floor = floor(scene).await?;
    // A task, as a worker is: between the main thread and that of its connection each piece of a page would
    // cost a wake-up.
    let store = scene.store.clone();
    let (each, took) = ended(tokio::spawn(async move { pages(&store).await }).await)?;
    let events = each.iter().map(|(events, _)| *events as u64).sum();
    let each = each.into_iter().map(|(_, took)| took).collect();
    let peak_rss_kb = peak_rss_kb(Path::new("/proc/self"));
    let settings = settings(scene).await?;
    Ok(Sample {
        events,
        took,
        floor: Some(floor),
        each,
        peak_rss_kb,
        settings,
        ..Sample::default()
    })
}

/// Page by page to the end of the log: the events of each and how long it took, and how long all did.
async fn pages(store: &Store) -> Result<(Vec<(usize, Duration)>, Duration), Failure> {
    let (mut cursor, mut each) = (0, Vec::new());
    let started = Instant::now();
    loop {
        let asked = Instant::now();
        let from = Cursor::whole(1, cursor, 0);
        let page = store.read_page(DEFAULT_TENANT, Projection::ContextGraph, from, PAGE).await?;
        let Some(last) = page.events.last() else { break };
        cursor = last.log_seq;
        each.push((page.events.len(), asked.elapsed()));
    }
    Ok((each, started.elapsed()))
}

async fn export(stage: &Stage, scene: &Scene) -> Result<Sample, Failure> {
    let floor = floor(scene).await?;
    let daemon = stage.daemon(scene, &["--projections", "none"]).await?;
    let mut events = 0;
    let started = Instant::now();
    let count = |_: &str| {
        events += 1;
        Ok(())
    };
    daemon.client().lines("/v1/events", &[], count).await?;
    let took = started.elapsed();
    let peak_rss_kb = daemon.peak_rss_kb()?;
    daemon.stop().await?;
    let settings = settings(scene).await?;
    Ok(Sample { events, took, floor: Some(floor), peak_rss_kb, settings, ..Sample::default() })
}

/// How long Postgres alone takes to hand the log out, page by page; once before it counts.
async fn floor(scene: &Scene) -> Result<Duration, Failure> {
    let floor = scene.store.floor().await?;
    floor.read(DEFAULT_TENANT, PAGE).await?;
    let pages = floor.read(DEFAULT_TENANT, PAGE).await?;
    if pages.iter().any(|(bytes, _)| *bytes == 0) {
        return Err(Failure::new(Code::Internal, "a page of the floor had no payload"));
    }
    Ok(pages.iter().map(|(_, took)| *took).sum())
}

async fn settings(scene: &Scene) -> Result<Vec<(String, String)>, Failure> {
    let mut settings = scene.store.server_settings().await?;
    settings.push(("page_events".to_owned(), PAGE.to_string()));
    Ok(settings)
}
