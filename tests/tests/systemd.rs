//! What the daemon tells systemd and takes from it, without a systemd: a socket of the test's own
//! hears, `systemd-socket-activate` passes. And the unit files by systemd's own tools.

#![allow(clippy::unwrap_used, reason = "tests")]

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use dg_tests::{
    Daemon, Directory, Manager, Postgres, Sql, Where, binary, new_database, run, skip, units, until,
};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

/// A daemon that has not been started, and who hears it.
fn heard(url: &str, flags: &[&str], fail_points: &str) -> (Daemon, Manager) {
    let manager = Manager::new();
    let mut daemon = Daemon::new(Where::Url(url.to_owned()), flags, fail_points);
    daemon.set("NOTIFY_SOCKET", manager.address());
    (daemon, manager)
}

#[test]
fn the_status_follows_the_database_from_the_start_to_the_stop() {
    let mut postgres = Postgres::start();
    let url = format!("postgres://decisiongraph@{}/postgres", postgres.address());
    let (mut daemon, mut manager) = heard(&url, &[], "");
    daemon.restart();
    let (extended, _) = manager.until(0, "EXTEND_TIMEOUT_USEC=");
    let (starting, _) = manager.until(extended, "STATUS=starting: ");
    let (ready, _) = manager.until(starting, "READY=1");
    let (rest, _) = manager.until(ready, "STATUS=no tenant at work");
    let lines = dg_tests::events::generated(3, 1);
    daemon.cli_with(&["import", "-"], dg_tests::events::joined(&lines).as_bytes()).ok();
    let (current, _) = manager.until(rest, "STATUS=1 tenant current");
    postgres.stop();
    // A daemon at rest learns of it from whoever asks.
    let _ = daemon.cli(&["health"]);
    let (away, _) = manager.until(current, "STATUS=database away since 2");
    postgres.start_again();
    let (_, back) = manager.until(away, "STATUS=1 tenant ");
    assert!(!back.contains("away"), "{back}");
    assert_eq!(daemon.stop(), 0);
    let (stopping, said) = manager.until(away, "STOPPING=1");
    assert_eq!(said, "STOPPING=1 EXTEND_TIMEOUT_USEC=40000000");
    let (listeners, _) = manager.until(stopping, "STATUS=stopping 1/3: the listeners");
    manager.until(listeners, "STATUS=stopping 3/3: the database");
    let ready = manager.heard().iter().filter(|message| *message == "READY=1").count();
    assert_eq!(ready, 1, "{:?}", manager.heard());
}

#[test]
fn a_database_that_is_away_keeps_nobody_from_being_ready() {
    let (mut daemon, mut manager) =
        heard("host=127.0.0.1 port=1 user=x dbname=x connect_timeout=1", &[], "");
    daemon.spawn();
    let (ready, _) = manager.until(0, "READY=1");
    manager.until(ready, "STATUS=waiting for the database: error connecting");
    assert_eq!(daemon.stop(), 0);
}

#[test]
fn a_daemon_that_cannot_start_never_says_that_it_is_ready() {
    let database = new_database();
    let (mut daemon, mut manager) = heard(&database.url(), &["--migrate", "check"], "");
    daemon.spawn();
    assert_eq!(daemon.wait(), 5);
    assert!(!manager.heard().iter().any(|message| message == "READY=1"), "{:?}", manager.heard());
}

#[test]
fn a_reload_changes_what_can_change_and_names_what_cannot() {
    let database = new_database();
    let directory = Directory::new();
    let file = directory.file("config.toml", "log_level = 'info'\n");
    let (mut daemon, mut manager) =
        heard(&database.url(), &["--config", file.to_str().unwrap()], "");
    daemon.restart();
    let (ready, _) = manager.until(0, "READY=1");
    let hang_up = |daemon: &Daemon| kill(Pid::from_raw(daemon.pid()), Signal::SIGHUP).unwrap();

    directory.file("config.toml", "log_level = 'debug'\npool_size = 20\nobserver_uids = [7]\n");
    hang_up(&daemon);
    let (reloading, said) = manager.until(ready, "RELOADING=1 ");
    let time = said.strip_prefix("RELOADING=1 MONOTONIC_USEC=").unwrap();
    assert!(time.parse::<u64>().unwrap() > 0);
    let (again, _) = manager.until(reloading, "READY=1");
    let log = daemon.log();
    assert!(log.contains("needs a restart key=\"pool_size\""), "{log}");
    let summary =
        "configuration reloaded changed=\"observer_uids, log_level\" need_restart=\"pool_size\"";
    assert!(log.contains(summary), "{log}");
    let lines = dg_tests::events::generated(1, 1);
    daemon.cli_with(&["import", "-"], dg_tests::events::joined(&lines).as_bytes()).ok();
    assert!(daemon.log().contains("DEBUG append "), "{}", daemon.log());

    directory.file("config.toml", "log_level = 'warn'\npool_sze = 3\n");
    hang_up(&daemon);
    let (refused, _) = manager.until(again, "RELOADING=1 ");
    manager.until(refused, "READY=1");
    let log = daemon.log();
    assert!(log.contains("configuration refused; the old one stays"), "{log}");
    assert!(log.contains("did you mean `pool_size`?"), "{log}");
    assert_eq!(log.matches("configuration reloaded").count(), 1, "{log}");
    assert_eq!(daemon.stop(), 0);
}

