//! A real daemon process, and its command line as a user has it.

use std::ffi::OsStr;
use std::io::Write as _;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};

use dg_projections::json::{self, Json};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::{Directory, until};

/// A binary beside that of the test.
pub(crate) fn sibling(name: &str) -> PathBuf {
    let own = std::env::current_exe().unwrap();
    let own = own.parent().unwrap();
    // Integration tests stand in `deps`, one below the binaries.
    let directory = if own.ends_with("deps") { own.parent().unwrap() } else { own };
    directory.join(name)
}

/// What a command answered.
#[derive(Debug, Clone)]
pub struct Answer {
    /// Its exit code; 128 + n when signal n ended it.
    pub code: i32,
    /// Its standard output.
    pub stdout: String,
    /// Its standard error.
    pub stderr: String,
}

impl Answer {
    /// Its standard output as JSON.
    ///
    /// # Panics
    /// When it is none.
    #[track_caller]
    pub fn json(&self) -> Json {
        json::parse(&self.stdout).unwrap_or_else(|error| panic!("{error}: {self:?}"))
    }

    /// Each line of its standard output as JSON.
    ///
    /// # Panics
    /// When one is none.
    #[track_caller]
    pub fn jsonl(&self) -> Vec<Json> {
        let parse = |line| json::parse(line).unwrap_or_else(|error| panic!("{error}: {line}"));
        self.stdout.lines().map(parse).collect()
    }

    /// The same answer, if it is a success.
    ///
    /// # Panics
    /// When it is none.
    #[track_caller]
    pub fn ok(self) -> Answer {
        assert_eq!(self.code, 0, "{self:?}");
        self
    }
}

