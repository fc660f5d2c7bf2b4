//! `backup --check`: whether a backup could be restored. Made and restored they are by Postgres' own
//! tools; nothing is changed here, but a scratch database that comes and goes.
//!
//! | what is there | how it is looked at |
//! |---|---|
//! | a dump in custom or directory format | `pg_restore` reads it to its end; it must hold our schema as we know it. With `--restore-into` it is restored, brought to our schema, and every tenant proven |
//! | a directory that `pg_basebackup` made | `pg_verifybackup` |
//! | nothing named | `pgbackrest info` |

mod physical;

use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use dg_projections::Code;
use dg_projections::json::Json;
use dg_store::{DumpReader, Dumped, Store, Target, Verdict};
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, BufReader};
use tokio::process::Command;

use super::run::Signals;
use super::verify::{proven, proven_text};
use crate::cli::Session;
use crate::config::Config;
use crate::daemon::store_options;
use crate::failure::{Failure, exit};
use crate::output::grouped;
use crate::scratch::ScratchServer;
use crate::wire::object;

/// The word for a server of our own.
const OWN: &str = "scratch";

pub(crate) async fn backup(session: &Session) -> Result<u8, Failure> {
    let config = session.config()?;
    let Some(path) = session.text("check").filter(|path| !path.is_empty()).map(PathBuf::from)
    else {
        return physical::repositories(session).await;
    };
    if !path.exists() {
        return Err(Failure::new(Code::NotFound, format!("there is no {}", path.display())));
    }
    if path.join("backup_manifest").exists() {
        return physical::copied_cluster(session, &config, &path).await;
    }
    let dumped = read(&config, &path).await?;
    let tenants = match session.text("restore-into") {
        Some(server) => restored(&config, &path, &server).await?,
        None => Vec::new(),
    };
    told(session, &path, &dumped, &tenants)?;
    Ok(0)
}

/// Reads a dump to its end.
async fn read(config: &Config, path: &Path) -> Result<Dumped, Failure> {
    let mut command = program(config, "pg_restore");
    command.arg("--file=-").arg(path).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().map_err(|error| missing("pg_restore", &error))?;
    let (script, errors) = (child.stdout.take(), child.stderr.take());
    let reading = async {
        let mut reader = DumpReader::default();
        let mut script = BufReader::new(script?);
        let mut line = Vec::new();
        while script.read_until(b'\n', &mut line).await.ok()? > 0 {
            reader.line(String::from_utf8_lossy(&line).trim_end_matches('\n'));
            line.clear();
        }
        Some(reader)
    };
    let complaints = async {
        let mut text = Vec::new();
        errors?.read_to_end(&mut text).await.ok()?;
        Some(String::from_utf8_lossy(&text).into_owned())
    };
    let (reader, complaints) = tokio::join!(reading, complaints);
    if !child.wait().await?.success() {
        return Err(unusable(path, &complaints.unwrap_or_default()));
    }
    let reader = reader.ok_or_else(|| unusable(path, "it cannot be read"))?;
    let dumped = reader.finish().map_err(|error| unusable(path, &error.message))?;
    match &dumped.drift {
        Some(drift) => Err(unusable(path, &drift.to_string())),
        None => Ok(dumped),
    }
}

/// Restores a dump into a scratch database and proves every tenant there; what was proven.
async fn restored(config: &Config, path: &Path, server: &str) -> Result<Vec<Proven>, Failure> {
    // The scratch database is dropped however this ends.
    let mut signals = Signals::new()?;
    let name = format!("dg_backup_check_{}", std::process::id());
    let scratch = if server == OWN {
        ScratchServer::own(&name, config.postgres_bin_dir.clone()).await?
    } else {
        ScratchServer::beside(Target::parse(server).map_err(|why| {
            Failure::new(Code::InvalidArgument, format!("--restore-into: {why}"))
                .exit(exit::USAGE)
                .help("give the URL of a server where databases may be made, or the word scratch")
        })?)
    };
    let outcome = match scratch.create(&name).await {
        Err(failure) => Err(failure),
        Ok(target) => {
            let outcome = tokio::select! {
                outcome = prove_in(config, path, target) => outcome,
                () = signals.next() => Err(Failure::interrupted()),
            };
            scratch.drop(&name).await;
            outcome
        }
    };
    scratch.close(Duration::from_secs(10)).await;
    outcome
}

