//! One life of a child: its actor, the task that is it, and the tasks below it.
//!
//! ractor tells a parent that its child has ended while the child's state, and with it what the
//! child owns, is still being dropped; and it kills grandchildren without waiting for them. So a
//! life is over only when its task has ended and its [`Subtree`] is empty.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use ractor::{Actor, ActorCell, ActorRef};
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::timeout;

use super::restart::Incarnation;
use super::spec::{Exit, Shutdown};

/// Counts the tasks below a supervisor, at any depth.
#[derive(Debug, Clone)]
pub struct Subtree(Arc<Node>);

#[derive(Debug)]
struct Node {
    alive: watch::Sender<usize>,
    above: Option<Subtree>,
}

impl Subtree {
    /// That of a root.
    pub fn root() -> Subtree {
        Subtree(Arc::new(Node { alive: watch::Sender::new(0), above: None }))
    }

    /// One below this: what lives in it lives in this one, too.
    fn below(&self) -> Subtree {
        Subtree(Arc::new(Node { alive: watch::Sender::new(0), above: Some(self.clone()) }))
    }

    fn count(&self, change: impl Fn(&mut usize) + Copy) {
        self.0.alive.send_modify(change);
        if let Some(above) = &self.0.above {
            above.count(change);
        }
    }

    fn enter(&self) -> Presence {
        self.count(|alive| *alive += 1);
        Presence(self.clone())
    }

    /// How many tasks are alive in it.
    pub fn alive(&self) -> usize {
        *self.0.alive.borrow()
    }

    /// Waits until nothing is alive in it.
    pub async fn emptied(&self) {
        let mut alive = self.0.alive.subscribe();
        // The sender lives as long as this does.
        let _ = alive.wait_for(|alive| *alive == 0).await;
    }
}

/// A task that is alive in a subtree.
struct Presence(Subtree);

impl Drop for Presence {
    fn drop(&mut self) {
        self.0.count(|alive| *alive -= 1);
    }
}

/// What a start function is given: the supervisor that it starts a child under.
#[derive(Debug, Clone)]
pub struct Parent {
    cell: ActorCell,
    around: Subtree,
    within: Subtree,
}

impl Parent {
    /// Under a supervisor whose own children live in `around`.
    pub(super) fn new(cell: ActorCell, around: &Subtree) -> Parent {
        Parent { cell, around: around.clone(), within: around.below() }
    }

    /// The subtree of the child itself, for one that is a supervisor.
    pub(super) fn subtree(&self) -> Subtree {
        self.within.clone()
    }

    /// Starts an actor as the child; it has started when its `pre_start` is done.
    ///
    /// # Errors
    /// What `pre_start` ended with.
    pub async fn spawn<A: Actor>(
        &self,
        handler: A,
        arguments: A::Arguments,
    ) -> Result<(ActorRef<A::Msg>, Started), StartError> {
        let presence = self.around.enter();
        let spawned = Actor::spawn_linked(None, handler, arguments, self.cell.clone()).await;
        let (actor, task) = spawned.map_err(|error| StartError(error.to_string()))?;
        let task = tokio::spawn(async move {
            // However it ended, it has.
            let _ = task.await;
            drop(presence);
        });
        let life = Life { cell: actor.get_cell(), task, within: self.within.clone() };
        Ok((actor, Started::Running(life)))
    }
}

/// What a start came to.
#[derive(Debug)]
pub enum Started {
    /// The child runs.
    Running(Life),
    /// There is nothing to run, and that is fine.
    Ignored,
}

/// Why a child did not start.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct StartError(pub String);

/// A start in progress.
pub type StartFuture = Pin<Box<dyn Future<Output = Result<Started, StartError>> + Send>>;

/// A child's life.
#[derive(Debug)]
pub struct Life {
    cell: ActorCell,
    task: JoinHandle<()>,
    within: Subtree,
}

/// How a life that was asked to end did so.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Ended {
    /// When it was asked.
    Asked,
    /// When it was killed.
    Killed,
    /// It has not: it was killed and goes on, and what it owns stays taken.
    Zombie,
}

impl Life {
    /// Starts an actor that nobody supervises, with the subtree that it is the root of.
    pub(super) async fn root<A: Actor>(
        handler: A,
        arguments: impl FnOnce(Subtree) -> A::Arguments,
    ) -> Result<(ActorRef<A::Msg>, Life), StartError> {
        let within = Subtree::root();
        let spawned = Actor::spawn(None, handler, arguments(within.clone())).await;
        let (actor, task) = spawned.map_err(|error| StartError(error.to_string()))?;
        Ok((actor.clone(), Life { cell: actor.get_cell(), task, within }))
    }

    /// Ends it as a supervisor would.
    pub async fn stop(self, shutdown: Shutdown) {
        self.end(shutdown, Duration::from_secs(5)).await;
    }

    /// Waits until it has ended by itself.
    pub async fn ended(&mut self) {
        self.over().await;
    }

    /// The tasks below it.
    pub fn subtree(&self) -> &Subtree {
        &self.within
    }

    /// Which one it is.
    pub fn incarnation(&self) -> Incarnation {
        self.cell.get_id().pid()
    }

    /// Asks it to end, waits, kills it, waits `grace`.
    pub(super) async fn end(mut self, shutdown: Shutdown, grace: Duration) -> Ended {
        let asked = match shutdown {
            Shutdown::BrutalKill => false,
            Shutdown::Timeout(patience) => {
                self.cell.stop(Some("shutdown".to_owned()));
                timeout(patience, self.over()).await.is_ok()
            }
            Shutdown::Infinity => {
                self.cell.stop(Some("shutdown".to_owned()));
                self.over().await;
                true
            }
        };
        if asked {
            return Ended::Asked;
        }
        self.cell.kill();
        if self.is_over_within(grace).await { Ended::Killed } else { Ended::Zombie }
    }

    /// Waits for a life that has ended by itself; false if its task is not over by then.
    pub(super) async fn is_over_within(&mut self, grace: Duration) -> bool {
        timeout(grace, self.over()).await.is_ok()
    }

    async fn over(&mut self) {
        // Polled again only if it has not ended.
        if !self.task.is_finished() {
            let _ = (&mut self.task).await;
        }
        self.within.emptied().await;
    }
}

/// What ractor's reason of a termination means.
pub(super) fn exit_of(reason: Option<&str>) -> Exit {
    match reason {
        None | Some("normal") => Exit::Normal,
        Some("shutdown" | "Drained") => Exit::Shutdown,
        Some("killed" | "actor_task_cancelled") => Exit::Killed,
        Some(other) => match other.strip_prefix("shutdown:") {
            Some(what) => Exit::ShutdownWith(what.to_owned()),
            None => Exit::Crash(other.to_owned()),
        },
    }
}
