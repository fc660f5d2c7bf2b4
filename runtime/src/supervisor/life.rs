//! One life of a child: its actor, and the tasks below it.
//!
//! ractor tells a parent that its child has ended while the child's state, and with it what the
//! child owns, is still being dropped; and it kills grandchildren without waiting for them. So a
//! life is over only when its [`Subtree`] is empty.

use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use ractor::{Actor, ActorCell, ActorRef, SpawnErr};
use tokio::time::{Instant, timeout};

use super::held::Held;
use super::restart::Incarnation;
use super::spec::{Exit, Shutdown};
use super::subtree::Subtree;

/// What a start function is given: the supervisor that it starts a child under.
#[derive(Debug, Clone)]
pub struct Parent {
    cell: ActorCell,
    within: Subtree,
    /// Started by way of this, to be undone if the start as a whole fails.
    spawned: Arc<Mutex<Vec<ActorCell>>>,
}

impl Parent {
    /// Under a supervisor whose own children live in `around`.
    pub(super) fn new(cell: ActorCell, around: &Subtree) -> Parent {
        Parent { cell, within: around.below(), spawned: Arc::default() }
    }

    /// The subtree of the child, for one that is a supervisor.
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
        let held = Held::new(handler, self.within.enter());
        let spawned = Actor::spawn_linked(None, held, arguments, self.cell.clone()).await;
        let (actor, _) = spawned.map_err(StartError::of)?;
        let cell = actor.get_cell();
        self.spawned.lock().unwrap_or_else(PoisonError::into_inner).push(cell.clone());
        Ok((
            actor,
            Started::Running(Life { cell, within: self.within.clone(), since: Instant::now() }),
        ))
    }

    /// Kills what was started before the start failed; false if it lives on after `grace`.
    pub(super) async fn undo(&self, grace: Duration) -> bool {
        for cell in self.spawned.lock().unwrap_or_else(PoisonError::into_inner).drain(..) {
            cell.kill();
        }
        timeout(grace, self.within.emptied()).await.is_ok()
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

impl StartError {
    /// Without ractor's words around it, which call any error a panic.
    fn of(error: SpawnErr) -> StartError {
        match error {
            SpawnErr::StartupFailed(reason) => StartError(reason.to_string()),
            other => StartError(other.to_string()),
        }
    }

    pub(super) fn panicked(panic: &(dyn std::any::Any + Send)) -> StartError {
        let text = panic.downcast_ref::<String>().map(String::as_str);
        let text = text.or_else(|| panic.downcast_ref::<&str>().copied()).unwrap_or("no message");
        StartError(format!("the start function panicked: {text}"))
    }
}

/// A start in progress.
pub type StartFuture = Pin<Box<dyn Future<Output = Result<Started, StartError>> + Send>>;

/// A child's life. Dropping this does not end it.
#[derive(Debug)]
pub struct Life {
    cell: ActorCell,
    within: Subtree,
    since: Instant,
}

/// How a life that was to end did so.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Ended {
    /// As its shutdown says.
    InTime,
    /// It was killed because its time was up.
    Overdue,
    /// It has not: it was killed and goes on, and what it owns stays taken.
    Zombie,
}

/// Kills a child whose end nobody waits for any more: ractor spares those that are stopping.
struct Forsaken(ActorCell);

impl Drop for Forsaken {
    fn drop(&mut self) {
        self.0.kill();
    }
}

impl Life {
    /// Starts an actor that nobody supervises, with the subtree that it is the root of.
    pub(super) async fn root<A: Actor>(
        handler: A,
        arguments: impl FnOnce(Subtree) -> A::Arguments,
    ) -> Result<(ActorRef<A::Msg>, Life), StartError> {
        let within = Subtree::root();
        let held = Held::new(handler, within.enter());
        let spawned = Actor::spawn(None, held, arguments(within.clone())).await;
        let (actor, _) = spawned.map_err(StartError::of)?;
        let cell = actor.get_cell();
        Ok((actor, Life { cell, within, since: Instant::now() }))
    }

    /// Ends it as a supervisor would.
    pub async fn stop(self, shutdown: Shutdown) {
        self.end(shutdown, Duration::from_secs(5)).await;
    }

    /// Waits until it has ended by itself, and all below it.
    pub async fn ended(&mut self) {
        self.within.emptied().await;
    }

    /// Its task and those below it.
    pub fn subtree(&self) -> &Subtree {
        &self.within
    }

    /// How long it has lasted.
    pub fn age(&self) -> Duration {
        self.since.elapsed()
    }

    /// Which one it is.
    pub fn incarnation(&self) -> Incarnation {
        self.cell.get_id().pid()
    }

    /// Asks it to end, waits, kills it, waits `grace`. Given up, it kills it at once.
    pub(super) async fn end(self, shutdown: Shutdown, grace: Duration) -> Ended {
        let _forsaken = Forsaken(self.cell.clone());
        let in_time = match shutdown {
            Shutdown::BrutalKill => false,
            Shutdown::Timeout(patience) => {
                self.ask();
                self.is_over_within(patience).await
            }
            Shutdown::Infinity => {
                self.ask();
                self.within.emptied().await;
                true
            }
        };
        if in_time {
            return Ended::InTime;
        }
        self.cell.kill();
        match self.is_over_within(grace).await {
            false => Ended::Zombie,
            true if shutdown == Shutdown::BrutalKill => Ended::InTime,
            true => Ended::Overdue,
        }
    }

    fn ask(&self) {
        self.cell.stop(Some("shutdown".to_owned()));
    }

    /// Waits for its end; false if it, or what is below it, is alive by then.
    pub(super) async fn is_over_within(&self, grace: Duration) -> bool {
        timeout(grace, self.within.emptied()).await.is_ok()
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
