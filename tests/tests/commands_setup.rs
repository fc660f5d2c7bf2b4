//! The commands around a daemon: generated logs, the configuration, the schema.

#![allow(clippy::unwrap_used, reason = "tests")]

use dg_projections::json::Json;
use dg_tests::{Daemon, Directory, Sql, Stage, Where, new_database, run};

#[test]
fn a_log_is_generated_the_same_each_time() {
    let generate = |seed| {
        run(&["generate", "--traces", "20", "--tenants", "2", "--seed", seed], b"").ok().stdout
    };
    let log = generate("7");
    assert_eq!(log.lines().count(), 160);
    assert_eq!(generate("7"), log);
    assert_ne!(generate("8"), log);
    let stage = Stage::new(&[]);
    let answer = stage.daemon.cli_with(&["import", "-"], log.as_bytes()).ok();
    assert!(answer.stdout.starts_with("160 inserted, 0 reused, 0 rejected in "), "{answer:?}");
}

#[test]
fn the_configuration_is_shown_with_its_sources_and_without_passwords() {
    let directory = Directory::new();
    let file = directory.file("decisiongraph.toml", "pool_size = 7\n");
    let url = "postgres://ann:hunter2@localhost/dg";
    let flags = ["--config", file.to_str().unwrap(), "--database-url", url];
    let answer = run(&[&["config", "-o", "json"][..], &flags].concat(), b"").ok();
    assert!(!answer.stdout.contains("hunter2") && answer.stdout.contains("ann"), "{answer:?}");
    let config = answer.json();
    let source = |key: &str| {
        config.get(key).and_then(|one| one.get("source")).and_then(Json::as_str).unwrap().to_owned()
    };
    assert_eq!(source("pool_size"), format!("file:{}", file.display()));
    assert_eq!(source("database_url"), "flag:--database-url");
    assert_eq!(source("storage_timeout_ms"), "default");
    let answer = run(&[&["config"][..], &flags].concat(), b"").ok();
    assert!(!answer.stdout.contains("hunter2"), "{answer:?}");
}

#[test]
fn the_origin_of_a_value_has_its_line_and_what_it_stands_before() {
    let directory = Directory::new();
    let file = directory.file("decisiongraph.toml", "# sizes\npool_size = 7\n");
    let flags = ["--origin", "--config", file.to_str().unwrap(), "--pool-size", "8"];
    let answer = run(&[&["config", "-o", "json"][..], &flags].concat(), b"").ok().json();
    let one = answer.get("pool_size").unwrap();
    assert_eq!(one.get("source").and_then(Json::as_str), Some("flag:--pool-size"));
    let below = &one.get("overridden").and_then(Json::as_array).unwrap()[0];
    assert_eq!(below.get("line").and_then(Json::as_i64), Some(2), "{below:?}");
    let table = run(&[&["config"][..], &flags].concat(), b"").ok().stdout;
    let expected = format!("7 of file:{}:2", file.display());
    let line = table.lines().find(|line| line.starts_with("pool_size ")).unwrap();
    assert!(line.contains("flag:--pool-size") && line.ends_with(&expected), "{line}");
}

#[test]
fn a_valid_configuration_that_will_be_regretted_is_warned_of() {
    let flags = ["--metrics-listen", "0.0.0.0:9464", "--log-level", "warn"];
    let check = run(&[&["config", "check"][..], &flags].concat(), b"").ok().stdout;
    let lines: Vec<&str> = check.lines().collect();
    assert_eq!(lines.len(), 5, "{check}");
    assert!(lines[0].starts_with("warning: log_level (flag:--log-level): nothing is written down"));
    assert_eq!(lines[1], "help: write \"warn,audit=info\"");
    assert_eq!(lines[4], "the configuration is valid");
    let check = run(&[&["config", "check", "-o", "json"][..], &flags].concat(), b"").ok().json();
    assert_eq!(check.get("warnings").and_then(Json::as_array).map(<[Json]>::len), Some(2));
    let directory = Directory::new();
    let data_dir = ["--data-dir", directory.path().to_str().unwrap()];
    let doctor = run(&[&["doctor"][..], &flags, &data_dir].concat(), b"").stdout;
    let is_warning = |line: &&str| {
        line.starts_with("configuration ") && line.split_whitespace().nth(1) == Some("warning")
    };
    assert_eq!(doctor.lines().filter(is_warning).count(), 2, "{doctor}");
}

