//! `bench`.

use std::io::IsTerminal as _;
use std::path::PathBuf;

use dg_projections::Code;
use dg_projections::json::{self, Json};

use super::direct;
use super::run::Signals;
use crate::bench::{self, Effort, Figure, Group, HEAD, Stage};
use crate::cli::Session;
use crate::failure::Failure;
use crate::output::{Format, note};
use crate::scratch::ScratchServer;

pub(crate) async fn run(session: &Session) -> Result<u8, Failure> {
    let groups = wanted(session);
    let recorded = recorded(session)?;
    let mut signals = Signals::new()?;
    // A cluster of its own unless a database is named: a running daemon's is not to be disturbed.
    let config = session.config()?;
    let server = match &config.database_url {
        Some(_) => ScratchServer::beside(direct::database(session)?),
        None => ScratchServer::own("dg_bench", config.postgres_bin_dir.clone()).await?,
    };
    let stage = Stage::new(server)?;
    let outcome = tokio::select! {
        outcome = measure(session, &stage, &groups) => outcome,
        () = signals.next() => Err(Failure::interrupted()),
    };
    stage.close().await;
    let figures = outcome?;
    print(session, &figures)?;
    let slower = recorded.map(|recorded| bench::below(&figures, &recorded)).unwrap_or_default();
    if slower.is_empty() {
        return Ok(0);
    }
    let message = format!("far slower than recorded: {}", slower.join("; "));
    Err(Failure::new(Code::Internal, message))
}

/// The groups that are named, in their own order.
fn wanted(session: &Session) -> Vec<Group> {
    let named: Vec<&String> = session.args.get_many("what").unwrap_or_default().collect();
    let is_wanted = |name: &str| named.iter().any(|one| *one == name || *one == "all");
    Group::ALL.into_iter().filter(|(name, _)| is_wanted(name)).map(|(_, group)| group).collect()
}

/// What was measured before, if figures are to be held against it.
fn recorded(session: &Session) -> Result<Option<Json>, Failure> {
    let Some(path) = session.args.get_one::<PathBuf>("baseline") else { return Ok(None) };
    let bad = |reason: String| {
        let message = format!("--baseline {}: {reason}", path.display());
        Failure::new(Code::InvalidArgument, message)
    };
    let text = std::fs::read_to_string(path).map_err(|error| bad(error.to_string()))?;
    json::parse(&text).map(Some).map_err(|error| bad(error.to_string()))
}

async fn measure(
    session: &Session,
    stage: &Stage,
    groups: &[Group],
) -> Result<Vec<Figure>, Failure> {
    let number = |name: &str| session.args.get_one::<u64>(name).copied().unwrap_or(1).max(1);
    let (traces, rounds, seconds) = (number("traces"), number("rounds"), number("seconds"));
    let effort = Effort { traces, rounds: rounds as usize, seconds };
    let tells = std::io::stderr().is_terminal();
    let say = |what: &str| {
        if tells {
            note(what);
        }
    };
    let mut figures = Vec::new();
    for group in groups {
        figures.extend(bench::run(*group, stage, effort, &say).await?);
    }
    Ok(figures)
}

fn print(session: &Session, figures: &[Figure]) -> Result<(), Failure> {
    let mut output = session.output;
    if session.args.get_flag("json") {
        output.format = Format::Json;
    }
    let shown: Vec<Json> = figures.iter().map(Figure::to_json).collect();
    output.many(&shown, |_| {
        let table = output.table(&HEAD, figures.iter().map(Figure::row).collect());
        let ground = figures.first().map(Figure::ground).unwrap_or_default();
        format!("{table}\n{ground}")
    })
}
