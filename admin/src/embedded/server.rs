//! The running server: one `postgres` as a direct child of the daemon.
//!
//! A direct child, never `pg_ctl`: so its end is seen at once and it is always reaped. It has its
//! own process group, so that Ctrl-C in a terminal reaches the daemon alone, which stops it in
//! order. Its messages go to a log file that is emptied at a start when it exceeds 10 MB.

use std::fs::File;
use std::io::{Read, Seek, SeekFrom};
use std::os::unix::process::ExitStatusExt;
use std::process::ExitStatus;
use std::time::Duration;

use dg_store::Reached;
use nix::sys::signal::Signal;
use tokio::process::Child;
use tokio::time::{Instant, sleep, timeout};

use super::account::Account;
use super::database;
use super::discover::Binaries;
use super::error::EmbeddedError;
use super::layout::Layout;
use super::{orphan, settings};

/// How long a starting server may give no sign of life. One that answers that it is still
/// recovering is waited for: ending it would only begin the recovery anew.
const SILENCE: Duration = Duration::from_secs(60);
const POLL: Duration = Duration::from_millis(30);
const MAX_LOG_BYTES: u64 = 10 * 1024 * 1024;
/// Patience after SIGQUIT, and again after SIGKILL.
const LAST_PATIENCE: Duration = Duration::from_secs(5);

/// A started server.
///
/// Dropped without `stop`, it is asked for a fast shutdown and not waited for. If the process ends
/// without even dropping it, the next start finds it as an orphan.
#[derive(Debug)]
pub(super) struct Server {
    child: Child,
    layout: Layout,
    /// Where this run begins in the log.
    log_start: u64,
}

impl Server {
    /// Starts the server and waits until it accepts connections and has the database.
    pub(super) async fn launch(
        layout: &Layout,
        binaries: &Binaries,
        account: &Account,
    ) -> Result<Self, EmbeddedError> {
        let (log, log_start) = open_log(layout)?;
        let stdout = log.try_clone().map_err(EmbeddedError::io("open", &layout.log))?;
        let program = binaries.postgres();
        let mut command = account.command(&program);
        command.args(settings::arguments(layout)).stdout(stdout).stderr(log).process_group(0);
        let child = command.spawn().map_err(EmbeddedError::io("run", &program))?;
        let mut server = Self { child, layout: layout.clone(), log_start };
        if let Err(error) = server.become_ready().await {
            if let Err(error) = server.stop(LAST_PATIENCE).await {
                tracing::warn!(%error, "a failed start left postgres running");
            }
            return Err(error);
        }
        Ok(server)
    }

    /// Its process, until its end was seen.
    pub(super) fn pid(&self) -> Option<u32> {
        self.child.id()
    }

    /// Waits for its end; gives the same answer again afterwards.
    pub(super) async fn exited(&mut self) -> ExitStatus {
        match self.child.wait().await {
            Ok(status) => status,
            Err(error) => {
                tracing::warn!(%error, "the exit status of postgres is lost");
                ExitStatus::from_raw(0xff00)
            }
        }
    }

    /// Fast shutdown within `deadline`, then immediate shutdown, then kill.
    pub(super) async fn stop(&mut self, deadline: Duration) -> Result<(), EmbeddedError> {
        let quit = (Signal::SIGQUIT, LAST_PATIENCE);
        for (signal, patience) in
            [(Signal::SIGINT, deadline), quit, (Signal::SIGKILL, LAST_PATIENCE)]
        {
            let Some(pid) = self.pid() else { return Ok(()) };
            if signal != Signal::SIGINT {
                tracing::warn!(pid, %signal, "postgres does not end in time");
            }
            orphan::send(pid, signal);
            if timeout(patience, self.exited()).await.is_ok() {
                return Ok(());
            }
        }
        let path = self.layout.cluster.clone();
        self.pid().map_or(Ok(()), |pid| Err(EmbeddedError::Unstoppable { pid, path }))
    }

    async fn become_ready(&mut self) -> Result<(), EmbeddedError> {
        let mut sign_of_life = Instant::now();
        loop {
            match database::ensure(&self.layout).await? {
                Reached::Ready => return Ok(()),
                Reached::Starting => sign_of_life = Instant::now(),
                Reached::Unreachable(last) if sign_of_life.elapsed() > SILENCE => {
                    let (log, tail) = (self.layout.log.clone(), self.log_tail());
                    return Err(EmbeddedError::NotReady { last, log, tail });
                }
                Reached::Unreachable(_) => {}
            }
            if let Ok(status) = timeout(POLL, self.exited()).await {
                // What it wrote last may come a moment after its end is seen.
                sleep(POLL).await;
                let (log, tail) = (self.layout.log.clone(), self.log_tail());
                return Err(EmbeddedError::Died { status, log, tail });
            }
        }
    }

    /// The last lines of this run's log, on one line.
    fn log_tail(&self) -> String {
        let mut bytes = Vec::new();
        let read = File::open(&self.layout.log).and_then(|mut log| {
            let end = log.seek(SeekFrom::End(0))?;
            log.seek(SeekFrom::Start(self.log_start.max(end.saturating_sub(4096))))?;
            log.read_to_end(&mut bytes)
        });
        if let Err(error) = read {
            return format!("(cannot be read: {error})");
        }
        let text = String::from_utf8_lossy(&bytes);
        let lines: Vec<_> = text.lines().map(str::trim).filter(|line| !line.is_empty()).collect();
        lines[lines.len().saturating_sub(6)..].join(" | ")
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        if let Some(pid) = self.pid() {
            orphan::send(pid, Signal::SIGINT);
        }
    }
}

/// The log, for appending, and its length.
fn open_log(layout: &Layout) -> Result<(File, u64), EmbeddedError> {
    let path = &layout.log;
    let log = layout.open(path, 0o600)?;
    let length = log.metadata().map_err(EmbeddedError::io("look at", path))?.len();
    if length <= MAX_LOG_BYTES {
        return Ok((log, length));
    }
    log.set_len(0).map_err(EmbeddedError::io("empty", path))?;
    Ok((log, 0))
}
