//! The private cluster: made once, owned by one daemon, gone with it.

#![allow(clippy::unwrap_used, reason = "tests")]

use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command};

use dg_tests::events::{joined, whole_trace};
use dg_tests::{Answer, Daemon, Directory, Where, run, spawn, until};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

/// The processes that name this directory on their command line or work in it.
fn processes_in(directory: &Path) -> Vec<String> {
    let directory = directory.canonicalize().unwrap();
    let mut found = Vec::new();
    for entry in std::fs::read_dir("/proc").unwrap().flatten() {
        let line = std::fs::read(entry.path().join("cmdline")).unwrap_or_default();
        let line = String::from_utf8_lossy(&line).replace('\0', " ");
        let home = std::fs::read_link(entry.path().join("cwd")).unwrap_or_default();
        let name = std::fs::read_to_string(entry.path().join("comm")).unwrap_or_default();
        let is_server = ["postgres", "initdb"].contains(&name.trim());
        if is_server && (line.contains(directory.to_str().unwrap()) || home.starts_with(&directory))
        {
            found.push(line);
        }
    }
    found
}

/// A process of the test's own making; ended with the test.
struct Owned(Option<Child>);

impl Owned {
    fn spawn(arguments: &[&str]) -> Owned {
        Owned(Some(spawn(arguments)))
    }

    fn serve(data_dir: &Path, flags: &[&str]) -> Owned {
        let own = ["serve", "--metrics-listen", "off", "--data-dir", data_dir.to_str().unwrap()];
        Owned::spawn(&[&own[..], flags].concat())
    }

    fn stdout(&mut self) -> ChildStdout {
        self.0.as_mut().unwrap().stdout.take().unwrap()
    }

    fn terminate(&self) {
        let pid = self.0.as_ref().unwrap().id();
        kill(Pid::from_raw(pid as i32), Signal::SIGTERM).unwrap();
    }

    /// Its exit code and what it wrote, when it has ended.
    fn ended(mut self) -> Answer {
        let output = self.0.take().unwrap().wait_with_output().unwrap();
        Answer {
            code: output.status.code().unwrap_or(-1),
            stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
            stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
        }
    }
}

impl Drop for Owned {
    fn drop(&mut self) {
        if let Some(mut process) = self.0.take() {
            let _ = kill(Pid::from_raw(process.id() as i32), Signal::SIGTERM);
            let _ = process.wait();
        }
    }
}

#[test]
fn the_first_start_makes_the_cluster_and_the_second_uses_it() {
    let mut daemon = Daemon::start(Where::Embedded, &[]);
    assert!(daemon.log().contains("made the embedded Postgres cluster"), "{}", daemon.log());
    daemon.cli_with(&["append", "-"], joined(&whole_trace("a")).as_bytes()).ok();
    daemon.until_current("default");
    assert_eq!(daemon.stop(), 0);
    daemon.restart();
    assert_eq!(daemon.log().matches("made the embedded Postgres cluster").count(), 1);
    daemon.cli(&["summary", "a"]).ok();
    daemon.direct(&["verify"]).ok();
}

#[test]
fn a_proof_is_of_the_daemon_whose_socket_is_named_or_of_none() {
    let daemon = Daemon::start(Where::Embedded, &[]);
    daemon.cli_with(&["append", "-"], joined(&whole_trace("a")).as_bytes()).ok();
    daemon.until_current("default");
    daemon.cli(&["verify"]).ok();
    let elsewhere = daemon.directory().path().join("elsewhere").join("decisiongraph.sock");
    let answer = run(&["verify", "--socket", elsewhere.to_str().unwrap()], b"");
    assert_eq!((answer.code, &*answer.stdout), (2, ""), "{answer:?}");
    assert!(answer.stderr.contains("--data-dir"), "{answer:?}");
}

