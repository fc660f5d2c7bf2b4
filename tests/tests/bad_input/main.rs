//! Each rule of the envelope, the payload, the guard and the log broken once, between good lines:
//! the right code and place for the bad, and the good are in.

#![allow(clippy::unwrap_used, reason = "tests")]

mod rules;

use dg_projections::json::Json;
use dg_tests::Stage;
use dg_tests::events::{event, finished, joined, observed, started, whole_trace};

use rules::{Traces, broken_envelopes, broken_payloads, out_of_place, secrets};

#[test]
fn each_rule_broken_once_is_answered_with_code_line_and_path_and_the_good_lines_are_in() {
    let stage = Stage::new(&[]);
    let mut traces = Traces::default();
    let mut bads = broken_envelopes(&mut traces);
    bads.extend(broken_payloads(&mut traces));
    bads.extend(secrets(&mut traces));
    bads.extend(out_of_place(&mut traces));
    let mut lines = vec![
        started("done"),
        finished("done", 1),
        started("open"),
        observed("open", 1),
        started("good"),
    ];
    let head = lines.len();
    for (index, bad) in bads.iter().enumerate() {
        lines.push(bad.line.clone());
        lines.push(observed("good", index + 1));
    }
    let file = stage.daemon.directory().file("bad.jsonl", joined(&lines));
    let answer = stage.daemon.cli(&["append", file.to_str().unwrap()]);
    assert!(
        !answer.stdout.contains("HIDDEN") && !answer.stdout.contains("hidden"),
        "a secret was repeated"
    );
    let results = answer.jsonl();
    assert_eq!(results.len(), lines.len());
    let text = |result: &Json, key: &str| result.get(key).and_then(Json::as_str).map(str::to_owned);
    for (index, bad) in bads.iter().enumerate() {
        let at = head + 2 * index;
        let (result, line) = (&results[at], Json::from(at as i64 + 1));
        assert_eq!(result.get("line"), Some(&line));
        assert_eq!(text(result, "status").as_deref(), Some("rejected"), "{}\n{result:?}", bad.line);
        assert_eq!(text(result, "code").as_deref(), Some(bad.code), "{}\n{result:?}", bad.line);
        let path =
            result.get("details").and_then(|details| details.get("path")).and_then(Json::as_str);
        assert_eq!(path, bad.path.as_deref(), "{}\n{result:?}", bad.line);
        let message = text(result, "message").unwrap();
        assert!(message.starts_with(bad.path.as_deref().unwrap_or("")), "{message}");
        assert!(!message.contains('\n') && !message.ends_with('.'), "{message}");
        assert_eq!(
            text(&results[at + 1], "status").as_deref(),
            Some("inserted"),
            "{:?}",
            results[at + 1]
        );
    }
    assert_eq!(answer.code, 4);
    let exported = stage.daemon.cli(&["export"]).ok().stdout;
    assert_eq!(exported.lines().count(), head + bads.len());
    stage.daemon.until_current("default");
    stage.daemon.direct(&["verify"]).ok();
    assert!(!stage.daemon.log().contains("panicked"), "{}", stage.daemon.log());
}

#[test]
fn the_exit_code_is_that_of_the_first_rejected_line() {
    let stage = Stage::new(&[]);
    let wrong = "[]".to_owned();
    let early = observed("x", 1);
    for (lines, code) in [
        (vec![wrong.clone(), early.clone()], 4),
        (vec![early.clone(), wrong.clone()], 5),
        (vec![started("a"), early, wrong], 5),
        (vec![started("a")], 0),
    ] {
        for command in ["append", "import"] {
            let answer = stage.daemon.cli_with(&[command, "-"], joined(&lines).as_bytes());
            assert_eq!(answer.code, code, "{lines:?}: {answer:?}");
        }
    }
}

#[test]
fn import_tells_the_first_refused_lines_and_counts_the_rest() {
    let stage = Stage::new(&[]);
    let mut lines = vec![started("a")];
    lines.extend((0..30).map(|_| "{}".to_owned()));
    lines.push(observed("a", 1));
    let answer = stage.daemon.cli_with(&["import", "-"], joined(&lines).as_bytes());
    assert_eq!(answer.code, 4);
    let told: Vec<&str> = answer.stderr.lines().collect();
    assert_eq!(told.len(), 21, "{answer:?}");
    assert!(told[0].starts_with("line 2: schema_violation: $.event_id: "), "{answer:?}");
    assert_eq!(told[20], "... and 10 more rejected lines");
    assert!(answer.stdout.starts_with("2 inserted, 0 reused, 30 rejected in "), "{answer:?}");
}

#[test]
fn the_longest_identifiers_of_every_kind_are_projected_together() {
    // Text that no index can compress.
    let mut state = 1_u64;
    let mut long = |prefix: &str| {
        let mut text = prefix.to_owned();
        while text.len() < 512 {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            text.push(char::from(b'a' + (state >> 33) as u8 % 26));
        }
        text
    };
    let stage = Stage::new(&[]);
    let (tenant, trace) = (long("tenant"), long("trace"));
    let mut lines = whole_trace("a");
    lines.truncate(5);
    let proposed = r#"{"action_id":"ACTION","action_type":"t","target_entity":{"entity_type":"KIND","entity_id":"ENTITY"},"target_system":"s","changes":[]}"#;
    lines.push(event("a", 5, "ActionProposed", proposed));
    lines.push(event("a", 6, "PrecedentCited", r#"{"cited_trace_id":"CITED","reason":"r"}"#));
    lines.push(finished("a", 7));
    let mut names: Vec<(String, String)> = [
        "\"account\"",
        "\"acc-a\"",
        "\"item\"",
        "\"a-1\"",
        "\"limit\"",
        "\"1\"",
        "\"ex-a\"",
        "\"ann\"",
        "\"bot\"",
        "\"p\"",
        "\"ACTION\"",
        "\"KIND\"",
        "\"ENTITY\"",
        "\"CITED\"",
    ]
    .map(|short| (short.to_owned(), format!("\"{}\"", long("n"))))
    .into();
    names.extend((0..8).map(|seq| {
        (format!("\"event_id\":\"a.{seq}\""), format!("\"event_id\":\"{}\"", long("e")))
    }));
    names.push(("\"trace_id\":\"a\"".to_owned(), format!("\"trace_id\":\"{trace}\"")));
    let mut log = joined(&lines);
    for (short, long) in &names {
        log = log.replace(short, long);
    }
    stage.daemon.cli_with(&["append", "-", "-t", &tenant], log.as_bytes()).ok();
    stage.daemon.until_current(&tenant);
    stage.daemon.direct(&["verify", "-t", &tenant]).ok();
}
