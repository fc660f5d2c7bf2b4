//! Two daemons on one database: both serve, nothing is applied twice, and each says that the other
//! is there.

#![allow(clippy::unwrap_used, reason = "tests")]

use dg_projections::json::Json;
use dg_tests::events::{joined, whole_trace};
use dg_tests::{Daemon, Stage, Where, until};

/// The owner of a daemon, and those it sees beside itself.
fn owners(daemon: &Daemon) -> (String, Vec<String>) {
    let status = daemon.cli(&["status", "-o", "json"]).ok().json();
    let text = |value: &Json| value.as_str().unwrap().to_owned();
    let others = status.get("other_owners").and_then(Json::as_array).unwrap();
    (text(status.get("owner").unwrap()), others.iter().map(text).collect())
}

fn lines(daemon: &Daemon, words: &[&str]) -> usize {
    let log = daemon.log();
    log.lines().filter(|line| words.iter().all(|word| line.contains(word))).count()
}

const CAME: &str = "another daemon is at this database";
const WENT: &str = "the other daemon is gone";

#[test]
fn both_run_and_each_says_that_the_other_is_there() {
    let stage = Stage::new(&[]);
    let first = &stage.daemon;
    assert_eq!(owners(first).1, Vec::<String>::new());
    let mut second = Daemon::start(Where::Url(stage.url()), &[]);
    let [(one, _), (other, _)] = [first, &second].map(owners);
    assert_ne!(one, other);
    for (daemon, beside) in [(first, &other), (&second, &one)] {
        until("the other is seen", || (owners(daemon).1 == [beside.clone()]).then_some(()));
        let table = daemon.cli(&["status"]).ok().stdout;
        let warning =
            format!("warning: other daemons are at this database and do the same work: {beside}");
        assert!(table.lines().any(|line| line == warning), "{table}");
        until("the other is warned of", || {
            (lines(daemon, &["WARN", CAME, beside]) == 1).then_some(())
        });
    }

    for (daemon, trace) in [(first, "t"), (&second, "u"), (first, "v")] {
        daemon.cli_with(&["append", "-"], joined(&whole_trace(trace)).as_bytes()).ok();
    }
    for daemon in [first, &second] {
        daemon.until_current("default");
        let workers = daemon.cli(&["workers", "-o", "json"]).ok().json();
        let own = owners(daemon).0;
        let owner = |worker: &Json| worker.get("owner").and_then(Json::as_str) == Some(&own);
        assert!(workers.as_array().unwrap().iter().all(owner), "{workers:?}");
    }
    first.direct(&["verify"]).ok();

    second.stop();
    until("the first is alone", || owners(first).1.is_empty().then_some(()));
    until("that is told", || (lines(first, &[WENT, &other]) == 1).then_some(()));
    assert_eq!(lines(first, &[CAME]), 1);
    let table = first.cli(&["status"]).ok().stdout;
    assert!(!table.contains("warning"), "{table}");
}

#[test]
fn a_session_that_outlives_its_daemon_is_not_one() {
    let stage = Stage::new(&[]);
    let sql = stage.daemon.sql();
    sql.rows("SET application_name = 'decisiongraph ghost:1'");
    assert_eq!(owners(&stage.daemon).1, ["ghost:1"]);
    // It does no more, as a pooler's session whose client has gone.
    until("the ghost is forgotten", || owners(&stage.daemon).1.is_empty().then_some(()));
    sql.rows("SET application_name = 'decisiongraph'");
    assert_eq!(owners(&stage.daemon).1, Vec::<String>::new());
}
