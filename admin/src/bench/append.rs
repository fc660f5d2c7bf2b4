//! `append_single`, `append_concurrent`, `import`: events on their way into the log.
//!
//! The floor inserts the same rows into a copy of the log with all its keys. The figures are of the
//! log alone, as the floor is; `import_live` is the import as a user sees it, with all projections
//! catching up meanwhile.

use std::io::Write as _;
use std::time::{Duration, Instant};

use bytes::Bytes;
use dg_projections::event::{DEFAULT_TENANT, Line};
use dg_projections::json::Json;
use tokio::task::JoinSet;

use super::stage::{Daemon, Scene, Stage};
use super::{Effort, Figure, Sample, ended, median_of, parsed, refused};
use crate::client::Client;
use crate::commands::{Mode, Source, feed};
use crate::failure::Failure;
use crate::generate::{Plan, lines};
use crate::server::JSON_LINES;

/// Events of the floor's larger transactions.
const BATCH: usize = 1_000;
const CLIENTS: u64 = 64;
/// What part of the bulk measurements the others take.
const SINGLE_PART: u64 = 80;
const CONCURRENT_PART: u64 = 10;
const LOG_ALONE: [&str; 2] = ["--projections", "none"];
/// Warm-up has ids of its own.
const WARM_UP: Plan =
    Plan { traces: 20, events_per_trace: 8, payload_bytes: 510, tenants: 1, seed: u64::MAX };

pub(super) async fn all(
    stage: &Stage,
    effort: Effort,
    say: &dyn Fn(&str),
) -> Result<Vec<Figure>, Failure> {
    let one = effort.plan(SINGLE_PART, 1);
    let many = effort.plan(CONCURRENT_PART, 1);
    let bulk = effort.plan(1, 1);
    Ok(vec![
        median_of("append_single", effort, say, || single(stage, one)).await?,
        median_of("append_concurrent_1_tenant", effort, say, || concurrent(stage, many, false))
            .await?,
        median_of("append_concurrent_64_tenants", effort, say, || concurrent(stage, many, true))
            .await?,
        median_of("import", effort, say, || import(stage, bulk, &LOG_ALONE)).await?,
        median_of("import_live", effort, say, || import(stage, bulk, &[])).await?,
    ])
}

/// One client, an event a request.
async fn single(stage: &Stage, plan: Plan) -> Result<Sample, Failure> {
    let scene = stage.scene().await?;
    let floor = floor(&scene, plan, 1).await?;
    let daemon = stage.daemon(&scene, &LOG_ALONE).await?;
    let client = daemon.client();
    send_each(&client, lines(WARM_UP)).await?;
    let texts: Vec<String> = lines(plan).collect();
    let started = Instant::now();
    // A task, as the clients of `concurrent` are: between the main thread and those of its connection each
    // answer would cost another wake-up.
    let sending = tokio::spawn(async move { send_each(&client, texts.into_iter()).await });
    let each = ended(sending.await)?;
    let took = started.elapsed();
    finish(stage, scene, daemon, Sample { floor, each, took, ..of(plan, "1 client") }).await
}

/// Many clients with traces of their own, an event a request.
async fn concurrent(stage: &Stage, plan: Plan, own_tenants: bool) -> Result<Sample, Failure> {
    let traces = (plan.traces / CLIENTS).max(1);
    let plan_of = |client| Plan { traces, seed: plan.seed + client, ..plan };
    let scene = stage.scene().await?;
    let mut floor_took = Duration::ZERO;
    let all = (0..CLIENTS).flat_map(|client| lines(plan_of(client)));
    insert_floor(&scene, all, BATCH, &mut floor_took).await?;
    let daemon = stage.daemon(&scene, &LOG_ALONE).await?;
    send_each(&daemon.client(), lines(WARM_UP)).await?;
    let ready = (0..CLIENTS).map(|number| {
        let tenant = own_tenants.then(|| format!("tenant-{number:04}"));
        (daemon.client_for(tenant), lines(plan_of(number)).collect())
    });
    let ready: Vec<(Client, Vec<String>)> = ready.collect();
    let mut clients = JoinSet::new();
    let started = Instant::now();
    for (client, texts) in ready {
        clients.spawn(async move { send_each(&client, texts.into_iter()).await });
    }
    let mut each = Vec::new();
    while let Some(client) = clients.join_next().await {
        each.extend(ended(client)?);
    }
    let took = started.elapsed();
    let events = each.len() as u64;
    let sample = Sample { events, floor: Some(floor_took), each, took, ..of(plan, "64 clients") };
    finish(stage, scene, daemon, sample).await
}

