//! How actors end, and what is told of it.

use ractor::{Actor, ActorStatus, SpawnErr, registry};

use super::common::probe::{Do, Probe};
use super::common::{Gate, Journal, soon};
use super::{Pair, alike, pair};

#[tokio::test]
async fn a_parents_end_kills_its_children_without_their_post_stop() {
    let pair = pair(alike).await;
    pair.parent.stop(None);
    soon("the child's end", pair.childs_task).await.unwrap();
    assert!(pair.journal.has("parent: post_stop"));
    assert!(!pair.journal.has("child: post_stop"), "{:?}", pair.journal);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_parents_end_is_told_before_its_children_are_dead() {
    let (journal, gate) = (Journal::default(), Gate::default());
    let (top, _) = Actor::spawn(None, Probe::new("top", &journal), ()).await.unwrap();
    let middle = Probe::new("middle", &journal);
    let (middle, _) = Actor::spawn_linked(None, middle, (), top.get_cell()).await.unwrap();
    let low = Probe::new("low", &journal);
    let (low, lows_task) = Actor::spawn_linked(None, low, (), middle.get_cell()).await.unwrap();
    low.cast(Do::Block(gate.clone())).unwrap();
    journal.sees("low: blocks").await;
    middle.kill();
    journal.sees("top: sees terminated Some(\"killed\") with state").await;
    assert!(!lows_task.is_finished() && !journal.has("low: handler dropped"));
    gate.open();
    soon("the end of the lowest", lows_task).await.unwrap();
}

#[tokio::test]
async fn a_name_is_free_before_post_stop_is_over() {
    let journal = Journal::default();
    let name = || Some("a name of its own".to_owned());
    let probe = Probe { post_stop: Do::Hang, ..Probe::new("first", &journal) };
    let (first, task) = Actor::spawn(name(), probe, ()).await.unwrap();
    let second = Actor::spawn(name(), Probe::new("second", &journal), ()).await;
    assert!(matches!(second, Err(SpawnErr::ActorAlreadyRegistered(_))));
    first.stop(None);
    journal.sees("first: hangs").await;
    let (third, _) = Actor::spawn(name(), Probe::new("third", &journal), ()).await.unwrap();
    assert!(!task.is_finished());
    assert_eq!(registry::where_is("a name of its own").unwrap().get_id(), third.get_id());
    first.kill();
    third.kill();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn an_end_is_told_before_the_handler_is_dropped_and_the_task_ends_after_it() {
    let gate = Gate::default();
    let pair = pair(|probe| probe.dropped_after(&gate)).await;
    pair.child.stop(None);
    pair.journal.sees("parent: sees terminated None with state").await;
    soon("status", pair.child.wait(None)).await.unwrap();
    assert_eq!(pair.child.get_status(), ActorStatus::Stopped);
    assert!(!pair.childs_task.is_finished() && !pair.journal.has("child: handler dropped"));
    gate.open();
    soon("the task", pair.childs_task).await.unwrap();
    assert!(pair.journal.has("child: handler dropped"));
}

#[tokio::test]
async fn the_state_of_an_actor_that_ended_waits_in_its_parents_queue() {
    let pair = pair(alike).await;
    pair.parent.cast(Do::Hang).unwrap();
    pair.journal.sees("parent: hangs").await;
    pair.child.stop(None);
    soon("the task", pair.childs_task).await.unwrap();
    assert!(pair.journal.has("child: handler dropped"));
    assert!(!pair.journal.has("child: state dropped"), "it lies in the event");
    pair.parent.kill();
    soon("the parent's task", pair.parents_task).await.unwrap();
    assert!(pair.journal.has("child: state dropped"));
}

#[tokio::test]
async fn a_second_stop_and_wait_returns_at_once() {
    let pair = pair(|probe| Probe { post_stop: Do::Hang, ..probe }).await;
    pair.child.stop(None);
    pair.journal.sees("child: hangs").await;
    assert!(soon("the answer", pair.child.stop_and_wait(None, None)).await.is_err());
    assert!(!pair.childs_task.is_finished());
    pair.child.kill();
}

#[tokio::test]
async fn children_that_are_stopping_or_draining_survive_their_parents_end() {
    let journal = Journal::default();
    let (parent, task) = Actor::spawn(None, Probe::new("parent", &journal), ()).await.unwrap();
    let stopping = Probe { post_stop: Do::Hang, ..Probe::new("stopping", &journal) };
    let (stopping, _) = Actor::spawn_linked(None, stopping, (), parent.get_cell()).await.unwrap();
    let draining = Probe::new("draining", &journal);
    let (draining, _) = Actor::spawn_linked(None, draining, (), parent.get_cell()).await.unwrap();
    draining.cast(Do::Hang).unwrap();
    draining.drain().unwrap();
    stopping.stop(None);
    journal.sees("stopping: hangs").await;
    journal.sees("draining: hangs").await;
    parent.stop(None);
    soon("the parent's end", task).await.unwrap();
    assert_eq!(stopping.get_status(), ActorStatus::Stopping);
    assert_eq!(draining.get_status(), ActorStatus::Draining);
    for orphan in [stopping, draining] {
        soon("a kill ends them", orphan.kill_and_wait(None)).await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_kill_does_not_interrupt_what_does_not_await() {
    let gate = Gate::default();
    let pair = pair(alike).await;
    pair.child.cast(Do::Block(gate.clone())).unwrap();
    pair.journal.sees("child: blocks").await;
    let killed = pair.child.kill_and_wait(Some(std::time::Duration::from_millis(50))).await;
    assert!(killed.is_err() && !pair.childs_task.is_finished());
    gate.open();
    soon("the task", pair.childs_task).await.unwrap();
}

#[tokio::test]
async fn a_kill_interrupts_post_stop_and_the_state_is_not_in_the_event() {
    let pair = pair(|probe| Probe { post_stop: Do::Hang, ..probe }).await;
    pair.child.stop(None);
    pair.journal.sees("child: hangs").await;
    pair.child.kill();
    soon("the task", pair.childs_task).await.unwrap();
    pair.journal.sees("parent: sees terminated Some(\"killed\") with no state").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_stop_overtakes_events_and_events_overtake_messages_but_nothing_a_handler() {
    for stopped in [false, true] {
        let gate = Gate::default();
        let pair = pair(alike).await;
        pair.parent.cast(Do::Block(gate.clone())).unwrap();
        pair.parent.cast(Do::Note("took a message")).unwrap();
        pair.journal.sees("parent: blocks").await;
        pair.child.stop(None);
        soon("the child's end", pair.childs_task).await.unwrap();
        let last = if stopped { Do::Nothing } else { Do::Stop(None) };
        pair.parent.cast(last).unwrap();
        if stopped {
            pair.parent.stop(None);
        }
        gate.open();
        soon("the parent's end", pair.parents_task).await.unwrap();
        let noted = pair.journal.entries();
        let place = |what: &str| noted.iter().position(|entry| entry.starts_with(what));
        let (event, message) = (place("parent: sees"), place("parent: took a message"));
        assert_eq!((event.is_some(), message.is_some()), (!stopped, !stopped), "{noted:?}");
        assert!(event <= message, "{noted:?}");
    }
}

#[tokio::test]
async fn what_an_actor_ended_with_is_told_as_it_is() {
    let ends = [
        (Do::Fail, "failed it failed"),
        (Do::Panic, "failed it panicked"),
        (Do::Stop(None), "terminated None with state"),
        (Do::Stop(Some("shutdown:so")), "terminated Some(\"shutdown:so\") with state"),
        (Do::Stop(Some("killed")), "terminated Some(\"killed\") with state"),
    ];
    for (end, told) in ends {
        let pair = pair(alike).await;
        pair.child.cast(end).unwrap();
        pair.journal.sees(&format!("parent: sees {told}")).await;
        pair.parent.stop(None);
    }
}

#[tokio::test]
async fn a_killed_drained_or_aborted_actor_has_a_reason_of_ractors_own() {
    type End = fn(&Pair);
    let ends: [(End, &str); 3] = [
        (|pair| pair.child.kill(), "terminated Some(\"killed\") with state"),
        (|pair| pair.child.drain().unwrap(), "terminated Some(\"Drained\") with state"),
        (
            |pair| pair.childs_task.abort(),
            "terminated Some(\"actor_task_cancelled\") with no state",
        ),
    ];
    for (end, told) in ends {
        let pair = pair(alike).await;
        pair.child.cast(Do::Note("runs")).unwrap();
        pair.journal.sees("child: runs").await;
        end(&pair);
        pair.journal.sees(&format!("parent: sees {told}")).await;
        pair.parent.stop(None);
    }
}

#[tokio::test]
async fn an_error_in_the_handler_of_events_takes_the_whole_tree_below_along() {
    let journal = Journal::default();
    let parent = Probe { on_event: Do::Fail, ..Probe::new("parent", &journal) };
    let (parent, task) = Actor::spawn(None, parent, ()).await.unwrap();
    let mut children = Vec::new();
    for name in ["one", "other"] {
        let child = Probe::new(name, &journal);
        children.push(Actor::spawn_linked(None, child, (), parent.get_cell()).await.unwrap());
    }
    children[0].0.stop(None);
    soon("the parent's end", task).await.unwrap();
    for (_, task) in children {
        soon("each child's end", task).await.unwrap();
    }
    assert!(!journal.has("other: post_stop") && !journal.has("parent: post_stop"));
}
