//! Lag and health as the database tells them: bounded, and what is missing counts as fully behind.

#![allow(clippy::unwrap_used, reason = "tests")]

use dg_projections::Code;
use dg_projections::projection::Projection;
use dg_store::{Health, Lag, NewFailure, Store};
use dg_tests::Database;
use dg_tests::events::{observed, started, whole_trace};
use dg_tests::log::{ALL, append_all, catch_up, parsed};

/// A tenant with six events, all applied, and then so many that are not.
async fn tenant(store: &Store, name: &str, pending: usize) {
    append_all(store, name, &parsed(name, &whole_trace("t")), 10).await;
    catch_up(store, name, 100).await;
    let mut more = vec![started("u")];
    more.extend((1..pending).map(|seq| observed("u", seq)));
    append_all(store, name, &parsed(name, &more[..pending]), 100).await;
}

async fn health(store: &Store, tenant: &str) -> Health {
    store.health(Some(tenant), &ALL).await.unwrap().remove(0)
}

/// Whose lag of summaries is told, with events, cursor and failures.
async fn told(store: &Store, most: i64) -> Vec<(Option<String>, i64, Option<i64>, i64)> {
    let lags = store.lags(&ALL, most, "_other").await.unwrap();
    let own = lags.into_iter().filter(|lag| lag.projection_name == "trace_summary");
    own.map(|lag| (lag.tenant_id, lag.pending_events, lag.last_log_seq, lag.open_failures))
        .collect()
}

fn of(name: &str, pending: i64, failures: i64) -> (Option<String>, i64, Option<i64>, i64) {
    (Some(name.to_owned()), pending, Some(6), failures)
}

#[tokio::test]
async fn the_most_lagging_are_told_one_by_one_and_the_rest_as_a_sum() {
    let (_database, store) = Database::with_schema().await;
    for (name, pending) in [("a", 0), ("b", 3), ("c", 5), ("d", 4), ("e", 0), ("_other", 9)] {
        tenant(&store, name, pending).await;
    }
    for tenant in ["a", "c"] {
        let projection = Projection::TraceSummary;
        let (code, message) = (Code::Conflict, "m");
        let failure =
            NewFailure { tenant, projection, partition: 0, event: None, code, message, retries: 0 };
        store.record_failure(&failure).await.unwrap();
    }
    let rest = |pending, failures| (None, pending, None, failures);
    assert_eq!(told(&store, 2).await, [of("c", 5, 1), of("d", 4, 0), rest(12, 1)]);
    assert_eq!(told(&store, 4).await[..2], [of("a", 0, 1), of("b", 3, 0)]);
    assert_eq!(told(&store, 0).await, [rest(21, 2)]);
    // The name of the rest is never a tenant's.
    assert_eq!(told(&store, 99).await.last(), Some(&rest(9, 0)));
    catch_up(&store, "c", 100).await;
    let (tenant, ..) = told(&store, 1).await.remove(0);
    assert_eq!(tenant.as_deref(), Some("d"));
}

#[tokio::test]
async fn the_age_of_what_is_pending_is_told_and_that_of_the_rest_is_the_greatest() {
    let (database, store) = Database::with_schema().await;
    for (name, pending) in [("a", 2), ("b", 1), ("c", 1), ("d", 0)] {
        tenant(&store, name, pending).await;
    }
    let sql = "SET session_replication_role = replica;
        UPDATE dg_event_log SET recorded_at = now() - interval '1 hour'
            WHERE tenant_id = 'b' AND log_seq > 6;
        UPDATE dg_event_log SET recorded_at = now() - interval '1 day' WHERE tenant_id = 'd'";
    database.connect().await.batch_execute(sql).await.unwrap();
    let lags = store.lags(&["trace_summary"], 1, "_other").await.unwrap();
    let [first, rest] = &lags[..] else { panic!("{lags:?}") };
    assert!(first.lag_seconds > 0.0 && first.lag_seconds < 600.0, "{first:?}");
    assert!((3600.0..4200.0).contains(&rest.lag_seconds), "{rest:?}");
}

