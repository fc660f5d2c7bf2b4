//! The switch at the store: only to what is whole and not behind, once, and nothing in between.

#![allow(clippy::unwrap_used, reason = "tests")]

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use dg_projections::Code;
use dg_projections::projection::Projection;
use dg_store::{Compared, NewFailure, Prepared, Share, Store, Switched};
use dg_tests::Database;
use dg_tests::hands::{RUN_TABLES, Rebuild, image, projected};
use dg_tests::log::{
    append_all, apply_page, assert_proven, build_page, catch_up, generated_lines, model_of,
    until_blocked,
};
use dg_tests::proxy::{Proxy, Speaker};

const GRAPH: Projection = Projection::ContextGraph;
const SUMMARY: Projection = Projection::TraceSummary;

async fn tampered(database: &Database, sql: &str) {
    let sql = format!("SET session_replication_role = replica; {sql}");
    database.connect().await.batch_execute(&sql).await.unwrap();
}

async fn generation(store: &Store, projection: Projection) -> i32 {
    store.open_cursor("a", projection, Share::WHOLE, false).await.unwrap().generation
}

#[tokio::test]
async fn what_is_behind_or_apart_is_not_switched_to() {
    for partitions in [1, 3] {
        let (database, store, _) = projected(6, 81).await;
        let rebuild = Rebuild::begin(&store, GRAPH, partitions).await;
        let behind = async || {
            let before = image(&database, &RUN_TABLES).await;
            assert_eq!(rebuild.switch().await.unwrap(), Switched::Behind);
            assert_eq!(image(&database, &RUN_TABLES).await, before);
        };
        behind().await;
        let cursors = store.building("a", GRAPH, rebuild.generation).await.unwrap().cursors;
        // The first is at the end, further than needed; but the others are not.
        let (_, first) = build_page(&store, "a", GRAPH, cursors[0], 100).await;
        assert_eq!(first.last_log_seq, 48);
        if partitions > 1 {
            behind().await;
            rebuild.build().await;
        }
        // What is served goes on by one event, and by its partition alone.
        append_all(&store, "a", &generated_lines("a", 3, 8, 82), 100).await;
        let live = store.open_cursor("a", GRAPH, Share::WHOLE, false).await.unwrap();
        apply_page(&store, "a", GRAPH, live, 1).await;
        behind().await;
        rebuild.build().await;
        assert_eq!(rebuild.switch().await.unwrap(), Switched::Done { log_seq: 72 });
        catch_up(&store, "a", 100).await;
        assert_proven(&store, "a").await;
    }
}

/// A switch that did not wait for a commit in progress would take the event back.
#[tokio::test(flavor = "multi_thread")]
async fn a_switch_waits_for_the_commit_that_is_in_progress() {
    let (database, store, _) = projected(6, 83).await;
    let rebuild = Rebuild::built(&store, SUMMARY, 1).await;
    append_all(&store, "a", &generated_lines("a", 1, 8, 84), 100).await;
    let committing = database.connect().await;
    let commit = "BEGIN; UPDATE dg_projection_cursors SET last_log_seq = 50, applied_events = 50
        WHERE projection_name = 'trace_summary' AND generation = 1";
    committing.batch_execute(commit).await.unwrap();
    let blocked = async {
        until_blocked(&database).await;
        committing.batch_execute("COMMIT").await.unwrap();
    };
    let (switched, ()) = tokio::join!(rebuild.switch(), blocked);
    assert_eq!(switched.unwrap(), Switched::Behind);
    assert_eq!(generation(&store, SUMMARY).await, 1);
}

