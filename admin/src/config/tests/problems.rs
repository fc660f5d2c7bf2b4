//! What is refused, and that all of it is told at once.

use super::setup;
use crate::config::client_socket;

#[test]
fn every_problem_is_told_at_once_lowest_source_first() {
    let setup = setup()
        .file("pool_size = 1\npool_sze = 3\nlog_format = true\nadmin_uids = 'x'\n")
        .env("DATABASE_URL", "postgres://u:s3cret@h:x/db")
        .env("DECISIONGRAPH_POOLSIZE", "3")
        .env("DECISIONGRAPH_PROJECTION_PARTITIONS", "65")
        .flag("pool_size", "501")
        .flag("metrics_listen", "9464");
    let expected = [
        "pool_size (file:FILE, line 1, column 1): 1 is out of range; accepted: 4 to 500 connections",
        "pool_sze (file:FILE, line 2, column 1): is not a configuration key; did you mean `pool_size`?; accepted: a key of `decisiongraph config`",
        "log_format (file:FILE, line 3, column 1): is of type boolean, a string is wanted; accepted: one of `auto`, `text`, `json`, `journald`",
        "admin_uids (file:FILE, line 4, column 1): is a string, a list of whole numbers is wanted; accepted: a list of user ids, each 0 to 4294967294",
        "poolsize (env:DECISIONGRAPH_POOLSIZE): is not a configuration key; did you mean `DECISIONGRAPH_POOL_SIZE`?; accepted: a key of `decisiongraph config`",
        "database_url (env:DATABASE_URL): does not parse: invalid value for option `port`; accepted: a URL `postgres://user:password@host:5432/database` or a string `host=... user=... dbname=...`",
        "projection_partitions (env:DECISIONGRAPH_PROJECTION_PARTITIONS): 65 is out of range; accepted: 1 to 64 workers",
        "pool_size (flag:--pool-size): 501 is out of range; accepted: 4 to 500 connections",
        "metrics_listen (flag:--metrics-listen): \"9464\" is not an address with port; accepted: an address with port such as `127.0.0.1:9464`, or `off`",
    ];
    assert_eq!(setup.problems(), expected);
}

