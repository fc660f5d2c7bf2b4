//! `append_single`, `append_concurrent`, `import`: events on their way into the log.
//!
//! The floor inserts the same rows, in the order that they have in the log, into a copy of it with all
//! its keys. The figures are of the log alone, as the floor is; `import_live` is the import as a user
//! sees it, with all projections catching up meanwhile.

use std::io::Write as _;
use std::time::{Duration, Instant};

use dg_projections::event::{DEFAULT_TENANT, Line};
use tokio::task::JoinSet;

use super::sender::{Sender, request};
use super::stage::{Daemon, Scene, Stage};
use super::{Effort, Figure, Sample, ended, median_of, parsed, refused};
use crate::commands::{Mode, Source, feed};
use crate::failure::Failure;
use crate::generate::{Plan, lines};

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
    let floor = floor(&scene, of_one_tenant(plan), 1).await?;
    let daemon = stage.daemon(&scene, &LOG_ALONE).await?;
    warm_up(&daemon).await?;
    let (took, each) = send_together(&daemon, vec![requests(None, plan)]).await?;
    finish(stage, scene, daemon, Sample { floor, each, took, ..of(plan, "1 client") }).await
}

/// Many clients with traces of their own, an event a request.
async fn concurrent(stage: &Stage, plan: Plan, own_tenants: bool) -> Result<Sample, Failure> {
    let each = Plan { traces: (plan.traces / CLIENTS).max(1), ..plan };
    let scene = stage.scene().await?;
    let floor = floor(&scene, in_turns(each, own_tenants), BATCH).await?;
    let daemon = stage.daemon(&scene, &LOG_ALONE).await?;
    let of_all = |plan_of: &dyn Fn(u64) -> Plan| -> Vec<Vec<String>> {
        let tenant = |number| own_tenants.then(|| tenant_of(number));
        (0..CLIENTS).map(|number| requests(tenant(number).as_deref(), plan_of(number))).collect()
    };
    // Each tenant has its lane and its head before the clock runs.
    let first = |number| Plan { traces: 1, seed: WARM_UP.seed - 1 - number, ..WARM_UP };
    send_together(&daemon, of_all(&first)).await?;
    let its_own = of_all(&|number| of_client(each, number));
    let (took, each) = send_together(&daemon, its_own).await?;
    let events = each.len() as u64;
    finish(stage, scene, daemon, Sample { events, floor, each, took, ..of(plan, "64 clients") })
        .await
}

fn of_client(each: Plan, number: u64) -> Plan {
    Plan { seed: each.seed + number, ..each }
}

fn tenant_of(number: u64) -> String {
    format!("tenant-{number:04}")
}

/// The events of all clients as the log has them: the clients take turns.
fn in_turns(each: Plan, own_tenants: bool) -> impl Iterator<Item = Result<Line, Failure>> {
    let of_clients: Vec<(String, Vec<String>)> = (0..CLIENTS)
        .map(|number| {
            let tenant = if own_tenants { tenant_of(number) } else { DEFAULT_TENANT.to_owned() };
            (tenant, lines(of_client(each, number)).collect())
        })
        .collect();
    let turns = of_clients.iter().map(|(_, texts)| texts.len()).max().unwrap_or(0);
    (0..turns).flat_map(move |turn| {
        let its = |(tenant, texts): &(String, Vec<String>)| Some(parsed(tenant, texts.get(turn)?));
        of_clients.iter().filter_map(its).collect::<Vec<_>>()
    })
}

/// A file, as `decisiongraph import` reads it.
async fn import(stage: &Stage, plan: Plan, flags: &[&str]) -> Result<Sample, Failure> {
    let path = stage.file("log.jsonl");
    write_file(&path, plan)?;
    let scene = stage.scene().await?;
    let floor = floor(&scene, of_one_tenant(plan), BATCH).await?;
    let daemon = stage.daemon(&scene, flags).await?;
    warm_up(&daemon).await?;
    let client = daemon.client();
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
async fn floor(
    scene: &Scene,
    lines: impl Iterator<Item = Result<Line, Failure>>,
    batch: usize,
) -> Result<Option<Duration>, Failure> {
    let mut floor = scene.store.floor().await?;
    let warm_up: Vec<Line> = of_one_tenant(WARM_UP).collect::<Result<_, _>>()?;
    floor.insert(&warm_up, batch).await?;
    let (mut lines, mut took) = (lines.peekable(), Duration::ZERO);
    while lines.peek().is_some() {
        let chunk: Vec<Line> = lines.by_ref().take(BATCH).collect::<Result<_, _>>()?;
        took += floor.insert(&chunk, batch).await?.iter().sum::<Duration>();
    }
    Ok(Some(took))
}

fn of_one_tenant(plan: Plan) -> impl Iterator<Item = Result<Line, Failure>> {
    lines(plan).map(|text| parsed(DEFAULT_TENANT, &text))
}

async fn warm_up(daemon: &Daemon) -> Result<(), Failure> {
    send_together(daemon, vec![requests(None, WARM_UP)]).await.map(drop)
}

fn requests(tenant: Option<&str>, plan: Plan) -> Vec<String> {
    lines(plan).map(|line| request(tenant, &line)).collect()
}

/// Clients that send their events beside each other: how long that took, and each event.
async fn send_together(
    daemon: &Daemon,
    clients: Vec<Vec<String>>,
) -> Result<(Duration, Vec<Duration>), Failure> {
    let mut ready = Vec::with_capacity(clients.len());
    for requests in clients {
        ready.push((daemon.sender().await?, requests));
    }
    let mut sending = JoinSet::new();
    let started = Instant::now();
    // A task each, also of one: the main thread would be woken by another for each answer.
    for (mut sender, requests) in ready {
        sending.spawn(async move { send_each(&mut sender, &requests).await });
    }
    let mut each = Vec::new();
    while let Some(client) = sending.join_next().await {
        each.extend(ended(client)?);
    }
    Ok((started.elapsed(), each))
}

/// Sends events one by one; how long each took.
async fn send_each(sender: &mut Sender, requests: &[String]) -> Result<Vec<Duration>, Failure> {
    let mut each = Vec::with_capacity(requests.len());
    for request in requests {
        let started = Instant::now();
        sender.send(request).await?;
        each.push(started.elapsed());
    }
    Ok(each)
}
