//! A log goes in, comes out, and goes into another house: nothing lost, doubled or renumbered.

#![allow(clippy::unwrap_used, reason = "tests")]

use dg_projections::json::Json;
use dg_tests::events::{event, finished, generated, joined, observed, started, whole_trace};
use dg_tests::{Daemon, Stage, Where};

/// Name, value and cursor of each digest.
fn digests(daemon: &Daemon, tenant: &str) -> Vec<(String, String, i64)> {
    let answer = daemon.cli(&["digest", "--fresh", "-o", "json", "-t", tenant]).ok().json();
    let digests = answer.get("digests").and_then(Json::as_object).unwrap();
    assert_eq!(digests.len(), 4, "{answer:?}");
    let one = |(name, one): (&String, &Json)| {
        (
            name.clone(),
            one.get("digest").and_then(Json::as_str).unwrap().to_owned(),
            one.get("log_seq").and_then(Json::as_i64).unwrap(),
        )
    };
    digests.iter().map(one).collect()
}

fn export(daemon: &Daemon, tenant: &str) -> String {
    daemon.cli(&["export", "-t", tenant]).ok().stdout
}

/// An export without what only its own house can say: when it took the event in.
fn timeless(export: &str) -> Vec<String> {
    let strip = |line: &str| {
        let (before, rest) = line.split_once("\"recorded_at\":\"").unwrap();
        format!("{before}{}", rest.split_once('"').unwrap().1)
    };
    export.lines().map(strip).collect()
}

fn import(daemon: &Daemon, flags: &[&str], lines: &str) -> (i32, [i64; 3]) {
    let mut arguments = vec!["import", "-", "-o", "json"];
    arguments.extend(flags);
    let answer = daemon.cli_with(&arguments, lines.as_bytes());
    let summary = answer.json();
    let count = |name: &str| summary.get(name).and_then(Json::as_i64).unwrap();
    (answer.code, ["inserted", "reused", "rejected"].map(count))
}

fn statuses(results: &[Json]) -> Vec<(i64, String)> {
    let one = |result: &Json| {
        (
            result.get("line").and_then(Json::as_i64).unwrap(),
            result.get("status").and_then(Json::as_str).unwrap().to_owned(),
        )
    };
    results.iter().map(one).collect()
}

fn text<'a>(value: &'a Json, key: &str) -> &'a str {
    value.get(key).and_then(Json::as_str).unwrap_or_default()
}

#[test]
fn importing_twice_reuses_everything_and_moves_no_digest() {
    let stage = Stage::new(&[]);
    let log = joined(&generated(150, 1));
    assert_eq!(import(&stage.daemon, &[], &log), (0, [1200, 0, 0]));
    stage.daemon.until_current("default");
    let (before, exported) = (digests(&stage.daemon, "default"), export(&stage.daemon, "default"));
    assert_eq!(import(&stage.daemon, &[], &log), (0, [0, 1200, 0]));
    assert_eq!(digests(&stage.daemon, "default"), before);
    assert_eq!(export(&stage.daemon, "default"), exported);
    stage.daemon.direct(&["verify"]).ok();
}

#[test]
fn an_export_kept_in_a_second_cluster_gives_the_same_digests_and_the_same_export() {
    let stage = Stage::new(&[]);
    stage.import(&generated(100, 1));
    let exported = export(&stage.daemon, "default");
    let second = Daemon::start(Where::Embedded, &[]);
    assert_eq!(import(&second, &["--keep-log-seq"], &exported), (0, [800, 0, 0]));
    second.until_current("default");
    assert_eq!(digests(&second, "default"), digests(&stage.daemon, "default"));
    assert_eq!(timeless(&export(&second, "default")), timeless(&exported));
    second.direct(&["verify"]).ok();
}

