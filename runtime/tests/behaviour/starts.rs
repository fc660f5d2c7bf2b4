//! How actors start, or do not.

use ractor::{Actor, SpawnErr, registry};

use super::common::probe::{Do, Probe};
use super::common::{Journal, soon, until};
use super::{alike, pair};

#[tokio::test]
async fn a_start_that_fails_tells_nobody_but_its_caller() {
    let journal = Journal::default();
    let (parent, _) = Actor::spawn(None, Probe::new("parent", &journal), ()).await.unwrap();
    for (how, text) in [(Do::Fail, "it failed"), (Do::Panic, "it panicked")] {
        let child = Probe { pre_start: how, ..Probe::new("child", &journal) };
        let spawned = Actor::spawn_linked(None, child, (), parent.get_cell()).await;
        let Err(SpawnErr::StartupFailed(reason)) = spawned else { panic!("{spawned:?}") };
        assert_eq!(reason.to_string(), text);
    }
    parent.cast(Do::Note("took a message")).unwrap(); // events would have come first
    journal.sees("parent: took a message").await;
    assert!(!journal.entries().iter().any(|entry| entry.starts_with("parent: sees")));
    assert!(parent.get_children().is_empty());
    parent.stop(None);
}

#[tokio::test]
async fn a_start_is_over_before_post_start() {
    let pair = pair(|probe| Probe { post_start: Do::Hang, ..probe }).await;
    pair.journal.sees("child: hangs").await;
    pair.child.kill();
    soon("the task", pair.childs_task).await.unwrap();
    pair.journal.sees("parent: sees terminated Some(\"killed\") with no state").await;
}

#[tokio::test]
async fn a_supervisor_that_is_stopping_takes_no_children() {
    let journal = Journal::default();
    let parent = Probe { post_stop: Do::Hang, ..Probe::new("parent", &journal) };
    let (parent, _) = Actor::spawn(None, parent, ()).await.unwrap();
    parent.stop(None);
    journal.sees("parent: hangs").await;
    let child = Probe::new("child", &journal);
    let spawned = Actor::spawn_linked(None, child, (), parent.get_cell()).await;
    assert!(matches!(spawned, Err(SpawnErr::StartupFailed(_))), "{spawned:?}");
    assert!(journal.has("child: handler dropped"));
    parent.kill();
}

#[tokio::test]
async fn a_spawn_that_is_given_up_leaves_nothing_behind() {
    let journal = Journal::default();
    let (parent, _) = Actor::spawn(None, Probe::new("parent", &journal), ()).await.unwrap();
    let child = Probe { pre_start: Do::Hang, ..Probe::new("child", &journal) };
    let name = Some("given up".to_owned());
    let mut spawning = Box::pin(Actor::spawn_linked(name, child, (), parent.get_cell()));
    tokio::select! {
        _ = &mut spawning => panic!("it hangs"),
        () = journal.sees("child: hangs") => {}
    }
    assert!(registry::where_is("given up").is_some());
    drop(spawning);
    assert!(registry::where_is("given up").is_none());
    assert!(journal.has("child: handler dropped"));
    assert!(parent.get_children().is_empty());
    parent.stop(None);
}

#[tokio::test]
async fn a_spawn_is_ended_by_a_kill() {
    let journal = Journal::default();
    let child = Probe { pre_start: Do::Hang, ..Probe::new("child", &journal) };
    let spawning = tokio::spawn(Actor::spawn(Some("killed".to_owned()), child, ()));
    journal.sees("child: hangs").await;
    registry::where_is("killed").unwrap().kill();
    assert!(soon("the caller is told", spawning).await.unwrap().is_err());
}

#[tokio::test]
async fn every_life_has_an_id_of_its_own() {
    let (one, other) = (pair(alike).await, pair(alike).await);
    let ids = [&one, &other].map(|pair| pair.child.get_id().pid());
    assert!(ids[0] < ids[1], "{ids:?}");
    for pair in [one, other] {
        pair.parent.stop(None);
        until("all are gone", || pair.childs_task.is_finished()).await;
    }
}
