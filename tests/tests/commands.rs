//! Every command once against the sample log: exit codes, JSON as the contract lists it, tables.

#![allow(clippy::unwrap_used, reason = "tests")]

use dg_admin::output::pretty;
use dg_projections::json::Json;
use dg_tests::events::{joined, whole_trace};
use dg_tests::{Answer, Stage, run};

const SAMPLE: [(&str, &str); 3] = [
    ("aurora-support", include_str!("../../ops/sample/aurora-support.jsonl")),
    ("harbor-bank", include_str!("../../ops/sample/harbor-bank.jsonl")),
    ("northwind-retail", include_str!("../../ops/sample/northwind-retail.jsonl")),
];
const TRACE: &str = "payout-2026-0001";

/// A daemon with the sample log, current, and with digests.
fn sample() -> Stage {
    let stage = Stage::new(&[]);
    for (tenant, log) in SAMPLE {
        stage.daemon.cli_with(&["import", "-"], log.as_bytes()).ok();
        stage.daemon.until_current(tenant);
        stage.daemon.cli(&["digest", "-t", tenant]).ok();
    }
    stage
}

/// A command of the client, asking for one tenant of the sample.
fn ask(stage: &Stage, arguments: &[&str]) -> Answer {
    stage.daemon.cli(&[arguments, &["-t", "harbor-bank"]].concat())
}

fn keys(value: &Json) -> Vec<&str> {
    value.as_object().unwrap().keys().map(String::as_str).collect()
}

fn sorted(list: &str) -> Vec<&str> {
    let mut names: Vec<&str> = list.split_whitespace().collect();
    names.sort_unstable();
    names
}

/// Asserts that an object has these members at least.
#[track_caller]
fn has(value: &Json, names: &str) {
    let (found, wanted) = (keys(value), sorted(names));
    let missing: Vec<_> = wanted.into_iter().filter(|name| !found.contains(name)).collect();
    assert!(missing.is_empty(), "{missing:?} of {found:?}");
}

fn first<'a>(value: &'a Json, name: &str) -> &'a Json {
    &value.get(name).and_then(Json::as_array).unwrap()[0]
}

const READS: [&[&str]; 9] = [
    &["events", "--limit", "5"],
    &["trace", TRACE],
    &["summary", TRACE],
    &["graph", "trace", TRACE],
    &["edges", "trace", TRACE],
    &["precedents", "--policy", "payout-limits"],
    &["workers"],
    &["failures"],
    &["digest"],
];

#[test]
fn json_is_sorted_stable_and_without_the_envelope_of_the_socket() {
    let stage = sample();
    for command in READS {
        for format in ["json", "jsonl"] {
            let arguments = [command, &["-o", format]].concat();
            let answer = ask(&stage, &arguments).ok();
            assert_eq!(ask(&stage, &arguments).ok().stdout, answer.stdout, "{arguments:?}");
            assert_eq!(answer.stderr, "", "{arguments:?}");
            if format == "json" {
                let value = answer.json();
                assert_eq!(pretty(&value) + "\n", answer.stdout, "{arguments:?}");
                assert!(value.get("data").is_none() && value.get("request_id").is_none());
            } else {
                answer.jsonl();
            }
        }
    }
}

