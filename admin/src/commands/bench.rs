//! `bench`.

use std::io::IsTerminal as _;

use dg_projections::json::Json;

use super::direct;
use super::run::Signals;
use crate::bench::{self, Effort, Figure, Group, HEAD, Stage};
use crate::cli::Session;
use crate::failure::Failure;
use crate::output::{Format, note};
use crate::scratch::ScratchServer;

pub(crate) async fn run(session: &Session) -> Result<u8, Failure> {
    let groups = match session.required("what")?.as_str() {
        "append" => vec![Group::Append],
        "read" => vec![Group::Read],
        "project" => vec![Group::Project],
        "rebuild" => vec![Group::Rebuild],
        "lag" => vec![Group::Lag],
        _ => vec![Group::Append, Group::Read, Group::Project, Group::Rebuild, Group::Lag],
    };
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
    print(session, &outcome?)?;
    Ok(0)
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
    output.many(&shown, |_| output.table(&HEAD, figures.iter().map(Figure::row).collect()))
}
