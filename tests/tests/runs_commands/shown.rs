//! Runs as they are shown: objects, cards, the history, status and health.

use crate::*;

#[test]
fn a_run_has_the_members_of_the_contract() {
    let (stage, sql) = held();
    make(&sql, 1, "until_log_seq = 6");
    compared(&sql, 1, DIFFERENCE);
    let run = shown(&stage, &id(1));
    let mut names: Vec<&str> = "run_id tenant_id projection_name mode status reason requested_at
        started_at finished_at since_log_seq until_log_seq processed_events last_log_seq total_events
        events_per_second eta_seconds phase error_code error_message dry_run requested_by owner
        is_equal difference steps"
        .split_whitespace()
        .collect();
    names.sort_unstable();
    let found: Vec<&str> = run.as_object().unwrap().keys().map(String::as_str).collect();
    assert_eq!(found, names);
    assert_eq!(member(&run, "events_per_second"), &Json::Number("3000.000".to_owned()));
    assert_eq!(member(&run, "eta_seconds"), &Json::Null);
    assert_eq!(member(&run, "is_equal"), &Json::Bool(false));
    assert_eq!(word(member(&run, "difference"), "field"), "title");
    let step = &member(&run, "steps").as_array().unwrap()[0];
    let mut names: Vec<&str> = "projection_name generation processed_events last_log_seq
        compared_log_seq digest digest_before difference not_compared switched_at switch_ms finished_at"
        .split_whitespace()
        .collect();
    names.sort_unstable();
    let found: Vec<&str> = step.as_object().unwrap().keys().map(String::as_str).collect();
    assert_eq!(found, names);
    assert!(word(step, "digest").starts_with("sha256:ca978112ca1bbdca"), "{step:?}");
}

#[test]
fn the_history_is_listed_newest_first_and_narrowed() {
    let (stage, sql) = held();
    make(&sql, 1, RUNNING);
    let reason = "x".repeat(100);
    make(&sql, 2, &format!("reason = '{reason}', dry_run = true"));
    compared(&sql, 2, DIFFERENCE);
    make(&sql, 3, FAILED);
    make(&sql, 4, INTERRUPTED);
    stage.daemon.until_current("other");
    started(&stage, &["replay", "all", "-t", "other"]);
    let rows = |arguments: &[&str]| -> Vec<Vec<String>> {
        let answer = stage.daemon.cli(&[&["runs"], arguments].concat()).ok();
        let cells = |line: &str| {
            let cells = line.split("  ").map(str::trim).filter(|cell| !cell.is_empty());
            cells.map(str::to_owned).collect()
        };
        answer.stdout.lines().skip(1).map(cells).collect()
    };
    let all = rows(&[]);
    let statuses: Vec<&str> = all.iter().map(|row| &*row[4]).collect();
    assert_eq!(statuses, ["queued", "running", "completed", "failed", "interrupted"]);
    assert_eq!(all[0][1..6], ["other", "replay", "all", "queued", "-"].map(str::to_owned));
    let short = format!("{}…", "x".repeat(39));
    let expected = ["default", "dry run", "trace_summary", "completed", "25 %"].map(str::to_owned);
    assert_eq!(all[2][1..6], expected);
    assert_eq!(all[2][7..], ["1 min 15 s", "different", &short].map(str::to_owned));
    assert_eq!(all[3][8], "schema_violation");
    assert_eq!(rows(&["-t", "other"]).len(), 1);
    assert_eq!(rows(&["--status", "failed"]), all[3..4]);
    assert_eq!(rows(&["--limit", "2"]).len(), 2);
    assert_eq!(stage.daemon.cli(&["runs", "-o", "jsonl"]).ok().jsonl().len(), 5);
}

