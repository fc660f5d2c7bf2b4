//! A real daemon process.

use std::ffi::OsStr;
use std::io::Write as _;
use std::path::PathBuf;
use std::process::{Child, Stdio};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::cli::{Answer, command_by, run};
use crate::{Directory, Sql, until};

/// Where a daemon keeps its data.
#[derive(Debug, Clone)]
pub enum Where {
    /// In a cluster of its own.
    Embedded,
    /// In this database.
    Url(String),
}

/// Where a daemon's log goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LogTo {
    /// To a file that [`Daemon::log`] reads.
    File,
    /// To a disk that is full.
    FullDisk,
    /// To a pipe that nobody reads any more.
    Nobody,
}

/// A daemon in a directory of its own; stopped in the end.
#[derive(Debug)]
pub struct Daemon {
    directory: Directory,
    place: Where,
    flags: Vec<String>,
    fail_points: String,
    environment: Vec<(String, String)>,
    hits: Option<PathBuf>,
    launcher: Vec<String>,
    log_to: LogTo,
    process: Option<Child>,
}

impl Daemon {
    /// Starts one and waits until it is ready.
    ///
    /// # Panics
    /// When it does not become ready.
    pub fn start(place: Where, flags: &[&str]) -> Daemon {
        Daemon::start_failing(place, flags, "")
    }

    /// Starts one in which something goes wrong; the format is told by `store/src/failpoint.rs`.
    ///
    /// # Panics
    /// When it does not become ready.
    pub fn start_failing(place: Where, flags: &[&str], fail_points: &str) -> Daemon {
        let mut daemon = Daemon::new(place, flags, fail_points);
        daemon.restart();
        daemon
    }

    /// Nothing goes wrong in its next lives.
    pub fn mend(&mut self) {
        self.fail_points.clear();
    }

    /// Whether something goes wrong in its next lives.
    pub fn is_armed(&self) -> bool {
        !self.fail_points.is_empty()
    }

    /// This goes wrong in its next lives.
    pub fn arm(&mut self, fail_points: &str) {
        fail_points.clone_into(&mut self.fail_points);
    }

    /// Its next lives write each hit of a fail point to this file.
    pub fn count_hits(&mut self, file: &std::path::Path) {
        self.hits = Some(file.to_owned());
    }

    /// One that is not started yet; see [`Daemon::spawn`].
    pub fn new(place: Where, flags: &[&str], fail_points: &str) -> Daemon {
        let flags = flags.iter().map(|flag| (*flag).to_owned()).collect();
        let fail_points = fail_points.to_owned();
        let (directory, environment) = (Directory::new(), Vec::new());
        let (launcher, log_to, process, hits) = (Vec::new(), LogTo::File, None, None);
        Daemon {
            directory,
            place,
            flags,
            process,
            fail_points,
            environment,
            hits,
            launcher,
            log_to,
        }
    }

    /// Its next lives are started by this program, which becomes the daemon.
    pub fn launch_by(&mut self, launcher: Vec<String>) {
        self.launcher = launcher;
    }

    /// Its next lives log to this.
    pub fn log_to(&mut self, log_to: LogTo) {
        self.log_to = log_to;
    }

    /// Sets a variable for its next lives.
    pub fn set(&mut self, name: &str, value: &str) {
        self.environment.push((name.to_owned(), value.to_owned()));
    }

    /// Starts one whose database cannot be had, without waiting.
    ///
    /// # Panics
    /// When it cannot be started.
    pub fn start_on_nothing(url: &str) -> Daemon {
        let mut daemon = Daemon::new(Where::Url(url.to_owned()), &[], "");
        daemon.spawn();
        daemon
    }

    /// Starts it again after [`Daemon::kill`] or [`Daemon::stop`], and waits until it is ready.
    ///
    /// # Panics
    /// When it does not become ready.
    pub fn restart(&mut self) {
        self.spawn();
        self.until_ready();
    }

    /// Waits until it is ready.
    ///
    /// # Panics
    /// When it does not become ready.
    pub fn until_ready(&mut self) {
        until("the daemon is ready", || {
            let ended = self.process.as_mut().unwrap().try_wait().unwrap();
            assert!(ended.is_none(), "the daemon ended: {ended:?}\n{}", self.log());
            self.cli(&["status", "-o", "json"]).says_up().then_some(())
        });
    }

    /// Starts it without waiting.
    ///
    /// # Panics
    /// When it cannot be started.
    pub fn spawn(&mut self) {
        let append = |path: &std::path::Path| {
            Stdio::from(std::fs::File::options().create(true).append(true).open(path).unwrap())
        };
        let log = match self.log_to {
            LogTo::File => append(&self.log_path()),
            LogTo::FullDisk => append("/dev/full".as_ref()),
            LogTo::Nobody => Stdio::from(std::io::pipe().unwrap().1),
        };
        let mut command = command_by(&self.launcher);
        command.arg("serve").arg("--data-dir").arg(self.data_dir());
        if !self.flags.iter().any(|flag| flag == "--metrics-listen") {
            command.args(["--metrics-listen", "off"]);
        }
        if let Where::Url(url) = &self.place {
            command.args(["--database-url", url]);
        }
        command.env("DECISIONGRAPH_TEST_FAILPOINTS", &self.fail_points);
        command.envs(self.environment.iter().cloned());
        if let Some(hits) = &self.hits {
            command.env("DECISIONGRAPH_TEST_FAILPOINTS_HITS", hits);
        }
        command.env("DECISIONGRAPH_TEST_LIFELINE", "stdin").stdin(Stdio::piped());
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

    /// Whether it does not run: it was never started, was stopped, or has ended by itself.
    pub fn has_ended(&mut self) -> bool {
        let ended =
            self.process.as_mut().is_none_or(|process| process.try_wait().unwrap().is_some());
        if ended {
            self.process = None;
        }
        ended
    }

    /// Sends it a signal, if it runs.
    pub fn signal(&self, signal: Signal) {
        if let Some(process) = &self.process {
            let _ = kill(Pid::from_raw(process.id() as i32), signal);
        }
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

    /// A connection to its database.
    ///
    /// # Panics
    /// When it cannot be had.
    pub fn sql(&self) -> Sql {
        match &self.place {
            Where::Embedded => {
                Sql::connect(&dg_admin::embedded::config_of(&self.data_dir()).unwrap().unwrap())
            }
            Where::Url(url) => Sql::connect(&url.parse().unwrap()),
        }
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

    /// `kill -9` of the postmaster of its embedded cluster.
    ///
    /// # Panics
    /// When there is none.
    pub fn kill_database(&self) {
        kill(self.postmaster().unwrap(), Signal::SIGKILL).unwrap();
    }

    /// Waits until it ends by itself; its exit code.
    ///
    /// # Panics
    /// When it does not run, or does not end.
    pub fn wait(&mut self) -> i32 {
        let mut process = self.process.take().unwrap();
        until("the daemon ends", || process.try_wait().unwrap()).code().unwrap_or(-1)
    }

    /// SIGTERM; its exit code.
    ///
    /// # Panics
    /// When it does not run.
    pub fn stop(&mut self) -> i32 {
        // Kept until it has ended: one that does not is killed with this value.
        let process = self.process.as_mut().unwrap();
        kill(Pid::from_raw(process.id() as i32), Signal::SIGTERM).unwrap();
        let code = until("the daemon ends", || process.try_wait().unwrap()).code().unwrap_or(-1);
        self.process = None;
        code
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