#[test]
fn a_second_daemon_on_the_same_directory_is_refused_with_the_pid_of_the_first() {
    let daemon = Daemon::start(Where::Embedded, &[]);
    let answer = Owned::serve(&daemon.data_dir(), &[]).ended();
    assert_eq!((answer.code, &*answer.stdout), (5, ""), "{answer:?}");
    let error = answer.stderr.lines().find(|line| line.starts_with("error: conflict: ")).unwrap();
    assert!(error.contains(&daemon.pid().to_string()), "{answer:?}");
    assert!(answer.stderr.contains("\nhelp: "), "{answer:?}");
    // The first has not noticed.
    daemon.cli_with(&["append", "-"], joined(&whole_trace("a")).as_bytes()).ok();
}

#[test]
fn without_postgres_the_start_fails_with_a_remedy() {
    let directory = Directory::new();
    let (empty, data) = (directory.path().join("empty"), directory.path().join("d"));
    std::fs::create_dir(&empty).unwrap();
    for bin_dir in [empty, directory.path().join("absent")] {
        let answer =
            Owned::serve(&data, &["--postgres-bin-dir", bin_dir.to_str().unwrap()]).ended();
        assert_eq!(answer.code, 69, "{answer:?}");
        let error =
            answer.stderr.lines().find(|line| line.starts_with("error: storage: ")).unwrap();
        assert!(error.contains(bin_dir.to_str().unwrap()), "{answer:?}");
        assert!(answer.stderr.contains("\nhelp: "), "{answer:?}");
    }
    assert!(!data.join("pg/data").exists());
}

#[test]
fn a_daemon_that_was_killed_leaves_an_orphan_and_the_next_takes_over_from_it() {
    let mut daemon = Daemon::start(Where::Embedded, &[]);
    daemon.cli_with(&["append", "-"], joined(&whole_trace("a")).as_bytes()).ok();
    daemon.kill();
    assert!(!processes_in(&daemon.data_dir()).is_empty(), "no orphan: nothing is tested");
    let sql = daemon.sql();
    assert_eq!(sql.one("SELECT count(*) FROM dg_event_log"), "6");
    daemon.restart();
    assert!(daemon.log().contains("took over from an orphaned postgres"), "{}", daemon.log());
    daemon.until_current("default");
    daemon.direct(&["verify"]).ok();
}

#[test]
fn sigterm_ends_the_daemon_its_postgres_and_its_socket() {
    let mut daemon = Daemon::start(Where::Embedded, &[]);
    assert!(!processes_in(&daemon.data_dir()).is_empty());
    assert_eq!(daemon.stop(), 0);
    assert_eq!(processes_in(&daemon.data_dir()), Vec::<String>::new());
    assert!(!daemon.socket().exists());
    assert!(!daemon.data_dir().join("pg/data/postmaster.pid").exists());
    let answer = daemon.cli(&["status"]);
    assert_eq!(answer.code, 69);
    assert!(answer.stderr.contains("if none does, `decisiongraph serve` starts it"), "{answer:?}");
}

/// A start that is cut off at a moment, and the one after it.
fn cut_off_when_there_is(moment: &str) {
    let directory = Directory::new();
    let data = directory.path().join("d");
    let child = Owned::serve(&data, &[]);
    until("the start has come so far", || data.join(moment).exists().then_some(()));
    child.terminate();
    let answer = child.ended();
    assert_eq!(answer.code, 0, "{moment}: {answer:?}");
    until("no postgres is left", || processes_in(&data).is_empty().then_some(()));
    let child = Owned::serve(&data, &[]);
    let socket = data.join("decisiongraph.sock");
    let status = ["status", "--socket", socket.to_str().unwrap()];
    until("the daemon is ready", || (run(&status, b"").code == 0).then_some(()));
    child.terminate();
    assert_eq!(child.ended().code, 0, "{moment}");
    assert_eq!(processes_in(&data), Vec::<String>::new());
}

#[test]
fn sigterm_while_the_cluster_is_being_made_leaves_nothing_running() {
    cut_off_when_there_is("pg/lock");
}

#[test]
fn sigterm_when_the_cluster_has_just_been_made_leaves_nothing_running() {
    cut_off_when_there_is("pg/data");
}

#[test]
fn sigterm_while_postgres_starts_leaves_nothing_running() {
    cut_off_when_there_is("pg/data/postmaster.pid");
}

