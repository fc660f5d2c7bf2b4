//! What the supervisors take for granted of ractor, a test each: an upgrade that changes one of
//! these fails here first, and tells what to think through again.

#![allow(clippy::unwrap_used, reason = "tests")]

mod common;
#[path = "behaviour/ends.rs"]
mod ends;
#[path = "behaviour/starts.rs"]
mod starts;

use common::Journal;
use common::probe::{Do, Probe};
use ractor::{Actor, ActorRef};
use tokio::task::JoinHandle;

/// A parent and its child.
struct Pair {
    parent: ActorRef<Do>,
    child: ActorRef<Do>,
    parents_task: JoinHandle<()>,
    childs_task: JoinHandle<()>,
    journal: Journal,
}

async fn pair(child: impl FnOnce(Probe) -> Probe) -> Pair {
    let journal = Journal::default();
    let (parent, parents_task) =
        Actor::spawn(None, Probe::new("parent", &journal), ()).await.unwrap();
    let child = child(Probe::new("child", &journal));
    let (child, childs_task) =
        Actor::spawn_linked(None, child, (), parent.get_cell()).await.unwrap();
    Pair { parent, child, parents_task, childs_task, journal }
}

fn alike(probe: Probe) -> Probe {
    probe
}
