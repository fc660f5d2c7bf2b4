//! Lists with an end, for pages: of tenants, of failures, of what happened last.

#![allow(clippy::unwrap_used, reason = "tests")]

use dg_projections::Code;
use dg_projections::projection::Projection;
use dg_store::{NewFailure, Store};
use dg_tests::Database;
use dg_tests::events::{observed, started, whole_trace};
use dg_tests::log::{append_all, catch_up, parsed};

async fn append(store: &Store, tenant: &str, lines: &[String]) {
    append_all(store, tenant, &parsed(tenant, lines), 100).await;
}

#[tokio::test]
async fn tenants_come_by_name_a_page_at_a_time() {
    let (_database, store) = Database::with_schema().await;
    for tenant in ["ab", "a", "b%", "b", "b_x", "é"] {
        append(&store, tenant, &[started("t")]).await;
    }
    for (prefix, after, most, expected) in [
        ("", "", 10, &["a", "ab", "b", "b%", "b_x", "é"][..]),
        ("", "ab", 2, &["b", "b%"]),
        ("a", "", 10, &["a", "ab"]),
        ("a", "a", 10, &["ab"]),
        ("b%", "", 10, &["b%"]),
        ("b_", "", 10, &["b_x"]),
        ("c", "", 10, &[]),
        ("b", "a", 1, &["b"]),
    ] {
        let page = store.tenants_page(prefix, after, most).await.unwrap();
        let names: Vec<&str> = page.iter().map(|head| head.tenant_id.as_str()).collect();
        assert_eq!(names, expected, "{prefix} after {after}");
    }
}

#[tokio::test]
async fn the_newest_failures_are_told_of_one_tenant_or_of_all() {
    let (_database, store) = Database::with_schema().await;
    for (tenant, projection) in [
        ("a", Projection::TraceSummary),
        ("b", Projection::TraceSummary),
        ("a", Projection::ContextGraph),
    ] {
        append(&store, tenant, &[started(projection.as_str())]).await;
        let (code, message) = (Code::Conflict, "m");
        let failure =
            NewFailure { tenant, projection, partition: 0, event: None, code, message, retries: 0 };
        store.record_failure(&failure).await.unwrap();
    }
    for (tenant, most, expected) in [
        (None, 9, &["a/context_graph", "b/trace_summary", "a/trace_summary"][..]),
        (None, 1, &["a/context_graph"]),
        (Some("a"), 9, &["a/context_graph", "a/trace_summary"]),
        (Some("c"), 9, &[]),
    ] {
        let found = store.newest_failures(tenant, false, most).await.unwrap();
        let names: Vec<String> =
            found.iter().map(|one| format!("{}/{}", one.tenant_id, one.projection_name)).collect();
        assert_eq!(names, expected, "{tenant:?}, {most}");
    }
}

#[tokio::test]
async fn the_latest_traces_are_told_by_their_last_event_also_while_summaries_are_behind() {
    let (_database, store) = Database::with_schema().await;
    append(&store, "a", &whole_trace("old")).await;
    append(&store, "a", &[started("long")]).await;
    catch_up(&store, "a", 100).await;
    append(&store, "a", &[started("new"), observed("long", 1)]).await;
    let told = |most| {
        let store = &store;
        async move {
            let traces = store.latest_traces("a", most).await.unwrap();
            let words = traces.into_iter().map(|one| {
                format!(
                    "{} {} {:?} {:?}",
                    one.trace_id, one.last_event_type, one.title, one.outcome
                )
            });
            words.collect::<Vec<_>>()
        }
    };
    let expected = [
        r#"long EntityObserved Some("About long") None"#,
        "new TraceStarted None None",
        r#"old TraceFinished Some("About old") Some("success")"#,
    ];
    assert_eq!(told(9).await, expected);
    assert_eq!(told(1).await, expected[..1]);
    assert!(store.latest_traces("b", 9).await.unwrap().is_empty());
}
