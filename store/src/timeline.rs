//! Which history of the database a page was read from.
//!
//! A failover to a replica that lacked the last commits begins another history: events that were read
//! before may not be there, or others under their numbers, while the cursor may stand where it was
//! expected. So a page names the timeline of the server that it was read from, and a commit under
//! another one writes nothing.

/// The timeline of the server that a page was read from; it grows with each promotion and each
/// recovery to an earlier moment, and with nothing else.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Timeline(pub(crate) i32);

/// The timeline that is written now, or 0 where nothing can be written. In parentheses it is asked
/// once a statement, not once a row.
pub(crate) const TIMELINE: &str = "(SELECT CASE WHEN pg_is_in_recovery() THEN 0
    ELSE ('x' || left(pg_walfile_name(pg_current_wal_lsn()), 8))::bit(32)::integer END)";