#[tokio::test]
async fn a_count_that_is_not_the_logs_stops_the_switch_and_both_are_named() {
    let cursors = "UPDATE dg_projection_cursors SET";
    let of_it = "WHERE projection_name = 'context_graph' AND generation = 2";
    let kept = "UPDATE dg_tenant_heads SET kept_numbers = true";
    for (tampering, named) in [
        (format!("{cursors} applied_events = 47 {of_it}"), ["48", "47"]),
        (format!("{kept}; {cursors} applied_events = 47 {of_it}"), ["48", "47"]),
        // Of what lies beyond the log, nobody can count the events.
        (format!("{cursors} last_log_seq = 49, applied_events = 49 {of_it}"), ["48", "49"]),
        (format!("{cursors} last_log_seq = 49 {of_it}"), ["48", "49"]),
        (format!("{kept}; {cursors} last_log_seq = 49 {of_it}"), ["48", "49"]),
    ] {
        let (database, store, _) = projected(6, 85).await;
        let rebuild = Rebuild::built(&store, GRAPH, 1).await;
        tampered(&database, &tampering).await;
        let before = image(&database, &RUN_TABLES).await;
        let error = rebuild.switch().await.unwrap_err();
        assert_eq!(error.code, Code::Internal, "{tampering}: {error}");
        for count in named {
            assert!(error.to_string().contains(count), "{tampering}: {error}");
        }
        assert_eq!(image(&database, &RUN_TABLES).await, before);
        assert_eq!(generation(&store, GRAPH).await, 1);
    }
}

#[tokio::test]
async fn a_log_with_gaps_is_counted() {
    let (database, store, log) = projected(6, 86).await;
    let gap = "UPDATE dg_tenant_heads SET kept_numbers = true, last_log_seq = 148;
        UPDATE dg_event_log SET log_seq = log_seq + 100 WHERE log_seq > 24;
        UPDATE dg_projection_cursors SET last_log_seq = 148";
    tampered(&database, gap).await;
    let rebuild = Rebuild::built(&store, GRAPH, 3).await;
    // A page of events later than what was built: the end of the log is not what is counted to.
    let line = &generated_lines("a", 1, 8, 87)[..1];
    append_all(&store, "a", line, 1).await;
    assert_eq!(rebuild.switch().await.unwrap(), Switched::Done { log_seq: 148 });
    assert_eq!(generation(&store, GRAPH).await, 2);
    assert_eq!(log.len(), 48);
}

/// What is served has passed events that the database has lost since: a rebuild is the way out.
#[tokio::test]
async fn what_stands_beyond_the_log_is_not_waited_for() {
    let (database, store, log) = projected(6, 88).await;
    tampered(&database, "UPDATE dg_projection_cursors SET last_log_seq = 60, applied_events = 60")
        .await;
    for projection in Projection::ALL {
        let rebuild = Rebuild::built(&store, projection, 1).await;
        let compared = store.compare_generations("a", projection, rebuild.generation, || ());
        let apart = Compared::Apart { served: Some(vec![60]), built: vec![48] };
        assert_eq!(compared.await.unwrap(), apart);
        assert_eq!(rebuild.switch().await.unwrap(), Switched::Done { log_seq: 48 });
        rebuild.complete().await;
    }
    assert_eq!(store.tables("a").await.unwrap(), model_of(&log).tables);
    assert_proven(&store, "a").await;
}

#[tokio::test]
async fn only_the_owner_of_a_running_run_switches_and_twice_is_once() {
    let (database, store, _) = projected(6, 89).await;
    let rebuild = Rebuild::built(&store, GRAPH, 2).await;
    assert_eq!(rebuild.switch_as("y").await.unwrap(), Switched::NotOurs);
    store.cancel_run(&rebuild.run).await.unwrap().unwrap();
    assert_eq!(rebuild.switch().await.unwrap(), Switched::NotOurs);
    store.resume_run(&rebuild.run).await.unwrap().unwrap();
    assert_eq!(rebuild.switch().await.unwrap(), Switched::NotOurs);
    store.claim_run("x", &dg_tests::log::ALL).await.unwrap().unwrap();
    let done = Switched::Done { log_seq: 48 };
    assert_eq!(rebuild.switch().await.unwrap(), done);
    let before = image(&database, &RUN_TABLES).await;
    assert_eq!(rebuild.switch().await.unwrap(), done);
    let prepared = store.prepare_generation(&rebuild.run, "x", GRAPH, 1).await.unwrap();
    assert_eq!(prepared, Prepared::Switched);
    assert_eq!(image(&database, &RUN_TABLES).await, before);
    // One that was retired meanwhile is gone.
    rebuild.complete().await;
    let retired = Rebuild::built(&store, GRAPH, 1).await;
    store.retire_generation("a", GRAPH, retired.generation).await.unwrap();
    assert_eq!(retired.switch().await.unwrap_err().code, Code::Conflict);
}

