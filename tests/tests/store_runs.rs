//! Admission of runs at the store: who may begin, who is in whose way, who takes up which.

#![allow(clippy::unwrap_used, reason = "tests")]

use std::collections::BTreeSet;

use dg_projections::Code;
use dg_projections::projection::Projection;
use dg_store::{Ending, NewRun, RunFilter, RunMode, RunStatus, Store};
use dg_tests::hands::{RUN_TABLES, admitted, asked, asked_of, image, names, refused, taken_up};
use dg_tests::log::{append_all, catch_up, generated_lines, until_blocked};
use dg_tests::{Database, Random};
use tokio::task::JoinSet;

const GRAPH: Projection = Projection::ContextGraph;
const SUMMARY: Projection = Projection::TraceSummary;
const SCOPES: [Option<Projection>; 4] =
    [None, Some(GRAPH), Some(SUMMARY), Some(Projection::PrecedentIndex)];

/// Tenants of sixteen events each, of which nothing is projected.
async fn tenants(names: &[&str]) -> (Database, Store) {
    let (database, store) = Database::with_schema().await;
    for name in names {
        append_all(&store, name, &generated_lines(name, 2, 8, 1), 100).await;
    }
    (database, store)
}

fn overlap(one: Option<Projection>, other: Option<Projection>) -> bool {
    one.is_none() || other.is_none() || one == other
}

#[tokio::test]
async fn runs_that_overlap_are_refused_with_the_name_of_the_one_in_the_way() {
    let (_database, store) = tenants(&["a", "b"]).await;
    for first in SCOPES {
        let run = admitted(&store, &NewRun { scope: first, ..asked("a", RunMode::Replay) }).await;
        for is_running in [false, true] {
            if is_running {
                assert_eq!(
                    store.claim_run("x", &dg_tests::log::ALL).await.unwrap().unwrap().key,
                    run.key
                );
            }
            for (second, mode) in
                SCOPES.into_iter().zip([RunMode::Rebuild, RunMode::Replay].repeat(2))
            {
                let new = NewRun { scope: second, ..asked("a", mode) };
                if overlap(first, second) {
                    names(&refused(&store, &new).await, &run.key);
                } else {
                    let beside = admitted(&store, &new).await;
                    store.cancel_run(&beside.key).await.unwrap().unwrap();
                }
                // Another tenant's is in nobody's way.
                let elsewhere = admitted(&store, &NewRun { tenant: "b", ..new }).await;
                store.cancel_run(&elsewhere.key).await.unwrap().unwrap();
            }
        }
        assert!(store.end_run(&run.key, "x", &Ending::Completed).await.unwrap());
    }
}

#[tokio::test]
async fn of_three_that_do_not_overlap_each_is_admitted_and_none_of_all_after_them() {
    let (_database, store) = tenants(&["a"]).await;
    let mut oldest = None;
    for projection in Projection::ALL {
        let run = admitted(&store, &asked_of("a", RunMode::Rebuild, projection)).await;
        assert_eq!(run.steps.iter().map(|step| step.projection).collect::<Vec<_>>(), [projection]);
        oldest = oldest.or(Some(run));
    }
    names(&refused(&store, &asked("a", RunMode::Rebuild)).await, &oldest.unwrap().key);
}

#[tokio::test(flavor = "multi_thread")]
async fn of_many_that_are_asked_for_at_once_only_those_that_do_not_overlap_are_admitted() {
    let mut random = Random::seeded(51);
    let (database, store) = tenants(&["a"]).await;
    let others = [store.clone(), database.store()];
    for round in 0..12 {
        let mut asking = JoinSet::new();
        // In every other round all overlap, so that one is admitted and no more.
        let choice = if round % 2 == 0 { &SCOPES[..1] } else { &SCOPES[..] };
        for asker in 0..16 {
            let (store, scope) = (others[asker % 2].clone(), *random.pick(choice));
            asking.spawn(async move {
                let new = NewRun { scope, ..asked("a", RunMode::Rebuild) };
                store.start_run(&new).await.unwrap().map(|run| (scope, run))
            });
        }
        let answers = asking.join_all().await;
        let begun: Vec<_> = answers.iter().filter_map(|one| one.as_ref().ok()).collect();
        assert!(!begun.is_empty());
        assert!(round % 2 == 1 || begun.len() == 1, "{begun:?}");
        for (at, (scope, _)) in begun.iter().enumerate() {
            assert!(begun[..at].iter().all(|(other, _)| !overlap(*scope, *other)), "{begun:?}");
        }
        let keys: BTreeSet<&str> = begun.iter().map(|(_, run)| &*run.key.run_id).collect();
        for refusal in answers.iter().filter_map(|one| one.as_ref().err()) {
            let named = refusal.details["run_id"].as_str().unwrap();
            assert!(refusal.code == Code::Conflict && keys.contains(named), "{refusal:?}");
        }
        for (_, run) in begun {
            store.cancel_run(&run.key).await.unwrap().unwrap();
        }
    }
    drop((store, others));
    assert_eq!(database.deadlocks().await, 0);
}

