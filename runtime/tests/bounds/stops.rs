//! Children that do not end when they are asked, or not at all.

use std::time::Duration;

use dg_runtime::supervisor::{ChildState, Flags, Restart, Shutdown, Strategy, SupervisorRef};

use super::common::probe::{Do, Probe};
use super::common::troupe::{Child, Troupe, patient, state};
use super::common::{Gate, soon, until};

const SHORT: Shutdown = Shutdown::Timeout(Duration::from_millis(50));

fn ends_by((spec, start): Child, shutdown: Shutdown) -> Child {
    (spec.shutdown(shutdown), start)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_child_that_will_not_die_is_a_zombie_and_keeps_what_it_owns() {
    let (troupe, gate) = (Troupe::default(), Gate::default());
    let stubborn = ends_by(troupe.plain("stubborn"), SHORT);
    let (supervisor, life) =
        troupe.root(Flags::default(), vec![stubborn, troupe.plain("other")]).await;
    troupe.tell("stubborn", Do::Block(gate.clone()));
    troupe.journal.sees("stubborn: blocks").await;
    let answer = soon("the answer", supervisor.terminate_child("stubborn".to_owned())).await;
    answer.unwrap().unwrap();
    assert!(troupe.reports.has("stubborn zombie"));
    assert_eq!(state(&supervisor, "stubborn").await, Some(ChildState::Stopped));
    assert!(matches!(state(&supervisor, "other").await, Some(ChildState::Running(_))));
    assert!(!troupe.journal.has("stubborn: handler dropped"), "what it owns stays taken");
    assert!(!troupe.journal.has("stubborn: state dropped"));
    let subtree = life.subtree().clone();
    assert_eq!(subtree.alive(), 3, "the root, the other child and the zombie");
    supervisor.actor().stop(None);
    until("only the zombie is left", || subtree.alive() == 1).await;
    gate.open();
    soon("its end", subtree.emptied()).await;
    assert!(troupe.journal.has("stubborn: handler dropped"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_zombie_does_not_hold_up_a_group_restart() {
    let (troupe, gate) = (Troupe::default(), Gate::default());
    let stubborn = ends_by(troupe.plain("stubborn"), SHORT);
    let children = vec![troupe.plain("first"), stubborn];
    let (_supervisor, life) = troupe.root(patient(Strategy::OneForAll), children).await;
    troupe.tell("stubborn", Do::Block(gate.clone()));
    troupe.journal.sees("stubborn: blocks").await;
    troupe.tell("first", Do::Fail);
    troupe.reports.sees_times("stubborn started", 2).await;
    assert!(troupe.reports.has("stubborn zombie"));
    assert!(!troupe.journal.has("stubborn: handler dropped"));
    gate.open();
    life.stop(Shutdown::Infinity).await;
}

#[tokio::test]
async fn a_child_that_is_killed_in_the_end_is_reported_as_overdue_but_not_by_brutal_kill() {
    let troupe = Troupe::default();
    let hangs = |name| troupe.child(name, |probe, _| Probe { post_stop: Do::Hang, ..probe });
    let children =
        vec![ends_by(hangs("late"), SHORT), ends_by(hangs("brutal"), Shutdown::BrutalKill)];
    let (_supervisor, life) = troupe.root(Flags::default(), children).await;
    troupe.reports.take();
    life.stop(Shutdown::Infinity).await;
    assert_eq!(troupe.reports.take(), ["brutal stopped", "late overdue"]);
    assert!(!troupe.journal.has("brutal: post_stop"));
}

#[tokio::test]
async fn a_supervisor_killed_while_it_stops_kills_the_child_it_waits_for() {
    let troupe = Troupe::default();
    let hangs = troupe.child("hangs", |probe, _| Probe { post_stop: Do::Hang, ..probe });
    let hangs = ends_by(hangs, Shutdown::Infinity);
    let middle = troupe.supervisor("middle", Flags::default(), vec![troupe.plain("low"), hangs]);
    let (supervisor, life) = troupe.root(Flags::default(), vec![ends_by(middle, SHORT)]).await;
    supervisor.terminate_child("middle".to_owned()).await.unwrap().unwrap();
    assert!(troupe.reports.has("middle overdue"), "{:?}", troupe.reports);
    assert!(
        troupe.journal.has("hangs: handler dropped") && troupe.journal.has("low: handler dropped")
    );
    assert_eq!(life.subtree().alive(), 1);
    life.stop(Shutdown::Infinity).await;
}

#[tokio::test]
async fn what_a_child_owned_is_free_before_a_group_is_started_again() {
    let troupe = Troupe::default();
    let children = ["a", "b", "c"].map(|name| troupe.plain(name)).to_vec();
    let (_supervisor, life) = troupe.root(patient(Strategy::OneForAll), children).await;
    troupe.journal.take();
    // Two at once: one is restarted with the group while the event of its own end still waits.
    troupe.cell("a").kill();
    troupe.cell("b").kill();
    troupe.reports.sees_times("c started", 2).await;
    let noted = troupe.journal.entries();
    let place = |what: &str| noted.iter().position(|entry| entry == what).unwrap();
    for name in ["a", "b", "c"] {
        let freed = place(&format!("{name}: state dropped"));
        assert!(freed < place("a: pre_start"), "{name} still owns: {noted:?}");
    }
    assert!(["a", "b", "c"].iter().all(|name| troupe.starts(name) == 2), "one restart for both");
    life.stop(Shutdown::Infinity).await;
}

#[tokio::test]
async fn an_observer_that_panics_harms_nobody() {
    let troupe = Troupe::default();
    let mut init = troupe.init("root", patient(Strategy::OneForOne), vec![troupe.plain("child")]);
    init.observer = Some(std::sync::Arc::new(|report| panic!("at {report:?}")));
    let (supervisor, life) = SupervisorRef::start_root(init).await.unwrap();
    troupe.tell("child", Do::Fail);
    until("it is restarted", || troupe.starts("child") == 2).await;
    assert_eq!(supervisor.count_children().await.unwrap().active, 1);
    life.stop(Shutdown::Infinity).await;
}

#[tokio::test]
async fn an_end_is_orderly_only_for_a_child_that_may_end() {
    let troupe = Troupe::default();
    let (permanent, transient) = (troupe.plain("permanent"), troupe.plain("transient"));
    let transient = (transient.0.restart(Restart::Transient), transient.1);
    let children = vec![permanent, transient];
    let (_supervisor, life) = troupe.root(patient(Strategy::OneForOne), children).await;
    for child in ["permanent", "transient"] {
        troupe.tell(child, Do::Stop(Some("shutdown")));
    }
    troupe.reports.sees("permanent exited: shutdown false").await;
    troupe.reports.sees("transient exited: shutdown true").await;
    life.stop(Shutdown::Infinity).await;
}
