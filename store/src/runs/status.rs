//! The life of a run as a table: which status follows from what, and what is refused.

use super::RunStatus::{self, Cancelled, Completed, Failed, Interrupted, Queued, Running};

/// What may happen to a run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Turn {
    /// A daemon takes it up.
    Claim,
    /// Its work is done.
    Complete,
    /// Its work cannot be done.
    Fail,
    /// Its daemon stops, or is gone.
    Interrupt,
    /// Its daemon puts it back: somebody else shall take it up, or itself in another life.
    Requeue,
    /// An operator ends it.
    Cancel,
    /// An operator lets it go on.
    Resume,
}

impl RunStatus {
    /// The status after a turn; none where it is refused.
    pub const fn after(self, turn: Turn) -> Option<RunStatus> {
        match (self, turn) {
            (Queued, Turn::Claim) => Some(Running),
            (Running, Turn::Complete) => Some(Completed),
            (Running, Turn::Fail) => Some(Failed),
            (Running, Turn::Interrupt) => Some(Interrupted),
            (Running, Turn::Requeue) => Some(Queued),
            (Queued | Running | Interrupted, Turn::Cancel) => Some(Cancelled),
            (Failed | Cancelled | Interrupted, Turn::Resume) => Some(Queued),
            (
                Queued | Running | Completed | Failed | Cancelled | Interrupted,
                Turn::Claim
                | Turn::Complete
                | Turn::Fail
                | Turn::Interrupt
                | Turn::Requeue
                | Turn::Cancel
                | Turn::Resume,
            ) => None,
        }
    }

    /// Whether it keeps others from the same projection.
    pub const fn is_active(self) -> bool {
        matches!(self, Queued | Running)
    }

    /// Whether it has come to an end, which a resume may still undo.
    pub const fn is_finished(self) -> bool {
        matches!(self, Completed | Failed | Cancelled)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_turn_of_every_status_goes_where_the_table_says() {
        // Claim, Complete, Fail, Interrupt, Requeue, Cancel, Resume; '-' is refused.
        let table = [
            (Queued, "r----x-"),
            (Running, "-cfiqx-"),
            (Completed, "-------"),
            (Failed, "------q"),
            (Cancelled, "------q"),
            (Interrupted, "-----xq"),
        ];
        let turns = [
            Turn::Claim,
            Turn::Complete,
            Turn::Fail,
            Turn::Interrupt,
            Turn::Requeue,
            Turn::Cancel,
            Turn::Resume,
        ];
        assert_eq!(table.map(|(status, _)| status), RunStatus::ALL);
        for (status, row) in table {
            for (turn, expected) in turns.into_iter().zip(row.chars()) {
                let found = match status.after(turn) {
                    Some(Queued) => 'q',
                    Some(Running) => 'r',
                    Some(Completed) => 'c',
                    Some(Failed) => 'f',
                    Some(Cancelled) => 'x',
                    Some(Interrupted) => 'i',
                    None => '-',
                };
                assert_eq!(found, expected, "{status:?} + {turn:?}");
            }
        }
    }
}
