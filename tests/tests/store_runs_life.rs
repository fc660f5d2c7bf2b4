//! The life of a run at the store: who may write to it, how it ends, and how it goes on.

#![allow(clippy::unwrap_used, reason = "tests")]

use std::time::Duration;

use dg_projections::Code;
use dg_projections::projection::Projection;
use dg_store::{Ending, Progress, Run, RunKey, RunMode, RunStatus, Store, Switch, Switched};
use dg_tests::Database;
use dg_tests::hands::{
    RUN_TABLES, admitted, asked, asked_of, build, image, names, prepared, taken_up,
};
use dg_tests::log::{append_all, catch_up, generated_lines, until_blocked};

const GRAPH: Projection = Projection::ContextGraph;
const SUMMARY: Projection = Projection::TraceSummary;
const FAILED: Ending<'_> = Ending::Failed(Code::Internal, "out of luck");

async fn tenants(names: &[&str]) -> (Database, Store) {
    let (database, store) = Database::with_schema().await;
    for name in names {
        append_all(&store, name, &generated_lines(name, 2, 8, 1), 100).await;
        catch_up(&store, name, 100).await;
    }
    (database, store)
}

async fn found(store: &Store, key: &RunKey) -> Run {
    store.run(Some(&key.tenant_id), &key.run_id).await.unwrap().unwrap()
}

async fn status(store: &Store, key: &RunKey) -> RunStatus {
    found(store, key).await.status
}

fn progress(projection: Projection, processed_events: i64) -> Progress<'static> {
    let worked = Duration::from_millis(7);
    Progress {
        phase: "building",
        projection,
        processed_events,
        last_log_seq: processed_events,
        worked,
    }
}

/// Gets a run of everything of `a` to a status.
async fn run_that_is(store: &Store, status: RunStatus) -> RunKey {
    let run = admitted(store, &asked("a", RunMode::Rebuild)).await.key;
    if !matches!(status, RunStatus::Queued | RunStatus::Cancelled) {
        assert_eq!(store.claim_run("x", &dg_tests::log::ALL).await.unwrap().unwrap().key, run);
    }
    let ending = match status {
        RunStatus::Completed => Some(Ending::Completed),
        RunStatus::Failed => Some(FAILED),
        RunStatus::Interrupted => Some(Ending::Interrupted),
        RunStatus::Queued | RunStatus::Running | RunStatus::Cancelled => None,
    };
    if let Some(ending) = ending {
        assert!(store.end_run(&run, "x", &ending).await.unwrap());
    }
    if status == RunStatus::Cancelled {
        store.cancel_run(&run).await.unwrap().unwrap();
    }
    assert_eq!(self::status(store, &run).await, status);
    run
}

/// Out of the way of the next one.
async fn put_away(store: &Store, run: &RunKey) {
    if status(store, run).await.is_active() {
        store.cancel_run(run).await.unwrap().unwrap();
    }
}

#[tokio::test]
async fn only_the_owner_writes_and_only_while_the_run_is_running() {
    let (database, store) = tenants(&["a"]).await;
    for is in RunStatus::ALL {
        let run = run_that_is(&store, is).await;
        let owners: &[&str] = if is == RunStatus::Running { &["y", "", "X"] } else { &["x", "y"] };
        let before = image(&database, &RUN_TABLES).await;
        for owner in owners {
            assert!(!store.see_run(&run, owner, "seen").await.unwrap(), "{is}");
            assert!(!store.checkpoint_run(&run, owner, &progress(GRAPH, 5)).await.unwrap(), "{is}");
            for ending in [Ending::Completed, FAILED, Ending::Interrupted, Ending::Queued] {
                assert!(!store.end_run(&run, owner, &ending).await.unwrap(), "{is} {ending:?}");
            }
        }
        assert_eq!(image(&database, &RUN_TABLES).await, before, "{is}");
        put_away(&store, &run).await;
    }
}