#[test]
fn several_tenants_move_together_and_keep_the_gaps_in_their_numbers() {
    let (first, second) = (Stage::new(&[]), Stage::new(&[]));
    let tenants = ["tenant-0001", "tenant-0002", "tenant-0003"];
    assert_eq!(import(&first.daemon, &[], &joined(&generated(60, 3))), (0, [480, 0, 0]));
    // What is left when whole traces were taken out: each tenant's first, middle and last.
    let mut kept = String::new();
    for tenant in tenants {
        let exported = export(&first.daemon, tenant);
        let trace_of =
            |line: &str| text(&dg_projections::json::parse(line).unwrap(), "trace_id").to_owned();
        let lines: Vec<&str> = exported.lines().collect();
        let taken = [0, lines.len() / 2, lines.len() - 1].map(|at| trace_of(lines[at]));
        let left = lines.iter().filter(|line| !taken.contains(&trace_of(line)));
        kept.extend(left.flat_map(|line| [*line, "\n"]));
    }
    let count = kept.lines().count() as i64;
    assert!(count < 480 - 3 * 8, "{count}");
    assert_eq!(import(&second.daemon, &["--keep-log-seq"], &kept), (0, [count, 0, 0]));

    let third = Stage::new(&[]);
    let mut moved = String::new();
    for tenant in tenants {
        second.daemon.until_current(tenant);
        let exported = export(&second.daemon, tenant);
        let prefix = format!("\"tenant_id\":\"{tenant}\"");
        let sent: Vec<String> =
            kept.lines().filter(|line| line.contains(&prefix)).map(str::to_owned).collect();
        assert_eq!(timeless(&exported), timeless(&joined(&sent)));
        let answer = second.daemon.direct(&["verify", "-t", tenant, "-o", "json"]).ok().json();
        assert_eq!(answer.get("events").and_then(Json::as_i64), Some(sent.len() as i64));
        moved.push_str(&exported);
    }
    assert_eq!(import(&third.daemon, &["--keep-log-seq"], &moved), (0, [count, 0, 0]));
    for tenant in tenants {
        third.daemon.until_current(tenant);
        assert_eq!(digests(&third.daemon, tenant), digests(&second.daemon, tenant));
        assert_eq!(
            timeless(&export(&third.daemon, tenant)),
            timeless(&export(&second.daemon, tenant))
        );
    }
}

#[test]
fn numbers_are_not_kept_in_a_tenant_with_events_of_its_own() {
    let (first, second) = (Stage::new(&[]), Stage::new(&[]));
    first.import(&whole_trace("a"));
    second.import(&whole_trace("b"));
    let exported = export(&first.daemon, "default");
    let answer = second.daemon.cli_with(&["append", "-"], exported.as_bytes());
    assert_eq!(answer.code, 0, "without the flag they are new events: {answer:?}");

    let third = Stage::new(&[]);
    third.import(&whole_trace("b"));
    let answer = third.daemon.cli_with(&["import", "-", "--keep-log-seq"], exported.as_bytes());
    assert_eq!(answer.code, 5, "{answer:?}");
    assert!(answer.stderr.contains("line 1: conflict: "), "{answer:?}");
    assert!(answer.stderr.contains("only in an empty tenant"), "{answer:?}");
    assert_eq!(export(&third.daemon, "default").lines().count(), 6);
}

#[test]
fn a_kept_import_that_was_cut_off_is_resumed_by_repeating_it() {
    let (first, second) = (Stage::new(&[]), Stage::new(&[]));
    first.import(&generated(50, 1));
    let exported = export(&first.daemon, "default");
    let lines: Vec<&str> = exported.lines().collect();
    // The cut goes through a line: what is whole is in, the rest is told.
    let mut cut = joined(&lines[..170]);
    cut.push_str(&lines[170][..100]);
    let answer = second.daemon.cli_with(&["import", "-", "--keep-log-seq"], cut.as_bytes());
    assert_eq!(answer.code, 4, "{answer:?}");
    assert!(answer.stderr.contains("line 171: invalid_argument: "), "{answer:?}");
    assert_eq!(import(&second.daemon, &["--keep-log-seq"], &exported), (0, [230, 170, 0]));
    second.daemon.until_current("default");
    assert_eq!(digests(&second.daemon, "default"), digests(&first.daemon, "default"));
    assert_eq!(timeless(&export(&second.daemon, "default")), timeless(&exported));
}

