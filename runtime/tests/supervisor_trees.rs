//! Supervisors below supervisors: escalation, ordered ends, and what is dead before what starts.

#![allow(clippy::unwrap_used, reason = "tests")]

mod common;

use std::time::Duration;

use common::probe::{Do, Probe};
use common::troupe::{Child, Troupe, patient, state};
use common::{Gate, soon};
use dg_runtime::supervisor::{ChildState, Flags, Init, Restart, Shutdown, Strategy, SupervisorRef};

/// What was noted of these happenings, in order.
fn only(troupe: &Troupe, what: &str) -> Vec<String> {
    let noted = troupe.journal.entries().into_iter();
    noted.filter_map(|entry| entry.strip_suffix(what).map(str::to_owned)).collect()
}

/// root: a, m: (b, n: (c, d), e), f.
fn three_levels(troupe: &Troupe) -> Vec<Child> {
    let plain = |name| troupe.plain(name);
    let low = troupe.supervisor("n", Flags::default(), vec![plain("c"), plain("d")]);
    let middle = troupe.supervisor("m", Flags::default(), vec![plain("b"), low, plain("e")]);
    vec![plain("a"), middle, plain("f")]
}

#[tokio::test]
async fn a_tree_starts_in_order_and_stops_in_exactly_the_reverse() {
    let troupe = Troupe::default();
    let (_supervisor, life) = troupe.root(Flags::default(), three_levels(&troupe)).await;
    assert_eq!(only(&troupe, ": pre_start"), ["a", "b", "c", "d", "e", "f"]);
    assert_eq!(life.subtree().alive(), 9, "six probes, three supervisors");
    let subtree = life.subtree().clone();
    life.stop(Shutdown::Infinity).await;
    assert_eq!(only(&troupe, ": post_stop"), ["f", "e", "d", "c", "b", "a"]);
    let dropped = only(&troupe, ": handler dropped");
    assert_eq!(dropped, ["f", "e", "d", "c", "b", "a"], "each is gone before the next is asked");
    assert_eq!(subtree.alive(), 0);
}

