//! A projection worker: one actor a tenant, projection and partition.
//!
//! ```text
//!             LoadCursor            ApplyPage (until the tail)
//!  Starting ─────────────► CatchingUp ───────────► Idle
//!     ▲  ▲                   │  │  ▲                │
//!     │  └── superseded ─────┘  │  └───── woken ─────┘
//!     │                         │
//!     │                         ├── storage ──► Retrying ── timer ──► Starting
//!     │                         ├── storage, for too long ─► Recording ─► Retrying
//!     │                         ├── defect of a batch ─────► CatchingUp, half of it
//!     │                         └── poison, or the defect of an event
//!     │                                └──► Recording ─► Failed (a dead letter is written)
//!     │                                         └─ not written ─► Unrecorded ── timer ─► Recording
//!     └────────────────────── retry requested ────┘
//! ```
//! `Idle` comes before the tail for a worker that yields its tenant's place to others.
//! [`step`] and [`decide`] are pure and total; [`actor`](self) is the shell that performs effects.
//! Leaving `Retrying` reloads the cursor: whether the batch before was committed is then known.

mod actor;
mod effects;
mod policy;
mod snapshot;
mod state;

pub use actor::WorkerOwner;
pub(crate) use actor::{Owners, WorkerMsg, start_fn};
pub use policy::{Failure, FailureClass, RetryPolicy, Verdict, decide};
pub use snapshot::{LastError, WorkerKey, WorkerSnapshot};
pub use state::{Effect, IllegalTransition, Input, Machine, Next, State, Then, TimerId, step};