/// A data directory whose path has this many bytes.
fn deep(directory: &Directory, bytes: usize) -> PathBuf {
    let mut path = directory.path().to_owned();
    while path.as_os_str().len() + 42 < bytes {
        path.push("d".repeat(40));
    }
    path.push("e".repeat(bytes - path.as_os_str().len() - 1));
    std::fs::create_dir_all(&path).unwrap();
    path
}

#[test]
fn a_path_too_long_for_the_admin_socket_is_a_configuration_error_that_names_the_key() {
    let directory = Directory::new();
    let data = deep(&directory, 120);
    let answer = Owned::serve(&data, &[]).ended();
    assert_eq!(answer.code, 64, "{answer:?}");
    assert!(
        answer.stderr.contains("socket_path") && answer.stderr.contains("107 bytes"),
        "{answer:?}"
    );
    assert!(!data.join("pg").exists(), "nothing was begun");
}

#[test]
fn a_path_too_long_for_the_socket_of_postgres_works() {
    let directory = Directory::new();
    let data = deep(&directory, 120);
    let socket = directory.path().join("s");
    let child = Owned::serve(&data, &["--socket-path", socket.to_str().unwrap()]);
    let client = |arguments: &[&str], input: &str| {
        let mut arguments = arguments.to_vec();
        arguments.extend(["--socket", socket.to_str().unwrap()]);
        run(&arguments, input.as_bytes())
    };
    until("the daemon is ready", || client(&["status", "-o", "json"], "").says_up().then_some(()));
    client(&["append", "-"], &joined(&whole_trace("a"))).ok();
    let direct = ["--data-dir", data.to_str().unwrap()];
    client(&[&["verify"][..], &direct].concat(), "").ok();
    if Command::new("psql").arg("--version").output().is_ok_and(|output| output.status.success()) {
        let count = [
            &["psql"][..],
            &direct,
            &["--socket", socket.to_str().unwrap(), "-Atc", "SELECT count(*) FROM dg_event_log"],
        ];
        assert_eq!(run(&count.concat(), b"").ok().stdout, "6\n");
    }
    child.terminate();
    assert_eq!(child.ended().code, 0);
    assert_eq!(processes_in(&data), Vec::<String>::new());
    // Its socket was elsewhere.
    let _ = std::fs::remove_dir(dg_admin::embedded::socket_dir(&data));
}

#[test]
fn a_demo_whose_reader_is_gone_takes_its_postgres_along() {
    let directory = Directory::new();
    let data = directory.path().join("d");
    let mut child =
        Owned::spawn(&["demo", "--metrics-listen", "off", "--data-dir", data.to_str().unwrap()]);
    until("the demo has a Postgres", || {
        (data.exists() && !processes_in(&data).is_empty()).then_some(())
    });
    drop(child.stdout());
    let answer = child.ended();
    assert_eq!(answer.code, 0, "{answer:?}");
    assert!(!answer.stderr.contains("panicked"), "{answer:?}");
    assert_eq!(processes_in(&data), Vec::<String>::new());
    assert!(!data.join("decisiongraph.sock").exists());
}

#[test]
fn a_demo_that_keeps_running_serves_until_it_is_told_to_stop() {
    let directory = Directory::new();
    let data = directory.path().join("d");
    let socket = data.join("decisiongraph.sock");
    let mut child = Owned::spawn(&[
        "demo",
        "--keep-running",
        "--metrics-listen",
        "off",
        "--data-dir",
        data.to_str().unwrap(),
    ]);
    let stdout = child.stdout();
    let mut lines = std::io::BufRead::lines(std::io::BufReader::new(stdout));
    assert!(lines.any(|line| line.unwrap().starts_with("The daemon goes on serving")));
    let health =
        run(&["health", "-t", "harbor-bank", "--check", "--socket", socket.to_str().unwrap()], b"");
    assert_eq!(health.code, 0, "{health:?}");
    child.terminate();
    let answer = child.ended();
    assert_eq!(answer.code, 0, "{answer:?}");
    assert_eq!(processes_in(&data), Vec::<String>::new());
}
