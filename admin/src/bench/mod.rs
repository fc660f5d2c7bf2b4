//! Benchmarks: the product's own path, and in the same run and cluster the floor, which is what
//! Postgres itself gives for the same rows.
//!
//! ```text
//! round:  floor on a copy of the table ─► warm-up ─► the product ─► one ratio
//! figure: the round with the median ratio, whole
//! ```
//! Machines drift by a fifth from hour to hour: the two halves of a ratio lie seconds apart, and
//! nothing else is to be compared. Each measurement has a database of its own and a daemon in a
//! process of its own, which is what its memory is read of; both are gone afterwards.
//!
//! Deliberately absent: settings that a user would not run. The daemon has its defaults, but that
//! figures of the log alone keep no projections.

mod append;
mod baseline;
mod digest;
mod figure;
mod goals;
mod grow;
mod idle;
mod lag;
mod project;
mod read;
mod rebuild;
mod sender;
mod shapes;
mod stage;
mod stress;
mod tenants;

pub(crate) use baseline::below;
pub(crate) use figure::{Figure, HEAD};
pub(crate) use stage::Stage;

use dg_projections::Code;
use dg_projections::event::{Keeping, Line, parse_line};
use tokio::task::JoinError;

use crate::failure::Failure;
use crate::generate::Plan;
use figure::Sample;
use stage::Scene;

/// What to measure, and how much of it.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Effort {
    /// Traces of 8 events in the bulk measurements; the others take a fixed part of them.
    pub(crate) traces: u64,
    /// Measurements of which the median is taken.
    pub(crate) rounds: usize,
    /// How long a steady load lasts.
    pub(crate) seconds: u64,
}

/// A group of measurements.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Group {
    Append,
    Read,
    Project,
    Rebuild,
    Lag,
    Idle,
    Digest,
    Curve,
    Tenants,
    Shapes,
    Stress,
}

impl Group {
    /// All, in the order in which they are measured.
    pub(crate) const ALL: [(&'static str, Group); 11] = [
        ("append", Group::Append),
        ("read", Group::Read),
        ("project", Group::Project),
        ("rebuild", Group::Rebuild),
        ("lag", Group::Lag),
        ("idle", Group::Idle),
        ("digest", Group::Digest),
        ("curve", Group::Curve),
        ("tenants", Group::Tenants),
        ("shapes", Group::Shapes),
        ("stress", Group::Stress),
    ];
}

/// Measures a group; `say` is told what is being done.
///
/// # Errors
/// When a daemon does not start, or refuses what it should take.
pub(crate) async fn run(
    group: Group,
    stage: &Stage,
    effort: Effort,
    say: &dyn Fn(&str),
) -> Result<Vec<Figure>, Failure> {
    match group {
        Group::Append => append::all(stage, effort, say).await,
        Group::Read => read::all(stage, effort, say).await,
        Group::Project => project::all(stage, effort, say).await,
        Group::Rebuild => rebuild::all(stage, effort, say).await,
        Group::Lag => lag::all(stage, effort, say).await,
        Group::Idle => idle::all(stage, effort, say).await,
        Group::Digest => digest::all(stage, effort, say).await,
        Group::Curve => grow::all(stage, effort, say).await,
        Group::Tenants => tenants::all(stage, effort, say).await,
        Group::Shapes => shapes::all(stage, effort, say).await,
        Group::Stress => stress::all(stage, effort, say).await,
    }
}

impl Effort {
    /// The standard workload, or a part of it.
    fn plan(&self, part: u64, tenants: u32) -> Plan {
        let traces = (self.traces / part).max(tenants.into());
        Plan { traces, tenants, ..Plan::default() }
    }

    /// So many of something when the whole workload is measured, and as many fewer as it is smaller.
    fn scaled(&self, of_whole: u64) -> u64 {
        (of_whole * self.traces / Plan::default().traces).max(1)
    }

    /// For what takes long and is even: once.
    fn once(self) -> Effort {
        Effort { rounds: 1, ..self }
    }
}

/// Repeats a measurement and takes the median.
async fn median_of<F: Future<Output = Result<Sample, Failure>>>(
    name: &str,
    effort: Effort,
    say: &dyn Fn(&str),
    mut measure: impl FnMut() -> F,
) -> Result<Figure, Failure> {
    let mut samples = Vec::with_capacity(effort.rounds);
    for round in 1..=effort.rounds {
        say(&format!("{name}: round {round} of {}", effort.rounds));
        samples.push(measure().await?);
    }
    Ok(Figure::median(name, samples))
}

/// Events of a page, and of a batch that fills a log.
const PAGE: i64 = 1_000;

/// Puts a tenant's log into a database.
async fn fill(
    scene: &Scene,
    tenant: &str,
    texts: impl Iterator<Item = String>,
) -> Result<(), Failure> {
    let mut texts = texts.peekable();
    while texts.peek().is_some() {
        let batch = texts.by_ref().take(PAGE as usize);
        let batch: Vec<Line> = batch.map(|text| parsed(tenant, &text)).collect::<Result<_, _>>()?;
        for answer in scene.store.append(tenant, &batch).await? {
            answer.map_err(|rejection| Failure::new(rejection.code, rejection.message))?;
        }
    }
    Ok(())
}

/// A generated line, which is always valid.
fn parsed(tenant: &str, text: &str) -> Result<Line, Failure> {
    parse_line(text, tenant, Keeping::NewNumbers)
        .map_err(|rejection| Failure::new(rejection.code, rejection.message))
}

/// What a task of ours came to.
fn ended<T>(task: Result<Result<T, Failure>, JoinError>) -> Result<T, Failure> {
    task.map_err(|panic| Failure::new(Code::Internal, panic.to_string()))?
}

fn refused(answer: &str) -> Failure {
    Failure::new(Code::Internal, format!("events of the benchmark were not taken: {answer}"))
}
