//! Supervisors that behave as OTP's, on ractor; usable by any ractor program.
//!
//! ```text
//! Init (flags, child specs, start functions) ─► Supervisor (actor) ─► children
//!                                                 │    ▲
//!                              exits, failed starts    plans: stop these, start those, end
//!                                                 ▼    │
//!                                           restart::Children (pure)
//! ```
//! - [`spec`]: child specifications and flags, in OTP's words;
//! - [`restart`]: the restart decision, a pure function;
//! - [`manage`]: the management calls' answers, pure functions;
//! - [`actor`]: the shell that performs; [`handle`]: how it is asked.
//!
//! What holds is OTP's contract (<https://www.erlang.org/doc/apps/stdlib/supervisor.html>), as
//! recorded from Erlang's own supervisor and replayed by the conformance test.
//!
//! Deliberately absent: back-off between restarts. A restart returns to a known state at once or
//! the supervisor gives up and escalates; waiting for a database is a state of a worker.

pub mod actor;
pub mod handle;
mod held;
pub mod init;
pub mod life;
pub mod manage;
mod perform;
pub mod report;
pub mod restart;
pub mod spec;
pub mod subtree;

pub use actor::{Supervisor, SupervisorMsg};
pub use handle::{Gone, SupervisorRef};
pub use init::{FailedToStartChild, Init, StartFn, Template, TemplateFn};
pub use life::{Life, Parent, StartError, StartFuture, Started};
pub use manage::{ChildInfo, Counts, Refused};
pub use report::{Observer, Report};
pub use restart::{Child, ChildState, Children, End, Incarnation, Plan};
pub use spec::{
    AutoShutdown, ChildSpec, ChildType, Exit, Flags, Key, Restart, Shutdown, SpecError, Strategy,
};
pub use subtree::Subtree;
