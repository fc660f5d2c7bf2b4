//! What can go wrong with Postgres, and the stable code of each.
//!
//! [`code_of_sqlstate`] is the one table from SQLSTATE to code.

use std::time::Duration;

use deadpool::managed::{PoolError, TimeoutType};
use dg_projections::{Code, Rejection};
use tokio_postgres::error::{DbError, SqlState};

use crate::connect::explain_tls;

/// A failure of the store, with its stable code.
#[derive(Debug, Clone, thiserror::Error)]
#[error("{message}")]
pub struct StoreError {
    /// The stable code.
    pub code: Code,
    /// One sentence for people, without secrets.
    pub message: String,
    /// The server's SQLSTATE, when it was the server that refused.
    pub sqlstate: Option<String>,
    /// Whether the database as a whole is away, rather than this one request in trouble.
    pub is_outage: bool,
}

impl StoreError {
    /// A failure with a code and a message of ours.
    pub fn new(code: Code, message: impl Into<String>) -> StoreError {
        StoreError { code, message: message.into(), sqlstate: None, is_outage: false }
    }

    /// The database cannot be reached or does not take work.
    pub fn outage(message: impl Into<String>) -> StoreError {
        StoreError { is_outage: true, ..StoreError::new(Code::Storage, message) }
    }

    /// A defect: something that no state of the database should cause.
    pub fn internal(message: impl Into<String>) -> StoreError {
        StoreError::new(Code::Internal, message)
    }

    pub(crate) fn timed_out(what: &str, after: Duration) -> StoreError {
        StoreError::new(Code::Storage, format!("{what} took longer than {} ms", after.as_millis()))
    }

    pub(crate) fn is_unique_violation(&self) -> bool {
        self.sqlstate.as_deref() == Some(SqlState::UNIQUE_VIOLATION.code())
    }

    /// The same as a refusal of one request.
    pub fn to_rejection(&self) -> Rejection {
        Rejection::new(self.code, self.message.clone())
    }
}

impl From<tokio_postgres::Error> for StoreError {
    fn from(error: tokio_postgres::Error) -> StoreError {
        match error.as_db_error() {
            Some(refusal) => {
                let state = refusal.code();
                let detail = refusal.detail().or_else(|| statement_refused(refusal));
                let detail = detail.map(|text| format!(" ({text})")).unwrap_or_default();
                StoreError {
                    code: code_of_sqlstate(state),
                    message: format!("{}{detail} [SQLSTATE {}]", refusal.message(), state.code()),
                    sqlstate: Some(state.code().to_owned()),
                    is_outage: is_outage(state),
                }
            }
            None if let Some(error) = tls_failure(&error) => StoreError::outage(explain_tls(error)),
            None if is_ours(&error) => StoreError::internal(with_causes(&error)),
            None => StoreError::outage(with_causes(&error)),
        }
    }
}

impl From<PoolError<StoreError>> for StoreError {
    fn from(error: PoolError<StoreError>) -> StoreError {
        match error {
            PoolError::Backend(error) => error,
            PoolError::Timeout(TimeoutType::Wait) => {
                StoreError::new(Code::Storage, "no connection of the pool became free")
            }
            PoolError::Timeout(TimeoutType::Create | TimeoutType::Recycle) => {
                StoreError::outage("the database did not answer in time")
            }
            PoolError::Closed => StoreError::new(Code::Storage, "the store is closed"),
            other => StoreError::internal(other.to_string()),
        }
    }
}

/// Which of the statements of a script was refused for want of a privilege: the message alone does not
/// always name what it was about.
fn statement_refused(refusal: &DbError) -> Option<&str> {
    let is_privilege = refusal.code() == &SqlState::INSUFFICIENT_PRIVILEGE;
    let (_, rest) = refusal.where_().filter(|_| is_privilege)?.split_once("SQL statement \"")?;
    rest.lines().next()?.strip_suffix('"')
}