/// A tenant for which the restored log gives the restored rows: as JSON, and for people.
type Proven = (Json, String);

async fn prove_in(config: &Config, path: &Path, target: Target) -> Result<Vec<Proven>, Failure> {
    let environment = target.libpq_environment();
    let database = environment.iter().find(|(name, _)| name == "PGDATABASE");
    let database = database.map(|(_, value)| value.clone()).unwrap_or_default();
    let mut command = program(config, "pg_restore");
    command.args(["--exit-on-error", "--no-owner", "--no-privileges"]);
    command.arg(format!("--dbname={database}")).arg(path).envs(environment).kill_on_drop(true);
    let output = command.output().await.map_err(|error| missing("pg_restore", &error))?;
    if !output.status.success() {
        return Err(unusable(path, &String::from_utf8_lossy(&output.stderr)));
    }
    let options = dg_store::Options { pool_size: 2, ..store_options(config) };
    let store = Store::new(target, &options)?;
    store.migrate(env!("CARGO_PKG_VERSION"), Duration::from_secs(60)).await?;
    let mut all = Vec::new();
    for head in store.tenants().await? {
        match store.verify(&head.tenant_id, &|_, _| {}).await? {
            Verdict::Proven(checked) => all
                .push((proven(&head.tenant_id, &checked), proven_text(&head.tenant_id, &checked))),
            Verdict::Different(difference) => {
                let why = format!("tenant {}: different: {difference}", head.tenant_id);
                return Err(unusable(path, &why).help(
                    "it can be restored, but was made of what was not right any more: take an older one",
                ));
            }
        }
    }
    Ok(all)
}

fn told(
    session: &Session,
    path: &Path,
    dumped: &Dumped,
    tenants: &[Proven],
) -> Result<(), Failure> {
    let each = tenants.iter().map(|(json, _)| json.clone()).collect();
    let shown = object([
        ("path", path.display().to_string().into()),
        ("restorable", true.into()),
        ("schema_version", i64::from(dumped.version).into()),
        ("events", (dumped.events as i64).into()),
        ("tenants", (dumped.tenants as i64).into()),
        ("proven", Json::Array(each)),
    ]);
    session.output.one(&shown, |_| {
        let how = if tenants.is_empty() { "whole" } else { "restored and proven" };
        let lines: String = tenants.iter().map(|(_, text)| format!("\n{text}")).collect();
        format!(
            "{how}: {}, schema version {}, {} events of {} tenants{lines}",
            path.display(),
            dumped.version,
            grouped(dumped.events as i64),
            grouped(dumped.tenants as i64),
        )
    })
}

/// A program of Postgres: of the configured directory, else where the system has it.
fn program(config: &Config, name: &str) -> Command {
    let mut command = match &config.postgres_bin_dir {
        Some(directory) => Command::new(directory.join(name)),
        None => Command::new(name),
    };
    command.stdin(Stdio::null());
    command
}

fn missing(name: &str, error: &std::io::Error) -> Failure {
    Failure::new(Code::NotFound, format!("cannot run {name}: {error}"))
        .help("install it (postgresql-client has pg_restore, postgresql pg_verifybackup), or name its directory with --postgres-bin-dir")
}

/// A backup that is of no use, with the last of what was said of it.
fn unusable(path: &Path, why: &str) -> Failure {
    let why = why.trim().lines().next_back().unwrap_or("no reason is given");
    let message = format!("{} could not be restored: {why}", path.display());
    Failure::new(Code::InvalidArgument, message)
        .exit(exit::PROOF)
        .help("make another one, and keep the older ones until it is checked; a plain SQL dump cannot be checked: use `pg_dump --format=custom`")
}
