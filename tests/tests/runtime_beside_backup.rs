//! A backup or a forgotten session beside a runtime: appends, reads and projections go on.

#![allow(clippy::unwrap_used, reason = "tests")]

use std::time::Duration;

use dg_runtime::Runtime;
use dg_store::{EventFilter, Store};
use dg_tests::dump::{Held, pg_dump};
use dg_tests::log::{
    ALL, append_all, assert_proven, generated_lines, parsed, running, until_applied,
};
use dg_tests::{Database, events, eventually, skip};
use tokio_postgres::Client;

/// The places of a tenant's cursors.
async fn cursors(store: &Store, tenant: &str) -> Vec<i64> {
    let health = store.health(Some(tenant), &ALL).await.unwrap().remove(0);
    health.projections.iter().map(|projection| projection.last_log_seq).collect()
}

/// Appends to a tenant that is there and to one that is not, one event at a time, and sees each
/// projected and proven.
async fn assert_all_goes_on(store: &Store, runtime: &Runtime) {
    let before = cursors(store, "a").await[0];
    for tenant in ["a", "new"] {
        for line in parsed(tenant, &events::whole_trace("beside")) {
            runtime.append(tenant, [line]).await.unwrap()[0].clone().unwrap();
            until_applied(store, tenant).await;
        }
        assert_proven(store, tenant).await;
        store.compute_digests(tenant).await.unwrap();
    }
    assert_eq!(cursors(store, "a").await, [before + 6; 3]);
    let filter = EventFilter { since_log_seq: Some(before), ..EventFilter::default() };
    assert_eq!(store.list_events("a", &filter, 100).await.unwrap().len(), 6);
}

/// Waits until the dump stands in the middle of a table, with every table of ours locked.
async fn until_held(client: &Client) {
    let sql = "SELECT 1 FROM pg_stat_activity AS a WHERE a.datname = current_database()
        AND a.application_name = 'pg_dump' AND a.query LIKE 'COPY %' AND a.wait_event = 'ClientWrite'
        AND (SELECT count(DISTINCT l.relation) FROM pg_locks AS l JOIN pg_class AS c ON c.oid = l.relation
             WHERE l.pid = a.pid AND l.mode = 'AccessShareLock' AND c.relkind = 'r'
               AND c.relname LIKE 'dg\\_%')
          = (SELECT count(*) FROM pg_class WHERE relkind = 'r' AND relname LIKE 'dg\\_%')";
    eventually("the dump waits for its reader", || async {
        client.query_opt(sql, &[]).await.unwrap()
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_running_dump_stalls_neither_writers_nor_readers_nor_projections() {
    let (database, store) = Database::with_schema().await;
    let client = database.connect().await;
    let Some((pg_dump, _)) = pg_dump(&client).await else {
        return skip("no pg_dump of the server's version to run beside a runtime");
    };
    let runtime = running(database.store()).await;
    // More than the pipe and the socket between hold.
    append_all(&store, "a", &generated_lines("a", 150, 20, 1), 1_000).await;
    until_applied(&store, "a").await;

    let dump = Held::start(pg_dump, &database.url());
    until_held(&client).await;
    assert_all_goes_on(&store, &runtime).await;
    until_held(&client).await;
    let dump = dump.finish();
    assert!(dump.status.success(), "{}", String::from_utf8_lossy(&dump.stderr));
    let text = String::from_utf8(dump.stdout).unwrap();
    assert!(text.contains("database dump complete") && !text.contains("beside"));
    runtime.stop(Duration::from_secs(10)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_forgotten_session_stalls_neither_writers_nor_readers_nor_projections() {
    let (database, store) = Database::with_schema().await;
    let runtime = running(database.store()).await;
    append_all(&store, "a", &generated_lines("a", 2, 8, 1), 8).await;
    until_applied(&store, "a").await;
    let idle = database.connect().await;
    // It has seen the log, and has a snapshot and a transaction number older than what follows.
    idle.batch_execute(
        "BEGIN ISOLATION LEVEL REPEATABLE READ; SELECT * FROM dg_event_log, dg_tenant_heads;
         CREATE TABLE mine (x int)",
    )
    .await
    .unwrap();
    assert_all_goes_on(&store, &runtime).await;
    idle.batch_execute("ROLLBACK").await.unwrap();
    runtime.stop(Duration::from_secs(10)).await;
}
