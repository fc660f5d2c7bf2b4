//! Which tasks are alive below a supervisor: the latch that tells when a life is really over.

use std::sync::Arc;

use tokio::sync::watch;

/// Counts the tasks of a child: its own and those below it, at any depth.
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
    pub(super) fn below(&self) -> Subtree {
        Subtree(Arc::new(Node { alive: watch::Sender::new(0), above: Some(self.clone()) }))
    }

    fn count(&self, change: impl Fn(&mut usize) + Copy) {
        self.0.alive.send_modify(change);
        if let Some(above) = &self.0.above {
            above.count(change);
        }
    }

    pub(super) fn enter(&self) -> Presence {
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
pub(super) struct Presence(Subtree);

impl Drop for Presence {
    fn drop(&mut self) {
        self.0.count(|alive| *alive -= 1);
    }
}
