//! The daemon at the configured socket, if there is one, and its own word on itself.

use std::io::ErrorKind;
use std::os::unix::fs::FileTypeExt as _;
use std::path::Path;

use dg_projections::json::Json;
use nix::unistd::{AccessFlags, access};
use tokio::net::UnixStream;

use super::finding::{Finding, Verdict};
use super::verdict::business::Neighbour;
use super::verdict::daemon::{Place, Traces, absent, answering, place};
use super::{aside, patiently};
use crate::client::Client;
use crate::config::Config;
use crate::embedded;
use crate::failure::Failure;
use crate::keeper::Keeper;

/// What was found at the socket.
pub(super) struct Daemon {
    place: Place,
    client: Client,
    /// What it says of itself; none where nothing listens.
    status: Option<Result<Json, Failure>>,
}

impl Daemon {
    /// Its status, if it gives one.
    pub(super) fn status(&self) -> Option<&Json> {
        self.status.as_ref()?.as_ref().ok()
    }

    /// Whether it says that it has its database.
    pub(super) fn has_database(&self) -> bool {
        let state = || self.status()?.get("database")?.get("state")?.as_str();
        state() == Some("up")
    }

    /// Whether one listens, and be it in silence.
    pub(super) fn is_there(&self) -> bool {
        self.status.is_some()
    }

    /// The `data` of a question to it, if it answers in time.
    pub(super) async fn get(
        &self,
        path: &str,
        parameters: &[(&str, Option<String>)],
    ) -> Option<Json> {
        self.status()?;
        patiently(self.client.get(path, parameters)).await?.ok()
    }

    /// The lines of the socket and of the daemon. A neighbour at its database may be it.
    pub(super) fn findings(&self, config: &Config, neighbour: Option<&Neighbour>) -> Vec<Finding> {
        let socket = place(&self.place, &config.socket_path).of("socket");
        let daemon = match &self.status {
            // Whether there is one cannot be told.
            None if matches!(self.place, Place::Unclear(_)) => return vec![socket],
            None => {
                let keeper = Keeper::of(&config.socket_path);
                absent(keeper, &self.traces(config, keeper, neighbour))
            }
            Some(Ok(status)) => answering(status, env!("CARGO_PKG_VERSION")),
            Some(Err(failure)) => Verdict::of_failure(failure.clone(), "see its log"),
        };
        vec![socket, daemon.of("daemon")]
    }
}

impl Daemon {
    /// What speaks for it that there should be a daemon where none answers.
    fn traces(&self, config: &Config, keeper: Keeper, neighbour: Option<&Neighbour>) -> Traces {
        Traces {
            is_here: neighbour.map(|it| it.pid),
            is_enabled: keeper.is_enabled(),
            has_run: self.place == Place::Dead
                || matches!(embedded::config_of(&config.data_dir), Ok(Some(_))),
        }
    }
}

/// Looks at the socket, and asks whoever listens there.
pub(super) async fn ask(config: &Config) -> Daemon {
    let path = config.socket_path.clone();
    let place = look(&path).await;
    let client = Client::new(path, None);
    let status = match place {
        Place::Answers => Some(patiently(client.get("/v1/status", &[])).await),
        _ => None,
    };
    let silent = || Failure::new(dg_projections::Code::Storage, "it does not answer within 5 s");
    let status = status.map(|asked| {
        asked.unwrap_or_else(|| Err(silent().help("see its log; restart it if it stays silent")))
    });
    Daemon { place, client, status }
}

async fn look(path: &Path) -> Place {
    let owned = path.to_owned();
    let found = aside(move || std::fs::symlink_metadata(&owned)).await;
    match found {
        Some(Ok(found)) if found.file_type().is_socket() => knock(path).await,
        Some(Ok(_)) => Place::NoSocket,
        Some(Err(error)) if is_missing(&error) => room(path).await,
        Some(Err(error)) => Place::Unclear(error.to_string()),
        None => Place::Unclear("the file system does not answer".to_owned()),
    }
}

fn is_missing(error: &std::io::Error) -> bool {
    matches!(error.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory)
}

/// As a daemon that starts decides it: only a refused connection proves that nobody is there.
async fn knock(path: &Path) -> Place {
    match patiently(UnixStream::connect(path)).await {
        Some(Ok(_)) => Place::Answers,
        Some(Err(error)) if error.kind() == ErrorKind::ConnectionRefused => Place::Dead,
        Some(Err(error)) => Place::Unclear(error.to_string()),
        None => Place::Unclear("it takes no connections".to_owned()),
    }
}

/// Whether a socket can be made where there is none, and its directory before it.
async fn room(path: &Path) -> Place {
    let path = path.to_owned();
    let looked = aside(move || {
        let dir = path.ancestors().skip(1).map(or_here).find(|dir| dir.exists())?;
        let may = access(dir, AccessFlags::W_OK | AccessFlags::X_OK);
        Some((dir.to_owned(), dir.is_dir(), may))
    });
    match looked.await {
        Some(None | Some((_, true, Ok(())))) => Place::Free,
        Some(Some((dir, false, _))) => Place::Closed(dir, "it is no directory".to_owned()),
        Some(Some((dir, true, Err(error)))) => Place::Closed(dir, error.desc().to_owned()),
        None => Place::Unclear("the file system does not answer".to_owned()),
    }
}

/// The directory of a bare name is this one.
fn or_here(dir: &Path) -> &Path {
    if dir.as_os_str().is_empty() { Path::new(".") } else { dir }
}
