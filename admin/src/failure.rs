//! What a command ends with when it does not end well: one line, a remedy, an exit code.

use dg_projections::json::{Json, Object};
use dg_projections::{Code, Rejection};
use dg_store::{Refusal, StoreError};

use crate::config::ConfigError;
use crate::embedded::EmbeddedError;

/// Exit codes besides those of [`exit_code`].
pub mod exit {
    /// Something failed.
    pub const FAILED: u8 = 1;
    /// The command line does not say what is wanted.
    pub const USAGE: u8 = 2;
    /// A proof failed.
    pub const PROOF: u8 = 7;
    /// The configuration is bad.
    pub const CONFIG: u8 = 64;
    /// The daemon or the database is not reachable.
    pub const UNAVAILABLE: u8 = 69;
    /// Interrupted, as shells say it.
    pub const INTERRUPTED: u8 = 130;
}

/// The exit code of a stable code.
pub const fn exit_code(code: Code) -> u8 {
    match code {
        Code::NotFound => 3,
        Code::InvalidArgument | Code::SchemaViolation | Code::PiiPolicyViolation => 4,
        Code::Conflict | Code::IdempotencyConflict | Code::EventSequenceInvalid => 5,
        Code::ProjectionOutOfDate => 6,
        Code::Storage => exit::UNAVAILABLE,
        Code::Internal => exit::FAILED,
    }
}

/// A command's failure.
#[derive(Debug, Clone)]
pub struct Failure {
    /// The stable code, or a word of the same kind.
    pub code: String,
    /// What happened.
    pub message: String,
    /// What to do.
    pub help: Option<String>,
    /// Facts for programs.
    pub details: Object,
    /// The process's exit code.
    pub exit: u8,
    /// Whether there is nothing to say about it.
    pub is_silent: bool,
}

impl Failure {
    /// A failure with a stable code and its exit code.
    pub fn new(code: Code, message: impl Into<String>) -> Failure {
        Failure {
            code: code.as_str().to_owned(),
            message: message.into(),
            help: None,
            details: Object::new(),
            exit: exit_code(code),
            is_silent: false,
        }
    }

    /// The reader of standard output has had enough: `| head` ends a command, and is no failure.
    fn reader_gone() -> Failure {
        Failure { is_silent: true, ..Failure::new(Code::Internal, "the reader is gone").exit(0) }
    }

    /// Standard output takes no more: quiet when its reader has had enough, told otherwise.
    pub(crate) fn unprinted(error: &std::io::Error) -> Failure {
        match error.kind() {
            std::io::ErrorKind::BrokenPipe => Failure::reader_gone(),
            _ => Failure::new(Code::Internal, format!("cannot write to standard output: {error}"))
                .help("make room where it goes, or print elsewhere"),
        }
    }

    /// Ctrl-C or SIGTERM before the end.
    pub(crate) fn interrupted() -> Failure {
        Failure::new(Code::Internal, "interrupted").exit(exit::INTERRUPTED)
    }

    /// The same with a remedy.
    #[must_use]
    pub fn help(mut self, help: impl Into<String>) -> Failure {
        self.help = Some(help.into());
        self
    }

    /// The same with another exit code.
    #[must_use]
    pub fn exit(mut self, exit: u8) -> Failure {
        self.exit = exit;
        self
    }

    /// As the socket writes it.
    pub fn to_json(&self) -> Json {
        let error = Object::from([
            ("code".to_owned(), Json::from(self.code.as_str())),
            ("message".to_owned(), Json::from(self.message.as_str())),
            ("details".to_owned(), Json::from(self.details.clone())),
        ]);
        Json::from(Object::from([("error".to_owned(), Json::from(error))]))
    }
}

impl From<Rejection> for Failure {
    fn from(rejection: Rejection) -> Failure {
        Failure { details: rejection.details, ..Failure::new(rejection.code, rejection.message) }
    }
}

impl From<StoreError> for Failure {
    fn from(error: StoreError) -> Failure {
        let help = (error.code == Code::Storage).then(|| remedy(&error));
        Failure { help, ..Failure::new(error.code, error.message) }
    }
}

/// What to do about a database that did not do what it was asked.
fn remedy(error: &StoreError) -> String {
    match Refusal::of(error) {
        Refusal::NoLogin => let_log_in(error),
        Refusal::Privilege => "who logs in (database_url) may not do what the message names: ask as the \
            owner of the tables, or GRANT it; `decisiongraph doctor` names what a daemon lacks, with \
            the statements"
            .to_owned(),
        _ => "see that Postgres runs and that database_url is right; `decisiongraph doctor` looks closer"
            .to_owned(),
    }
}

/// The statement for a role that may not log in: its message names it.
pub(crate) fn let_log_in(error: &StoreError) -> String {
    let role = error.message.split('"').nth(1).map_or("ROLE".to_owned(), dg_store::name_in_sql);
    format!(
        "let it: ALTER ROLE {role} LOGIN, as a superuser or with CREATEROLE; or name another user in database_url"
    )
}

impl From<ConfigError> for Failure {
    fn from(error: ConfigError) -> Failure {
        let problems: Vec<String> = error.problems.iter().map(ToString::to_string).collect();
        let message = match problems.as_slice() {
            [only] => format!("configuration: {only}"),
            all => format!("configuration: {} problems\n  {}", all.len(), all.join("\n  ")),
        };
        let list = problems.into_iter().map(Json::from).collect();
        let details = Object::from([("problems".to_owned(), Json::Array(list))]);
        Failure { details, ..Failure::new(Code::InvalidArgument, message) }
            .exit(exit::CONFIG)
            .help(
                "set it right where it stands, or take it out: then its default holds, which \
                 `decisiongraph serve --help` names; `decisiongraph config check` tells when all is right",
            )
    }
}

impl From<EmbeddedError> for Failure {
    fn from(error: EmbeddedError) -> Failure {
        let help = error.help();
        let code = if matches!(error, EmbeddedError::InUse { .. }) {
            Code::Conflict
        } else {
            Code::Storage
        };
        Failure { help, ..Failure::new(code, error.to_string()) }
    }
}

impl From<std::io::Error> for Failure {
    fn from(error: std::io::Error) -> Failure {
        Failure::new(Code::Internal, error.to_string())
    }
}