#[test]
fn an_atomic_append_writes_all_or_nothing_and_names_the_refused_line() {
    let stage = Stage::new(&[]);
    let append =
        |lines: &str| stage.daemon.cli_with(&["append", "-", "--atomic"], lines.as_bytes());
    let good = whole_trace("a");
    // A blank line counts, and is none.
    let bad =
        format!("{}\n\n{}\n{}\n", good[0], good[1], good[1].replace("EntityObserved", "Nothing"));
    let answer = append(&bad);
    let results = answer.jsonl();
    assert_eq!(statuses(&results), [1, 3, 4].map(|line| (line, "rejected".to_owned())));
    assert_eq!(text(&results[2], "code"), "schema_violation", "{answer:?}");
    for other in &results[..2] {
        let refused = other.get("details").and_then(|details| details.get("refused_line"));
        assert_eq!(refused.and_then(Json::as_i64), Some(4), "{other:?}");
    }
    assert_eq!(answer.code, 4, "the exit code is that of the line to blame: {answer:?}");
    assert_eq!(stage.daemon.cli(&["export"]).code, 3, "nothing is in");

    // Refused by the log, not by the shape.
    let out_of_order = joined(&[&good[0], &good[2]]);
    let answer = append(&out_of_order);
    assert_eq!(answer.code, 5, "{answer:?}");
    assert_eq!(text(&answer.jsonl()[1], "code"), "event_sequence_invalid");
    let expected =
        answer.jsonl()[1].get("details").and_then(|d| d.get("expected_trace_seq")).cloned();
    assert_eq!(expected, Some(Json::from(1)));
    assert_eq!(stage.daemon.cli(&["export"]).code, 3, "nothing is in");

    let answer = append(&joined(&good)).ok();
    assert_eq!(statuses(&answer.jsonl()).len(), 6);
    let answer = append(&joined(&good)).ok();
    assert!(answer.jsonl().iter().all(|result| text(result, "status") == "reused"), "{answer:?}");
}

#[test]
fn answers_come_in_the_order_of_the_file_with_its_line_numbers() {
    let stage = Stage::new(&[]);
    let other = |line: String| line.replacen('{', r#"{"tenant_id":"other","#, 1);
    let lines = [
        String::new(),
        other(started("x")),
        "  ".to_owned(),
        started("a"),
        "nonsense".to_owned(),
        other(observed("x", 1)),
        "\t".to_owned(),
        observed("a", 1),
        other(observed("x", 1)),
    ];
    let answer = stage.daemon.cli_with(&["append", "-"], joined(&lines).as_bytes());
    assert_eq!(answer.code, 4);
    let results = answer.jsonl();
    let shown: Vec<_> = results
        .iter()
        .map(|r| {
            (
                r.get("line").and_then(Json::as_i64).unwrap(),
                text(r, "status"),
                text(r, "tenant_id"),
                r.get("log_seq").and_then(Json::as_i64),
            )
        })
        .collect();
    let expected = [
        (2, "inserted", "other", Some(1)),
        (4, "inserted", "default", Some(1)),
        (5, "rejected", "", None),
        (6, "inserted", "other", Some(2)),
        (8, "inserted", "default", Some(2)),
        (9, "reused", "other", Some(2)),
    ];
    assert_eq!(shown, expected);
}

#[test]
fn events_continue_traces_of_their_own_batch_and_of_earlier_ones() {
    // Small batches: most traces cross from one into the next.
    let stage = Stage::new(&["--append-batch-max-events", "7"]);
    let mut lines = Vec::new();
    for seq in 0..40 {
        for trace in ["a", "b", "c"] {
            lines.push(match seq {
                0 => started(trace),
                39 => finished(trace, seq),
                _ => observed(trace, seq),
            });
        }
    }
    assert_eq!(import(&stage.daemon, &[], &joined(&lines)), (0, [120, 0, 0]));
    let ids = |lines: &str| {
        let id = |line| text(&dg_projections::json::parse(line).unwrap(), "event_id").to_owned();
        lines.lines().map(id).collect::<Vec<_>>()
    };
    assert_eq!(ids(&export(&stage.daemon, "default")), ids(&joined(&lines)));
    let more = event("a", 40, "PrecedentCited", r#"{"cited_trace_id":"b","reason":"alike"}"#);
    let answer = stage.daemon.cli_with(&["append", "-"], more.as_bytes());
    assert_eq!((answer.code, text(&answer.json(), "code")), (5, "conflict"), "{answer:?}");
    stage.daemon.until_current("default");
    stage.daemon.direct(&["verify"]).ok();
}

#[test]
fn a_payload_that_is_not_the_one_its_hash_was_taken_of_is_a_conflict() {
    let (first, second) = (Stage::new(&[]), Stage::new(&[]));
    first.import(&whole_trace("a"));
    let exported = export(&first.daemon, "default");
    let changed = exported.replace("About a", "About b");
    let answer = second.daemon.cli_with(&["append", "-"], changed.as_bytes());
    let results = answer.jsonl();
    assert_eq!(answer.code, 5);
    assert_eq!(text(&results[0], "code"), "conflict", "{answer:?}");
    let path = results[0].get("details").and_then(|details| details.get("path"));
    assert_eq!(path.and_then(Json::as_str), Some("$.payload_hash"));
    // Without their first event the others cannot come in either.
    assert!(results[1..].iter().all(|r| text(r, "code") == "event_sequence_invalid"), "{answer:?}");
}