/// What TLS has against the connection, wherever in the chain of causes it stands.
fn tls_failure(error: &tokio_postgres::Error) -> Option<&rustls::Error> {
    let mut cause = std::error::Error::source(error);
    while let Some(error) = cause {
        // An I/O error hides the error that it carries from the chain.
        let carried = error.downcast_ref::<std::io::Error>().and_then(std::io::Error::get_ref);
        if let Some(found) = carried.and_then(|error| error.downcast_ref::<rustls::Error>()) {
            return Some(found);
        }
        cause = error.source();
    }
    None
}

fn with_causes(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text = format!("{text}: {error}");
        cause = error.source();
    }
    text
}

/// An error that did not come from the server is a broken connection, unless a value of ours did
/// not fit its column.
fn is_ours(error: &tokio_postgres::Error) -> bool {
    let text = error.to_string();
    [
        "error serializing parameter",
        "error deserializing column",
        "invalid column",
        "query returned",
    ]
    .iter()
    .any(|prefix| text.starts_with(prefix))
}

/// States in which no other request would fare better.
fn is_outage(state: &SqlState) -> bool {
    matches!(&state.code()[..2], "08" | "3D") || matches!(state.code(), "57P01" | "57P02" | "57P03")
}

/// The table from SQLSTATE to stable code: first the states, then their classes.
pub(crate) fn code_of_sqlstate(state: &SqlState) -> Code {
    match state.code() {
        "DG001" => return Code::EventSequenceInvalid, // ours: see V0001
        "DG002" => return Code::Conflict,
        "DG003" => return Code::IdempotencyConflict, // see V0003
        "23505" => return Code::Conflict,            // unique_violation
        "23514" => return Code::SchemaViolation,     // check_violation
        "25006" => return Code::Storage, // read_only_sql_transaction: a standby; the primary is elsewhere
        "25P03" | "25P04" => return Code::Storage, // the server's patience with a transaction is over
        "3D000" => return Code::Storage, // invalid_catalog_name: the database is not there (yet)
        "42501" => return Code::Storage, // insufficient_privilege: the operator's to mend, then it works
        "55P03" => return Code::Storage, // lock_not_available
        _ => {}
    }
    match &state.code()[..2] {
        "08" => Code::Storage,         // connection exception
        "28" => Code::Storage, // invalid authorization: the operator's to mend, then it works
        "40" => Code::Storage, // transaction rollback: serialization, deadlock
        "53" => Code::Storage, // insufficient resources: disk full, out of memory, too many connections
        "54" => Code::InvalidArgument, // program limit exceeded: a key longer than an index can hold
        "57" => Code::Storage,         // operator intervention: shutdown, cancelled statement
        "58" => Code::Storage,         // system error: I/O
        "22" => Code::InvalidArgument, // data exception
        _ => Code::Internal,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_sqlstate_we_meet_has_its_code() {
        for (state, code) in [
            ("DG001", Code::EventSequenceInvalid),
            ("DG002", Code::Conflict),
            ("DG003", Code::IdempotencyConflict),
            ("23505", Code::Conflict),
            ("23514", Code::SchemaViolation),
            ("23502", Code::Internal),
            ("22021", Code::InvalidArgument),
            ("08006", Code::Storage),
            ("25006", Code::Storage),
            ("25P03", Code::Storage),
            ("25P04", Code::Storage),
            ("28P01", Code::Storage),
            ("3D000", Code::Storage),
            ("40001", Code::Storage),
            ("40P01", Code::Storage),
            ("53100", Code::Storage),
            ("53300", Code::Storage),
            ("54000", Code::InvalidArgument),
            ("55P03", Code::Storage),
            ("57014", Code::Storage),
            ("57P01", Code::Storage),
            ("57P03", Code::Storage),
            ("58030", Code::Storage),
            ("42P01", Code::Internal),
            ("42501", Code::Storage),
            ("XX000", Code::Internal),
        ] {
            assert_eq!(code_of_sqlstate(&SqlState::from_code(state)), code, "{state}");
        }
    }
}
