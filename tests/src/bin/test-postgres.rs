//! A private Postgres for tests: prints its URL, and ends when its standard input does.

#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "a tool of the tests")]

use std::io::Read as _;
use std::time::Duration;

use dg_admin::embedded::{Cluster, Options};
use tokio::signal::unix::{SignalKind, signal};
use tokio_postgres::config::Host;

#[tokio::main]
async fn main() {
    // Who interrupts the tests ends them, and with them the standard input: only then the server is stopped.
    let interruptions = [SignalKind::interrupt(), SignalKind::terminate(), SignalKind::hangup()];
    let _ignored = interruptions.map(|kind| signal(kind).unwrap());
    let directory = std::env::temp_dir().join(format!("dgt-pg-{}", std::process::id()));
    let mut cluster = Cluster::start(&directory, &Options::default()).await.unwrap();
    let config = cluster.config();
    let Some(Host::Unix(socket_dir)) = config.get_hosts().first() else {
        panic!("a cluster listens on a socket")
    };
    println!("postgres://decisiongraph@/decisiongraph?host={}", socket_dir.display());
    let end = tokio::task::spawn_blocking(|| std::io::stdin().read_to_end(&mut Vec::new()));
    let _ = end.await;
    cluster.stop(Duration::from_secs(10)).await.unwrap();
    let _ = std::fs::remove_dir_all(&directory);
}