/// The lock of whoever migrates.
const MIGRATING: &str = "('x' || '64676d6967726174')::bit(64)::bigint";

#[test]
fn the_end_of_a_reload_is_not_taken_for_that_of_the_start() {
    let database = new_database();
    let sql = Sql::connect(&database.url().parse().unwrap());
    sql.rows(&format!("SELECT pg_advisory_lock({MIGRATING})"));
    let (mut daemon, mut manager) = heard(&database.url(), &[], "");
    daemon.spawn();
    let (starting, _) = manager.until(0, "STATUS=starting: the schema");
    kill(Pid::from_raw(daemon.pid()), Signal::SIGHUP).unwrap();
    until("it reloads", || daemon.log().contains("configuration reloaded").then_some(()));
    let early = ["READY=1", "RELOADING=1"];
    let is_early = |said: &String| early.iter().any(|word| said.starts_with(word));
    assert!(!manager.heard().iter().any(is_early), "{:?}", manager.heard());
    sql.rows(&format!("SELECT pg_advisory_unlock({MIGRATING})"));
    manager.until(starting, "READY=1");
    assert_eq!(daemon.stop(), 0);
}

#[test]
fn the_watchdog_is_fed_with_answers_and_starves_when_the_tree_is_frozen() {
    let database = new_database();
    let frozen = "gate_handle_before=freeze@4";
    let (mut daemon, mut manager) = heard(&database.url(), &[], frozen);
    daemon.set("WATCHDOG_USEC", "1000000");
    daemon.restart();
    let mut fed = 0;
    for _ in 0..3 {
        (fed, _) = manager.until(fed, "WATCHDOG=1");
    }
    until("it is not fed", || daemon.log().contains("the watchdog is not fed").then_some(()));
    assert!(daemon.log().contains("store of the supervision tree does not answer"));
    assert_eq!(manager.count("WATCHDOG=1", Duration::from_millis(1500)), 0);
    // The process is alive all the while: its timers run, and it answers.
    daemon.cli(&["status"]).ok();
}

/// A binary in the place that the unit names, since `verify` looks for it.
fn copy_of_unit(directory: &Directory) -> PathBuf {
    let unit = std::fs::read_to_string(units().join("decisiongraph.service")).unwrap();
    let unit = unit.replace("/usr/bin/decisiongraph", binary().to_str().unwrap());
    directory.file("decisiongraph.service", unit)
}

fn has(program: &str) -> bool {
    let found = Command::new("sh").args(["-c", &format!("command -v {program}")]).output().unwrap();
    if !found.status.success() {
        skip(&format!("no {program}, which is in Debian's package systemd"));
    }
    found.status.success()
}

fn succeeds(command: &mut Command) -> String {
    let output = command.output().unwrap();
    let said = [output.stdout, output.stderr].concat();
    let said = String::from_utf8_lossy(&said).into_owned();
    assert!(output.status.success(), "{command:?}: {said}");
    said
}

#[test]
fn the_units_are_right_and_expose_little() {
    if !has("systemd-analyze") {
        return;
    }
    let directory = Directory::new();
    let service = copy_of_unit(&directory);
    let socket = directory.path().join("decisiongraph.socket");
    std::fs::copy(units().join("decisiongraph.socket"), &socket).unwrap();
    let analyze = |arguments: &[&str], files: &[&Path]| {
        succeeds(Command::new("systemd-analyze").args(arguments).args(files))
    };
    let said = analyze(&["verify", "--man=no", "--recursive-errors=no"], &[&service, &socket]);
    assert_eq!(said, "");
    analyze(&["security", "--offline=true", "--threshold=15", "--no-pager"], &[&service]);
}

