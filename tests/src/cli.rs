//! The command line as a user has it.

use std::ffi::OsStr;
use std::io::Write as _;
use std::path::PathBuf;
use std::process::{Child, Command, Output, Stdio};

use dg_projections::json::{self, Json};

/// A binary beside that of the test.
pub(crate) fn sibling(name: &str) -> PathBuf {
    let own = std::env::current_exe().unwrap();
    let own = own.parent().unwrap();
    // Integration tests stand in `deps`, one below the binaries.
    let directory = if own.ends_with("deps") { own.parent().unwrap() } else { own };
    directory.join(name)
}

/// The command line's binary.
pub fn binary() -> PathBuf {
    sibling("decisiongraph-under-test")
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
    /// What a finished process answered.
    pub fn of(output: &Output) -> Answer {
        use std::os::unix::process::ExitStatusExt as _;
        Answer {
            code: output.status.code().unwrap_or_else(|| 128 + output.status.signal().unwrap_or(0)),
            stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
            stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
        }
    }

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

    /// Whether it is a `status -o json` of a daemon that has its database and takes requests.
    pub fn says_up(&self) -> bool {
        let state = || Some(self.json().get("database")?.get("state")?.as_str()? == "up");
        self.code == 0 && state() == Some(true)
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
pub(crate) fn command() -> Command {
    command_by(&[])
}

/// The same, started by another program, which becomes it.
pub(crate) fn command_by(launcher: &[String]) -> Command {
    let mut command = match launcher.split_first() {
        None => Command::new(binary()),
        Some((program, arguments)) => {
            let mut command = Command::new(program);
            command.args(arguments).arg(binary());
            command
        }
    };
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
    Answer::of(&output)
}

/// Runs a command to its end, with its standard output to this.
///
/// # Panics
/// When it cannot be run.
pub fn run_into<S: AsRef<OsStr>>(arguments: &[S], stdout: Stdio) -> Answer {
    let output = command().args(arguments).stdout(stdout).output().unwrap();
    Answer::of(&output)
}

/// Starts a command of the binary with all its streams as pipes.
///
/// # Panics
/// When it cannot be started.
pub fn spawn<S: AsRef<OsStr>>(arguments: &[S]) -> Child {
    let mut command = command();
    command.args(arguments).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    command.spawn().unwrap()
}
