//! `stress`: 100 tenants hungry at once, as in `tenants`, under what a daemon has little of: connections,
//! and a disk that is quick. What it then gives stands beside what it gives without; and meanwhile
//! the operator's `status` is asked for again and again, which is what p50 and p99 are of.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use tokio::task::JoinHandle;

use super::project::until_all_visible;
use super::stage::{Daemon, Stage};
use super::tenants::{LOOK, fill_tenants};
use super::{Effort, Figure, Sample, ended, median_of};
use crate::failure::Failure;
use crate::generate::Plan;

const TENANTS: u64 = 100;
/// Traces of 8 events.
const EACH: u64 = 25;
/// The fewest connections that a daemon may be given.
const FEW: [&str; 2] = ["--pool-size", "4"];
/// What a flush takes on a disk that turns.
const FLUSH: Duration = Duration::from_millis(10);
const PAUSE: Duration = Duration::from_millis(20);

pub(super) async fn all(
    stage: &Stage,
    effort: Effort,
    say: &dyn Fn(&str),
) -> Result<Vec<Figure>, Failure> {
    let count = effort.scaled(TENANTS);
    let few = median_of("stress_few_connections", effort, say, || stress(stage, count, &FEW, None));
    let mut figures = vec![few.await?];
    if may_slow_commits(stage).await? {
        let slow = || stress(stage, count, &[], Some(FLUSH));
        figures.push(median_of("stress_slow_disk", effort, say, slow).await?);
    } else {
        say("stress_slow_disk is left out: it takes a superuser");
    }
    Ok(figures)
}

async fn may_slow_commits(stage: &Stage) -> Result<bool, Failure> {
    let scene = stage.scene().await?;
    let may = scene.store.is_superuser().await?;
    stage.clear(scene).await;
    Ok(may)
}

async fn stress(
    stage: &Stage,
    count: u64,
    flags: &[&str],
    flush: Option<Duration>,
) -> Result<Sample, Failure> {
    let plain = hungry(stage, count, &[], None).await?;
    let floor = Some(plain.took);
    Ok(Sample { floor, ..hungry(stage, count, flags, flush).await? })
}

async fn hungry(
    stage: &Stage,
    count: u64,
    flags: &[&str],
    flush: Option<Duration>,
) -> Result<Sample, Failure> {
    let each = Plan { traces: EACH, ..Plan::default() };
    let scene = stage.scene().await?;
    fill_tenants(&scene, count, each).await?;
    if let Some(flush) = flush {
        scene.store.slow_commits(flush).await?;
    }
    let started = Instant::now();
    let daemon = stage.daemon(&scene, flags).await?;
    let done = Arc::new(AtomicBool::new(false));
    let asking = ask(&daemon, &done);
    until_all_visible(&scene, count as usize, each.event_count() as i64, LOOK).await?;
    let took = started.elapsed();
    done.store(true, Ordering::Relaxed);
    let answered = ended(asking.await)?;
    let peak_rss_kb = daemon.peak_rss_kb()?;
    daemon.stop().await?;
    let settings = scene.store.server_settings().await?;
    stage.clear(scene).await;
    let events = count * each.event_count();
    Ok(Sample { events, took, each: answered, peak_rss_kb, settings, ..Sample::default() })
}

/// Asks for the status until it is done; how long each answer took. No answer is a failure.
fn ask(daemon: &Daemon, done: &Arc<AtomicBool>) -> JoinHandle<Result<Vec<Duration>, Failure>> {
    let (client, done) = (daemon.client(), done.clone());
    tokio::spawn(async move {
        let mut answered = Vec::new();
        while !done.load(Ordering::Relaxed) {
            let asked = Instant::now();
            client.get("/v1/status", &[]).await?;
            answered.push(asked.elapsed());
            tokio::time::sleep(PAUSE).await;
        }
        Ok(answered)
    })
}
