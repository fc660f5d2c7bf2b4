//! The Postgres store: the log, what is derived from it, and the transactions that keep both true.
//!
//! The only crate that knows SQL or a SQLSTATE. What it promises, and by what:
//! - an append is one transaction that holds its tenant's head: numbers in commit order, no gaps;
//! - a projection commit is one transaction over rows and cursor that starts from the cursor the
//!   caller names: no event is applied twice and no cursor moves back, whoever else believes to own
//!   the projection;
//! - a read that compares (digest, health, a projection-backed read) takes one snapshot.
//!
//! Deliberately absent: retries, back-off and ownership (the runtime's), meaning of events (the
//! projections').

mod append;
mod commit;
mod connect;
mod copy;
mod cursors;
mod database;
mod databases;
mod digests;
mod directory;
mod doctor;
mod dump;
mod error;
pub mod failpoint;
mod failures;
mod floor;
mod generations;
mod health;
mod identity;
mod lag;
mod locks;
mod log;
mod measure;
mod migrate;
mod neighbours;
mod objects;
mod page;
mod place;
mod pointer;
mod reads;
mod recovery;
mod roles;
mod rows;
mod runs;
mod timeline;
mod verify;

pub use append::{Answer, Appended, BatchRefusal, Fate, Part};
pub use commit::{Commit, Committed, is_worth_copying};
pub use connect::Target;
pub use cursors::{Cursor, Share};
pub use database::{Options, PoolStatus, Store};
pub use databases::{Reached, create_database, drop_database, ensure_database};
pub use digests::{DigestName, Refreshed, StoredDigest};
pub use directory::{Behind, TenantHead};
pub use doctor::{Lacking, Refusal, Rights, Server, name_in_sql};
pub use dump::{DumpReader, Dumped};
pub use error::StoreError;
pub use failures::{Failure, NewFailure, Tail};
pub use floor::Floor;
pub use generations::{Building, Cleared, Compared, Prepared, Spread, Switch, Switched};
pub use health::{Health, PartitionHealth, ProjectionHealth};
pub use identity::{Identity, Standpoint};
pub use lag::Lag;
pub use locks::Holder;
pub use log::{EventFilter, RecordedEvent, TraceSlice};
pub use migrate::{AppliedMigration, Drift, Migration, MigrationStatus, migrations};
pub use neighbours::session_name;
pub use objects::Missing;
#[doc(hidden)]
pub use objects::expected_objects;
pub use page::Page;
pub use place::Place;
pub use reads::{
    Direction, EdgeCursor, EdgePage, EdgesQuery, LatestTrace, PrecedentHit, PrecedentQuery,
    Subgraph,
};
pub use recovery::{Archive, CountedLogs, OpenRuns, Standings, Waiting};
pub use roles::DAEMON_ROLE;
pub use runs::{
    ALL_PROJECTIONS, Comparison, Ending, NewRun, Progress, Run, RunFilter, RunKey, RunMode,
    RunStatus, RunStep, Turn,
};
pub use timeline::Timeline;
pub use verify::{Checked, Verdict, VerifyProgress, Wanted};
