//! Who may use the socket.

use std::fs::Permissions;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use dg_tests::{Stage, skip};

pub(crate) fn open_up(path: &Path, mode: u32) {
    std::fs::set_permissions(path, Permissions::from_mode(mode)).unwrap();
}

/// Whether this test can be another user, with a line that says so if not.
pub(crate) fn can_be_another() -> bool {
    let can = nix::unistd::geteuid().is_root()
        && Command::new("setpriv").arg("--version").output().is_ok();
    if !can {
        skip("being another user takes root and setpriv");
    }
    can
}

/// The command line's binary where another user finds it.
fn binary(stage: &Stage) -> PathBuf {
    let copy = stage.daemon.directory().path().join("decisiongraph");
    std::fs::copy(env!("CARGO_BIN_EXE_decisiongraph-under-test"), &copy).unwrap();
    open_up(stage.daemon.directory().path(), 0o755);
    open_up(&stage.daemon.data_dir(), 0o755);
    copy
}

/// `status`, asked for by user 65534.
fn status_of_another(stage: &Stage, binary: &Path) -> Output {
    Command::new("setpriv")
        .args(["--reuid=65534", "--regid=65534", "--clear-groups"])
        .arg(binary)
        .args(["status", "--socket"])
        .arg(stage.daemon.socket())
        .env_clear()
        .current_dir("/")
        .output()
        .unwrap()
}

#[test]
fn another_user_is_refused_by_the_mode_and_then_by_name() {
    if !can_be_another() {
        return;
    }
    let stage = Stage::new(&[]);
    let binary = binary(&stage);
    let mode = std::fs::metadata(stage.daemon.socket()).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o660);
    let by_mode = status_of_another(&stage, &binary);
    let said = String::from_utf8_lossy(&by_mode.stderr);
    assert_eq!(by_mode.status.code(), Some(69), "{said}");
    assert!(said.contains("Permission denied") && said.contains("admin_uids"), "{said}");

    open_up(&stage.daemon.socket(), 0o666);
    let by_name = status_of_another(&stage, &binary);
    let said = String::from_utf8_lossy(&by_name.stderr);
    assert_eq!(by_name.status.code(), Some(1), "{said}");
    assert!(said.starts_with("error: forbidden: ") && said.contains("admin_uids"), "{said}");
    assert!(by_name.stdout.is_empty());
    assert!(stage.daemon.log().contains("65534"), "{}", stage.daemon.log());
}

#[test]
fn another_user_gets_403_for_any_request_and_the_connection_is_closed() {
    let stage = Stage::new(&[]);
    if !can_be_another() {
        return;
    }
    open_up(stage.daemon.directory().path(), 0o755);
    open_up(&stage.daemon.data_dir(), 0o755);
    open_up(&stage.daemon.socket(), 0o666);
    let output = Command::new("setpriv")
        .args(["--reuid=65534", "--regid=65534", "--clear-groups", "curl", "-sSi", "--unix-socket"])
        .arg(stage.daemon.socket())
        .args(["-d", "{}", "-H", "x-request-id: mine", "http://dg/v1/events"])
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stdout);
    if said.is_empty() {
        return skip("curl is not installed");
    }
    assert!(said.starts_with("HTTP/1.1 403 "), "{said}");
    assert!(
        said.contains("x-request-id: mine\r\n") && said.contains("connection: close"),
        "{said}"
    );
    assert!(said.contains(r#"{"error":{"code":"forbidden","details":{},"#), "{said}");
}

#[test]
fn a_user_whom_the_configuration_names_is_admitted() {
    if !can_be_another() {
        return;
    }
    let stage = Stage::new(&["--admin-uids", "65534"]);
    let binary = binary(&stage);
    open_up(&stage.daemon.socket(), 0o666);
    let answer = status_of_another(&stage, &binary);
    assert_eq!(answer.status.code(), Some(0), "{answer:?}");
    assert!(String::from_utf8_lossy(&answer.stdout).contains("version"), "{answer:?}");
}
