//! A supervisor that restarts without end still answers and still stops.

use std::time::Duration;

use dg_runtime::supervisor::{
    ChildState, Flags, Life, Refused, Restart, Shutdown, Strategy, SupervisorRef,
};

use super::common::probe::{Do, Probe};
use super::common::soon;
use super::common::troupe::{Troupe, patient, state};

/// A supervisor whose child cannot be started again, and that tries to for ever.
async fn looping(troupe: &Troupe, strategy: Strategy) -> (SupervisorRef<String>, Life) {
    let children = vec![troupe.plain("first"), troupe.starts_once("loops"), troupe.plain("last")];
    let (supervisor, life) = troupe.root(patient(strategy), children).await;
    troupe.tell("loops", Do::Fail);
    troupe.reports.sees_times("loops failed: it failed", 100).await;
    (supervisor, life)
}

const STATIC: [Strategy; 3] = [Strategy::OneForOne, Strategy::OneForAll, Strategy::RestForOne];

#[tokio::test]
async fn calls_are_answered_in_a_restart_loop() {
    for strategy in STATIC {
        let troupe = Troupe::default();
        let (supervisor, life) = looping(&troupe, strategy).await;
        let id = || "loops".to_owned();
        assert_eq!(state(&supervisor, "loops").await, Some(ChildState::Restarting));
        let counts = supervisor.count_children().await.unwrap();
        assert_eq!((counts.specs, counts.workers), (3, 3));
        let (spec, start) = troupe.plain("loops");
        let answer = supervisor.start_child(spec, start).await.unwrap();
        assert_eq!(answer, Err(Refused::AlreadyPresent));
        assert_eq!(supervisor.restart_child(id()).await.unwrap(), Err(Refused::Restarting));
        assert_eq!(supervisor.delete_child(id()).await.unwrap(), Err(Refused::Restarting));
        supervisor.terminate_child(id()).await.unwrap().unwrap();
        assert_eq!(state(&supervisor, "loops").await, Some(ChildState::Stopped));
        let starts = troupe.starts("loops");
        supervisor.count_children().await.unwrap(); // behind the retry that was under way
        assert_eq!(troupe.starts("loops"), starts, "it is not tried again");
        supervisor.delete_child(id()).await.unwrap().unwrap();
        life.stop(Shutdown::Infinity).await;
    }
}

#[tokio::test]
async fn a_restart_loop_stops_when_it_is_asked_to() {
    for strategy in STATIC {
        let troupe = Troupe::default();
        let (_supervisor, life) = looping(&troupe, strategy).await;
        let subtree = life.subtree().clone();
        soon("the stop", life.stop(Shutdown::Infinity)).await;
        assert_eq!(subtree.alive(), 0);
        assert_eq!(troupe.journal.count("first: post_stop"), troupe.starts("first"));
    }
}

#[tokio::test]
async fn a_dynamic_supervisor_in_a_restart_loop_answers_and_stops() {
    let troupe = Troupe::default();
    let flags = patient(Strategy::SimpleOneForOne);
    let once = |probe, life| match life {
        1 => probe,
        _ => Probe { pre_start: Do::Fail, ..probe },
    };
    let (supervisor, life) = SupervisorRef::start_root(troupe.dynamic(flags, once)).await.unwrap();
    for id in ["loops", "loops too", "runs"] {
        supervisor.start_dynamic(id.to_owned()).await.unwrap().unwrap();
    }
    troupe.tell("loops", Do::Fail);
    troupe.tell("loops too", Do::Fail);
    troupe.reports.sees_times("loops too failed: it failed", 100).await;
    let counts = supervisor.count_children().await.unwrap();
    assert_eq!((counts.specs, counts.active, counts.workers), (1, 1, 3));
    supervisor.terminate_child("loops".to_owned()).await.unwrap().unwrap();
    assert_eq!(state(&supervisor, "loops").await, None);
    assert_eq!(state(&supervisor, "loops too").await, Some(ChildState::Restarting));
    soon("the stop", life.stop(Shutdown::Infinity)).await;
    assert!(troupe.journal.has("runs: post_stop"));
}

#[tokio::test]
async fn a_parent_stops_a_supervisor_that_is_in_a_restart_loop() {
    let troupe = Troupe::default();
    let low = troupe.starts_once("loops");
    let middle = troupe.supervisor("middle", patient(Strategy::OneForOne), vec![low]);
    let (supervisor, life) = troupe.root(Flags::default(), vec![middle]).await;
    troupe.tell("loops", Do::Fail);
    troupe.reports.sees_times("loops failed: it failed", 100).await;
    let stopping = supervisor.terminate_child("middle".to_owned());
    soon("the stop", stopping).await.unwrap().unwrap();
    assert_eq!(life.subtree().alive(), 1);
    life.stop(Shutdown::Infinity).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn calls_are_answered_while_many_children_start_well_and_crash_at_once() {
    let troupe = Troupe::default();
    let crashes = |probe| Probe { post_start: Do::Fail, ..probe };
    let children = (0..100).map(|n| troupe.child(&n.to_string(), move |probe, _| crashes(probe)));
    let (supervisor, life) = troupe.root(patient(Strategy::OneForOne), children.collect()).await;
    for _ in 0..10 {
        let answer = tokio::time::timeout(Duration::from_secs(2), supervisor.count_children());
        assert_eq!(answer.await.expect("an answer").unwrap().specs, 100);
    }
    soon("the stop", life.stop(Shutdown::Infinity)).await;
}

#[tokio::test]
async fn restarts_that_fail_count_and_end_the_supervisor() {
    let troupe = Troupe::default();
    let flags = Flags { intensity: 3, ..Flags::default() };
    let loops = troupe.starts_once("loops");
    let (_supervisor, mut life) = troupe
        .root(flags, vec![troupe.plain("first"), (loops.0.restart(Restart::Transient), loops.1)])
        .await;
    troupe.tell("loops", Do::Fail);
    soon("the end", life.ended()).await;
    assert_eq!(troupe.starts("loops"), 4, "the first and three restarts");
    assert!(troupe.reports.has("ending: reached maximum restart intensity"));
    assert!(troupe.journal.has("first: post_stop"));
}
