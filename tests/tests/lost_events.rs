//! A log that ends before the cursors: events were lost after they were applied. Nothing goes on until
//! an operator has projected the log anew, whatever is appended meanwhile.

#![allow(clippy::unwrap_used, reason = "tests")]

use dg_projections::json::Json;
use dg_tests::events::{joined, whole_trace};
use dg_tests::{Answer, Stage, until};

/// Loses the last eight events, as a restore of the log without its cursors would.
const LOSE: &str = "DELETE FROM dg_event_log WHERE log_seq > 10;
    UPDATE dg_tenant_heads SET last_log_seq = 10, event_count = 10";

fn failures(stage: &Stage) -> Answer {
    stage.daemon.cli(&["failures", "-o", "json"])
}

fn until_all_have_stopped(stage: &Stage) -> String {
    until("each projection has stopped", || {
        let open = stage.daemon.sql().one(
            "SELECT count(*) FROM dg_projection_failures
             WHERE status = 'open' AND NOT recoverable AND error_message LIKE 'the cursor is at%'",
        );
        (open == "3").then_some(())
    });
    failures(stage).stdout
}

fn verify(stage: &Stage) -> Answer {
    stage.daemon.direct(&["verify"])
}

fn rebuild(stage: &Stage) -> Answer {
    stage.daemon.cli(&["rebuild", "all", "--reason", "events were lost", "--wait"])
}

#[test]
fn workers_stop_name_what_helps_and_skip_nothing() {
    let mut stage = Stage::new(&["--projection-poll-interval-ms", "50"]);
    stage.import(&["a", "b", "c"].map(whole_trace).concat());
    stage.daemon.sql().tamper(LOSE);
    let said = until_all_have_stopped(&stage);
    for part in ["is at log_seq 18, but the log ends at 10", "decisiongraph rebuild all -t default"]
    {
        assert!(said.contains(part), "{said}");
    }
    // A rebuild first would hide what the producers still have.
    let asked = said.find("append again").unwrap();
    assert!(asked < said.find("rebuild all").unwrap(), "{said}");
    let proof = verify(&stage);
    assert_eq!(proof.code, 7, "{proof:?}");
    assert!(proof.stderr.contains("runbook lost-commits"), "{proof:?}");
    let table = stage.daemon.cli(&["failures"]).ok().stdout;
    let helps: Vec<&str> = table.lines().filter(|line| line.starts_with("help: ")).collect();
    assert_eq!(helps, ["help: `decisiongraph runbook lost-commits`"]);
    let health = stage.daemon.cli(&["health", "-o", "json"]).json();
    assert_eq!(health.get("is_stale").and_then(Json::as_bool), Some(true), "{health:?}");
    assert!(stage.daemon.log().contains("the log ends before the cursor"));

    // Also one that comes up while everything is at rest finds out.
    assert_eq!(stage.daemon.stop(), 0);
    stage.daemon.sql().rows("DELETE FROM dg_projection_failures");
    stage.daemon.restart();
    until_all_have_stopped(&stage);

    // What is appended under the numbers that were passed is not left out: nothing moves.
    let again: Vec<String> = ["b", "c", "d"].map(whole_trace).concat();
    let appended = stage.daemon.cli_with(&["import", "-"], joined(&again).as_bytes());
    assert_eq!(appended.code, 0, "{appended:?}");
    let found = verify(&stage);
    assert_eq!(found.code, 7, "{found:?}");
    // Nor is it taken for applied when the log has grown over the cursor and the daemon starts again.
    assert_eq!(stage.daemon.stop(), 0);
    stage.daemon.restart();
    until("the counts tell", || failures(&stage).stdout.contains("were applied").then_some(()));

    rebuild(&stage).ok();
    stage.daemon.until_current("default");
    verify(&stage).ok();
    assert!(!failures(&stage).stdout.contains("the cursor is at"));
}
