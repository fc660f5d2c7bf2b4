//! Work that is given up before its end: its connection may still be at a statement.

#![allow(clippy::unwrap_used, reason = "tests")]

use dg_tests::log::parsed;
use dg_tests::{Database, events, eventually};

#[tokio::test]
async fn who_comes_next_does_not_wait_for_work_that_was_given_up() {
    let (database, store) = Database::with_schema().await;
    let lines = parsed("a", &events::whole_trace("t"));
    store.append("a", &lines[..1]).await.unwrap();
    let (holder, operator) = (database.connect().await, database.connect().await);
    let hold = "BEGIN; SELECT FROM dg_tenant_heads WHERE tenant_id = 'a' FOR UPDATE";
    holder.batch_execute(hold).await.unwrap();
    let waits = "SELECT FROM pg_stat_activity
        WHERE datname = current_database() AND wait_event_type = 'Lock'";
    let append = tokio::spawn({
        let store = store.clone();
        async move { store.lend(|store| async move { store.append("a", &lines[1..]).await }).await }
    });
    eventually("the append waits for the head", || async {
        operator.query_opt(waits, &[]).await.ok()?.map(drop)
    })
    .await;

    append.abort();
    assert!(append.await.unwrap_err().is_cancelled());
    store.ping().await.unwrap();
    // Its statement is still there.
    operator.query_one(waits, &[]).await.unwrap();
    holder.batch_execute("ROLLBACK").await.unwrap();
    assert_eq!(store.tenants().await.unwrap()[0].event_count, 1, "it was rolled back");
}
