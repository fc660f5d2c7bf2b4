//! Supervisors that behave as OTP's, on ractor; usable by any ractor program.
//!
//! ```text
//! Init (flags, child specs, start functions) ─► Supervisor (actor) ─► children
//!                                                 │    ▲
//!                              exits, failed starts    plans: stop these, start those, end
//!                                                 ▼    │
//!                                           restart::Children (pure)
//! ```
//! - [`spec`]: child specifications and flags, in OTP's words; [`init`]: how a supervisor begins;
//! - [`restart`]: the restart decision, a pure function;
//! - [`manage`]: the management calls' answers, pure functions;
//! - [`actor`]: the shell that performs; [`handle`]: how it is asked;
//! - [`life`]: a child's life, over only when its task and all below it have ended; [`subtree`].
//!
//! What holds is OTP's contract (<https://www.erlang.org/doc/apps/stdlib/supervisor.html>), as
//! recorded from Erlang's own supervisor and replayed by the conformance test.
//!
//! Deliberately absent: back-off between restarts. A restart returns to a known state at once or
//! the supervisor gives up and escalates; waiting for a database is a state of a worker.
//!
//! # Use it on its own
//! Any ractor actor can be a child: it is started by [`Parent::spawn`] in a start function, which
//! is called anew for each of its lives. `examples/supervision.rs` is a whole program.
//!
//! ```
//! use std::sync::Arc;
//!
//! use dg_runtime::supervisor::{ChildSpec, Flags, Init, Shutdown, StartFn, SupervisorRef};
//! use ractor::{Actor, ActorProcessingErr, ActorRef};
//!
//! struct Greeter;
//!
//! impl Actor for Greeter {
//!     type Msg = ();
//!     type State = ();
//!     type Arguments = &'static str;
//!
//!     async fn pre_start(
//!         &self,
//!         _: ActorRef<()>,
//!         name: &'static str,
//!     ) -> Result<(), ActorProcessingErr> {
//!         println!("hello, {name}");
//!         Ok(())
//!     }
//! }
//!
//! #[tokio::main]
//! async fn main() -> Result<(), Box<dyn std::error::Error>> {
//!     let start: StartFn = Arc::new(|parent| {
//!         Box::pin(async move { parent.spawn(Greeter, "world").await.map(|(_, started)| started) })
//!     });
//!     let children = vec![(ChildSpec::worker("greeter"), start)];
//!     let init = Init::new("root", Flags::default(), children);
//!     let (supervisor, life) = SupervisorRef::start_root(init).await?;
//!     assert_eq!(supervisor.count_children().await?.active, 1);
//!     life.stop(Shutdown::Infinity).await;
//!     Ok(())
//! }
//! ```
//! - A child that a supervisor starts has no name in ractor's registry, whose names are free before
//!   their owners are gone.
//! - What a child owns, in its handler or its state, is dropped before its next life begins.
//! - A child must not ask its own supervisor to stop it, nor wait for it in a start: both would wait
//!   for each other until the deadline of the call. It stops itself, and `auto_shutdown` does the rest.
//! - Reasons: `stop(None)` and `"normal"` are OTP's `normal`, `"shutdown"` is `shutdown`,
//!   `"shutdown:so"` is `{shutdown, so}`, any other text, an `Err` or a panic is a crash.

pub mod actor;
mod calls;
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
