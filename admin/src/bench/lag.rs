//! `lag`: from sending an event to its being visible in all three projections, at a steady rate over
//! many tenants, alone and beside another tenant's import.
//!
//! Each tenant has a sender that keeps to its times, whatever the answers take; one watcher looks at
//! all cursors every millisecond or two, which is how exact the figure is.

use std::collections::{HashMap, VecDeque};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use bytes::Bytes;
use dg_projections::Code;
use dg_projections::json::Json;
use dg_projections::projection::Projection;
use dg_store::Store;
use tokio::task::{JoinHandle, JoinSet};
use tokio::time::MissedTickBehavior;

use super::append::write_file;
use super::stage::Stage;
use super::{Effort, Figure, Sample, ended, median_of};
use crate::client::Client;
use crate::commands::{Mode, Source, feed};
use crate::failure::Failure;
use crate::generate::{Plan, lines};
use crate::server::JSON_LINES;

const TENANTS: u64 = 20;
const LOOK: Duration = Duration::from_millis(1);
/// How long the last events may take to become visible.
const PATIENCE: Duration = Duration::from_secs(30);

pub(super) async fn all(
    stage: &Stage,
    effort: Effort,
    say: &dyn Fn(&str),
) -> Result<Vec<Figure>, Failure> {
    let once = Effort { rounds: 1, ..effort };
    Ok(vec![
        median_of("lag_200", once, say, || lag(stage, 200, effort, false)).await?,
        median_of("lag_1000", once, say, || lag(stage, 1_000, effort, false)).await?,
        median_of("lag_200_beside_import", once, say, || lag(stage, 200, effort, true)).await?,
    ])
}

/// Events that were answered and are not visible yet, by tenant.
#[derive(Debug, Default)]
pub(super) struct Unseen(Mutex<HashMap<String, VecDeque<(i64, Instant)>>>);

impl Unseen {
    fn add(&self, tenant: &str, log_seq: i64, sent: Instant) {
        let mut unseen = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        unseen.entry(tenant.to_owned()).or_default().push_back((log_seq, sent));
    }

    /// How long each event took that is visible now.
    fn seen(&self, visible: &[(String, i64)], now: Instant) -> Vec<Duration> {
        let mut unseen = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let mut took = Vec::new();
        for (tenant, cursor) in visible {
            let Some(waiting) = unseen.get_mut(tenant) else { continue };
            while waiting.front().is_some_and(|(log_seq, _)| log_seq <= cursor) {
                took.extend(waiting.pop_front().map(|(_, sent)| now.duration_since(sent)));
            }
        }
        took
    }
}

async fn lag(stage: &Stage, rate: u64, effort: Effort, flood: bool) -> Result<Sample, Failure> {
    let scene = stage.scene().await?;
    let daemon = stage.daemon(&scene, &[]).await?;
    let events = (rate * effort.seconds / TENANTS / 8).max(1) * 8;
    let unseen = Arc::new(Unseen::default());
    let flood = match flood {
        true => Some(tokio::spawn(import(
            daemon.client_for(Some("flood".to_owned())),
            stage.file("log.jsonl"),
            effort,
        ))),
        false => None,
    };
    let (_, all) = tokio::sync::watch::channel(Some(events * TENANTS));
    let watcher = watch(scene.store.clone(), unseen.clone(), all);
    let mut senders = JoinSet::new();
    let started = Instant::now();
    let period = Duration::from_secs(TENANTS).div_f64(rate as f64);
    for number in 0..TENANTS {
        let tenant = format!("tenant-{number:02}");
        let client = daemon.client_for(Some(tenant.clone()));
        let plan = Plan { traces: events / 8, seed: number + 1, ..Plan::default() };
        let first = started + period.mul_f64(number as f64 / TENANTS as f64);
        let texts = lines(plan);
        senders.spawn(send(client, tenant, texts, (first, period), unseen.clone()));
    }
    while let Some(sender) = senders.join_next().await {
        ended(sender)?;
    }
    let took = started.elapsed();
    let each = ended(watcher.await)?;
    // What is left of the import plays no part; it lasts as long as the load, if there is enough of it.
    if let Some(flood) = flood {
        flood.abort();
    }
    let peak_rss_kb = daemon.peak_rss_kb()?;
    daemon.stop().await?;
    let mut settings = scene.store.server_settings().await?;
    settings.push(("tenants".to_owned(), TENANTS.to_string()));
    stage.clear(scene).await;
    Ok(Sample { events: each.len() as u64, took, each, peak_rss_kb, settings, ..Sample::default() })
}

/// Imports the bulk workload again and again, each time another.
async fn import(client: Client, path: PathBuf, effort: Effort) -> Result<(), Failure> {
    for seed in 1_000.. {
        write_file(&path, Plan { seed, ..effort.plan(1, 1) })?;
        let mut source = Source::open(&path.to_string_lossy()).await?;
        feed(&client, &mut source, Mode::default(), |_, _| Ok(())).await?;
    }
    Ok(())
}

/// Sends each event at its time; how many.
pub(super) async fn send(
    client: Client,
    tenant: String,
    texts: impl Iterator<Item = String>,
    (first, period): (Instant, Duration),
    unseen: Arc<Unseen>,
) -> Result<u64, Failure> {
    let mut times = tokio::time::interval_at(first.into(), period);
    times.set_missed_tick_behavior(MissedTickBehavior::Burst);
    let mut sent = 0;
    for text in texts {
        let due = times.tick().await.into_std();
        let answer = client.post("/v1/events", &[], JSON_LINES, Bytes::from(text)).await?;
        let result = answer.get("results").and_then(Json::as_array).and_then(|all| all.first());
        let Some(log_seq) = result.and_then(|one| one.get("log_seq")).and_then(Json::as_i64) else {
            return Err(super::refused(&dg_projections::json::canonical(&answer)));
        };
        unseen.add(&tenant, log_seq, due);
        sent += 1;
    }
    Ok(sent)
}

/// Looks until as many events were visible as are to be, once that is known; how long each took.
pub(super) fn watch(
    store: Store,
    unseen: Arc<Unseen>,
    all: tokio::sync::watch::Receiver<Option<u64>>,
) -> JoinHandle<Result<Vec<Duration>, Failure>> {
    tokio::spawn(async move {
        let names = Projection::ALL.map(Projection::as_str);
        let mut each = Vec::new();
        let mut last = Instant::now();
        while all.borrow().is_none_or(|all| (each.len() as u64) < all) {
            let visible = store.visible(&names).await?;
            let seen = unseen.seen(&visible, Instant::now());
            if !seen.is_empty() {
                last = Instant::now();
            } else if last.elapsed() > PATIENCE {
                let message = format!("no event becomes visible any more after {}", each.len());
                return Err(Failure::new(Code::Internal, message));
            }
            each.extend(seen);
            tokio::time::sleep(LOOK).await;
        }
        Ok(each)
    })
}