/// A file, as `decisiongraph import` reads it.
async fn import(stage: &Stage, plan: Plan, flags: &[&str]) -> Result<Sample, Failure> {
    let path = stage.file("log.jsonl");
    write_file(&path, plan)?;
    let scene = stage.scene().await?;
    let floor = floor(&scene, plan, BATCH).await?;
    let daemon = stage.daemon(&scene, flags).await?;
    let client = daemon.client();
    send_each(&client, lines(WARM_UP)).await?;
    let mut source = Source::open(&path.to_string_lossy()).await?;
    let started = Instant::now();
    let tally = feed(&client, &mut source, Mode::default(), |_, _| Ok(())).await?;
    let took = started.elapsed();
    if tally.inserted != plan.event_count() {
        return Err(refused(&format!("{tally:?}")));
    }
    finish(stage, scene, daemon, Sample { floor, took, ..of(plan, "1 file") }).await
}

pub(super) fn write_file(path: &std::path::Path, plan: Plan) -> Result<(), Failure> {
    let mut file = std::io::BufWriter::new(std::fs::File::create(path)?);
    for line in lines(plan) {
        writeln!(file, "{line}")?;
    }
    Ok(file.flush()?)
}

fn of(plan: Plan, clients: &str) -> Sample {
    let settings = [
        ("clients", clients.to_owned()),
        ("payload_bytes", plan.payload_bytes.to_string()),
        ("events_per_trace", plan.events_per_trace.to_string()),
    ];
    let settings = settings.map(|(name, value)| (name.to_owned(), value)).to_vec();
    Sample { events: plan.event_count(), settings, ..Sample::default() }
}

async fn finish(
    stage: &Stage,
    scene: Scene,
    daemon: Daemon,
    mut sample: Sample,
) -> Result<Sample, Failure> {
    sample.peak_rss_kb = daemon.peak_rss_kb()?;
    daemon.stop().await?;
    sample.settings.extend(scene.store.server_settings().await?);
    stage.clear(scene).await;
    Ok(sample)
}

/// How long Postgres alone takes for these events.
async fn floor(scene: &Scene, plan: Plan, batch: usize) -> Result<Option<Duration>, Failure> {
    let mut took = Duration::ZERO;
    insert_floor(scene, lines(plan), batch, &mut took).await?;
    Ok(Some(took))
}

async fn insert_floor(
    scene: &Scene,
    texts: impl Iterator<Item = String>,
    batch: usize,
    took: &mut Duration,
) -> Result<(), Failure> {
    let mut floor = scene.store.floor().await?;
    let warm_up: Vec<Line> =
        lines(WARM_UP).map(|text| parsed(DEFAULT_TENANT, &text)).collect::<Result<_, _>>()?;
    floor.insert(&warm_up, batch).await?;
    let mut texts = texts.peekable();
    while texts.peek().is_some() {
        let chunk: Vec<Line> = texts
            .by_ref()
            .take(BATCH)
            .map(|text| parsed(DEFAULT_TENANT, &text))
            .collect::<Result<_, _>>()?;
        *took += floor.insert(&chunk, batch).await?.iter().sum::<Duration>();
    }
    Ok(())
}

/// Sends events one by one; how long each took.
async fn send_each(
    client: &Client,
    texts: impl Iterator<Item = String>,
) -> Result<Vec<Duration>, Failure> {
    let mut each = Vec::new();
    for text in texts {
        let started = Instant::now();
        let answer = client.post("/v1/events", &[], JSON_LINES, Bytes::from(text)).await?;
        each.push(started.elapsed());
        let status = answer.get("results").and_then(Json::as_array).and_then(|all| all.first());
        if status.and_then(|one| one.get("status")).and_then(Json::as_str) != Some("inserted") {
            return Err(refused(&dg_projections::json::canonical(&answer)));
        }
    }
    Ok(each)
}