#[tokio::test]
async fn failures_that_the_new_generation_has_passed_are_resolved() {
    let (_database, store, _) = projected(6, 90).await;
    let failure = |projection, partition, event| NewFailure {
        tenant: "a",
        projection,
        partition,
        event,
        code: Code::Conflict,
        message: "x",
        retries: 0,
    };
    let of = |log_seq| Some((log_seq, "t", "e"));
    for (projection, partition, event) in
        [(GRAPH, 0, of(48)), (GRAPH, 1, None), (GRAPH, 2, of(49)), (SUMMARY, 0, of(3))]
    {
        store.record_failure(&failure(projection, partition, event)).await.unwrap();
    }
    let rebuild = Rebuild::built(&store, GRAPH, 1).await;
    assert_eq!(store.failures("a", false).await.unwrap().len(), 4, "building resolves none");
    rebuild.switch().await.unwrap();
    let open = store.failures("a", false).await.unwrap();
    let mut open: Vec<_> = open.iter().map(|one| (&*one.projection_name, one.log_seq)).collect();
    open.sort_unstable();
    assert_eq!(open, [("context_graph", Some(49)), ("trace_summary", Some(3))]);
    // Of a partition that there is no more: resolved by whoever passes its event.
    append_all(&store, "a", &generated_lines("a", 1, 8, 91), 100).await;
    catch_up(&store, "a", 100).await;
    assert_eq!(store.failures("a", false).await.unwrap(), []);
}

#[tokio::test]
async fn the_digest_that_was_compared_stands_for_the_new_generation() {
    let (database, store, _) = projected(6, 92).await;
    let honest = store.compute_digests("a").await.unwrap();
    // What is served was forged, and so its digests.
    tampered(&database, "UPDATE dg_cg_nodes SET node_type = 'forged' WHERE log_seq = 3").await;
    let forged = store.compute_digests("a").await.unwrap();
    let rebuild = Rebuild::built(&store, GRAPH, 1).await;
    let found = rebuild.compared().await;
    assert!(found.difference.is_some() && found.digest != found.digest_before);
    assert_eq!((found.digest, found.digest_before), (honest[0].digest, forged[0].digest));
    let what = (GRAPH, rebuild.generation);
    assert!(store.record_comparison((&rebuild.run, "x"), what, Ok(&found)).await.unwrap());
    rebuild.switch().await.unwrap();
    let step = store.run(None, &rebuild.run.run_id).await.unwrap().unwrap().steps.remove(0);
    assert_eq!(step.comparison, Some(found));
    let stored = store.stored_digests("a").await.unwrap();
    let graph = stored.iter().find(|one| one.name == "context_graph").unwrap();
    assert_eq!((graph.digest, graph.is_current), (honest[0].digest, true));
    // The one over all three was made of forged rows.
    assert!(!stored.iter().any(|one| one.name == "full_projection"), "{stored:?}");
    assert_proven(&store, "a").await;
    let again = store.refresh_digests("a", false).await.unwrap().digests;
    assert!(again.iter().all(|one| one.is_current) && again.len() == 4, "{again:?}");
    assert_proven(&store, "a").await;
}

