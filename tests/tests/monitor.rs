//! What watches the daemon: `/metrics`, `/healthz`, `/readyz` on loopback.

#![allow(clippy::unwrap_used, reason = "tests")]

use dg_projections::json::{self, Json};
use dg_tests::http::{WATCHED as FLAGS, address, request};
use dg_tests::{Daemon, Database, Where, run, until};

fn database() -> (tokio::runtime::Runtime, Database) {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let database = runtime.block_on(Database::empty());
    (runtime, database)
}

fn get(address: &str, path: &str) -> (u16, String) {
    request(address, &format!("GET {path}"))
}

fn import(daemon: &Daemon, tenant: &str) {
    let log = run(&["generate", "--traces", "10"], b"").ok().stdout;
    daemon.cli_with(&["import", "-", "-t", tenant], log.as_bytes()).ok();
}

#[test]
fn a_healthy_daemon_is_alive_and_ready_and_answers_only_what_it_has() {
    let (_runtime, database) = database();
    let daemon = Daemon::start(Where::Url(database.url()), &FLAGS);
    import(&daemon, "acme");
    daemon.cli_with(&["append", "-"], b"nonsense");
    daemon.until_current("acme");
    let address = address(&daemon);
    assert_eq!(get(&address, "/healthz"), (200, "ok\n".to_owned()));
    let (status, body) = get(&address, "/readyz");
    assert_eq!((status, body.as_str()), (200, "{\"ready\":true,\"reasons\":[]}\n"));
    let (status, metrics) = get(&address, "/metrics");
    assert_eq!(status, 200);
    for line in [
        "decisiongraph_store_up 1",
        "decisiongraph_store_append_events_total{result=\"inserted\"} 80",
        "decisiongraph_store_append_events_total{result=\"reused\"} 0",
        "decisiongraph_store_append_events_total{result=\"invalid_argument\"} 1",
        "decisiongraph_store_append_batch_events_bucket{le=\"100\"} 1",
        "decisiongraph_store_pool_connections{state=\"max\"} 16",
        "decisiongraph_projection_workers{projection=\"context_graph\",status=\"idle\"} 1",
        "decisiongraph_supervisor_children{supervisor=\"root\",state=\"running\"} 8",
        "decisiongraph_supervisor_children{supervisor=\"lanes\",state=\"running\"} 1",
        "decisiongraph_supervisor_children{supervisor=\"tenant\",state=\"running\"} 3",
        "decisiongraph_supervisor_restarts_total{supervisor=\"tenant\"} 0",
    ] {
        assert!(metrics.lines().any(|found| found == line), "{line} is not in:\n{metrics}");
    }
    for name in ["events", "duration_seconds"] {
        // How often workers look beyond the end is theirs to choose.
        let name = format!("decisiongraph_store_read_batch_{name}_count ");
        let count = metrics.lines().find_map(|line| line.strip_prefix(&name)).unwrap();
        assert!(count.parse::<u64>().unwrap() >= 3, "{name}{count}");
    }
    assert_eq!(get(&address, "/other").0, 404);
    assert_eq!(request(&address, "POST /metrics").0, 405);
}

#[test]
fn crashes_are_counted_and_a_failed_projection_is_not_ready() {
    let (_runtime, database) = database();
    let crash = "worker_apply_before/bad/context_graph/0=panic";
    let daemon = Daemon::start_failing(Where::Url(database.url()), &FLAGS, crash);
    import(&daemon, "bad");
    let address = address(&daemon);
    let reasons = until("the daemon is not ready", || {
        let (status, body) = get(&address, "/readyz");
        (status == 503).then_some(body)
    });
    let reasons = json::parse(&reasons).unwrap();
    assert_eq!(reasons.get("ready").and_then(Json::as_bool), Some(false));
    let first =
        reasons.get("reasons").and_then(Json::as_array).unwrap()[0].as_str().unwrap().to_owned();
    assert!(first.contains("tenant bad has failed"), "{first}");
    let (_, metrics) = get(&address, "/metrics");
    for line in [
        "decisiongraph_supervisor_restarts_total{supervisor=\"tenant\"} 4",
        "decisiongraph_supervisor_escalations_total{supervisor=\"tenant\"} 1",
        "decisiongraph_tenants_parked 1",
    ] {
        assert!(metrics.lines().any(|found| found == line), "{line} is not in:\n{metrics}");
    }
    assert_eq!(get(&address, "/healthz").0, 200);
}

#[test]
fn the_tree_shows_states_restarts_and_ages() {
    let (_runtime, database) = database();
    let crash = "worker_apply_before/acme/context_graph/0=panic*1";
    let daemon = Daemon::start_failing(Where::Url(database.url()), &FLAGS, crash);
    import(&daemon, "acme");
    daemon.until_current("acme");
    let table = daemon.cli(&["status", "--tree"]).ok().stdout;
    for part in
        ["root", "├─ store", "├─ tenants", "acme", "context_graph/0", "├─ directory", "└─ digests"]
    {
        assert!(table.contains(part), "{part} is not in:\n{table}");
    }
    let tree = daemon.cli(&["status", "--tree", "-o", "json"]).ok().json();
    let find = |node: &Json, name: &str| {
        let children = node.get("children").and_then(Json::as_array).unwrap().to_vec();
        children
            .into_iter()
            .find(|child| child.get("name").and_then(Json::as_str) == Some(name))
            .unwrap()
    };
    let lane = find(&find(&tree, "lanes"), "acme");
    assert_eq!(lane.get("state").and_then(Json::as_str), Some("running"), "{lane:?}");
    let worker = find(&find(&find(&tree, "tenants"), "acme"), "context_graph/0");
    assert_eq!(worker.get("restarts").and_then(Json::as_i64), Some(1), "{worker:?}");
    assert_eq!(worker.get("state").and_then(Json::as_str), Some("idle"));
    assert!(worker.get("age_seconds").and_then(Json::as_f64).is_some());
}