#[tokio::test]
async fn infinity_waits_for_a_tree_that_takes_its_time() {
    let troupe = Troupe::default();
    let slow = troupe.child("slow", |probe, _| Probe { post_stop: Do::Hang, ..probe });
    let slow = (slow.0.shutdown(Shutdown::Timeout(Duration::from_millis(300))), slow.1);
    let middle = troupe.supervisor("middle", Flags::default(), vec![troupe.plain("low"), slow]);
    let (_supervisor, life) = troupe.root(Flags::default(), vec![middle]).await;
    life.stop(Shutdown::Infinity).await;
    assert!(troupe.reports.has("slow overdue") && troupe.reports.has("middle stopped"));
    assert!(troupe.journal.has("low: post_stop"), "in order, after it");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn grandchildren_are_dead_before_a_killed_subtree_is_started_again() {
    let (troupe, gate) = (Troupe::default(), Gate::default());
    let middle =
        troupe.supervisor("middle", Flags::default(), vec![troupe.plain("low"), troupe.plain("b")]);
    let init = troupe.init("root", patient(Strategy::OneForOne), vec![middle]);
    let init = Init { kill_grace: common::DEADLINE, ..init };
    let (supervisor, life) = SupervisorRef::start_root(init).await.unwrap();
    troupe.tell("low", Do::Block(gate.clone()));
    troupe.journal.sees("low: blocks").await;
    troupe.cell("middle").kill();
    troupe.reports.sees("middle exited: killed false").await;
    troupe.journal.sees("b: handler dropped").await;
    assert_eq!(troupe.starts("middle"), 1, "it waits for the one that still runs");
    gate.open();
    troupe.reports.sees_times("middle started", 2).await;
    let noted = troupe.journal.entries();
    let dropped = noted.iter().position(|entry| entry == "low: handler dropped").unwrap();
    let again = noted.iter().rposition(|entry| entry == "low: pre_start").unwrap();
    assert!(dropped < again, "{noted:?}");
    assert!(matches!(state(&supervisor, "middle").await, Some(ChildState::Running(_))));
    life.stop(Shutdown::Infinity).await;
}

#[tokio::test]
async fn what_a_supervisor_cannot_mend_escalates_level_by_level() {
    let troupe = Troupe::default();
    let flags = |intensity| Flags { intensity, ..Flags::default() };
    let low = troupe.supervisor("low", flags(1), vec![troupe.plain("leaf")]);
    let middle = troupe.supervisor("middle", flags(1), vec![low, troupe.plain("bystander")]);
    let (_supervisor, mut life) = troupe.root(flags(0), vec![middle, troupe.plain("top")]).await;
    for lives in 2..=4 {
        troupe.tell("leaf", Do::Fail);
        common::until("the leaf is back", || troupe.starts("leaf") == lives).await;
        troupe.reports.sees_times("leaf started", lives).await;
    }
    assert_eq!((troupe.starts("low"), troupe.starts("bystander")), (2, 1));
    troupe.reports.take();
    troupe.tell("leaf", Do::Fail);
    soon("the end of all", life.ended()).await;
    let end = "ending: reached maximum restart intensity";
    let of_low = ["leaf exited: it failed false", end]; // the second restart of leaf
    let of_middle = ["low exited: shutdown false", end, "bystander stopped"]; // of low
    let of_root = ["middle exited: shutdown false", end, "top stopped"]; // the first of middle
    assert_eq!(troupe.reports.entries(), [&of_low[..], &of_middle, &of_root].concat());
    assert_eq!(life.subtree().alive(), 0);
}

#[tokio::test]
async fn a_transient_subtree_that_gave_up_stays_down_and_harms_nobody() {
    let troupe = Troupe::default();
    let none = Flags { intensity: 0, ..Flags::default() };
    let (spec, start) = troupe.supervisor("tenant", none, vec![troupe.plain("worker")]);
    let tenant = (spec.restart(Restart::Transient), start);
    let (supervisor, life) =
        troupe.root(Flags::default(), vec![tenant, troupe.plain("other")]).await;
    troupe.tell("worker", Do::Panic);
    troupe.reports.sees("tenant exited: shutdown true").await;
    assert_eq!(state(&supervisor, "tenant").await, Some(ChildState::Stopped));
    supervisor.restart_child("tenant".to_owned()).await.unwrap().unwrap();
    assert_eq!((troupe.starts("worker"), troupe.starts("other")), (2, 1));
    life.stop(Shutdown::Infinity).await;
}

#[tokio::test]
async fn a_stop_during_a_group_restart_is_the_last_word() {
    let troupe = Troupe::default();
    let hangs = troupe.child("b", |probe, life| match life {
        1 => probe,
        _ => Probe { pre_start: Do::Hang, ..probe },
    });
    let children = vec![troupe.plain("a"), hangs, troupe.plain("c")];
    let init = troupe.init("root", patient(Strategy::OneForAll), children);
    let init = Init { start_timeout: Duration::from_millis(100), ..init };
    let (_supervisor, life) = SupervisorRef::start_root(init).await.unwrap();
    let subtree = life.subtree().clone();
    troupe.tell("a", Do::Fail);
    troupe.journal.sees("b: hangs").await;
    soon("the stop", life.stop(Shutdown::Infinity)).await;
    assert_eq!(subtree.alive(), 0);
    let starts = ["a", "b", "c"].map(|name| troupe.starts(name));
    assert_eq!(starts, [2, 2, 1], "the restart came to its end, and was not tried again");
    assert_eq!(only(&troupe, ": post_stop"), ["c", "b", "a"]);
}

#[tokio::test]
async fn the_end_of_a_former_life_changes_nothing() {
    let troupe = Troupe::default();
    let flags = Flags { intensity: 0, ..Flags::default() };
    let (supervisor, life) = troupe.root(flags, vec![troupe.plain("child")]).await;
    for lives in 2..10 {
        let (stopping, starting) = (
            supervisor.terminate_child("child".to_owned()),
            supervisor.restart_child("child".to_owned()),
        );
        // Both wait already when the event of the end does.
        let (stopped, started) = tokio::join!(stopping, starting);
        stopped.unwrap().unwrap();
        let incarnation = started.unwrap().unwrap().unwrap();
        let running = Some(ChildState::Running(incarnation));
        assert_eq!(state(&supervisor, "child").await, running);
        assert_eq!(troupe.starts("child"), lives);
    }
    assert!(!troupe.reports.entries().iter().any(|report| report.contains("exited")));
    life.stop(Shutdown::Infinity).await;
}

#[tokio::test]
async fn a_significant_child_ends_its_unit_and_the_unit_is_forgotten() {
    let troupe = Troupe::default();
    let unit = Flags {
        auto_shutdown: dg_runtime::supervisor::AutoShutdown::AnySignificant,
        ..Flags::default()
    };
    let (job, start) = troupe.plain("job");
    let job = (job.restart(Restart::Transient).significant(), start);
    let (spec, start) = troupe.supervisor("unit", unit, vec![troupe.plain("helper"), job]);
    let unit = (spec.restart(Restart::Temporary), start);
    let (supervisor, life) = troupe.root(Flags::default(), vec![unit]).await;
    troupe.tell("job", Do::Stop(None));
    troupe.reports.sees("unit exited: shutdown true").await;
    assert!(troupe.journal.has("helper: post_stop"));
    assert_eq!(supervisor.count_children().await.unwrap().specs, 0);
    assert_eq!(life.subtree().alive(), 1);
    life.stop(Shutdown::Infinity).await;
}