#[tokio::test]
async fn what_makes_no_sense_is_refused_and_leaves_nothing() {
    let (database, store) = tenants(&["a"]).await;
    let replay = asked("a", RunMode::Replay);
    let rebuild = asked("a", RunMode::Rebuild);
    let long = "é".repeat(501);
    let invalid = Code::InvalidArgument;
    let table = [
        ("no reason", NewRun { reason: "", ..replay }, invalid),
        ("a blank reason", NewRun { reason: " \t\n\u{a0}", ..rebuild }, invalid),
        ("a long reason", NewRun { reason: &long, ..replay }, invalid),
        ("beyond the log", NewRun { until_log_seq: Some(17), ..replay }, invalid),
        ("before the log", NewRun { until_log_seq: Some(0), ..replay }, invalid),
        ("a negative bound", NewRun { until_log_seq: Some(i64::MIN), ..replay }, invalid),
        ("a bound of a rebuild", NewRun { until_log_seq: Some(4), ..rebuild }, invalid),
        ("a dry replay", NewRun { dry_run: true, ..replay }, invalid),
        ("no tenant", NewRun { tenant: "", ..rebuild }, Code::NotFound),
        ("an unknown tenant", NewRun { tenant: "z", ..rebuild }, Code::NotFound),
        ("not kept", NewRun { scope: Some(GRAPH), kept: &[SUMMARY], ..rebuild }, Code::NotFound),
        ("nothing kept", NewRun { kept: &[], ..rebuild }, Code::NotFound),
    ];
    let before = image(&database, &RUN_TABLES).await;
    for (what, new, code) in table {
        let refusal = refused(&store, &new).await;
        assert_eq!(refusal.code, code, "{what}: {refusal:?}");
        assert_eq!(image(&database, &RUN_TABLES).await, before, "{what}");
    }
    let run = admitted(&store, &rebuild).await;
    let before = image(&database, &RUN_TABLES).await;
    names(&refused(&store, &replay).await, &run.key);
    assert_eq!(image(&database, &RUN_TABLES).await, before);
    // The last that makes sense.
    store.cancel_run(&run.key).await.unwrap().unwrap();
    let reason = "é".repeat(500);
    admitted(&store, &NewRun { until_log_seq: Some(16), reason: &reason, ..replay }).await;
}

#[tokio::test]
async fn a_run_says_what_it_is_about() {
    let (_database, store) = tenants(&["a", "b"]).await;
    catch_up(&store, "a", 5).await;
    append_all(&store, "a", &generated_lines("a", 3, 8, 2), 100).await;
    let new = NewRun {
        kept: &[SUMMARY, GRAPH],
        dry_run: true,
        requested_by: Some("ann"),
        ..asked("a", RunMode::Rebuild)
    };
    let run = admitted(&store, &new).await;
    assert_eq!((run.mode, run.dry_run, run.status), (RunMode::Rebuild, true, RunStatus::Queued));
    assert_eq!((&*run.projection_name, &*run.reason), ("all", "a test"));
    assert_eq!((run.requested_by.as_deref(), run.until_log_seq), (Some("ann"), None));
    assert_eq!((run.since_log_seq, run.total_events), (0, Some(80)));
    let steps: Vec<_> = run.steps.iter().map(|step| (step.projection, step.generation)).collect();
    assert_eq!(steps, [(GRAPH, None), (SUMMARY, None)]);
    assert_eq!(store.run(None, &run.key.run_id).await.unwrap(), Some(run.clone()));
    assert_eq!(store.run(Some("b"), &run.key.run_id).await.unwrap(), None);
    store.cancel_run(&run.key).await.unwrap().unwrap();
    // From where each projection is, to the bound or the end.
    for (until, total) in [(None, 72), (Some(20), 12), (Some(16), 0), (Some(3), 0)] {
        let new = NewRun { until_log_seq: until, ..asked("a", RunMode::Replay) };
        let run = admitted(&store, &new).await;
        let since = until.map_or(16, |until| until.min(16));
        assert_eq!((run.since_log_seq, run.total_events), (since, Some(total)), "{until:?}");
        store.cancel_run(&run.key).await.unwrap().unwrap();
    }
}

