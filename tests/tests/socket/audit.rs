//! What auditors find in the log: a line for each act.

use dg_tests::{Stage, events, until};

use crate::http::{Connection, ask, get, head, post};

/// The lines for auditors.
pub(crate) fn audited(stage: &Stage) -> Vec<String> {
    let log = stage.daemon.log();
    log.lines().filter(|line| line.contains(" audit ")).map(str::to_owned).collect()
}

const NONE: &str = "00000000-0000-4000-8000-000000000000";

#[test]
fn every_act_is_told_once_whatever_comes_of_it() {
    let stage = Stage::new(&[]);
    stage.import(&events::whole_trace("t1"));
    let wanted = r#"{"mode":"rebuild","projection_name":"all","reason":"it is \"odd\"\nor so"}"#;
    let run = post(&stage.daemon, "/v1/runs", wanted).data();
    let run = run.get("run_id").unwrap().as_str().unwrap().to_owned();
    let acts = [
        ("/v1/runs".to_owned(), "", r#"outcome="ok""#.to_owned()),
        (format!("/v1/runs/{NONE}/cancel"), "", r#"outcome="not_found""#.to_owned()),
        (format!("/v1/runs/{NONE}/resume"), "", format!("what=\"{NONE}\"")),
        ("/v1/runs".to_owned(), "{}", r#"outcome="invalid_argument""#.to_owned()),
        (
            "/v1/projections/trace_summary/retry".to_owned(),
            "",
            r#"what="trace_summary""#.to_owned(),
        ),
        (
            "/v1/projections/none/retry?x=1".to_owned(),
            "",
            r#"outcome="invalid_argument""#.to_owned(),
        ),
    ];
    for (path, body, _) in &acts[1..] {
        ask(&stage.daemon, "POST", path, &[], body);
    }
    let told = audited(&stage);
    assert_eq!(told.len(), acts.len(), "{told:#?}");
    let caller = format!("uid={} pid={}", nix::unistd::geteuid(), std::process::id());
    for (line, (path, _, expected)) in told.iter().zip(&acts) {
        assert!(line.contains(&caller) && line.contains("request_id="), "{line}");
        assert!(line.contains(expected), "{path}: {line}");
    }
    for part in [
        r#"route="POST /v1/runs""#,
        r#"tenant="default""#,
        &format!(r#"what="rebuild all {run}""#),
        r#"reason="it is \"odd\"\nor so""#,
    ] {
        assert!(told[0].contains(part), "{part}: {}", told[0]);
    }
}

#[test]
fn looking_and_appending_are_no_acts() {
    let stage = Stage::new(&[]);
    post(&stage.daemon, "/v1/events", &events::started("t1")).data();
    for path in ["/v1/status", "/v1/runs", "/v1/runs/x/cancel", "/v1/nothing"] {
        get(&stage.daemon, path);
    }
    assert_eq!(post(&stage.daemon, "/v1/nothing", "{}").status, 404);
    assert_eq!(audited(&stage), [""; 0]);
}

#[test]
fn an_act_whose_client_goes_away_is_told_as_well() {
    let stage = Stage::new(&[]);
    let mut connection = Connection::open(&stage.daemon);
    connection.send(head("POST", "/v1/runs", &[], 100).as_bytes()).unwrap();
    drop(connection);
    let told = until("it is told", || Some(audited(&stage)).filter(|told| !told.is_empty()));
    assert_eq!(told.len(), 1, "{told:#?}");
    assert!(told[0].contains("POST /v1/runs"), "{}", told[0]);
}
