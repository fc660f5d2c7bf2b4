//! `serve`, `migrate`, `psql`.

use std::io::IsTerminal as _;
use std::os::unix::process::CommandExt as _;
use std::time::Duration;

use dg_projections::Code;
use dg_projections::json::Json;
use dg_store::{Missing, Refusal, StoreError};
use tokio::signal::unix::{Signal, SignalKind, signal};

use super::direct;
use crate::cli::Session;
use crate::config::Config;
use crate::daemon::Daemon;
use crate::failure::Failure;
use crate::logging;
use crate::output::field;
use crate::systemd;
use crate::wire;

/// SIGTERM and SIGINT, from now on told instead of deadly.
pub(super) struct Signals {
    terminate: Signal,
    interrupt: Signal,
}

impl Signals {
    pub(super) fn new() -> Result<Signals, Failure> {
        Ok(Signals {
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
        })
    }

    /// Waits for the next one.
    pub(super) async fn next(&mut self) {
        tokio::select! {
            _ = self.terminate.recv() => {}
            _ = self.interrupt.recv() => {}
        }
    }
}

/// SIGHUP, which asks a daemon to reload its configuration. To one on a terminal it says that the
/// terminal is gone, and stays deadly.
struct Hangup(Option<Signal>);

impl Hangup {
    fn new() -> Result<Hangup, Failure> {
        let on_terminal = std::io::stderr().is_terminal();
        let signal = (!on_terminal).then(|| signal(SignalKind::hangup())).transpose()?;
        Ok(Hangup(signal))
    }

    async fn next(&mut self) {
        let received = match &mut self.0 {
            Some(signal) => signal.recv().await,
            None => None,
        };
        if received.is_none() {
            std::future::pending::<()>().await;
        }
    }
}

pub(crate) async fn serve(session: &Session) -> Result<u8, Failure> {
    let config = session.config()?;
    logging::start(&config);
    warn(&config);
    let mut signals = Signals::new()?;
    let mut hangup = Hangup::new()?;
    let Some(mut daemon) = start(config, &mut signals).await? else { return Ok(0) };
    tracing::info!(version = env!("CARGO_PKG_VERSION"), pid = std::process::id(), socket = %daemon.socket().display(), "serving");
    let outcome = loop {
        tokio::select! {
            outcome = until_signal(&mut daemon, &mut signals) => break outcome,
            () = hangup.next() => {}
        }
        reload(&daemon, session);
    };
    stop(daemon, &mut signals).await?;
    outcome.map(|()| 0)
}

/// Reads the configuration again, from the same sources. One that is wrong is refused as a whole.
fn reload(daemon: &Daemon, session: &Session) {
    // The end of a reload is told as READY, which a daemon that still starts is not.
    let is_told = daemon.is_settled();
    if is_told {
        systemd::reloading();
    }
    match session.config() {
        Ok(config) => {
            warn(&config);
            daemon.reload(&config);
        }
        Err(failure) => {
            for reason in failure.message.lines() {
                tracing::error!(reason, "configuration refused; the old one stays");
            }
        }
    }
    if is_told {
        systemd::ready();
    }
}

fn warn(config: &Config) {
    for warning in config.warnings() {
        tracing::warn!(help = warning.help, "configuration: {warning}");
    }
}

/// Starts a daemon; none when a signal came first. An embedded Postgres half-way up goes with it.
pub(super) async fn start(
    config: Config,
    signals: &mut Signals,
) -> Result<Option<Daemon>, Failure> {
    tokio::select! {
        started = Daemon::start(config) => started.map(Some),
        () = signals.next() => Ok(None),
    }
}

/// Runs until SIGTERM or SIGINT, or until the daemon can never become ready or gives up.
pub(super) async fn until_signal(
    daemon: &mut Daemon,
    signals: &mut Signals,
) -> Result<(), Failure> {
    tokio::select! {
        outcome = daemon.ready() => outcome?,
        () = signals.next() => return Ok(()),
    }
    tokio::select! {
        failure = daemon.given_up() => Err(failure),
        () = signals.next() => Ok(()),
    }
}

/// Stops in order; a second signal ends the process at once.
pub(super) async fn stop(daemon: Daemon, signals: &mut Signals) -> Result<(), Failure> {
    tokio::select! {
        () = daemon.stop() => Ok(()),
        () = signals.next() => {
            Err(Failure::new(Code::Internal, "stopped by a second signal before the end of an orderly stop"))
        }
    }
}

/// The session of the last word of the command, which sees the flags before it, too.
pub(super) fn innermost(session: &Session) -> Session {
    Session::new(session.args.subcommand().map_or(&session.args, |(_, inner)| inner).clone())
}

pub(crate) async fn migrate(session: &Session) -> Result<u8, Failure> {
    let only_status = session.args.subcommand_name() == Some("status");
    let with_roles = session.args.get_flag("roles") && !only_status;
    let session = &innermost(session);
    let store = direct::store(session)?;
    let status = if only_status {
        store.migration_status().await?
    } else {
        store.migrate(env!("CARGO_PKG_VERSION"), Duration::from_secs(60)).await?
    };
    if with_roles {
        store.apply_roles().await.map_err(no_roles)?;
    }
    let is_ours = status.pending.is_empty() && status.drift.is_empty();
    let missing = if is_ours { store.missing_objects().await? } else { Vec::new() };
    session.output.one(&wire::migration_status(&status, &missing), |data| {
        let applied = data.get("applied").and_then(Json::as_array).unwrap_or_default();
        let fields = ["version", "name", "applied_at", "binary_version", "checksum"];
        let row = |step: &Json| fields.map(|name| field(step, name)).to_vec();
        let table = session.output.table(
            &["step", "name", "applied at", "by release", "checksum"],
            applied.iter().map(row).collect(),
        );
        let known = field(data, "known_version");
        let drift = data.get("drift").and_then(Json::as_array).unwrap_or_default();
        let drift: String =
            drift.iter().filter_map(Json::as_str).map(|text| format!("\ndrift: {text}")).collect();
        let missing: String = missing.iter().map(missing_line).collect();
        format!("schema version {} of {known}{drift}{missing}\n\n{table}", field(data, "version"))
    })?;
    status.check()?;
    match missing.first() {
        // Who applies steps has them applied.
        Some(first) if only_status => {
            Err(Failure::new(Code::Conflict, format!("schema: {first}"))
                .help("put back what is missing, as the owner of the tables; `decisiongraph runbook failed-upgrade` tells more"))
        }
        _ => Ok(0),
    }
}

fn missing_line(one: &Missing) -> String {
    match &one.statement {
        Some(statement) => format!("\nmissing: {one}; it comes back with: {statement}"),
        None => format!("\nmissing: {one}"),
    }
}

/// Who may not make roles can do without them.
fn no_roles(error: StoreError) -> Failure {
    let is_privilege = Refusal::of(&error) == Refusal::Privilege;
    let failure = Failure::from(error);
    match is_privilege {
        true => failure.help(
            "roles are made by a superuser, or by the owner of the tables with CREATEROLE: run it as \
             one; to do without, `decisiongraph doctor` names what a login lacks, with the GRANT",
        ),
        false => failure,
    }
}

/// Becomes psql.
pub(crate) fn psql(session: &Session) -> Result<u8, Failure> {
    let mut command = std::process::Command::new("psql");
    command.envs(direct::database(session)?.libpq_environment());
    let given = session.args.get_many::<String>("args").into_iter().flatten();
    let error = command.args(given).exec();
    Err(Failure::new(Code::NotFound, format!("cannot run psql: {error}"))
        .help("install it: apt-get install postgresql-client"))
}
