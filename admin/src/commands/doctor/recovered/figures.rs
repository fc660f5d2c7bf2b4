//! What the daemon and the machine are asked.

use dg_projections::json::Json;
use dg_store::Store;

use super::line::{Line, State};
use super::verdicts::{self, START};
use crate::commands::doctor::daemon::Daemon;
use crate::commands::doctor::{database, machine, patiently};
use crate::config::Config;
use crate::output::field;

/// The daemon answers, has its database, and says that it is ready where it can be asked.
pub(super) async fn daemon(config: &Config, daemon: &Daemon) -> Line {
    let line = Line::ok("daemon", Vec::new());
    let Some(status) = daemon.status() else {
        let found = match daemon.is_there() {
            true => "it does not answer",
            false => "none listens",
        };
        return line.fails(found, START, "daemon-down");
    };
    let ready = match config.metrics_listen {
        Some(address) => patiently(machine::readiness(address)).await.flatten(),
        None => None,
    };
    let is_ready = ready.as_ref().and_then(|it| it.get("ready")?.as_bool());
    let state = status.get("database").map_or("-".to_owned(), |it| field(it, "state"));
    let uptime = status.get("uptime_seconds").cloned().unwrap_or(Json::Null);
    let evidence = vec![
        ("version", field(status, "version").into()),
        ("owner", field(status, "owner").into()),
        ("uptime_seconds", uptime),
        ("database", state.as_str().into()),
        ("readyz", is_ready.map_or(Json::Null, Json::from)),
    ];
    let line = Line::ok("daemon", evidence);
    if state != "up" {
        let help = "`decisiongraph status` says since when and why; it goes on trying by itself";
        return line.fails("it does not have its database", help, "store-down");
    }
    match ready {
        Some(ready) if is_ready == Some(false) => {
            let reasons = ready.get("reasons").cloned().unwrap_or(Json::Null);
            let help = "the lines below tell what of it does not hold";
            line.fails(dg_projections::json::canonical(&reasons), help, "daemon-down")
        }
        _ => line,
    }
}

/// The states of the workers; one that is in trouble by name.
pub(super) async fn workers(daemon: &Daemon) -> Line {
    let Some(by_state) = daemon.status().and_then(|it| it.get("workers")?.as_object()) else {
        return Line::unknown("workers", Vec::new(), "no daemon was asked", START);
    };
    let count = |(state, count): (&String, &Json)| Some((state.clone(), count.as_i64()?));
    let by_state: Vec<(String, i64)> = by_state.iter().filter_map(count).collect();
    let bad =
        ["failed", "retrying"].into_iter().find(|bad| by_state.iter().any(|(it, _)| it == bad));
    let first = match bad {
        None => None,
        Some(state) => {
            let asked = [("all", Some("true".to_owned())), ("state", Some(state.to_owned()))];
            let workers = daemon.get("/v1/workers", &asked).await;
            let first = workers.as_ref().and_then(|it| it.as_array()?.first());
            first.map(|one| (field(one, "tenant_id"), field(one, "projection_name")))
        }
    };
    verdicts::workers(&by_state, first)
}

/// How often supervisors have started a child again. After an accident some have; it is told, and
/// what goes on crashing is parked, which is a line of its own.
pub(super) async fn restarts(daemon: &Daemon) -> Line {
    let Some(tree) = daemon.get("/v1/tree", &[]).await else {
        return Line::unknown("restarts", Vec::new(), "no daemon was asked", START);
    };
    let since = daemon
        .status()
        .map_or(Json::Null, |status| status.get("started_at").cloned().unwrap_or(Json::Null));
    Line::ok("restarts", vec![("by_supervisors", total(&tree).into()), ("since", since)])
}

fn total(node: &Json) -> i64 {
    let own = node.get("restarts").and_then(Json::as_i64).unwrap_or(0);
    let below = node.get("children").and_then(Json::as_array).unwrap_or_default();
    own + below.iter().map(total).sum::<i64>()
}

/// The disk of the data directory.
pub(super) async fn disk(config: &Config) -> Option<Line> {
    machine::disk(config).await.map(|finding| Line::of_finding(finding).told_in("disk-full"))
}

/// The disk of the database, if it is on this machine.
pub(super) async fn database_disk(store: &Store) -> Option<Line> {
    let server = store.server().await.ok()?;
    let verdict = database::disk(&server).await?;
    let line = Line::of_finding(verdict.of("database_disk")).told_in("disk-full");
    debug_assert!(line.state != State::Unknown);
    Some(line)
}