#[tokio::test]
async fn a_clock_that_was_set_back_makes_no_age_negative() {
    let (database, store) = Database::with_schema().await;
    tenant(&store, "a", 2).await;
    let sql = "SET session_replication_role = replica;
        UPDATE dg_event_log SET recorded_at = now() + interval '1 hour';
        UPDATE dg_projection_cursors SET updated_at = now() + interval '1 hour'";
    database.connect().await.batch_execute(sql).await.unwrap();
    let ages = store.lags(&ALL, 1, "_other").await.unwrap().into_iter().map(|lag| lag.lag_seconds);
    assert_eq!(ages.collect::<Vec<_>>(), [0.0; 3]);
    for projection in health(&store, "a").await.projections {
        let ages = (projection.lag_seconds, projection.cursor_age_seconds);
        assert_eq!(ages, (0.0, Some(0.0)), "{}", projection.projection_name);
    }
    let sql = "SET session_replication_role = replica; DELETE FROM dg_projection_cursors";
    database.connect().await.batch_execute(sql).await.unwrap();
    assert_eq!(health(&store, "a").await.projections[0].cursor_age_seconds, None);
}

/// Health and lag of a tenant say that this projection is fully behind, and the others are not.
async fn assert_behind(store: &Store, behind: &str) {
    let health = health(store, "a").await;
    assert!(health.is_stale() && health.full_digest.is_none(), "{health:?}");
    let lags: Vec<Lag> = store.lags(&ALL, 9, "_other").await.unwrap();
    for projection in &health.projections {
        let is_behind = projection.projection_name == behind;
        let pending = if is_behind { 6 } else { 0 };
        assert_eq!((projection.is_stale, projection.pending_events), (is_behind, pending));
        assert_eq!(projection.last_log_seq, 6 - pending);
        assert_eq!(projection.lag_seconds > 0.0, is_behind, "{projection:?}");
        let own = lags.iter().find(|lag| lag.projection_name == projection.projection_name);
        let own = own.unwrap();
        assert_eq!((own.pending_events, own.last_log_seq), (pending, Some(6 - pending)));
        assert_eq!(own.lag_seconds > 0.0, is_behind, "{own:?}");
    }
}

#[tokio::test]
async fn a_cursor_or_pointer_that_is_missing_is_fully_behind() {
    let (database, store) = Database::with_schema().await;
    tenant(&store, "a", 0).await;
    store.compute_digests("a").await.unwrap();
    assert!(health(&store, "a").await.full_digest.is_some());
    let client = database.connect().await;
    client.batch_execute("SET session_replication_role = replica").await.unwrap();
    for table in ["dg_projection_cursors", "dg_projections"] {
        let lost = format!("DELETE FROM {table} WHERE projection_name = 'trace_summary'");
        client.batch_execute(&format!("BEGIN; {lost}; COMMIT")).await.unwrap();
        assert_behind(&store, "trace_summary").await;
        let read = store.trace_summary("a", "t").await;
        assert_eq!(read.unwrap_err().code, Code::ProjectionOutOfDate, "{table}");
        let put_back = "INSERT INTO dg_projections VALUES ('a', 'trace_summary') ON CONFLICT DO NOTHING;
            INSERT INTO dg_projection_cursors VALUES ('a', 'trace_summary', 1, 0, 6, 6) ON CONFLICT DO NOTHING";
        client.batch_execute(put_back).await.unwrap();
        assert!(!health(&store, "a").await.is_stale());
    }
}

#[tokio::test]
async fn a_projection_that_the_tables_do_not_know_is_fully_behind() {
    let (_database, store) = Database::with_schema().await;
    tenant(&store, "a", 0).await;
    let health = store.health(Some("a"), &["nonsense"]).await.unwrap().remove(0);
    let unknown = &health.projections[0];
    assert_eq!((unknown.is_stale, unknown.pending_events, unknown.generation), (true, 6, None));
    let lag = store.lags(&["nonsense"], 9, "_other").await.unwrap().remove(0);
    assert_eq!((lag.pending_events, lag.last_log_seq), (6, Some(0)));
}
