//! The web console: what it answers, to whom, what it shows and hides, and how a browser finds it.

#![allow(clippy::unwrap_used, reason = "tests")]

mod browser;
mod chromium;
mod live;
mod pages;
mod visitors;

use dg_projections::json::Json;
use dg_tests::http::{Reply, WATCHED, address, ask};
use dg_tests::{Daemon, Stage, events};

/// A name that would be a script if anything let it.
const HOSTILE: &str = "<script>alert(1)</script>\"'&</td>";

/// A daemon with a console.
fn stage(flags: &[&str]) -> Stage {
    Stage::new(&[&WATCHED[..], &["--console", "true"], flags].concat())
}

fn get(address: &str, path: &str) -> Reply {
    ask(address, &format!("GET {path}"), &["host: localhost"])
}

fn page(daemon: &Daemon, path: &str) -> Reply {
    get(&address(daemon), path)
}

/// Appends a whole trace to a tenant and waits until it is projected.
fn append(daemon: &Daemon, tenant: &str, trace: &str) {
    let lines = events::joined(&events::whole_trace(trace));
    daemon.cli_with(&["append", "-", "-t", tenant], lines.as_bytes()).ok();
    daemon.until_current(tenant);
}

/// Starts a run of a tenant and waits for it; its identifier.
fn rebuild(daemon: &Daemon, tenant: &str) -> String {
    let reason = ["--reason", "to be looked at"];
    let run = daemon
        .cli(&[&["rebuild", "all", "-t", tenant, "--wait", "-o", "json"], &reason[..]].concat());
    let run = run.ok().json();
    run.get("run_id").and_then(Json::as_str).unwrap().to_owned()
}

/// Everything but unreserved characters, encoded.
fn encoded(text: &str) -> String {
    text.bytes().map(|byte| format!("%{byte:02X}")).collect()
}
