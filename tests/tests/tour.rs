//! `ops/tour.sh`: with curl alone, everything that the command line asks of a daemon.

#![allow(clippy::unwrap_used, reason = "tests")]

use std::collections::BTreeSet;
use std::path::Path;
use std::process::Command;

use dg_projections::json::{self, Json};
use dg_tests::http::{WATCHED, address};
use dg_tests::{Stage, skip};

/// What each command asks of the daemon; nothing, for those that work without one.
const COMMANDS: [(&str, &[&str]); 36] = [
    ("append", &["POST /v1/events"]),
    ("backup", &[]),
    ("bench", &[]),
    ("cancel", &["POST /v1/runs/{run_id}/cancel"]),
    ("completions", &[]),
    ("config", &[]),
    ("demo", &[]),
    ("digest", &["GET /v1/digests", "GET /v1/events"]),
    (
        "doctor",
        &["GET /v1/status", "GET /v1/health", "GET /v1/runs", "GET /v1/workers", "GET /v1/tree"],
    ),
    ("edges", &["GET /v1/edges"]),
    ("events", &["GET /v1/events"]),
    ("export", &["GET /v1/events"]),
    ("failures", &["GET /v1/failures"]),
    ("generate", &[]),
    ("graph", &["GET /v1/graph"]),
    ("health", &["GET /v1/health", "GET /v1/digests"]),
    ("import", &["POST /v1/events"]),
    ("man", &[]),
    ("migrate", &[]),
    ("parity", &[]),
    ("precedents", &["GET /v1/precedents"]),
    ("psql", &[]),
    ("rebuild", &["POST /v1/runs", "GET /v1/runs/{run_id}"]),
    ("replay", &["POST /v1/runs", "GET /v1/runs/{run_id}"]),
    ("resume", &["POST /v1/runs/{run_id}/resume"]),
    ("retry", &["POST /v1/projections/{projection_name}/retry"]),
    ("run", &["GET /v1/runs/{run_id}"]),
    ("runbook", &[]),
    ("runs", &["GET /v1/runs"]),
    ("serve", &[]),
    ("status", &["GET /v1/status", "GET /v1/tree"]),
    ("summary", &["GET /v1/traces/{trace_id}/summary"]),
    (
        "top",
        &[
            "GET /v1/status",
            "GET /v1/history",
            "GET /v1/lag",
            "GET /v1/runs",
            "GET /v1/workers",
            "GET /v1/failures",
        ],
    ),
    ("trace", &["GET /v1/traces/{trace_id}"]),
    ("verify", &[]), // trusts no daemon
    ("workers", &["GET /v1/workers"]),
];

/// Routes that no command asks.
const NO_COMMANDS: [&str; 2] = ["GET /v1/openapi.json", "GET /v1/watch"];

/// The routes that the daemon describes, and what each takes besides.
fn described(stage: &Stage) -> Vec<(String, Vec<String>)> {
    let output = Command::new("curl")
        .arg("-sS")
        .arg("--unix-socket")
        .arg(stage.daemon.socket())
        .arg("http://dg/v1/openapi.json")
        .output()
        .unwrap();
    let description = json::parse(std::str::from_utf8(&output.stdout).unwrap()).unwrap();
    let mut routes = Vec::new();
    for (path, operations) in description.get("paths").unwrap().as_object().unwrap() {
        for (method, operation) in operations.as_object().unwrap() {
            let word = |one: &Json, name| one.get(name).and_then(Json::as_str).map(str::to_owned);
            let all = operation.get("parameters").unwrap().as_array().unwrap();
            let asked = all.iter().filter(|one| word(one, "in").as_deref() == Some("query"));
            let names = asked.map(|one| word(one, "name").unwrap()).collect();
            routes.push((format!("{} {path}", method.to_uppercase()), names));
        }
    }
    routes
}

/// Whether a request is one to this route.
fn is_to(request: &str, route: &str) -> bool {
    let segments = |text: &str| text.split('/').map(str::to_owned).collect::<Vec<_>>();
    let (asked, own) = (segments(request.split('?').next().unwrap()), segments(route));
    asked.len() == own.len()
        && asked.iter().zip(&own).all(|(asked, own)| own.starts_with('{') || asked == own)
}

/// The more special route of those that a request may be to.
fn route_of<'a>(request: &str, routes: &'a [(String, Vec<String>)]) -> Option<&'a str> {
    let fitting = routes.iter().map(|(route, _)| route.as_str()).filter(|own| is_to(request, own));
    fitting.min_by_key(|route| route.matches('{').count())
}

#[test]
fn the_tour_visits_every_route_and_its_answers_are_right() {
    let has = |program: &str| Command::new(program).arg("--version").output().is_ok();
    if !has("curl") || !has("jq") {
        return skip("the tour takes curl and jq");
    }
    let stage = Stage::new(&WATCHED);
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("../ops/tour.sh");
    let tour = Command::new(script)
        .arg(stage.daemon.socket())
        .arg(address(&stage.daemon))
        .current_dir("/")
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&tour.stdout);
    assert!(tour.status.success(), "{said}{}", String::from_utf8_lossy(&tour.stderr));

    let routes = described(&stage);
    let requests: Vec<&str> = said
        .lines()
        .map(str::trim)
        .filter(|line| line.starts_with("GET /") || line.starts_with("POST /"))
        .collect();
    for (route, parameters) in &routes {
        let visits: Vec<&&str> =
            requests.iter().filter(|one| route_of(one, &routes) == Some(route)).collect();
        assert!(!visits.is_empty(), "the tour does not visit {route}");
        let has = |name: &String| visits.iter().any(|one| one.contains(&format!("{name}=")));
        let missing: Vec<&String> = parameters.iter().filter(|name| !has(name)).collect();
        assert!(missing.is_empty(), "the tour does not use {missing:?} of {route}");
    }
    let described: BTreeSet<&str> = routes.iter().map(|(route, _)| route.as_str()).collect();
    let told: BTreeSet<&str> =
        COMMANDS.iter().flat_map(|(_, routes)| *routes).copied().chain(NO_COMMANDS).collect();
    assert_eq!(told, described, "routes of commands, and described ones");
}

#[test]
fn every_command_is_told_with_what_it_asks_of_the_daemon() {
    let own: BTreeSet<String> = dg_admin::cli::command()
        .get_subcommands()
        .map(|command| command.get_name().to_owned())
        .collect();
    let told: BTreeSet<String> = COMMANDS.iter().map(|(name, _)| (*name).to_owned()).collect();
    assert_eq!(own, told);
}
