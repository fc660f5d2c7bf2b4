//! The runtime on a real store: what is appended becomes visible, and a poison event stops one
//! projection of one tenant and nothing else.

#![allow(clippy::unwrap_used, reason = "tests")]

use std::time::Duration;

use dg_projections::Code;
use dg_projections::event::Line;
use dg_projections::projection::Projection;
use dg_runtime::worker::WorkerSnapshot;
use dg_runtime::{Runtime, Settings};
use dg_store::{Failure, NewFailure, Store};
use dg_tests::log::{
    ALL, append_all, assert_proven, catch_up, generated_lines, parsed, running, settings,
    until_applied,
};
use dg_tests::{Database, events, eventually};

const STOP: Duration = Duration::from_secs(10);

async fn worker(runtime: &Runtime, tenant: &str, projection: Projection) -> Option<WorkerSnapshot> {
    let all = runtime.snapshot().await.ok()?.workers.into_iter().map(|(worker, _)| worker);
    let mut own = all.filter(|w| w.key.tenant_id == tenant && w.key.projection == projection);
    own.next()
}

async fn until_status(runtime: &Runtime, tenant: &str, projection: Projection, status: &str) {
    eventually(&format!("{projection} of {tenant} is {status}"), || async {
        let worker = worker(runtime, tenant, projection).await?;
        (worker.status == status).then_some(())
    })
    .await;
}

async fn cursors(store: &Store, tenant: &str) -> Vec<i64> {
    let health = store.health(Some(tenant), &ALL).await.unwrap().remove(0);
    health.projections.iter().map(|projection| projection.last_log_seq).collect()
}

/// Asks a failed worker to try again, until it does: one that is still writing its letter does not.
async fn retry(runtime: &Runtime) {
    eventually("the worker tries again", || async {
        let projection = Projection::PrecedentIndex;
        let before = worker(runtime, "a", projection).await?;
        assert!(runtime.retry("a", projection).await.unwrap());
        let after = worker(runtime, "a", projection).await?;
        (after.status != "failed" || after.sync_count != before.sync_count).then_some(())
    })
    .await;
}