/// Kept numbers leave gaps: how many events there are up to a number must be counted.
#[tokio::test]
async fn the_extent_of_a_replay_of_a_log_with_gaps_is_counted() {
    let (database, store) = tenants(&["a"]).await;
    let gap = "SET session_replication_role = replica;
        DELETE FROM dg_event_log WHERE log_seq BETWEEN 5 AND 8;
        UPDATE dg_tenant_heads SET kept_numbers = true, event_count = 12";
    database.connect().await.batch_execute(gap).await.unwrap();
    for (until, events) in [(None, 12), (Some(16), 12), (Some(10), 6), (Some(7), 4), (Some(3), 3)] {
        let new = NewRun { until_log_seq: until, ..asked_of("a", RunMode::Replay, GRAPH) };
        let run = admitted(&store, &new).await;
        assert_eq!(run.total_events, Some(events), "{until:?}");
        store.cancel_run(&run.key).await.unwrap().unwrap();
    }
}

#[tokio::test]
async fn runs_are_taken_up_in_the_order_in_which_they_were_asked_for() {
    let names = ["c", "a", "b"];
    let (_database, store) = tenants(&names).await;
    assert_eq!(store.claim_run("x", &dg_tests::log::ALL).await.unwrap(), None);
    let mut asked_for = Vec::new();
    for tenant in names {
        asked_for.push(admitted(&store, &asked(tenant, RunMode::Rebuild)).await.key);
    }
    for (key, owner) in asked_for.iter().zip(["x", "y", "x"]) {
        let run = store.claim_run(owner, &dg_tests::log::ALL).await.unwrap().unwrap();
        assert_eq!(
            (&run.key, run.status, run.owner.as_deref()),
            (key, RunStatus::Running, Some(owner))
        );
        assert!(run.started_at.is_some() && run.phase.is_some() && run.steps.len() == 3);
    }
    assert_eq!(store.claim_run("y", &dg_tests::log::ALL).await.unwrap(), None);
    let newest = store.runs(RunFilter { limit: 2, ..RunFilter::default() }).await.unwrap();
    let newest: Vec<_> = newest.into_iter().map(|run| run.key).collect();
    assert_eq!(newest, [asked_for[2].clone(), asked_for[1].clone()]);
    let statuses = &[RunStatus::Running];
    let of_a = RunFilter { tenant: Some("a"), statuses, limit: 9 };
    assert_eq!(store.runs(of_a).await.unwrap().len(), 1);
    assert_eq!(store.count_runs().await.unwrap(), [(RunMode::Rebuild, RunStatus::Running, 3)]);
}

#[tokio::test(flavor = "multi_thread")]
async fn two_that_look_at_once_take_up_two_runs() {
    let (database, store) = tenants(&["a", "b"]).await;
    let first = admitted(&store, &asked("a", RunMode::Rebuild)).await.key;
    let second = admitted(&store, &asked("b", RunMode::Rebuild)).await.key;
    // Somebody is about to take up the first, and has not committed.
    let taker = database.connect().await;
    let take = format!(
        "BEGIN; UPDATE dg_projection_runs SET status = 'running', owner = 'x', seen_at = now(),
            started_at = now() WHERE run_id = '{}'",
        first.run_id
    );
    taker.batch_execute(&take).await.unwrap();
    assert_eq!(store.claim_run("y", &dg_tests::log::ALL).await.unwrap().unwrap().key, second);
    assert_eq!(store.claim_run("y", &dg_tests::log::ALL).await.unwrap(), None);
    taker.batch_execute("COMMIT").await.unwrap();
    assert_eq!(store.claim_run("y", &dg_tests::log::ALL).await.unwrap(), None);
}

/// Admission is decided behind the pointers of the tenant, and so is everything else that makes a run
/// active: what an admission in progress will have stored is waited for.
#[tokio::test(flavor = "multi_thread")]
async fn an_interrupted_run_is_not_resumed_beside_one_that_is_being_admitted() {
    let (database, store) = tenants(&["a"]).await;
    let run = taken_up(&store, "x", &asked("a", RunMode::Rebuild)).await;
    assert!(store.end_run(&run.key, "x", &Ending::Interrupted).await.unwrap());
    let admitting = database.connect().await;
    let admit = "BEGIN; SELECT 1 FROM dg_projections WHERE tenant_id = 'a' FOR UPDATE;
        INSERT INTO dg_projection_runs (tenant_id, projection_name, mode, reason)
        VALUES ('a', 'context_graph', 'replay', 'a test')";
    admitting.batch_execute(admit).await.unwrap();
    let resuming = tokio::spawn({
        let store = store.clone();
        async move { store.resume_interrupted_runs().await.unwrap() }
    });
    until_blocked(&database).await;
    admitting.batch_execute("COMMIT").await.unwrap();
    assert_eq!(resuming.await.unwrap(), []);
    let status = store.run(None, &run.key.run_id).await.unwrap().unwrap().status;
    assert_eq!(status, RunStatus::Interrupted);
}
