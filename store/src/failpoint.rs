//! Fail points: places where a test makes something go wrong. Without the feature `failpoints` there
//! is no code of them in the binary.
//!
//! `DECISIONGRAPH_TEST_FAILPOINTS` is a list `point[/who]=action[*times][@hit]` separated by `;`. The
//! action begins with that hit of the point, the first if none is said; `who` narrows it to one
//! tenant, worker or step, such as `worker_apply_before/acme/context_graph/0=panic*1`. Actions:
//!
//! | | |
//! |---|---|
//! | `panic` | whoever is there panics |
//! | `abort`, `kill` | the process ends without a word, by SIGABRT or SIGKILL |
//! | `freeze` | nothing ever goes on here |
//! | `delay` | nothing goes on here for a fifth of a second |
//! | `error` | the call fails as if the database were gone; see [`Point::can_fail`] |
//! | `drop` | Postgres ends the session that is at work here; see [`Point::has_session`] |
//!
//! `DECISIONGRAPH_TEST_FAILPOINTS_HITS` names a file that gets a line for each hit of any point.
//!
//! A list that cannot be read ends the process: a fault that was asked for and did not happen would
//! look like one that was survived.

use tokio_postgres::GenericClient;

use crate::StoreError;

/// How much can go wrong at a place.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    /// Whoever is there may panic, be held up, or be killed.
    Bare,
    /// The call that is made there may fail as well.
    Call,
    /// And its session may be lost.
    Session,
}

macro_rules! points {
    ($($(#[doc = $meaning:literal])+ $point:ident $name:literal $kind:ident,)+) => {
        /// A place.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
        pub enum Point {
            $($(#[doc = $meaning])+ $point,)+
        }

        impl Point {
            /// All of them.
            pub const ALL: &[Point] = &[$(Point::$point,)+];

            /// Its name.
            #[must_use]
            pub const fn name(self) -> &'static str {
                match self { $(Point::$point => $name,)+ }
            }

            /// What is going on there.
            #[must_use]
            pub const fn meaning(self) -> &'static str {
                match self { $(Point::$point => concat!($($meaning,)+),)+ }
            }

            const fn kind(self) -> Kind {
                match self { $(Point::$point => Kind::$kind,)+ }
            }
        }
    };
}

points! {
    /// A daemon has read its configuration and opens its database.
    StartBefore "start_before" Bare,
    /// The runtime runs and answers.
    StartAfter "start_after" Bare,
    /// An orderly stop begins.
    StopBefore "stop_before" Bare,
    /// The runtime has stopped; the embedded database has not.
    StopAfter "stop_after" Bare,
    /// A step of the schema is about to be committed.
    MigrationBefore "migration_before" Session,
    /// It is in.
    MigrationAfter "migration_after" Bare,
    /// A request was read.
    SocketBefore "socket_before" Bare,
    /// It was done; its answer is not sent yet.
    SocketAfter "socket_after" Bare,
    /// A lane is about to send events that it takes to be new, in one statement, by itself or with others.
    AppendNewBefore "append_new_before" Session,
    /// They are in, and nobody knows.
    AppendNewAfter "append_new_after" Call,
    /// A transaction that adds events is about to be committed.
    AppendCommitBefore "append_commit_before" Session,
    /// They are in, and nobody knows.
    AppendCommitAfter "append_commit_after" Call,
    /// The gate to the database is about to handle a message.
    GateHandleBefore "gate_handle_before" Bare,
    /// A worker is about to apply a page.
    WorkerApplyBefore "worker_apply_before" Bare,
    /// It has, and does not know.
    WorkerApplyAfter "worker_apply_after" Bare,
    /// Rows and cursor of a page are about to go in; where edges were copied, all is written and not
    /// committed.
    CommitBefore "commit_before" Session,
    /// It is in; the worker does not know.
    CommitAfter "commit_after" Call,
    /// Cursors are about to be made, or spread over another number of partitions.
    CursorsBefore "cursors_before" Session,
    /// They are.
    CursorsAfter "cursors_after" Call,
    /// A dead letter is about to be recorded.
    FailureBefore "failure_before" Session,
    /// It is.
    FailureAfter "failure_after" Call,
    /// Digests are about to be stored.
    DigestBefore "digest_before" Session,
    /// They are.
    DigestAfter "digest_after" Call,
    /// A run is about to be admitted.
    RunAdmitBefore "run_admit_before" Session,
    /// It is; who asked does not know.
    RunAdmitAfter "run_admit_after" Call,
    /// A run is about to be cancelled.
    RunCancelBefore "run_cancel_before" Session,
    /// It is.
    RunCancelAfter "run_cancel_after" Call,
    /// A rebuild is about to be given its generation.
    RunOpenBefore "run_open_before" Session,
    /// It has it.
    RunOpenAfter "run_open_after" Bare,
    /// A run has applied a page.
    RunApplyAfter "run_apply_after" Bare,
    /// A run is about to write down how far it is.
    RunCheckpointBefore "run_checkpoint_before" Session,
    /// It has.
    RunCheckpointAfter "run_checkpoint_after" Bare,
    /// A rebuild is about to compare.
    RunCompareBefore "run_compare_before" Bare,
    /// It has, and has written down what it came to.
    RunCompareAfter "run_compare_after" Bare,
    /// It is about to give readers what was built: their work is paused next.
    RunSwitchBefore "run_switch_before" Bare,
    /// What was built may be served, as it was looked at; nothing is moved.
    SwitchDecideAfter "switch_decide_after" Session,
    /// The pointer is moved and nothing is committed.
    SwitchCommitBefore "switch_commit_before" Session,
    /// Readers have it; the run does not know.
    SwitchCommitAfter "switch_commit_after" Call,
    /// They have it.
    RunSwitchAfter "run_switch_after" Bare,
    /// Rows of a retired generation are about to be cleared away.
    ClearBefore "clear_before" Session,
    /// They are.
    ClearAfter "clear_after" Call,
    /// A run is about to write down how it ended.
    RunEndBefore "run_end_before" Bare,
    /// It has; nobody knows.
    RunEndAfter "run_end_after" Call,
}

impl Point {
    /// Whether the action `error` can be had there.
    #[must_use]
    pub fn can_fail(self) -> bool {
        self.kind() != Kind::Bare
    }

    /// Whether the action `drop` can be had there.
    #[must_use]
    pub fn has_session(self) -> bool {
        self.kind() == Kind::Session
    }
}

#[cfg(not(feature = "failpoints"))]
mod here {
    use super::{GenericClient, Point, StoreError};

    /// Goes by a place where nothing fails but the process.
    pub async fn hit(_: Point, _: &str) {}

    /// Goes by a place where a call may fail.
    ///
    /// # Errors
    /// Never, in a build without fail points.
    pub async fn pass(_: Point, _: &str) -> Result<(), StoreError> {
        Ok(())
    }

    /// Goes by a place where a session may be lost.
    ///
    /// # Errors
    /// Never, in a build without fail points.
    pub(crate) async fn pass_on(
        _: &impl GenericClient,
        _: Point,
        _: &str,
    ) -> Result<(), StoreError> {
        Ok(())
    }
}

#[cfg(feature = "failpoints")]
mod armed;
#[cfg(feature = "failpoints")]
use armed as here;

pub(crate) use here::pass_on;
pub use here::{hit, pass};

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_unique_and_say_before_or_after() {
        for (at, point) in Point::ALL.iter().enumerate() {
            let name = point.name();
            assert!(name.ends_with("_before") || name.ends_with("_after"), "{name}");
            assert!(Point::ALL[at + 1..].iter().all(|other| other.name() != name), "{name}");
        }
    }
}