/// An operator retires what a run is about to switch to: the switch comes first.
#[tokio::test(flavor = "multi_thread")]
async fn what_has_become_active_is_not_retired() {
    let (database, store, _) = projected(6, 93).await;
    let rebuild = Rebuild::built(&store, GRAPH, 1).await;
    let switching = database.connect().await;
    let switch =
        "BEGIN; SELECT 1 FROM dg_projections WHERE projection_name = 'context_graph' FOR UPDATE;
        SELECT 1 FROM dg_projection_cursors WHERE projection_name = 'context_graph' FOR UPDATE;
        UPDATE dg_projections SET active_generation = 2 WHERE projection_name = 'context_graph'";
    switching.batch_execute(switch).await.unwrap();
    let switched = async {
        until_blocked(&database).await;
        switching.batch_execute("COMMIT").await.unwrap();
    };
    let retire = store.retire_generation("a", GRAPH, rebuild.generation);
    let (retired, ()) = tokio::join!(retire, switched);
    retired.unwrap();
    append_all(&store, "a", &generated_lines("a", 1, 8, 94), 100).await;
    catch_up(&store, "a", 100).await;
    assert_proven(&store, "a").await;
}

/// What a server says last when a transaction is over, and of its end.
const IDLE: &[u8] = b"Z\0\0\0\x05I";
const COMMITTED: &[u8] = b"COMMIT\0";

#[tokio::test(flavor = "multi_thread")]
async fn after_a_switch_whose_commit_was_never_answered_the_run_finds_it() {
    let (database, store, _) = projected(6, 95).await;
    let rebuild = Rebuild::built(&store, GRAPH, 1).await;
    let is_cutting = Arc::new(AtomicBool::new(true));
    let cuts = is_cutting.clone();
    let proxy = Proxy::start(&database, move |speaker, said| {
        let committed = said.windows(COMMITTED.len()).any(|text| text == COMMITTED);
        speaker == Speaker::Server
            && committed
            && said.ends_with(IDLE)
            && cuts.swap(false, Ordering::SeqCst)
    });
    let proxy = match proxy {
        Ok(proxy) => proxy,
        Err(why) => return dg_tests::skip(why),
    };
    let through = proxy.store();
    let switch = dg_store::Switch {
        run: &rebuild.run,
        owner: "x",
        projection: GRAPH,
        generation: rebuild.generation,
    };
    let error = through.switch_generation(&switch).await.unwrap_err();
    assert!(error.is_outage && !is_cutting.load(Ordering::SeqCst), "{error}");
    let prepared = through.prepare_generation(&rebuild.run, "x", GRAPH, 1).await.unwrap();
    assert_eq!(prepared, Prepared::Switched);
    assert_eq!(through.switch_generation(&switch).await.unwrap(), Switched::Done { log_seq: 48 });
    assert_proven(&store, "a").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn digests_of_what_was_served_before_a_switch_are_not_stored_after_it() {
    let (database, store, _) = projected(6, 93).await;
    tampered(&database, "UPDATE dg_cg_nodes SET node_type = 'forged' WHERE log_seq = 3").await;
    let rebuild = Rebuild::built(&store, GRAPH, 1).await;
    let client = database.connect().await;
    client.batch_execute("BEGIN; SELECT 1 FROM dg_projections FOR UPDATE").await.unwrap();
    let refreshing = tokio::spawn({
        let store = store.clone();
        async move { store.compute_digests("a").await }
    });
    // It has read the forged rows.
    until_blocked(&database).await;
    let switched = format!(
        "UPDATE dg_projections SET active_generation = {} WHERE projection_name = 'context_graph'; COMMIT",
        rebuild.generation
    );
    client.batch_execute(&switched).await.unwrap();
    let stored = refreshing.await.unwrap().unwrap();
    assert!(stored.iter().all(|digest| digest.name != "full_projection"), "{stored:?}");
    assert!(stored.iter().all(|digest| digest.name != "context_graph"), "{stored:?}");
    store.refresh_digests("a", false).await.unwrap();
    assert_proven(&store, "a").await;
}
