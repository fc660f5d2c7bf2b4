//! Who may begin a run, end one, let one go on; and in which words the others are refused.

use crate::*;

#[test]
fn a_run_that_is_started_prints_its_identifier_alone() {
    let (stage, _sql) = held();
    let answer = stage.daemon.cli(&["rebuild", "all", "--reason", "because"]).ok();
    let run = answer.stdout.strip_suffix('\n').unwrap();
    assert!(run.len() == 36 && run.chars().all(|c| c.is_ascii_hexdigit() || c == '-'), "{run}");
    assert_eq!(answer.stderr, format!("`decisiongraph run {run} --wait` follows it\n"));
    assert_eq!(word(&shown(&stage, run), "status"), "queued");
    // For programs it is the whole run.
    let replay = ["replay", "all", "--reason", "because", "-t", "other", "-o", "json"];
    let answer = stage.daemon.cli(&replay).ok();
    assert_eq!((word(&answer.json(), "mode"), &*answer.stderr), ("replay".to_owned(), ""));
}

#[test]
fn what_makes_no_sense_is_refused_with_its_code() {
    let (stage, _sql) = held();
    let start = |arguments: &[&str], reason: &str| {
        stage.daemon.cli(&[arguments, &["--reason", reason]].concat())
    };
    for (arguments, reason, code, said) in [
        (&["rebuild", "all"][..], " ", 4, "invalid_argument: a reason is missing"),
        (&["rebuild", "all"], &"x".repeat(1001), 4, "invalid_argument: a reason has at most"),
        (
            &["replay", "all", "--until-log-seq", "7"],
            "x",
            4,
            "invalid_argument: until_log_seq 7 is",
        ),
        (
            &["replay", "all", "--until-log-seq", "0"],
            "x",
            4,
            "invalid_argument: until_log_seq must",
        ),
        (
            &["replay", "all", "--until-log-seq", "18446744073709551615"],
            "x",
            4,
            "invalid_argument: member 'until_log_seq' must be",
        ),
        (
            &["replay", "nope"],
            "x",
            3,
            "not_found: there is no projection 'nope'; there are context_g",
        ),
        (&["rebuild", "all", "-t", "nobody"], "x", 3, "not_found: tenant 'nobody' has no events"),
        (
            &["runs", "--limit", "0"],
            "",
            4,
            "invalid_argument: parameter 'limit' must be in 1..=1000",
        ),
    ] {
        let answer =
            if reason.is_empty() { stage.daemon.cli(arguments) } else { start(arguments, reason) };
        refused(&answer, code, said);
        let has_remedy = said.contains("nobody") || said.contains(": until_log_seq ");
        assert_eq!(answer.stderr.contains("\nhelp: "), has_remedy, "{answer:?}");
    }
    for arguments in [
        &["rebuild", "all"][..],
        &["replay", "--reason", "x"],
        &["rebuild", "all", "--reason", "x", "--until-log-seq", "5"],
        &["replay", "all", "--reason", "x", "--dry-run"],
        &["runs", "--status", "lost"],
        &["run", ""],
        &["run"],
    ] {
        assert_eq!(stage.daemon.cli(arguments).code, 2, "{arguments:?}");
    }
    assert_eq!(stage.daemon.cli(&["runs"]).ok().stdout, "none\n");
}

#[test]
fn a_projection_has_one_active_run_and_the_refusal_of_another_names_it() {
    let (stage, _sql) = held();
    let first = started(&stage, &["rebuild", "trace_summary"]);
    for scope in ["trace_summary", "all"] {
        let answer = stage.daemon.cli(&["replay", scope, "--reason", "x"]);
        refused(&answer, 5, &format!("conflict: the rebuild of trace_summary {first} is queued"));
        let help = format!("`decisiongraph run {first} --wait` follows it");
        assert!(answer.stderr.contains(&help), "{answer:?}");
    }
    started(&stage, &["replay", "context_graph"]);
    started(&stage, &["rebuild", "all", "-t", "other"]);
    stage.daemon.cli(&["cancel", &first]).ok();
    let second = started(&stage, &["replay", "trace_summary"]);
    refused(&stage.daemon.cli(&["resume", &first]), 5, "conflict: the replay of trace_summary");
    assert_ne!(first, second);
}

#[test]
fn a_queued_run_is_cancelled_and_resumed() {
    let (stage, _sql) = held();
    let run = started(&stage, &["rebuild", "all"]);
    refused(&stage.daemon.cli(&["resume", &run]), 5, "conflict: run ");
    let answer = stage.daemon.cli(&["cancel", &run]).ok();
    assert_eq!(answer.stdout, format!("run {run} is cancelled\n"));
    let answer = stage.daemon.cli(&["cancel", &run]);
    refused(&answer, 5, "conflict: run ");
    assert!(answer.stderr.contains(&format!("`decisiongraph run {run}` shows it")), "{answer:?}");
    assert_eq!(stage.daemon.cli(&["resume", &run]).ok().stdout, format!("{run}\n"));
    assert_eq!(word(&shown(&stage, &run), "status"), "queued");
    let json = stage.daemon.cli(&["cancel", &run, "-o", "json"]).ok().json();
    assert_eq!(word(&json, "status"), "cancelled");
}

#[test]
fn a_run_that_is_not_there_is_not_found() {
    let (stage, sql) = held();
    make(&sql, 1, CANCELLED);
    for run in ["nope", "../runs", &id(9)] {
        for command in ["run", "cancel", "resume"] {
            let answer = stage.daemon.cli(&[command, run]);
            refused(&answer, 3, &format!("not_found: there is no run {run}"));
            assert!(answer.stderr.contains("\nhelp: `decisiongraph runs`"), "{answer:?}");
        }
    }
    // By its identifier it is anybody's; of another tenant it is not.
    for command in ["run", "cancel", "resume"] {
        refused(&stage.daemon.cli(&[command, &id(1), "-t", "other"]), 3, "not_found: ");
    }
    stage.daemon.cli(&["run", &id(1), "-t", "default"]).ok();
}
