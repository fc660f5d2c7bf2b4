//! The description of the socket, held against a daemon.

use dg_projections::json::Json;
use dg_tests::{Stage, events, until};

use crate::http::{Connection, Reply, get, head, post};

const REBUILD: &str = r#"{"mode":"rebuild","projection_name":"all","reason":"x"}"#;

/// What the daemon answers first, without the body of one that does not end.
fn answer(stage: &Stage, method: &str, target: &str) -> Reply {
    let mut connection = Connection::open(&stage.daemon);
    connection.send(head(method, target, &[], 0).as_bytes()).unwrap();
    if target.starts_with("/v1/watch") {
        let (status, headers) = connection.head().unwrap();
        return Reply { status, headers, body: String::new() };
    }
    connection.reply().unwrap()
}

#[test]
fn every_described_route_is_there_and_answers_as_described() {
    let stage = Stage::new(&[]);
    stage.import(&events::whole_trace("t1"));
    let run = post(&stage.daemon, "/v1/runs", REBUILD).data();
    let run = run.get("run_id").unwrap().as_str().unwrap().to_owned();
    let description = get(&stage.daemon, "/v1/openapi.json");
    assert_eq!(
        (description.status, &*description.headers["content-type"]),
        (200, "application/json")
    );
    let description = description.json();
    let paths = description.get("paths").unwrap().as_object().unwrap();
    assert!(paths.len() >= 17, "{}", paths.len());
    for (path, operations) in paths {
        let target = path
            .replace("{trace_id}", "t1")
            .replace("{run_id}", &run)
            .replace("{projection_name}", "trace_summary");
        for (method, operation) in operations.as_object().unwrap() {
            let reply = answer(&stage, &method.to_uppercase(), &target);
            assert!(![404, 405].contains(&reply.status), "{method} {target}: {reply:?}");
            let described = operation.get("responses").unwrap();
            let described = described.get(&reply.status.to_string());
            assert!(described.is_some(), "{method} {target}: {reply:?}");
        }
    }
}

/// The schema that a reference leads to.
fn schema<'a>(description: &'a Json, name: &str) -> &'a Json {
    description.get("components").unwrap().get("schemas").unwrap().get(name).unwrap()
}

#[test]
fn what_is_answered_has_the_members_that_are_described() {
    let stage = Stage::new(&[]);
    stage.import(&events::whole_trace("t1"));
    post(&stage.daemon, "/v1/runs", REBUILD).data();
    let has_sample = || !get(&stage.daemon, "/v1/history").data().as_array().unwrap().is_empty();
    until("a sample", || has_sample().then_some(()));
    let description = get(&stage.daemon, "/v1/openapi.json").json();
    for (target, name) in [
        ("/v1/status", "Status"),
        ("/v1/tree", "Tree"),
        ("/v1/health", "Health"),
        ("/v1/workers", "Worker"),
        ("/v1/runs", "Run"),
        ("/v1/digests", "Digests"),
        ("/v1/lag", "Lag"),
        ("/v1/history", "Sample"),
        ("/v1/traces/t1", "Trace"),
        ("/v1/traces/t1/summary", "Summary"),
        ("/v1/graph?kind=trace&id=t1", "Subgraph"),
        ("/v1/precedents", "Precedent"),
    ] {
        let data = get(&stage.daemon, target).data();
        let one = data.as_array().map_or(&data, |list| &list[0]);
        let found: Vec<&String> = one.as_object().unwrap().keys().collect();
        let described = schema(&description, name).get("properties").unwrap();
        let described: Vec<&String> = described.as_object().unwrap().keys().collect();
        assert_eq!(found, described, "{target}");
    }
}
