//! Makes the cluster, once.
//!
//! `initdb` works in `pg/data.new-<pid>`, which is renamed to `pg/data` when it is complete and on
//! disk: a kill in the middle leaves no half cluster, and what it leaves is removed at the next
//! start.
//!
//! Authentication is `trust` on a Unix socket in a directory with mode 0700. This is as safe as
//! `peer`: only the owner of that directory and root can reach the socket at all, and those could
//! read the data files or become the owner anyway. It also works where `peer` does not: in a user
//! namespace, and for root connecting to a cluster of the user `postgres`.

use std::fs::{self, DirBuilder, File};
use std::os::unix::fs::DirBuilderExt;
use std::path::Path;
use std::process::Output;
use std::time::Duration;

use tokio::time::sleep;

use super::account::Account;
use super::discover::Binaries;
use super::error::EmbeddedError;
use super::layout::Layout;
use super::orphan;

/// What a cluster in the making is called, before the number of the process.
const UNFINISHED: &str = "data.new-";

/// The wanted locale, and the one that every system has. Both sort by bytes.
const LOCALES: [&str; 2] = ["C.UTF-8", "C"];

/// Makes a new cluster with the superuser `decisiongraph`.
pub(super) async fn create(
    layout: &Layout,
    binaries: &Binaries,
    account: &Account,
) -> Result<(), EmbeddedError> {
    remove_unfinished(&layout.pg).await?;
    let dir = layout.pg.join(format!("{UNFINISHED}{}", std::process::id()));
    if let Err(error) = fill(&dir, binaries, account).await {
        end_and_remove(&dir).await?;
        return Err(error);
    }
    fs::rename(&dir, &layout.cluster).map_err(EmbeddedError::io("rename", &dir))?;
    let synced = File::open(&layout.pg).and_then(|pg| pg.sync_all());
    synced.map_err(EmbeddedError::io("write to disk", &layout.pg))?;
    tracing::info!(
        cluster = %layout.cluster.display(),
        version = binaries.version().as_str(),
        account = %account,
        "made the embedded Postgres cluster"
    );
    Ok(())
}

async fn fill(dir: &Path, binaries: &Binaries, account: &Account) -> Result<(), EmbeddedError> {
    let [wanted, fallback] = LOCALES;
    let mut output = run(dir, binaries, account, wanted).await?;
    if !output.status.success() && said(&output).contains("locale") {
        tracing::info!(wanted, fallback, "the system lacks a locale, initdb takes another");
        remove(dir)?;
        output = run(dir, binaries, account, fallback).await?;
    }
    if output.status.success() {
        return Ok(());
    }
    let (path, status) = (dir.to_owned(), output.status);
    Err(EmbeddedError::Initdb { path, status, output: said(&output) })
}

async fn run(
    dir: &Path,
    binaries: &Binaries,
    account: &Account,
    locale: &str,
) -> Result<Output, EmbeddedError> {
    let created = DirBuilder::new().mode(0o700).create(dir);
    created.map_err(EmbeddedError::io("create", dir))?;
    account.own(dir)?;
    let program = binaries.initdb();
    let mut command = account.command(&program);
    command.arg("-D").arg(dir).arg(format!("--locale={locale}"));
    command.args(["--data-checksums", "-E", "UTF8", "--auth=trust", "-U", super::ROLE]);
    // Its own process group: Ctrl-C is for the daemon, which drops this future.
    command.process_group(0).kill_on_drop(true);
    command.output().await.map_err(EmbeddedError::io("run", &program))
}

/// The last lines of what it printed as errors, on one line.
fn said(output: &Output) -> String {
    let text = String::from_utf8_lossy(&output.stderr);
    let lines: Vec<_> = text.lines().map(str::trim).filter(|line| !line.is_empty()).collect();
    lines[lines.len().saturating_sub(5)..].join(" | ")
}

/// Removes what an earlier start left, after ending the `initdb` that may still work there.
async fn remove_unfinished(pg: &Path) -> Result<(), EmbeddedError> {
    let entries = fs::read_dir(pg).map_err(EmbeddedError::io("list", pg))?;
    for entry in entries.flatten() {
        if entry.file_name().to_string_lossy().starts_with(UNFINISHED) {
            tracing::info!(path = %entry.path().display(), "removing an unfinished cluster");
            end_and_remove(&entry.path()).await?;
        }
    }
    Ok(())
}

/// Again a few times: a shell of `initdb` that is just becoming a postgres is seen a moment later.
async fn end_and_remove(dir: &Path) -> Result<(), EmbeddedError> {
    for _attempt in 0..20 {
        orphan::end_initdb(dir).await?;
        if remove(dir).is_ok() {
            return Ok(());
        }
        sleep(Duration::from_millis(100)).await;
    }
    remove(dir)
}

fn remove(dir: &Path) -> Result<(), EmbeddedError> {
    match fs::remove_dir_all(dir) {
        Err(error) if dir.exists() => Err(EmbeddedError::io("remove", dir)(error)),
        _ => Ok(()),
    }
}