#[test]
fn toml_has_types() {
    let table = [
        ("pool_size = '16'", r#"is the text "16", a whole number is wanted"#),
        ("pool_size = 1.5", "is of type float, a whole number is wanted"),
        ("pool_size = [4]", "is a list, a whole number is wanted"),
        ("pool_size = 99999999999999999999", "99999999999999999999 is out of range"),
        ("pool_size = -2", "-2 is out of range"),
        ("pool_size = 0x1F5", "501 is out of range"),
        ("data_dir = 5", "is a whole number, a string is wanted"),
        ("projections = 'trace_summary'", "is a string, a list of strings is wanted"),
        ("projections = []", "is an empty list"),
        ("projections = [1]", "an entry is a whole number, a string is wanted"),
        ("admin_uids = ['bob']", r#"an entry is the text "bob", a whole number is wanted"#),
        ("database_url = ['s3cret']", "is a list, a string is wanted"),
        ("resume_interrupted_runs = 'true'", r#"is the text "true", true or false is wanted"#),
        ("resume_interrupted_runs = 1", "is a whole number, true or false is wanted"),
        ("log_level = 1979-05-27", "is of type datetime, a string is wanted"),
        ("[pool_size]\nx = 1", "is of type table, a whole number is wanted"),
    ];
    for (text, message) in table {
        let error = setup().file(text).load().unwrap_err();
        assert_eq!(error.problems.len(), 1, "{text}: {error}");
        assert_eq!(error.problems[0].message, message, "{text}");
    }
    assert!(setup().file("resume_interrupted_runs = true").load().unwrap().resume_interrupted_runs);
    assert_eq!(setup().file("pool_size = 0x1F4").load().unwrap().pool_size, 500);
}

#[test]
fn a_broken_line_hides_nothing_and_shows_no_secret() {
    let text = "database_url = \"host=h password=s3cret\npool_size = 1\npool_size = 2\nport = 5\n";
    let problems = setup().file(text).problems();
    let starts = [
        "config (file:FILE, line 1, column ",
        "pool_size (file:FILE, line 2, column 1): 1 is out of range",
        "config (file:FILE, line 3, column 1): duplicate key",
        "port (file:FILE, line 4, column 1): is not a configuration key",
    ];
    assert_eq!(problems.len(), starts.len(), "{problems:#?}");
    for (problem, start) in problems.iter().zip(starts) {
        assert!(problem.starts_with(start) && !problem.contains("s3cret"), "{problem}");
    }
}

#[test]
fn variables_with_our_prefix_mean_something_or_are_refused() {
    let known = ["PARITY", "OTP_SCENARIOS", "TEST_X", "CONFIG", "SOCKET"];
    let setup_known = known.iter().fold(setup(), |setup, name| {
        setup.env(&format!("DECISIONGRAPH_{name}"), if *name == "CONFIG" { "" } else { "1" })
    });
    assert!(setup_known.load().is_ok());
    assert!(setup().env("DECISION", "1").env("PATH", "/bin").load().is_ok());
    let start = "colour (env:DECISIONGRAPH_COLOUR): is not a configuration key; accepted: ";
    assert!(setup().env("DECISIONGRAPH_COLOUR", "").problems()[0].starts_with(start));
    let start = "data_dir (env:DECISIONGRAPH_DATA_DIR): is not UTF-8; accepted: ";
    assert!(setup().env("DECISIONGRAPH_DATA_DIR", "/a\u{FFFD}").problems()[0].starts_with(start));
}

#[test]
fn the_first_wait_is_not_longer_than_the_longest() {
    let base = "projection_retry_base_ms (flag:--projection-retry-base-ms): 30001 is above projection_retry_max_ms (30000, default); accepted: 30000 or less";
    assert_eq!(setup().flag("projection_retry_base_ms", "30001").problems(), [base]);
    let max = "projection_retry_max_ms (flag:--projection-retry-max-ms): 249 is below projection_retry_base_ms (250, default); accepted: 250 or more";
    assert_eq!(setup().flag("projection_retry_max_ms", "249").problems(), [max]);
    assert!(setup().flag("projection_retry_max_ms", "250").load().is_ok());
}

#[test]
fn a_console_is_for_this_machine_alone() {
    for (address, fits) in [
        ("127.0.0.1:9464", true),
        ("127.8.8.8:0", true),
        ("[::1]:9464", true),
        ("0.0.0.0:9464", false),
        ("10.0.0.1:9464", false),
        ("[::]:9464", false),
        ("off", false),
    ] {
        let setup = setup().flag("console", "true").flag("metrics_listen", address);
        assert_eq!(setup.load().is_ok(), fits, "{address}");
    }
    let told = setup().flag("console", "true").flag("metrics_listen", "0.0.0.0:1").problems();
    let start = "console (flag:--console): is true, but metrics_listen is 0.0.0.0:1, which others may reach; accepted: ";
    assert!(told.len() == 1 && told[0].starts_with(start), "{told:?}");
    assert!(setup().flag("metrics_listen", "0.0.0.0:9464").load().is_ok());
}

#[test]
fn a_named_file_has_to_be_there_and_be_text() {
    let mut gone = setup();
    gone.inputs.config_file = Some("/nonexistent/dg.toml".into());
    let expected = r#"config (flag:--config): cannot read "/nonexistent/dg.toml": No such file"#;
    assert!(gone.problems()[0].starts_with(expected), "{:?}", gone.problems());
    let gone = setup().env("DECISIONGRAPH_CONFIG", "/nonexistent/dg.toml");
    assert!(gone.problems()[0].starts_with("config (env:DECISIONGRAPH_CONFIG): cannot read"));
    let binary = setup().file("");
    std::fs::write(binary.file.as_ref().unwrap(), b"pool_size = 5\n# \xFF\n").unwrap();
    let expected = ["config (file:FILE, line 2, column 3): is not UTF-8; accepted: TOML"];
    assert_eq!(binary.problems(), expected);
}

#[test]
fn a_derived_socket_path_can_be_too_long() {
    let long = setup().flag("data_dir", &"d".repeat(100));
    let expected = "socket_path (default): has 119 bytes; accepted: a path of 1 to 107 bytes";
    assert_eq!(long.problems(), [expected]);
    assert!(long.flag("socket_path", "s").load().is_ok());
}

#[test]
fn a_client_cares_for_the_socket_alone() {
    let careless = || setup().file("pool_size = 1\n= x\n").env("DATABASE_URL", "mysql://h/db");
    let told = careless().env("DECISIONGRAPH_SOCKET", "/s");
    assert_eq!(client_socket(&told.inputs).unwrap().to_str(), Some("/s"));
    let error = client_socket(&careless().inputs).unwrap_err();
    assert_eq!(error.problems.len(), 1, "{error}");
    assert_eq!(error.problems[0].key, "config");
    let error = client_socket(&setup().flag("socket", "").inputs).unwrap_err();
    assert_eq!(
        error.problems[0].to_string(),
        "socket_path (flag:--socket): is empty; accepted: a path of 1 to 107 bytes"
    );
}

#[test]
fn no_output_has_a_password() {
    for url in ["postgres://u:s3cret@localhost/db", "host=localhost password=s3cret"] {
        let config = setup().flag("database_url", url).load().unwrap();
        assert_eq!(config.database_url.as_ref().unwrap().expose(), url);
        let shown = format!("{config:?} {} ", config.effective_json());
        assert!(!shown.contains("s3cret") && shown.contains("***"), "{shown}");
    }
}
