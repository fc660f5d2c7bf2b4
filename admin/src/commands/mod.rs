//! The commands, by group: each turns arguments into a request, and an answer into print.

mod backup;
mod bench;
mod config;
mod demo;
mod direct;
mod doctor;
mod feed;
mod log;
mod operate;
mod prove;
mod read;
mod run;
mod runbook;
mod runs;
mod shell;
mod source;
mod top;
mod verify;
mod watch;

pub(crate) use feed::{Mode, feed};
pub(crate) use source::Source;

use dg_projections::Code;

use crate::cli::Session;
use crate::failure::Failure;

/// A tenant that is not there is, more often than not, the wrong one.
fn which_tenant(failure: Failure) -> Failure {
    if failure.code != Code::NotFound.as_str() {
        return failure;
    }
    failure
        .help("`decisiongraph health --all-tenants` shows which there are; name one with --tenant")
}

/// Runs a command; its exit code if it did not fail.
pub(crate) async fn run(name: &str, session: &Session) -> Result<u8, Failure> {
    match name {
        "serve" => run::serve(session).await,
        "demo" => demo::demo(session).await,
        "migrate" => run::migrate(session).await,
        "doctor" => doctor::doctor(session).await,
        "psql" => run::psql(session),
        "config" => config::config(session),
        "append" => log::append(session).await,
        "import" => log::import(session).await,
        "export" => log::export(session).await,
        "events" => log::events(session).await,
        "trace" => log::trace(session).await,
        "generate" => log::generate(session),
        "summary" => read::summary(session).await,
        "graph" => read::graph(session).await,
        "edges" => read::edges(session).await,
        "precedents" => read::precedents(session).await,
        "status" => operate::status(session).await,
        "health" => operate::health(session).await,
        "workers" => operate::workers(session).await,
        "failures" => operate::failures(session).await,
        "retry" => operate::retry(session).await,
        "top" => top::top(session).await,
        "replay" => runs::replay(session).await,
        "rebuild" => runs::rebuild(session).await,
        "runs" => runs::runs(session).await,
        "run" => runs::run(session).await,
        "cancel" => runs::cancel(session).await,
        "resume" => runs::resume(session).await,
        "digest" => prove::digest(session).await,
        "verify" => verify::verify(session).await,
        "backup" => backup::backup(session).await,
        "bench" => bench::run(session).await,
        "parity" => prove::parity(session).await,
        "completions" => shell::completions(session),
        "man" => shell::man(session),
        "runbook" => runbook::runbook(session),
        other => Err(Failure::new(Code::Internal, format!("command {other} has no code"))),
    }
}
