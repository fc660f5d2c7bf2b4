//! Where measurements run: a server, and for each measurement a fresh database and a daemon.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use dg_projections::Code;
use dg_store::{Options, Store, Target};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use tokio::process::{Child, Command};
use tokio::time::Instant;

use super::sender::Sender;
use crate::client::Client;
use crate::failure::Failure;
use crate::scratch::ScratchServer;

const PATIENCE: Duration = Duration::from_secs(30);
const PAUSE: Duration = Duration::from_millis(20);

/// The server, and a directory for files and sockets.
#[derive(Debug)]
pub(crate) struct Stage {
    server: ScratchServer,
    directory: PathBuf,
    /// Databases that are there, however a measurement ended.
    made: Mutex<BTreeSet<String>>,
}

/// A database of its own, with the schema in place.
#[derive(Debug)]
pub(super) struct Scene {
    name: String,
    database: Target,
    pub(super) store: Store,
}

impl Stage {
    /// On this server.
    ///
    /// # Errors
    /// When there is no directory to be had for files.
    pub(crate) fn new(server: ScratchServer) -> Result<Stage, Failure> {
        let directory = std::env::temp_dir().join(format!("dg_bench_{}", std::process::id()));
        std::fs::create_dir_all(&directory)?;
        Ok(Stage { server, directory, made: Mutex::default() })
    }

    pub(super) fn file(&self, name: &str) -> PathBuf {
        self.directory.join(name)
    }

    pub(super) async fn scene(&self) -> Result<Scene, Failure> {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let number = COUNT.fetch_add(1, Ordering::Relaxed);
        let name = format!("dg_bench_{}_{number}", std::process::id());
        let database = self.server.create(&name).await?;
        self.made().insert(name.clone());
        let options = Options {
            pool_size: 2,
            timeout: PATIENCE,
            application_name: "decisiongraph-bench".to_owned(),
            role: None,
        };
        let store = Store::new(database.clone(), &options)?;
        store.migrate(env!("CARGO_PKG_VERSION"), PATIENCE).await?;
        Ok(Scene { name, database, store })
    }

    pub(super) async fn clear(&self, scene: Scene) {
        scene.store.close();
        self.server.drop(&scene.name).await;
        self.made().remove(&scene.name);
    }

    fn made(&self) -> MutexGuard<'_, BTreeSet<String>> {
        self.made.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Starts a daemon on a scene and waits until it takes events.
    pub(super) async fn daemon(&self, scene: &Scene, flags: &[&str]) -> Result<Daemon, Failure> {
        let directory = self.directory.join(&scene.name);
        let daemon = Daemon::spawn(directory, &scene.database, flags)?;
        daemon.until_ready().await?;
        Ok(daemon)
    }

    /// Removes everything.
    pub(crate) async fn close(self) {
        if let Err(error) = std::fs::remove_dir_all(&self.directory) {
            tracing::warn!(%error, "the files of the benchmark could not be removed");
        }
        let left = std::mem::take(&mut *self.made());
        for name in left {
            self.server.drop(&name).await;
        }
        self.server.close(PATIENCE).await;
    }
}

/// A daemon in a process of its own; killed when it is dropped.
#[derive(Debug)]
pub(super) struct Daemon {
    process: Child,
    directory: PathBuf,
}

impl Daemon {
    fn spawn(directory: PathBuf, database: &Target, flags: &[&str]) -> Result<Daemon, Failure> {
        std::fs::create_dir_all(&directory)?;
        let log = std::fs::File::create(directory.join("log"))?;
        let process = Command::new(std::env::current_exe()?)
            .args(["serve", "--metrics-listen", "off", "--log-level", "warn"])
            .arg("--data-dir")
            .arg(&directory)
            .args(flags)
            // Not on the command line, which everybody may read.
            .env("DECISIONGRAPH_DATABASE_URL", database.conninfo())
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log)
            .kill_on_drop(true)
            .spawn()?;
        Ok(Daemon { process, directory })
    }

    fn socket(&self) -> PathBuf {
        self.directory.join("decisiongraph.sock")
    }

    pub(super) async fn sender(&self) -> Result<Sender, Failure> {
        Sender::connect(&self.socket()).await
    }

    pub(super) fn client(&self) -> Client {
        self.client_for(None)
    }

    pub(super) fn client_for(&self, tenant: Option<String>) -> Client {
        Client::new(self.socket(), tenant)
    }

    async fn until_ready(&self) -> Result<(), Failure> {
        let deadline = Instant::now() + PATIENCE;
        while self.client().get("/v1/tree", &[]).await.is_err() {
            if Instant::now() > deadline {
                let log = std::fs::read_to_string(self.directory.join("log")).unwrap_or_default();
                let message = format!("the daemon to be measured does not start: {}", log.trim());
                return Err(Failure::new(Code::Internal, message));
            }
            tokio::time::sleep(PAUSE).await;
        }
        Ok(())
    }

    fn pid(&self) -> Result<u32, Failure> {
        let gone = || Failure::new(Code::Internal, "the daemon to be measured has ended");
        self.process.id().ok_or_else(gone)
    }

    /// What the kernel tells of it.
    pub(super) fn process(&self) -> Result<PathBuf, Failure> {
        Ok(Path::new("/proc").join(self.pid()?.to_string()))
    }

    /// The most memory that it has had.
    pub(super) fn peak_rss_kb(&self) -> Result<u64, Failure> {
        Ok(peak_rss_kb(&self.process()?))
    }

    /// Ends it in order.
    pub(super) async fn stop(mut self) -> Result<(), Failure> {
        let pid = Pid::from_raw(self.pid()? as i32);
        kill(pid, Signal::SIGTERM).map_err(std::io::Error::from)?;
        self.process.wait().await?;
        Ok(())
    }
}

/// The most memory that a process has had; 0 where the kernel does not tell.
pub(super) fn peak_rss_kb(process: &Path) -> u64 {
    status_kb(process, "VmHWM:")
}

/// The memory that a process has.
pub(super) fn rss_kb(process: &Path) -> u64 {
    status_kb(process, "VmRSS:")
}

fn status_kb(process: &Path, name: &str) -> u64 {
    let status = std::fs::read_to_string(process.join("status")).unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix(name));
    line.and_then(|rest| rest.trim().trim_end_matches(" kB").parse().ok()).unwrap_or(0)
}