/// The command line's binary with a clean environment.
fn command() -> Command {
    let mut command = Command::new(sibling("decisiongraph-under-test"));
    for (name, _) in std::env::vars_os() {
        let text = name.to_string_lossy();
        if text.starts_with("DECISIONGRAPH_") || text == "DATABASE_URL" {
            command.env_remove(&name);
        }
    }
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

/// Runs a command to its end, with this standard input.
///
/// # Panics
/// When it cannot be run.
pub fn run<S: AsRef<OsStr>>(arguments: &[S], input: &[u8]) -> Answer {
    let mut child = command().args(arguments).stdin(Stdio::piped()).spawn().unwrap();
    let mut stdin = child.stdin.take().unwrap();
    let input = input.to_vec();
    // A command that does not read all of it closes the pipe: not an error here.
    let writing = std::thread::spawn(move || drop(stdin.write_all(&input)));
    let output = child.wait_with_output().unwrap();
    let _ = writing.join();
    use std::os::unix::process::ExitStatusExt as _;
    Answer {
        code: output.status.code().unwrap_or_else(|| 128 + output.status.signal().unwrap_or(0)),
        stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
        stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
    }
}

/// Where a daemon keeps its data.
#[derive(Debug, Clone)]
pub enum Where {
    /// In a cluster of its own.
    Embedded,
    /// In this database.
    Url(String),
}

/// A daemon in a directory of its own; stopped in the end.
#[derive(Debug)]
pub struct Daemon {
    directory: Directory,
    place: Where,
    flags: Vec<String>,
    process: Option<Child>,
}

impl Daemon {
    /// Starts one and waits until it is ready.
    ///
    /// # Panics
    /// When it does not become ready.
    pub fn start(place: Where, flags: &[&str]) -> Daemon {
        let flags = flags.iter().map(|flag| (*flag).to_owned()).collect();
        let mut daemon = Daemon { directory: Directory::new(), place, flags, process: None };
        daemon.restart();
        daemon
    }

    /// Starts it again after [`Daemon::kill`] or [`Daemon::stop`], and waits until it is ready.
    ///
    /// # Panics
    /// When it does not become ready.
    pub fn restart(&mut self) {
        self.spawn();
        until("the daemon is ready", || {
            let ended = self.process.as_mut().unwrap().try_wait().unwrap();
            assert!(ended.is_none(), "the daemon ended: {ended:?}\n{}", self.log());
            (self.cli(&["status"]).code == 0).then_some(())
        });
    }

    /// Starts it without waiting.
    ///
    /// # Panics
    /// When it cannot be started.
    pub fn spawn(&mut self) {
        let log =
            std::fs::OpenOptions::new().create(true).append(true).open(self.log_path()).unwrap();
        let mut command = command();
        command
            .arg("serve")
            .arg("--data-dir")
            .arg(self.data_dir())
            .args(["--metrics-listen", "off"]);
        if let Where::Url(url) = &self.place {
            command.args(["--database-url", url]);
        }
        let child = command.args(&self.flags).stdout(Stdio::null()).stderr(log).spawn();
        self.process = Some(child.unwrap());
    }

    /// Its data directory.
    pub fn data_dir(&self) -> PathBuf {
        self.directory.path().join("d")
    }

    /// Its admin socket.
    pub fn socket(&self) -> PathBuf {
        self.data_dir().join("decisiongraph.sock")
    }

    /// A directory for the test's own files.
    pub fn directory(&self) -> &Directory {
        &self.directory
    }

    fn log_path(&self) -> PathBuf {
        self.directory.path().join("log")
    }

    /// What it has logged.
    pub fn log(&self) -> String {
        std::fs::read_to_string(self.log_path()).unwrap_or_default()
    }

    /// Its process.
    ///
    /// # Panics
    /// When it does not run.
    pub fn pid(&self) -> i32 {
        self.process.as_ref().unwrap().id() as i32
    }

    /// Runs a command of its client.
    pub fn cli(&self, arguments: &[&str]) -> Answer {
        self.cli_with(arguments, b"")
    }

    /// Runs a command of its client with this standard input.
    pub fn cli_with(&self, arguments: &[&str], input: &[u8]) -> Answer {
        let socket = self.socket();
        let mut all: Vec<&OsStr> = arguments.iter().map(OsStr::new).collect();
        all.extend([OsStr::new("--socket"), socket.as_os_str()]);
        run(&all, input)
    }

    /// Runs a command that goes to the database itself.
    pub fn direct(&self, arguments: &[&str]) -> Answer {
        let data_dir = self.data_dir();
        let mut all: Vec<&OsStr> = arguments.iter().map(OsStr::new).collect();
        all.extend([OsStr::new("--data-dir"), data_dir.as_os_str()]);
        if let Where::Url(url) = &self.place {
            all.extend([OsStr::new("--database-url"), OsStr::new(url)]);
        }
        run(&all, b"")
    }

    /// Waits until every projection of a tenant is current.
    ///
    /// # Panics
    /// When they do not become current.
    pub fn until_current(&self, tenant: &str) {
        until("every projection is current", || {
            let health = self.cli(&["health", "-t", tenant, "-o", "json"]);
            let current =
                health.code == 0 && health.json().get("is_stale")?.as_bool() == Some(false);
            current.then_some(())
        });
    }

    /// `kill -9`.
    ///
    /// # Panics
    /// When it does not run.
    pub fn kill(&mut self) {
        let mut process = self.process.take().unwrap();
        process.kill().unwrap();
        process.wait().unwrap();
    }

    /// SIGTERM; its exit code.
    ///
    /// # Panics
    /// When it does not run.
    pub fn stop(&mut self) -> i32 {
        let mut process = self.process.take().unwrap();
        kill(Pid::from_raw(process.id() as i32), Signal::SIGTERM).unwrap();
        until("the daemon ends", || process.try_wait().unwrap()).code().unwrap_or(-1)
    }

    /// The postmaster of its embedded cluster, alive or not.
    fn postmaster(&self) -> Option<Pid> {
        let file = self.data_dir().join("pg/data/postmaster.pid");
        let text = std::fs::read_to_string(file).ok()?;
        Some(Pid::from_raw(text.lines().next()?.trim().parse().ok()?))
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        if std::thread::panicking() {
            let _ = writeln!(std::io::stderr(), "the daemon's log:\n{}", self.log());
        }
        if let Some(mut process) = self.process.take() {
            let _ = kill(Pid::from_raw(process.id() as i32), Signal::SIGTERM);
            let started = std::time::Instant::now();
            while process.try_wait().ok().flatten().is_none() {
                if started.elapsed().as_secs() > 15 {
                    let _ = process.kill();
                    let _ = process.wait();
                    break;
                }
                std::thread::sleep(std::time::Duration::from_millis(10));
            }
        }
        // After a kill its cluster is an orphan: nobody else will end it.
        if let Some(postmaster) = self.postmaster() {
            let _ = kill(postmaster, Signal::SIGQUIT);
        }
    }
}