#[test]
fn objects_have_the_members_of_the_contract() {
    let stage = sample();
    let json = |arguments: &[&str]| ask(&stage, &[arguments, &["-o", "json"]].concat()).ok().json();
    let digest = json(&["digest"]);
    let asked = ["digests", "event_count", "last_log_seq", "tenant_id", "versions"];
    assert_eq!(keys(&digest), asked);
    let digests = digest.get("digests").unwrap();
    assert_eq!(
        keys(digests),
        sorted("context_graph trace_summary precedent_index full_projection")
    );
    assert_eq!(keys(digests.get("context_graph").unwrap()), ["digest", "log_seq", "updated_at"]);

    let health = json(&["health"]);
    has(
        &health,
        "tenant_id event_log_last_seq event_count is_stale full_digest projections open_runs",
    );
    let projection = "projection_name last_log_seq applied_events pending_events lag_seconds
        cursor_age_seconds is_stale status generation digest digest_log_seq digest_updated_at
        open_failures partitions";
    has(first(&health, "projections"), projection);
    let all = json(&["health", "--all-tenants"]);
    let tenants: Vec<_> = all
        .as_array()
        .unwrap()
        .iter()
        .map(|one| one.get("tenant_id").and_then(Json::as_str).unwrap())
        .collect();
    assert_eq!(tenants, SAMPLE.map(|(tenant, _)| tenant));

    let workers = json(&["workers"]);
    assert_eq!(workers.as_array().unwrap().len(), 3);
    has(
        &workers.as_array().unwrap()[0],
        "tenant_id projection_name partition status cursor last_sync_at
        sync_count retry_count next_retry_at last_error restarts owner",
    );
    assert_eq!(json(&["workers", "--all-tenants"]).as_array().unwrap().len(), 9);
    assert_eq!(json(&["workers", "--all-tenants", "--state", "failed"]), Json::Array(Vec::new()));
    let status = json(&["status"]);
    has(&status, "version uptime_seconds workers active_runs partitions projections database");
    assert_eq!(
        status.get("workers").unwrap(),
        &Json::Object([("idle".to_owned(), 9.into())].into())
    );

    let event = &json(&["events", "--limit", "1"]).as_array().unwrap()[0].clone();
    let envelope = "tenant_id event_id trace_id trace_seq event_type occurred_at source actor
        idempotency_key correlation_id causation_event_id schema_version tags payload log_seq
        recorded_at payload_hash";
    assert_eq!(keys(event), sorted(envelope));
    let exported = ask(&stage, &["export"]).ok().jsonl();
    assert_eq!((exported.len(), &exported[0]), (959, event));

    let result = stage.daemon.cli_with(&["append", "-"], whole_trace("a")[0].as_bytes()).ok();
    assert_eq!(
        keys(&result.json()),
        sorted("line status tenant_id event_id log_seq code message details")
    );
    let verify = stage.daemon.direct(&["verify", "-t", "harbor-bank", "-o", "json"]).ok().json();
    has(&verify, "tenant_id proven events rows digests");
    let config = stage.daemon.direct(&["config", "-o", "json"]);
    assert_eq!(config.code, 0, "{config:?}");
    assert!(
        config.json().as_object().unwrap().values().all(|one| keys(one) == ["source", "value"])
    );
}

/// Asserts that every column of a table begins where its head does.
#[track_caller]
fn aligned(table: &str) {
    let mut lines = table.lines().skip_while(|line| !line.contains("  "));
    let head = lines.next().unwrap();
    let starts: Vec<usize> = (1..head.len())
        .filter(|at| &head[at - 1..*at] == " " && &head[*at..=*at] != " ")
        .filter(|at| *at == 1 || head[..*at].ends_with("  "))
        .collect();
    let rows: Vec<Vec<char>> = lines.map(|line| line.chars().collect()).collect();
    assert!(starts.len() > 1 && !rows.is_empty(), "{table}");
    for row in rows {
        for start in &starts {
            assert!(
                row.len() > *start && row[*start] != ' ' && row[start - 1] == ' ',
                "{start}: {table}"
            );
        }
    }
}

#[test]
fn tables_are_aligned_and_free_of_control_characters() {
    let stage = sample();
    for command in [
        &["events", "--limit", "5"][..],
        &["graph", "trace", TRACE],
        &["edges", "trace", TRACE],
        &["workers"],
        &["digest"],
        &["health"],
        &["health", "--all-tenants"],
        &["health", "--digests"],
    ] {
        let answer = ask(&stage, command).ok();
        aligned(&answer.stdout);
    }
    aligned(&stage.daemon.direct(&["config"]).ok().stdout);
    aligned(&stage.daemon.direct(&["migrate", "status"]).ok().stdout);
    for command in [&["summary", TRACE][..], &["trace", TRACE], &["precedents"], &["status"]] {
        let answer = ask(&stage, command).ok();
        assert!(answer.stdout.lines().count() >= 7, "{answer:?}");
        assert!(!answer.stdout.chars().any(|c| c.is_control() && c != '\n'), "{answer:?}");
    }
    assert_eq!(ask(&stage, &["failures"]).ok().stdout, "none\n");
    let list = ask(&stage, &["events"]).ok();
    assert_eq!(list.stdout.lines().count(), 101);
    assert_eq!(list.stderr, "there may be more: --since-log-seq 100, or a higher --limit\n");
}

