//! `doctor`: what can go wrong, at the installation and in operation, a line each with its remedy.
//!
//! ```text
//! configuration -> the daemon -> this machine | the database -> unfinished business
//! ```
//! Invariants: it works whether or not a daemon runs, changes nothing, and no question waits for
//! longer than [`PATIENCE`]. What a finding means is decided by the pure functions of the modules
//! `verdict`; asking is theirs who call them. What stands on something that is not there, such as
//! the settings of a server that does not answer, is left out.

mod business;
mod daemon;
mod database;
mod finding;
mod machine;
mod recovered;
mod verdict;

use std::path::Path;
use std::time::Duration;

use dg_projections::json::Json;

use crate::cli::Session;
use crate::config::{Config, Warning};
use crate::embedded;
use crate::failure::{Failure, exit};
use crate::output::{heard_or_not, printable};
use finding::{Finding, Status, Verdict};

/// How long one question may take.
const PATIENCE: Duration = Duration::from_secs(5);

pub(crate) async fn doctor(session: &Session) -> Result<u8, Failure> {
    if session.args.get_flag("recovered") {
        return recovered::recovered(session).await;
    }
    let findings = match session.config() {
        Ok(config) => examine(&beside_socket(session, config)).await,
        Err(failure) => misconfigured(&failure),
    };
    let shown: Vec<Json> = findings.iter().map(Finding::to_json).collect();
    heard_or_not(session.output.many(&shown, |_| for_people(session, &findings)))?;
    let has_failed = findings.iter().any(|finding| finding.verdict.status == Status::Failed);
    Ok(if has_failed { exit::FAILED } else { 0 })
}

/// Whoever names a socket means the daemon there: its cluster, if it stands beside the socket.
fn beside_socket(session: &Session, mut config: Config) -> Config {
    if session.has_flag("database_url") || session.has_flag("data_dir") {
        return config;
    }
    let socket = session.text("socket");
    let beside = socket.as_deref().and_then(|socket| Path::new(socket).parent());
    if let Some(dir) = beside.filter(|dir| matches!(embedded::config_of(dir), Ok(Some(_)))) {
        (config.database_url, config.data_dir) = (None, dir.to_owned());
    }
    config
}

/// A line for each problem: everything else stands on the configuration.
fn misconfigured(failure: &Failure) -> Vec<Finding> {
    let problems = failure.details.get("problems").and_then(Json::as_array).unwrap_or_default();
    let line = |problem: &str| {
        let help = "set it right where it stands, or take it out; `decisiongraph config check` tells when all is right";
        Verdict::failed(problem, help).of("configuration")
    };
    match problems {
        [] => vec![line(&failure.message)],
        all => all.iter().filter_map(Json::as_str).map(line).collect(),
    }
}

async fn examine(config: &Config) -> Vec<Finding> {
    let given = config.effective().filter(|one| one.source.to_string() != "default").count();
    let valid = Verdict::ok(format!("valid; settings given: {given}")).of("configuration");
    let daemon = daemon::ask(config).await;
    let (here, (there, way)) =
        tokio::join!(machine::examine(config, &daemon), database::examine(config, &daemon));
    let (business, neighbour) = business::examine(config, &daemon, &way).await;
    let told = daemon.findings(config, neighbour.as_ref());
    [vec![valid], warned(config), here, told, there, business].concat()
}

fn warned(config: &Config) -> Vec<Finding> {
    let finding = |warning: &Warning| {
        Verdict::warning(warning.to_string(), &warning.help).of("configuration")
    };
    config.warnings().iter().map(finding).collect()
}

/// The table, with each remedy below its line.
fn for_people(session: &Session, findings: &[Finding]) -> String {
    let row = |finding: &Finding| {
        let Verdict { status, found, brief, .. } = &finding.verdict;
        let found = brief.as_ref().unwrap_or(found);
        vec![finding.check.to_owned(), status.as_str().to_owned(), printable(found)]
    };
    let table =
        session.output.table(&["check", "status", "found"], findings.iter().map(row).collect());
    let helps = findings.iter().map(|finding| finding.verdict.help.as_deref());
    // The first line is the head.
    let helps = [None].into_iter().chain(helps);
    let mut lines = Vec::new();
    for (line, help) in table.lines().zip(helps) {
        lines.push(line.to_owned());
        lines.extend(help.map(|help| format!("  help: {}", printable(help))));
    }
    lines.join("\n")
}

/// What a question gives within its time.
async fn patiently<T>(question: impl Future<Output = T>) -> Option<T> {
    tokio::time::timeout(PATIENCE, question).await.ok()
}

/// What the system is asked may hang as long as a dead disk does; the question is left behind then.
async fn aside<T: Send + 'static>(question: impl FnOnce() -> T + Send + 'static) -> Option<T> {
    patiently(tokio::task::spawn_blocking(question)).await?.ok()
}
