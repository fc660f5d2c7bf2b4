//! The stable error codes and the refusal that carries one.

use std::fmt;

use crate::json::{Json, Object};

/// The stable error codes: the same words in Rust, JSON, metrics, the database and exit codes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Code {
    /// A value that no caller may pass, whatever the state of the log.
    InvalidArgument,
    /// An event that does not have the shape its type demands.
    SchemaViolation,
    /// A string that looks like a secret.
    PiiPolicyViolation,
    /// An idempotency key used again for something else.
    IdempotencyConflict,
    /// A `trace_seq` that is not the next one.
    EventSequenceInvalid,
    /// The request contradicts what is stored.
    Conflict,
    /// What was asked for does not exist.
    NotFound,
    /// The projection is behind the log; ask again later.
    ProjectionOutOfDate,
    /// The database is away, slow, full or in the way: worth retrying.
    Storage,
    /// A defect of ours.
    Internal,
}

impl Code {
    /// All codes, in the order of the contract.
    pub const ALL: [Code; 10] = [
        Code::InvalidArgument,
        Code::SchemaViolation,
        Code::PiiPolicyViolation,
        Code::IdempotencyConflict,
        Code::EventSequenceInvalid,
        Code::Conflict,
        Code::NotFound,
        Code::ProjectionOutOfDate,
        Code::Storage,
        Code::Internal,
    ];

    /// The stable word.
    pub const fn as_str(self) -> &'static str {
        match self {
            Code::InvalidArgument => "invalid_argument",
            Code::SchemaViolation => "schema_violation",
            Code::PiiPolicyViolation => "pii_policy_violation",
            Code::IdempotencyConflict => "idempotency_conflict",
            Code::EventSequenceInvalid => "event_sequence_invalid",
            Code::Conflict => "conflict",
            Code::NotFound => "not_found",
            Code::ProjectionOutOfDate => "projection_out_of_date",
            Code::Storage => "storage",
            Code::Internal => "internal",
        }
    }

    /// The code of a stable word.
    pub fn from_word(word: &str) -> Option<Code> {
        Code::ALL.into_iter().find(|code| code.as_str() == word)
    }

    /// Whether the same request may succeed later without anybody changing it.
    pub const fn is_recoverable(self) -> bool {
        matches!(self, Code::Storage)
    }
}

impl fmt::Display for Code {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Why something was refused: a stable code, a sentence for people, details for programs.
///
/// Never contains the refused value itself where the value may be a secret.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rejection {
    /// The stable code.
    pub code: Code,
    /// One sentence: lower case, no full stop.
    pub message: String,
    /// Machine-readable facts, such as `path` or `expected_trace_seq`.
    pub details: Object,
}

impl Rejection {
    /// A refusal without details.
    pub fn new(code: Code, message: impl Into<String>) -> Rejection {
        Rejection { code, message: message.into(), details: Object::new() }
    }

    /// A refusal of the value at a JSON path such as `$.payload.title`.
    pub fn at(code: Code, path: &str, message: impl fmt::Display) -> Rejection {
        Rejection::new(code, format!("{path}: {message}")).with("path", path)
    }

    /// The same refusal with one more detail.
    #[must_use]
    pub fn with(mut self, key: &str, value: impl Into<Json>) -> Rejection {
        self.details.insert(key.to_owned(), value.into());
        self
    }
}

impl fmt::Display for Rejection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.code, self.message)
    }
}

impl std::error::Error for Rejection {}
