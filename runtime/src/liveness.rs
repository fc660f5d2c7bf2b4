//! Whether the tree is alive: a question that goes through the root to the actors below it.
//!
//! For a watchdog. A process whose timers run may have a root that hangs; only an answer proves that
//! the tree still does what it is for. The database plays no part: while it is away, everybody here
//! answers.

use std::time::Duration;

use crate::runtime::Runtime;
use crate::supervisor::{ChildState, Gone, SupervisorRef};
use crate::tree::Part;

/// Who did not answer, or not in time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("{0} of the supervision tree does not answer")]
pub struct Silent(pub &'static str);

impl Runtime {
    /// Asks the root, the gate, the supervisors below the root and the keeper of the tenants. A part that the root is
    /// starting again is not asked: the root's answer is about it, too.
    ///
    /// # Errors
    /// The first that has not answered when `deadline` is over.
    pub async fn answers(&self, deadline: Duration) -> Result<(), Silent> {
        let until = tokio::time::Instant::now() + deadline;
        let root = tokio::time::timeout_at(until, self.root.which_children()).await;
        let Ok(Ok(parts)) = root else { return Err(Silent("the root")) };
        let running = parts.iter().filter(|part| matches!(part.state, ChildState::Running(_)));
        for part in running.map(|part| part.id) {
            let answer = tokio::time::timeout_at(until, self.ask_part(part)).await;
            if !answer.is_ok_and(|answer| answer.is_ok()) {
                return Err(Silent(part.name()));
            }
        }
        Ok(())
    }

    /// How many runs are at work in this daemon.
    pub async fn runs_at_work(&self) -> usize {
        let Some(supervisor) = self.runs.supervisor() else { return 0 };
        supervisor.count_children().await.map_or(0, |counts| counts.active)
    }

    /// Those that may be at work for long before they look at a message are in the root's hands.
    async fn ask_part(&self, part: Part) -> Result<(), Gone> {
        match part {
            Part::Lanes => match self.lanes.supervisor() {
                Some(lanes) => lanes.count_children().await.map(drop),
                None => Err(Gone),
            },
            Part::Tenants => match self.tenants.supervisor.get() {
                Some(tenants) => SupervisorRef::of(tenants).count_children().await.map(drop),
                None => Err(Gone),
            },
            Part::Replays => match self.runs.supervisor() {
                Some(runs) => runs.count_children().await.map(drop),
                None => Err(Gone),
            },
            Part::Keeper => self.snapshot().await.map(drop).map_err(|_| Gone),
            Part::Store => self.gate().is_alive().await.then_some(()).ok_or(Gone),
            Part::Coordinator | Part::Directory | Part::Digests => Ok(()),
        }
    }
}
