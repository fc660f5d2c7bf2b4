//! What a worker shows of itself: one picture for status, metrics, health and tests.

use std::fmt;

use dg_projections::Code;
use dg_projections::projection::Projection;
use time::OffsetDateTime;

use super::policy::Failure;
use super::state::{Input, Machine, State};

/// Whose events a worker applies, to what.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct WorkerKey {
    /// The tenant.
    pub tenant_id: String,
    /// The projection.
    pub projection: Projection,
    /// The partition, from 0.
    pub partition: i32,
}

impl fmt::Display for WorkerKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}/{}", self.tenant_id, self.projection, self.partition)
    }
}

/// The last thing that went wrong.
#[derive(Debug, Clone, PartialEq, Eq)]
#[allow(missing_docs, reason = "the names are the contract's")]
pub struct LastError {
    pub code: Code,
    pub message: String,
    pub log_seq: Option<i64>,
    pub trace_id: Option<String>,
    pub event_id: Option<String>,
}

impl From<&Failure> for LastError {
    fn from(failure: &Failure) -> LastError {
        let (log_seq, trace_id, event_id) = match failure.event.clone() {
            Some((log_seq, trace_id, event_id)) => (Some(log_seq), Some(trace_id), Some(event_id)),
            None => (None, None, None),
        };
        LastError {
            code: failure.code,
            message: failure.message.clone(),
            log_seq,
            trace_id,
            event_id,
        }
    }
}

/// What a worker shows of itself.
#[derive(Debug, Clone, PartialEq, Eq)]
#[allow(missing_docs, reason = "the names are the contract's")]
pub struct WorkerSnapshot {
    pub key: WorkerKey,
    /// When its present life began.
    pub started_at: OffsetDateTime,
    pub status: &'static str,
    pub cursor: Option<i64>,
    /// When a page was last applied, or the tail found.
    pub last_sync_at: Option<OffsetDateTime>,
    /// Pages applied.
    pub sync_count: u64,
    pub retry_count: u32,
    pub next_retry_at: Option<OffsetDateTime>,
    pub last_error: Option<LastError>,
    /// Something of it is at the database, or has yet to be written down there: to stop it now would take as long, or lose that.
    pub is_busy: bool,
}

impl WorkerSnapshot {
    pub(crate) fn new(key: WorkerKey) -> WorkerSnapshot {
        WorkerSnapshot {
            key,
            started_at: OffsetDateTime::now_utc(),
            status: State::Starting.status(),
            cursor: None,
            last_sync_at: None,
            sync_count: 0,
            retry_count: 0,
            next_retry_at: None,
            last_error: None,
            is_busy: true,
        }
    }

    /// How it stands now.
    pub(super) fn stand(&mut self, state: &State) {
        self.status = state.status();
        self.is_busy = state.owes();
    }

    /// What an input and the state after it change in the picture.
    pub(super) fn note(&mut self, input: &Input, machine: &Machine, now: OffsetDateTime) {
        match input {
            Input::CursorLoaded { cursor, .. } => self.cursor = Some(cursor.last_log_seq),
            Input::Applied { to, .. } => {
                self.cursor = Some(to.last_log_seq);
                self.last_sync_at = Some(now);
                self.sync_count += 1;
                self.last_error = None;
            }
            Input::Failed(failure) => self.last_error = Some(LastError::from(failure)),
            _ => {}
        }
        // What stands in the way of a dead letter is not what the worker failed of.
        if let State::Recording { failure, .. }
        | State::Unrecorded { failure, .. }
        | State::Failed { failure } = &machine.state
        {
            self.last_error = Some(LastError::from(failure));
        }
        self.stand(&machine.state);
        self.retry_count = machine.attempt;
        self.next_retry_at = match &machine.state {
            // Other inputs do not move a wait that has begun.
            State::Retrying { after, .. } => self.next_retry_at.or(Some(now + *after)),
            _ => None,
        };
    }
}