#[test]
fn a_bad_configuration_is_told_with_all_its_problems_and_stops_every_start() {
    let directory = Directory::new();
    let file = directory.file("decisiongraph.toml", "pool_size = 1\npol_size = 3\n");
    let file = ["--config", file.to_str().unwrap()];
    let flags =
        ["--storage-timeout-ms", "0", "--database-url", "postgres://ann:hunter2@[broken/dg"];
    for command in [&["config", "check"][..], &["config"], &["serve"]] {
        let answer = run(&[command, &file, &flags].concat(), b"");
        assert_eq!((answer.code, &*answer.stdout), (64, ""), "{answer:?}");
        for named in [
            "pool_size",
            "pol_size",
            "storage_timeout_ms",
            "database_url",
            "4 to 500",
            "flag:--database-url",
        ] {
            assert!(answer.stderr.contains(named), "{named}: {answer:?}");
        }
        assert!(!answer.stderr.contains("hunter2"), "{answer:?}");
    }
    // Also where the flags stand before the word `check`.
    let answer = run(&[&["config"][..], &flags, &["check"]].concat(), b"");
    assert_eq!(answer.code, 64, "{answer:?}");
    let answer = run(&["config", "check", "-o", "json"], b"").ok();
    assert_eq!(answer.json().get("valid"), Some(&Json::Bool(true)));
}

#[test]
fn migrations_are_shown_and_drift_and_newer_schemas_refuse_the_start() {
    let mut stage = Stage::new(&[]);
    let steps = dg_store::migrations().len();
    let status = stage.daemon.direct(&["migrate", "status", "-o", "json"]).ok().json();
    assert_eq!(status.get("version"), Some(&Json::from(steps as i64)));
    let members: Vec<_> = status.as_object().unwrap().keys().collect();
    assert_eq!(members, ["applied", "drift", "known_version", "missing", "pending", "version"]);
    assert_eq!(stage.daemon.stop(), 0);
    let sql = stage.daemon.sql();
    for (tampering, undoing, named) in [
        (
            "UPDATE dg_schema_migrations SET checksum = sha256('x') WHERE version = 1",
            "UPDATE dg_schema_migrations SET checksum = (SELECT checksum FROM saved WHERE version = 1) WHERE version = 1",
            "step 1 (event_log)",
        ),
        (
            "INSERT INTO dg_schema_migrations (version, name, checksum, binary_version) VALUES (999, 'later', sha256('x'), '9.9.9')",
            "DELETE FROM dg_schema_migrations WHERE version = 999",
            "step 999 (later) of release 9.9.9",
        ),
    ] {
        sql.rows("CREATE TABLE IF NOT EXISTS saved AS TABLE dg_schema_migrations");
        sql.rows(tampering);
        for command in
            [&["migrate", "status"][..], &["migrate"], &["serve", "--metrics-listen", "off"]]
        {
            let answer = stage.daemon.direct(command);
            assert_eq!(answer.code, 5, "{command:?}: {answer:?}");
            let error =
                answer.stderr.lines().find(|line| line.starts_with("error: conflict: ")).unwrap();
            assert!(error.contains(named), "{answer:?}");
        }
        let shown = stage.daemon.direct(&["migrate", "status", "-o", "json"]).json();
        assert!(
            shown.get("drift").and_then(Json::as_array).unwrap()[0]
                .as_str()
                .unwrap()
                .contains(named),
            "{shown:?}"
        );
        sql.rows(undoing);
    }
    stage.daemon.restart();
    assert_eq!(stage.daemon.stop(), 0);
    // `check` applies nothing.
    let empty = new_database();
    let url = ["--database-url", &empty.url()];
    let directory = Directory::new();
    let data = ["--data-dir", directory.path().to_str().unwrap()];
    let answer = run(
        &[&["serve", "--migrate", "check", "--metrics-listen", "off"][..], &url, &data].concat(),
        b"",
    );
    assert_eq!(answer.code, 5, "{answer:?}");
    assert!(answer.stderr.contains("pending"), "{answer:?}");
    let status = run(&[&["migrate", "status", "-o", "json"][..], &url].concat(), b"").ok().json();
    assert_eq!(status.get("version"), Some(&Json::from(0)));
    run(&[&["migrate"][..], &url].concat(), b"").ok();
    let status =
        run(&[&["migrate"][..], &url, &["status", "-o", "json"]].concat(), b"").ok().json();
    assert_eq!(status.get("version"), Some(&Json::from(steps as i64)));
}

#[test]
fn two_daemons_that_start_at_once_on_an_empty_database_apply_each_step_once() {
    let database = new_database();
    let mut daemons =
        [(), ()].map(|()| Daemon::new(Where::Url(database.url()), &["--log-format", "text"], ""));
    daemons.iter_mut().for_each(Daemon::spawn);
    daemons.iter_mut().for_each(Daemon::until_ready);
    let steps = dg_store::migrations().len();
    let sql = Sql::connect(&database.url().parse().unwrap());
    assert_eq!(sql.one("SELECT count(*) FROM dg_schema_migrations"), steps.to_string());
    let line = dg_tests::events::started("t");
    daemons[0].cli_with(&["append", "-"], line.as_bytes()).ok();
    for daemon in &mut daemons {
        daemon.until_current("default");
        assert_eq!(daemon.stop(), 0);
    }
    let logs = daemons.each_ref().map(Daemon::log);
    assert_eq!(logs.concat().matches("schema step applied").count(), steps, "{logs:?}");
    for log in &logs {
        let bad = ["WARN", "ERROR", "panicked"].iter().find(|word| log.contains(**word));
        assert_eq!(bad, None, "{log}");
    }
}