#[test]
fn the_tenant_asked_for_is_the_one_answered() {
    let stage = sample();
    for (tenant, log) in SAMPLE {
        let count = log.lines().count();
        let exported = stage.daemon.cli(&["export", "-t", tenant]).ok().stdout;
        assert_eq!(exported.lines().count(), count);
        assert!(exported.lines().all(|line| line.contains(tenant)));
        let health = stage.daemon.cli(&["health", "-o", "json", "--tenant", tenant]).ok().json();
        assert_eq!(health.get("event_count"), Some(&Json::from(count as i64)));
        let proof = stage.daemon.direct(&["verify", "-t", tenant]).ok();
        assert!(proof.stdout.starts_with(&format!("proven: tenant {tenant}, ")), "{proof:?}");
    }
    // A line's own tenant wins over the one asked for; without one, that counts.
    let lines = [SAMPLE[0].1.lines().next().unwrap().to_owned(), whole_trace("a")[0].clone()];
    let answer = stage.daemon.cli_with(&["append", "-", "-t", "x"], joined(&lines).as_bytes()).ok();
    let tenants: Vec<_> =
        answer.jsonl().iter().map(|one| one.get("tenant_id").cloned().unwrap()).collect();
    assert_eq!(tenants, [Json::from("aurora-support"), Json::from("x")]);
}

#[test]
fn what_is_not_there_is_not_found() {
    let stage = sample();
    for command in [
        &["summary", "nope"][..],
        &["trace", "nope"],
        &["graph", "trace", "nope"],
        &["retry", "nope"],
        &["append", "/nonexistent"],
        &["health", "-t", "nobody"],
        &["digest", "-t", "nobody"],
        &["export", "-t", "nobody"],
    ] {
        let answer = stage.daemon.cli(command);
        assert_eq!((answer.code, &*answer.stdout), (3, ""), "{answer:?}");
        assert!(answer.stderr.starts_with("error: not_found: "), "{answer:?}");
        assert!(answer.stderr.contains("\nhelp: "), "{answer:?}");
        if command.contains(&"nobody") {
            assert!(answer.stderr.contains("'nobody'"), "{answer:?}");
        }
        let answer = stage.daemon.cli(&[command, &["-o", "json"]].concat());
        let error = dg_projections::json::parse(&answer.stderr).unwrap();
        assert_eq!(keys(error.get("error").unwrap()), ["code", "details", "message"]);
    }
    assert_eq!(stage.daemon.direct(&["verify", "-t", "nobody"]).code, 3);
    assert_eq!(stage.daemon.direct(&["parity", "nowhere.json"]).code, 3);
}

#[test]
fn what_no_request_may_ask_is_an_invalid_argument() {
    let stage = Stage::new(&[]);
    stage.import(&whole_trace("a"));
    for command in [
        &["graph", "trace", "a", "--depth", "11"][..],
        &["edges", "trace", "a", "--limit", "0"],
        &["edges", "trace", "a", "--cursor", "x"],
        &["precedents", "--limit", "10001"],
        &["events", "--event-type", "Nothing"],
        &["events", "--since-log-seq", "5", "--until-log-seq", "2"],
        &["events", "--since-occurred-at", "yesterday"],
    ] {
        let answer = stage.daemon.cli(command);
        assert_eq!((answer.code, &*answer.stdout), (4, ""), "{answer:?}");
        assert!(answer.stderr.starts_with("error: invalid_argument: "), "{answer:?}");
        assert_eq!(answer.stderr.lines().count(), 1, "{answer:?}");
    }
}

#[test]
fn a_command_line_that_makes_no_sense_is_a_usage_error() {
    for arguments in [
        &["nonsense"][..],
        &["export", "--nonsense"],
        &["graph", "trace"],
        &["events", "--limit", "many"],
        &["status", "-o", "xml"],
        &["append", "a", "b"],
        &["generate", "--traces", "0"],
        &["workers", "--state", "asleep"],
        &["precedents", "--outcome", "perhaps"],
        &["edges", "trace", "a", "--direction", "up"],
        &[],
    ] {
        let answer = run(arguments, b"");
        assert_eq!((answer.code, &*answer.stdout), (2, ""), "{arguments:?}: {answer:?}");
        assert!(!answer.stderr.is_empty(), "{arguments:?}");
    }
    for arguments in [&["--help"][..], &["help", "import"], &["--version"]] {
        assert!(!run(arguments, b"").ok().stdout.is_empty(), "{arguments:?}");
    }
}