#[test]
fn a_run_is_shown_as_a_card() {
    let (stage, sql) = held();
    let card = |number| stage.daemon.cli(&["run", &id(number)]).ok().stdout;
    let has = |card: &str, lines: &[&str]| {
        for line in lines {
            assert!(card.lines().any(|found| found.starts_with(line)), "{line}:\n{card}");
        }
    };
    make(&sql, 1, RUNNING);
    let running = card(1);
    has(
        &running,
        &[
            "what       rebuild of trace_summary",
            "status     running: building",
            "progress   1,500 of 6,000 events (25 %)",
            "rate       3,000 events/s, 1.5 s left",
            "reason     made by hand",
            "PROJECTION     GENERATION  EVENTS  CURSOR  COMPARED  SWITCHED",
            "trace_summary  2           1,500   6       -         -",
        ],
    );
    assert!(running.contains("Z by uid 7\n") && running.contains("Z by daemon elsewhere:1\n"));
    make(&sql, 2, FAILED);
    has(&card(2), &["status     failed", "error      schema_violation: no title"]);
    make(&sql, 3, "dry_run = true");
    compared(&sql, 3, DIFFERENCE);
    let different = format!("DIFFERENT: trace_summary: {IN_WORDS}");
    has(&card(3), &["what       dry run of trace_summary", "result     different", &different]);
    make(&sql, 4, "mode = 'rebuild'");
    compared(&sql, 4, "NULL");
    sql.rows(&format!(
        "UPDATE dg_projection_run_steps SET switched_at = now(), switch_ms = 12
        WHERE run_id = '{}'",
        id(4)
    ));
    has(&card(4), &["result     equal", "took       1 min 15 s"]);
    assert!(card(4).ends_with("equal at log_seq 6  in 12 ms\n"), "{}", card(4));
    make(&sql, 5, INTERRUPTED);
    sql.rows("UPDATE dg_projection_run_steps SET not_compared = 'nothing is served yet'");
    has(
        &card(5),
        &["status     interrupted: ", "not compared: trace_summary: nothing is served yet"],
    );
}

#[test]
fn status_and_health_tell_of_runs() {
    let (stage, sql) = held();
    let json =
        |arguments: &[&str]| stage.daemon.cli(&[arguments, &["-o", "json"]].concat()).ok().json();
    let ids = |value: &Json, name: &str| -> Vec<String> {
        member(value, name).as_array().unwrap().iter().map(|run| word(run, "run_id")).collect()
    };
    assert!(stage.daemon.cli(&["status"]).ok().stdout.contains("\nruns         none active\n"));
    assert_eq!(ids(&json(&["health"]), "open_runs"), [""; 0]);
    make(&sql, 1, RUNNING);
    make(&sql, 2, INTERRUPTED);
    make(&sql, 3, CANCELLED);
    let queued = started(&stage, &["replay", "all", "-t", "other"]);
    let status = json(&["status"]);
    assert_eq!(ids(&status, "active_runs"), [queued.clone(), id(1)]);
    let names: Vec<&str> = member(&status, "active_runs").as_array().unwrap()[0]
        .as_object()
        .unwrap()
        .keys()
        .map(String::as_str)
        .collect();
    assert_eq!(names, ["mode", "phase", "projection_name", "run_id", "status", "tenant_id"]);
    let line =
        format!("\nruns         {queued} queued: replay of all projections of tenant other\n");
    assert!(stage.daemon.cli(&["status"]).ok().stdout.contains(&line));
    assert_eq!(ids(&json(&["health"]), "open_runs"), [id(1), id(2)]);
    let open = &member(&json(&["health"]), "open_runs").as_array().unwrap()[0].clone();
    let same = |run: &Json, name: &str| member(run, name) == member(open, name);
    let shown = shown(&stage, &id(1));
    assert!(["steps", "reason", "started_at"].iter().all(|name| same(&shown, name)), "{open:?}");
    let all = json(&["health", "--all-tenants"]);
    let open: Vec<_> = all.as_array().unwrap().iter().map(|one| ids(one, "open_runs")).collect();
    assert_eq!(open, [vec![id(1), id(2)], vec![queued]]);
}