#[tokio::test]
async fn the_owner_leaves_a_run_as_it_says() {
    let (_database, store) = tenants(&["a"]).await;
    for ending in [Ending::Completed, FAILED, Ending::Interrupted, Ending::Queued] {
        let run = run_that_is(&store, RunStatus::Running).await;
        assert!(store.see_run(&run, "x", "looking").await.unwrap());
        assert_eq!(found(&store, &run).await.phase.as_deref(), Some("looking"));
        assert!(store.end_run(&run, "x", &ending).await.unwrap());
        let left = found(&store, &run).await;
        assert_eq!((left.status, left.phase), (ending.status(), None));
        assert_eq!(left.finished_at.is_some(), left.status.is_finished());
        let error = left.error_code.as_deref().zip(left.error_message.as_deref());
        assert_eq!(error, (ending == FAILED).then_some(("internal", "out of luck")));
        put_away(&store, &run).await;
    }
}

#[tokio::test]
async fn the_totals_of_a_run_are_those_of_its_steps() {
    let (_database, store) = tenants(&["a"]).await;
    let run = run_that_is(&store, RunStatus::Running).await;
    for (projection, processed, total) in [(GRAPH, 10, 10), (SUMMARY, 4, 14), (GRAPH, 16, 20)] {
        assert!(store.checkpoint_run(&run, "x", &progress(projection, processed)).await.unwrap());
        let found = found(&store, &run).await;
        assert_eq!((found.processed_events, found.last_log_seq), (total, processed));
        assert_eq!((found.total_events, found.phase.as_deref()), (Some(48), Some("building")));
        let step = found.steps.iter().find(|step| step.projection == projection).unwrap();
        assert_eq!((step.processed_events, step.last_log_seq), (processed, processed));
    }
    assert_eq!(found(&store, &run).await.work_ms, 21);
    // A rebuild is about the log as it is now; a replay about what it was asked for, or more.
    append_all(&store, "a", &generated_lines("a", 1, 8, 2), 100).await;
    assert!(store.checkpoint_run(&run, "x", &progress(SUMMARY, 5)).await.unwrap());
    assert_eq!(found(&store, &run).await.total_events, Some(72));
    put_away(&store, &run).await;
    let replay = taken_up(&store, "x", &asked_of("a", RunMode::Replay, GRAPH)).await;
    for (processed, total) in [(3, 8), (8, 8), (11, 11)] {
        assert!(store.checkpoint_run(&replay.key, "x", &progress(GRAPH, processed)).await.unwrap());
        assert_eq!(found(&store, &replay.key).await.total_events, Some(total));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_checkpoint_that_waits_for_a_cancellation_writes_nothing() {
    let (database, store) = tenants(&["a"]).await;
    let run = run_that_is(&store, RunStatus::Running).await;
    let cancelling = database.connect().await;
    let cancel = "BEGIN; UPDATE dg_projection_runs SET status = 'cancelled', finished_at = now()";
    cancelling.batch_execute(cancel).await.unwrap();
    let writing = tokio::spawn({
        let (store, run) = (store.clone(), run.clone());
        async move { store.checkpoint_run(&run, "x", &progress(GRAPH, 5)).await.unwrap() }
    });
    until_blocked(&database).await;
    cancelling.batch_execute("COMMIT").await.unwrap();
    assert!(!writing.await.unwrap());
    let found = found(&store, &run).await;
    assert_eq!((found.processed_events, found.steps[0].processed_events), (0, 0));
}

#[tokio::test]
async fn cancelling_and_resuming_follow_the_table() {
    let (database, store) = tenants(&["a"]).await;
    let nowhere = "0b9c2f6e-3f0a-4c55-9b77-5b1f1e0d2a3c".to_owned();
    let unknown = RunKey { tenant_id: "a".to_owned(), run_id: nowhere };
    assert_eq!(store.cancel_run(&unknown).await.unwrap().unwrap_err().code, Code::NotFound);
    assert_eq!(store.resume_run(&unknown).await.unwrap().unwrap_err().code, Code::NotFound);
    for is in RunStatus::ALL {
        for cancels in [true, false] {
            let run = run_that_is(&store, is).await;
            let elsewhere = RunKey { tenant_id: "b".to_owned(), ..run.clone() };
            let before = image(&database, &RUN_TABLES).await;
            let turn = async |key| {
                if cancels { store.cancel_run(key).await } else { store.resume_run(key).await }
            };
            let outcome = turn(&elsewhere).await.unwrap();
            assert_eq!(outcome.unwrap_err().code, Code::NotFound, "of another tenant");
            let (allowed, becomes): (&[RunStatus], _) = if cancels {
                (
                    &[RunStatus::Queued, RunStatus::Running, RunStatus::Interrupted],
                    RunStatus::Cancelled,
                )
            } else {
                (
                    &[RunStatus::Failed, RunStatus::Cancelled, RunStatus::Interrupted],
                    RunStatus::Queued,
                )
            };
            match turn(&run).await.unwrap() {
                Ok(changed) => {
                    assert!(allowed.contains(&is), "{is}");
                    assert_eq!((changed.status, changed.phase), (becomes, None));
                    assert_eq!(changed.finished_at.is_some(), cancels);
                    assert_eq!((changed.error_code, changed.error_message), (None, None));
                    assert_eq!(
                        turn(&run).await.unwrap().unwrap_err().code,
                        Code::Conflict,
                        "twice"
                    );
                }
                Err(refusal) => {
                    assert!(!allowed.contains(&is), "{is}: {refusal}");
                    let details = refusal.details["status"].as_str();
                    assert_eq!((refusal.code, details), (Code::Conflict, Some(is.as_str())));
                    assert_eq!(image(&database, &RUN_TABLES).await, before);
                }
            }
            put_away(&store, &run).await;
        }
    }
}

#[tokio::test]
async fn what_an_interrupted_run_had_built_goes_with_it_and_that_of_others_waits_for_them() {
    let (database, store) = tenants(&["a"]).await;
    let client = database.connect().await;
    for (is_interrupted, retired) in [(true, 1), (false, 0)] {
        let run = taken_up(&store, "x", &asked_of("a", RunMode::Rebuild, GRAPH)).await.key;
        let generation = prepared(&store, &run, "x", GRAPH, 1).await;
        if is_interrupted {
            store.end_run(&run, "x", &Ending::Interrupted).await.unwrap();
        }
        store.cancel_run(&run).await.unwrap().unwrap();
        let sql = "SELECT count(*) FROM dg_projection_cursors WHERE retired AND generation = $1";
        let found: i64 = client.query_one(sql, &[&generation]).await.unwrap().get(0);
        assert_eq!(found, retired);
    }
}

#[tokio::test]
async fn a_rebuild_that_has_switched_everything_is_not_cancelled() {
    let (_database, store) = tenants(&["a"]).await;
    let run = run_that_is(&store, RunStatus::Running).await;
    for projection in Projection::ALL {
        // Until the last step it may be.
        assert_eq!(store.cancel_run(&run).await.unwrap().unwrap().status, RunStatus::Cancelled);
        store.resume_run(&run).await.unwrap().unwrap();
        assert_eq!(store.claim_run("x", &dg_tests::log::ALL).await.unwrap().unwrap().key, run);
        let generation = prepared(&store, &run, "x", projection, 1).await;
        build(&store, "a", projection, generation).await;
        let switch = Switch { run: &run, owner: "x", projection, generation };
        let switched = store.switch_generation(&switch).await.unwrap();
        assert_eq!(switched, Switched::Done { log_seq: 16 });
    }
    assert_eq!(store.cancel_run(&run).await.unwrap().unwrap_err().code, Code::Conflict);
    assert_eq!(status(&store, &run).await, RunStatus::Running);
}

#[tokio::test]
async fn a_run_is_not_resumed_while_another_is_in_the_way() {
    let (_database, store) = tenants(&["a"]).await;
    let run = run_that_is(&store, RunStatus::Failed).await;
    let other = admitted(&store, &asked_of("a", RunMode::Replay, SUMMARY)).await.key;
    names(&store.resume_run(&run).await.unwrap().unwrap_err(), &other);
    store.cancel_run(&other).await.unwrap().unwrap();
    assert_eq!(store.resume_run(&run).await.unwrap().unwrap().status, RunStatus::Queued);
    names(&store.resume_run(&other).await.unwrap().unwrap_err(), &run);
}

#[tokio::test]
async fn a_run_that_its_own_daemon_has_lost_waits_again_and_that_of_a_silent_one_is_interrupted() {
    let (_database, store) = tenants(&["a", "b", "c", "d"]).await;
    let mut runs = Vec::new();
    for (tenant, owner) in [("a", "x"), ("b", "x"), ("c", "y")] {
        runs.push(taken_up(&store, owner, &asked(tenant, RunMode::Rebuild)).await.key);
    }
    let [lost, kept, others] = &runs[..] else { panic!("three") };
    let queued = admitted(&store, &asked("d", RunMode::Rebuild)).await.key;
    let running = store.running_runs().await.unwrap();
    let seen = |run: &RunKey| running.iter().find(|(key, _)| key == run).map(|(_, at)| *at);
    assert_eq!((running.len(), seen(&queued)), (3, None));
    let abandon = async |run, at| store.abandon_run(run, "x", at).await.unwrap();
    assert_eq!(abandon(lost, seen(lost).unwrap()).await, Some(RunStatus::Queued));
    assert_eq!(abandon(lost, seen(lost).unwrap()).await, None);
    assert!(!store.end_run(lost, "x", &Ending::Completed).await.unwrap());
    assert_eq!(abandon(others, seen(others).unwrap()).await, Some(RunStatus::Interrupted));
    // It has said something since.
    assert!(store.see_run(kept, "x", "here").await.unwrap());
    assert_eq!(abandon(kept, seen(kept).unwrap()).await, None);
    assert_eq!(status(&store, kept).await, RunStatus::Running);
}

#[tokio::test]
async fn a_run_is_taken_up_by_who_keeps_all_of_its_projections() {
    let (_database, store) = tenants(&["a", "b"]).await;
    let all = admitted(&store, &asked("a", RunMode::Rebuild)).await.key;
    let graph = admitted(&store, &asked_of("b", RunMode::Replay, GRAPH)).await.key;
    assert_eq!(store.claim_run("x", &[]).await.unwrap(), None);
    let claimed = store.claim_run("x", &["context_graph", "trace_summary"]).await.unwrap();
    assert_eq!(claimed.unwrap().key, graph);
    let claimed = store.claim_run("x", &dg_tests::log::ALL).await.unwrap();
    assert_eq!(claimed.unwrap().key, all);
}

#[tokio::test]
async fn of_interrupted_runs_that_overlap_the_newest_is_resumed() {
    let (_database, store) = tenants(&["a", "b"]).await;
    let mut runs = Vec::new();
    for (tenant, scope) in [("a", None), ("a", Some(GRAPH)), ("a", Some(SUMMARY)), ("b", None)] {
        let new = dg_store::NewRun { scope, ..asked(tenant, RunMode::Rebuild) };
        let run = taken_up(&store, "x", &new).await.key;
        assert!(store.end_run(&run, "x", &Ending::Interrupted).await.unwrap());
        runs.push(run);
    }
    let in_the_way = admitted(&store, &asked_of("b", RunMode::Replay, GRAPH)).await.key;
    let mut resumed = store.resume_interrupted_runs().await.unwrap();
    resumed.sort_by_key(|run| runs.iter().position(|one| one == run));
    assert_eq!(resumed, runs[1..3]);
    assert_eq!(store.resume_interrupted_runs().await.unwrap(), []);
    store.cancel_run(&in_the_way).await.unwrap().unwrap();
    assert_eq!(store.resume_interrupted_runs().await.unwrap(), runs[3..]);
    assert_eq!(status(&store, &runs[0]).await, RunStatus::Interrupted);
}
