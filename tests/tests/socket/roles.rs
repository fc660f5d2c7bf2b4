//! Those who may look and change nothing.

use std::io::{BufRead as _, BufReader, Read as _};
use std::process::{Command, Stdio};

use dg_tests::{Directory, Stage, events, skip};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::audit::audited;
use crate::http::post;
use crate::peers::{can_be_another, open_up};

/// A daemon whose observer is user 65534, with a trace; none where that cannot be tested.
fn observed(flags: &[&str]) -> Option<Stage> {
    if !can_be_another() {
        return None;
    }
    if Command::new("curl").arg("--version").output().is_err() {
        skip("curl is not installed");
        return None;
    }
    let stage = Stage::new(flags);
    stage.import(&events::whole_trace("t1"));
    open_up(stage.daemon.directory().path(), 0o755);
    open_up(&stage.daemon.data_dir(), 0o755);
    open_up(&stage.daemon.socket(), 0o666);
    Some(stage)
}

/// User 65534 asks.
fn asking(stage: &Stage, arguments: &[&str], path: &str) -> Command {
    let mut command = Command::new("setpriv");
    command
        .args(["--reuid=65534", "--regid=65534", "--clear-groups", "curl", "-sSi"])
        .args(["-m", "60", "--unix-socket"])
        .arg(stage.daemon.socket())
        .args(arguments)
        .arg(format!("http://dg{path}"));
    command
}

/// What user 65534 is answered, with its head.
fn answer(stage: &Stage, arguments: &[&str], path: &str) -> String {
    let output = asking(stage, arguments, path).output().unwrap();
    String::from_utf8(output.stdout).unwrap()
}

#[test]
fn an_observer_may_look_at_everything() {
    let Some(stage) = observed(&["--observer-uids", "65534"]) else { return };
    for path in ["/v1/status", "/v1/runs", "/v1/events", "/v1/traces/t1", "/v1/digests?fresh=true"]
    {
        let said = answer(&stage, &[], path);
        assert!(said.starts_with("HTTP/1.1 200 "), "{path}: {said}");
    }
}

#[test]
fn an_observer_changes_nothing_and_is_told_so() {
    let Some(stage) = observed(&["--observer-uids", "65534"]) else { return };
    for path in [
        "/v1/events",
        "/v1/runs",
        "/v1/runs/x/cancel",
        "/v1/runs/x/resume",
        "/v1/projections/trace_summary/retry",
    ] {
        let body = events::started("t2");
        let said = answer(&stage, &["-d", &body, "-H", "x-request-id: mine"], path);
        assert!(said.starts_with("HTTP/1.1 403 "), "{path}: {said}");
        assert!(said.contains("x-request-id: mine\r\n"), "{said}");
        assert!(said.contains(r#""code":"forbidden""#) && said.contains("observer_uids"), "{said}");
    }
    let counted = |table: &str| stage.daemon.sql().one(&format!("SELECT count(*) FROM {table}"));
    assert_eq!((counted("dg_event_log"), counted("dg_projection_runs")), ("6".into(), "0".into()));
    let told = audited(&stage);
    assert_eq!(told.len(), 5, "{told:#?}");
    for line in told {
        let is_whole = line.contains("uid=65534") && line.contains(r#"outcome="forbidden""#);
        assert!(is_whole && line.contains(r#"request_id="mine""#), "{line}");
    }
    // Others are as they were.
    post(&stage.daemon, "/v1/events", &events::started("t2")).data();
}

#[test]
fn an_observer_who_is_an_admin_as_well_may_do_everything() {
    let flags = ["--observer-uids", "65534", "--admin-uids", "65534"];
    let Some(stage) = observed(&flags) else { return };
    let said = answer(&stage, &["-d", &events::started("t2")], "/v1/events");
    assert!(said.starts_with("HTTP/1.1 200 "), "{said}");
}

#[test]
fn who_is_no_observer_any_more_sees_nothing_more_of_a_stream() {
    let directory = Directory::new();
    let file = directory.file("config.toml", "observer_uids = [65534]\n");
    let Some(stage) = observed(&["--config", file.to_str().unwrap()]) else { return };
    let mut watching = asking(&stage, &["-N", "-m", "50"], "/v1/watch");
    let mut watching = watching.stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
    let mut told = BufReader::new(watching.stdout.take().unwrap());
    let mut line = String::new();
    while !line.contains(r#""kind":"picture""#) {
        line.clear();
        assert_ne!(told.read_line(&mut line).unwrap(), 0, "the stream has ended");
    }
    directory.file("config.toml", "observer_uids = []\n");
    kill(Pid::from_raw(stage.daemon.pid()), Signal::SIGHUP).unwrap();
    told.read_to_end(&mut Vec::new()).unwrap();
    let code = watching.wait().unwrap().code();
    assert_eq!(code, Some(18), "curl's word for a transfer that was cut; 28 is its own patience");
    assert!(answer(&stage, &[], "/v1/status").starts_with("HTTP/1.1 403 "));
    stage.daemon.cli(&["status"]).ok();
}