/// Changes payloads behind the log's back.
async fn set_payload(database: &Database, log_seq: i64, payload: &str) {
    let sql = "UPDATE dg_event_log SET payload_json = $2 WHERE tenant_id = 'a' AND log_seq = $1";
    assert_eq!(database.connect().await.execute(sql, &[&log_seq, &payload]).await.unwrap(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn appends_become_visible_and_the_poll_finds_what_others_wrote() {
    let (database, store) = Database::with_schema().await;
    let runtime = running(database.store()).await;
    let lines = generated_lines("a", 20, 8, 1);
    for batch in lines.chunks(9) {
        for answer in runtime.append("a", batch).await.unwrap() {
            answer.unwrap();
        }
    }
    until_applied(&store, "a").await;
    // Behind the runtime's back, to a tenant it knows and to one it does not.
    for tenant in ["a", "b"] {
        append_all(&store, tenant, &parsed(tenant, &events::whole_trace("late")), 4).await;
        until_applied(&store, tenant).await;
        assert_proven(&store, tenant).await;
    }
    for projection in Projection::ALL {
        until_status(&runtime, "a", projection, "idle").await;
        assert_eq!(worker(&runtime, "a", projection).await.unwrap().cursor, Some(166));
    }
    runtime.stop(STOP).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wake_up_that_was_lost_costs_a_poll() {
    let (database, store) = Database::with_schema().await;
    let quick = Settings { poll_interval: Duration::from_millis(20), ..settings() };
    let runtime = Runtime::start(database.store(), quick).await.unwrap();
    for round in 0..30 {
        let start = parsed("a", &[events::started(&format!("t{round}"))]);
        append_all(&store, "a", &start, 1).await;
        if round % 10 == 0 {
            until_applied(&store, "a").await;
        }
    }
    until_applied(&store, "a").await;
    runtime.stop(STOP).await;
}

/// Event 4 of tenant `a` is poison to the precedents alone: the others applied it before.
async fn poisoned(database: &Database, store: &Store) -> (Runtime, String) {
    let others = vec![Projection::ContextGraph, Projection::TraceSummary];
    let others = Settings { projections: others, ..settings() };
    let runtime = Runtime::start(database.store(), others).await.unwrap();
    let lines: Vec<Line> = parsed("a", &events::whole_trace("t"));
    for answer in runtime.append("a", &lines[..]).await.unwrap() {
        answer.unwrap();
    }
    eventually("the other two are current", || async {
        (cursors(store, "a").await == [6, 6, 0]).then_some(())
    })
    .await;
    runtime.stop(STOP).await;
    let good = lines[3].event.payload.clone();
    set_payload(database, 4, &good.replace("good customer", "bad customer")).await;
    (running(database.store()).await, good)
}

/// Waits for the dead letter: a worker fails a moment before its letter is written.
async fn until_letter(store: &Store) -> Failure {
    eventually("a dead letter", || async { failures(store, false).await.pop() }).await
}

async fn failures(store: &Store, all: bool) -> Vec<Failure> {
    store.failures("a", all).await.unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_poison_event_stops_its_projection_at_it_and_nothing_else() {
    let (database, store) = Database::with_schema().await;
    let (runtime, good) = poisoned(&database, &store).await;
    until_status(&runtime, "a", Projection::PrecedentIndex, "failed").await;
    let error =
        worker(&runtime, "a", Projection::PrecedentIndex).await.unwrap().last_error.unwrap();
    assert_eq!((error.code, error.log_seq), (Code::Conflict, Some(4)));
    let letter = until_letter(&store).await;
    assert_eq!((letter.log_seq, letter.event_id.as_deref()), (Some(4), Some("t.3")));
    assert_eq!((letter.trace_id.as_deref(), &*letter.error_code), (Some("t"), "conflict"));
    assert_eq!((&*letter.projection_name, letter.recoverable), ("precedent_index", false));
    // The events before it are applied; those after it are not.
    assert_eq!(cursors(&store, "a").await, [6, 6, 3]);
    assert_eq!(store.tables("a").await.unwrap().policy_evals.len(), 1);

    // The rest of the world goes on.
    let more = parsed("a", &events::whole_trace("u"));
    runtime.append("a", &more[..]).await.unwrap();
    runtime.append("b", parsed("b", &events::whole_trace("t"))).await.unwrap();
    until_applied(&store, "b").await;
    eventually("the other two go on", || async {
        (cursors(&store, "a").await == [12, 12, 3]).then_some(())
    })
    .await;

    // Without mending, a retry is counted; with it, the projection is current and the failure over.
    eventually("a retry is counted", || async {
        runtime.retry("a", Projection::PrecedentIndex).await.unwrap();
        (until_letter(&store).await.retry_count >= 1).then_some(())
    })
    .await;
    set_payload(&database, 4, &good).await;
    retry(&runtime).await;
    until_applied(&store, "a").await;
    let all = failures(&store, true).await;
    assert_eq!((all.len(), &*all[0].status, all[0].resolved_at.is_some()), (1, "resolved", true));
    assert_proven(&store, "a").await;
    assert!(!runtime.retry("nobody", Projection::TraceSummary).await.unwrap());
    runtime.stop(STOP).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_failure_outlives_the_runtime_and_keeps_its_count() {
    let (database, store) = Database::with_schema().await;
    let (runtime, _) = poisoned(&database, &store).await;
    until_letter(&store).await;
    runtime.stop(STOP).await;
    let second = running(database.store()).await;
    eventually("the second runtime's try is counted", || async {
        (until_letter(&store).await.retry_count == 1).then_some(())
    })
    .await;
    let all = failures(&store, true).await;
    assert_eq!((all.len(), &*all[0].status), (1, "open"));
    second.stop(STOP).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn damage_behind_the_cursor_stops_only_what_needs_it_again() {
    let (database, store) = Database::with_schema().await;
    let runtime = running(database.store()).await;
    let lines = parsed("a", &events::whole_trace("t"));
    runtime.append("a", &lines[..5]).await.unwrap();
    until_applied(&store, "a").await;
    set_payload(&database, 3, "{}").await;
    // In one page: another trace, then the end of the damaged one, then more of the other.
    let mut page = parsed("a", &events::whole_trace("u"));
    page.insert(2, lines[5].clone());
    runtime.append("a", &page[..]).await.unwrap();
    until_status(&runtime, "a", Projection::PrecedentIndex, "failed").await;
    let letter = until_letter(&store).await;
    assert_eq!((letter.log_seq, letter.event_id.as_deref()), (Some(3), Some("t.2")));
    eventually("all but the precedents are current", || async {
        (cursors(&store, "a").await == [12, 12, 7]).then_some(())
    })
    .await;
    set_payload(&database, 3, &lines[2].event.payload).await;
    retry(&runtime).await;
    until_applied(&store, "a").await;
    assert_eq!(failures(&store, false).await, []);
    assert_proven(&store, "a").await;
    runtime.stop(STOP).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_failure_that_another_daemon_has_passed_is_resolved_at_the_tail() {
    let (database, store) = Database::with_schema().await;
    let (runtime, good) = poisoned(&database, &store).await;
    until_letter(&store).await;
    set_payload(&database, 4, &good).await;
    catch_up(&store, "a", 10).await;
    // A third one was late to write what it had seen.
    let late = NewFailure {
        tenant: "a",
        projection: Projection::PrecedentIndex,
        partition: 0,
        event: Some((4, "t", "t.3")),
        code: Code::Conflict,
        message: "late",
        retries: 0,
    };
    store.record_failure(&late).await.unwrap();
    assert_eq!(failures(&store, false).await.len(), 1);
    retry(&runtime).await;
    eventually("nothing is open", || async {
        failures(&store, false).await.is_empty().then_some(())
    })
    .await;
    until_status(&runtime, "a", Projection::PrecedentIndex, "idle").await;
    runtime.stop(STOP).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_event_deleted_from_the_log_fails_the_workers_at_the_tail() {
    let (database, store) = Database::with_schema().await;
    for trace in ["first", "second"] {
        append_all(&store, "a", &parsed("a", &events::whole_trace(trace)), 10).await;
    }
    // The last of its trace: no later event of it shows that one is missing.
    let sql = "SET session_replication_role = replica;
               DELETE FROM dg_event_log WHERE log_seq =
                   (SELECT max(log_seq) FROM dg_event_log WHERE trace_id =
                       (SELECT trace_id FROM dg_event_log WHERE log_seq = 1))";
    database.connect().await.batch_execute(sql).await.unwrap();
    let runtime = running(database.store()).await;
    for projection in Projection::ALL {
        until_status(&runtime, "a", projection, "failed").await;
        let worker = worker(&runtime, "a", projection).await.unwrap();
        let error = worker.last_error.unwrap();
        assert_eq!(error.code, Code::Internal, "{error:?}");
    }
    // Asked again, it finds the same: the failure stays one, and open.
    retry(&runtime).await;
    until_status(&runtime, "a", Projection::PrecedentIndex, "failed").await;
    eventually("the second look is written down", || async {
        let failures = store.failures("a", true).await.unwrap();
        let own = failures.iter().filter(|one| one.projection_name == "precedent_index");
        let own: Vec<_> = own.map(|one| (one.retry_count, &*one.status)).collect();
        matches!(own.as_slice(), [(1.., "open")]).then_some(())
    })
    .await;
    // No worker claims a log that it has not seen as a whole.
    assert!(store.health(Some("a"), &ALL).await.unwrap()[0].is_stale());
    runtime.stop(STOP).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_log_that_ends_before_its_head_fails_the_workers() {
    for deleted in ["log_seq = 12", "log_seq > 0"] {
        let (database, store) = Database::with_schema().await;
        for trace in ["first", "second"] {
            append_all(&store, "a", &parsed("a", &events::whole_trace(trace)), 10).await;
        }
        let sql = format!(
            "SET session_replication_role = replica; DELETE FROM dg_event_log WHERE {deleted}"
        );
        database.connect().await.batch_execute(&sql).await.unwrap();
        let runtime = running(database.store()).await;
        for projection in Projection::ALL {
            until_status(&runtime, "a", projection, "failed").await;
            let error = worker(&runtime, "a", projection).await.unwrap().last_error.unwrap();
            assert_eq!(error.code, Code::Internal, "{error:?}");
            assert!(error.message.contains("has 12 events up to log_seq 12"), "{error:?}");
        }
        runtime.stop(STOP).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_worker_at_rest_notices_that_its_rows_and_its_cursor_are_gone() {
    let (database, store) = Database::with_schema().await;
    let log = generated_lines("a", 12, 8, 33);
    append_all(&store, "a", &log, 100).await;
    let runtime = running(database.store()).await;
    for projection in Projection::ALL {
        until_status(&runtime, "a", projection, "idle").await;
    }
    let sql = "DELETE FROM dg_projection_cursors; DELETE FROM dg_cg_nodes; DELETE FROM dg_cg_edges;
        DELETE FROM dg_trace_summary; DELETE FROM dg_policy_eval_index; DELETE FROM dg_precedent_index";
    database.connect().await.batch_execute(sql).await.unwrap();
    until_applied(&store, "a").await;
    assert_proven(&store, "a").await;
    runtime.stop(STOP).await;
}
