//! What is valid and told of nevertheless.

use std::os::unix::fs::PermissionsExt as _;

use super::{Setup, setup};

fn warned(setup: &Setup) -> Vec<String> {
    let config = setup.load().unwrap();
    config.warnings().iter().map(|warning| setup.neutral(&warning.to_string())).collect()
}

#[test]
fn what_somebody_would_regret_is_told() {
    let table = [
        ("metrics_listen", "0.0.0.0:9464", "everybody who reaches 0.0.0.0:9464 "),
        ("metrics_listen", "[::1]:9464", ""),
        ("metrics_listen", "off", ""),
        ("log_level", "warn", "nothing is written down of who "),
        ("log_level", "off", "nothing is written down of who "),
        ("log_level", "info,audit=off", "nothing is written down of who "),
        ("log_level", "warn,audit=info", ""),
        ("log_level", "warn,[run{id=1}]=info", ""),
        ("log_level", "debug", ""),
        ("database_url", "postgres://u:s3cret@192.0.2.1/d?sslmode=disable", "password and events "),
        ("database_url", "host=127.0.0.1,h sslmode=disable", "password and events "),
        ("database_url", "postgres://u:s3cret@127.0.0.1/d", ""),
        ("database_url", "host=/run/postgresql", ""),
        ("data_dir", "relative", ""),
    ];
    for (key, value, start) in table {
        let told = warned(&setup().flag(key, value));
        let flag = format!("{key} (flag:--{}): {start}", key.replace('_', "-"));
        assert_eq!(told.len(), usize::from(!start.is_empty()), "{key} {value}: {told:?}");
        assert!(told.iter().all(|line| line.starts_with(&flag)), "{key} {value}: {told:?}");
        assert!(!told.concat().contains("s3cret"), "{told:?}");
    }
    assert_eq!(warned(&setup()), [""; 0]);
}

#[test]
fn a_password_that_all_may_read_is_told() {
    let password = setup().file("s3cret");
    let given = password.file.clone().unwrap();
    let setup = setup().file("database_url = 'postgres://u:s3cret@localhost/d'");
    let path = setup.file.clone().unwrap();
    let mode = |mode| {
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(mode)).unwrap();
        let told = warned(&setup).into_iter();
        told.map(|line| line.replace(given.to_str().unwrap(), "PASSWORD")).collect::<Vec<_>>()
    };
    assert_eq!(
        mode(0o644),
        ["database_url (file:FILE): its password stands in FILE, which every user may read"]
    );
    assert_eq!(mode(0o640), [""; 0]);
    let beside = format!("database_password_file = {given:?}");
    let text = format!("database_url = 'postgres://u@localhost/d'\n{beside}");
    std::fs::write(&path, text).unwrap();
    assert_eq!(mode(0o644), ["database_password_file (file:FILE): every user may read PASSWORD"]);
}

#[test]
fn a_file_for_the_machine_has_absolute_paths() {
    let told = warned(&setup().file("data_dir = 'd'\nsocket_path = '/run/s'"));
    assert_eq!(told, ["data_dir (file:FILE): d is another place in each working directory"]);
}