#[test]
fn the_stop_has_more_time_than_the_daemon_takes() {
    let unit = std::fs::read_to_string(units().join("decisiongraph.service")).unwrap();
    let value = |name: &str| unit.lines().find_map(|line| line.strip_prefix(&format!("{name}=")));
    let seconds: u64 = value("TimeoutStopSec").unwrap().strip_suffix('s').unwrap().parse().unwrap();
    let shown = run(&["config", "-o", "json"], b"").ok().json();
    let millis = shown.get("shutdown_timeout_ms").unwrap().get("value").unwrap().as_i64().unwrap();
    assert!(seconds * 1000 >= millis as u64 + 10_000);
    assert_eq!(value("Type"), Some("notify"));
    assert_eq!(value("RestartPreventExitStatus"), Some("64"));
    assert!(!unit.lines().any(|line| line.starts_with("PrivateUsers=")), "breaks the peer check");
}

#[test]
fn user_and_directories_are_made_as_the_units_need_them() {
    if !has("systemd-sysusers") || !has("systemd-tmpfiles") {
        return;
    }
    let root = Directory::new();
    let etc = root.path().join("etc");
    std::fs::create_dir_all(etc.join("decisiongraph")).unwrap();
    let file = |name: &str| units().join(name);
    let at_root = format!("--root={}", root.path().display());
    succeeds(Command::new("systemd-sysusers").args([&at_root]).arg(file("decisiongraph.sysusers")));
    let users = std::fs::read_to_string(etc.join("passwd")).unwrap();
    assert!(users.contains("decisiongraph:x:"), "{users}");
    if !nix::unistd::geteuid().is_root() {
        return skip("giving directories to a user takes root");
    }
    let mut tmpfiles = Command::new("systemd-tmpfiles");
    succeeds(tmpfiles.args(["--create", &at_root]).arg(file("decisiongraph.tmpfiles")));
    use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
    for (place, mode) in [("run/decisiongraph", 0o755), ("etc/credstore", 0o700)] {
        let found = std::fs::metadata(root.path().join(place)).unwrap();
        assert_eq!(found.permissions().mode() & 0o777, mode, "{place}");
    }
    let owner = std::fs::metadata(root.path().join("run/decisiongraph")).unwrap().uid();
    assert!(users.contains(&format!("decisiongraph:x:{owner}:")), "{users}");
}

#[test]
fn the_shipped_configuration_is_valid_and_names_the_units_places() {
    let file = units().join("config.toml");
    let shown = run(&["config", "--config", file.to_str().unwrap(), "-o", "json"], b"").ok().json();
    let value =
        |key: &str| shown.get(key).unwrap().get("value").unwrap().as_str().unwrap().to_owned();
    let socket = std::fs::read_to_string(units().join("decisiongraph.socket")).unwrap();
    assert!(socket.contains(&format!("ListenStream={}\n", value("socket_path"))));
    assert_eq!(value("data_dir"), "/var/lib/decisiongraph");
}

#[test]
fn a_socket_that_is_passed_is_used_and_left_where_it_is() {
    if !has("systemd-socket-activate") {
        return;
    }
    let (database, directory) = (new_database(), Directory::new());
    let socket = directory.path().join("passed.sock");
    let log = std::fs::File::create(directory.path().join("log")).unwrap();
    let mut command = Command::new("systemd-socket-activate");
    command.args(["--fdname=admin", "-l"]).arg(&socket).arg(binary());
    command.args(["serve", "--metrics-listen=off", "--database-url", &database.url()]);
    command.arg("--data-dir").arg(directory.path().join("d"));
    let mut process = command.stdout(Stdio::null()).stderr(log).spawn().unwrap();
    until("systemd listens", || socket.exists().then_some(()));
    // The first client starts the daemon, and is answered.
    let status = ["status".as_ref(), "--socket".as_ref(), socket.as_os_str()];
    until("the daemon answers", || run(&status, b"").code.eq(&0).then_some(()));
    kill(Pid::from_raw(process.id() as i32), Signal::SIGTERM).unwrap();
    let ended = until("it ends", || process.try_wait().unwrap());
    let log = std::fs::read_to_string(directory.path().join("log")).unwrap();
    assert!(ended.success(), "{log}");
    assert!(socket.exists(), "it was systemd's");
    assert!(!directory.path().join("d/decisiongraph.sock").exists());
    assert!(log.contains("systemd listens elsewhere than socket_path says"), "{log}");
    let place = format!("socket={}", socket.display());
    assert!(log.lines().any(|line| line.contains("serving") && line.contains(&place)), "{log}");
}
