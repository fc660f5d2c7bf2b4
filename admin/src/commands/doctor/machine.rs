//! What this machine must have: Postgres' programs, room on the disk, a free address.

use std::io::ErrorKind;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use dg_projections::json::{self, Json};
use nix::sys::statvfs::statvfs;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};

use super::daemon::Daemon;
use super::finding::{Finding, Verdict};
use super::verdict::machine::{Address, Space, metrics, space};
use super::{aside, patiently};
use crate::config::Config;
use crate::embedded::{self, EmbeddedError};
use crate::failure::Failure;

pub(super) async fn examine(config: &Config, daemon: &Daemon) -> Vec<Finding> {
    let (programs, disk, address) =
        tokio::join!(programs(config), disk(config), listen(config, daemon));
    [programs, disk, address].into_iter().flatten().collect()
}

/// Only an embedded Postgres needs any.
async fn programs(config: &Config) -> Option<Finding> {
    if config.database_url.is_some() {
        return None;
    }
    let found = embedded::inspect(&config.data_dir, config.postgres_bin_dir.as_deref());
    let verdict = match patiently(found).await {
        Some(Ok(found)) => Verdict::ok(found),
        Some(Err(error)) if error.is_closed() => closed(&error),
        Some(Err(error)) => Verdict::of_failure(Failure::from(error), "give a database URL"),
        None => Verdict::silent("see whether `postgres --version` answers"),
    };
    Some(verdict.of("postgres_programs"))
}

/// What this user may not see may be well all the same.
pub(super) fn closed(error: &EmbeddedError) -> Verdict {
    let help = error.help().unwrap_or_default();
    Verdict::warning(error.to_string(), help)
}

pub(super) async fn disk(config: &Config) -> Option<Finding> {
    let dir = config.data_dir.clone();
    let here = move || dir.ancestors().find_map(|dir| space_of(&or_here(dir))).map(|it| (dir, it));
    let verdict = match aside(here).await {
        Some(Some((dir, found))) => space(&found, &dir.display().to_string()),
        Some(None) => return None,
        None => Verdict::silent("see whether the file system of the data directory is there"),
    };
    Some(verdict.of("disk"))
}

fn or_here(dir: &Path) -> PathBuf {
    if dir.as_os_str().is_empty() { PathBuf::from(".") } else { dir.to_owned() }
}

/// The room of the file system that a path is on, if it can be asked. May take as long as that does.
pub(super) fn space_of(path: &Path) -> Option<Space> {
    let found = statvfs(path).ok()?;
    let bytes = |blocks: u64| blocks.saturating_mul(found.fragment_size());
    Some(Space { free: bytes(found.blocks_available()), total: bytes(found.blocks()) })
}

async fn listen(config: &Config, daemon: &Daemon) -> Option<Finding> {
    let address = config.metrics_listen?;
    let found = patiently(look(address)).await.unwrap_or(Address::Other);
    Some(metrics(&found, address, daemon.is_there()).of("metrics_listen"))
}

/// Asks before it tries: an address that is held must not be disturbed.
async fn look(address: SocketAddr) -> Address {
    if let Ok(stream) = TcpStream::connect(address).await {
        let is_ours = told(stream).await.is_some();
        return if is_ours { Address::Ours } else { Address::Other };
    }
    match TcpListener::bind(address).await {
        Ok(_) => Address::Free,
        Err(error) if error.kind() == ErrorKind::AddrInUse => Address::Other,
        Err(error) => Address::Refused(error.to_string()),
    }
}

/// What the daemon at an address says of its being ready, if there is one.
pub(super) async fn readiness(address: SocketAddr) -> Option<Json> {
    told(TcpStream::connect(address).await.ok()?).await
}

/// A daemon says whether it is ready, in words of its own.
async fn told(mut stream: TcpStream) -> Option<Json> {
    stream.write_all(b"GET /readyz HTTP/1.0\r\n\r\n").await.ok()?;
    let mut answer = Vec::new();
    stream.take(64 * 1024).read_to_end(&mut answer).await.ok()?;
    let answer = String::from_utf8_lossy(&answer);
    let (_, body) = answer.split_once("\r\n\r\n")?;
    json::parse(body.trim_end()).ok().filter(|body| body.get("ready").is_some())
}
