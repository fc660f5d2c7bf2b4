//! A line of the doctor's: what was checked, how it is, what was found and what to do about it.

use dg_projections::json::Json;

use crate::failure::Failure;
use crate::wire::object;

/// How a thing is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Status {
    /// As it should be.
    Ok,
    /// It works, and somebody should know.
    Warning,
    /// It does not work.
    Failed,
}

impl Status {
    /// The stable word.
    pub(super) const fn as_str(self) -> &'static str {
        match self {
            Status::Ok => "ok",
            Status::Warning => "warning",
            Status::Failed => "failed",
        }
    }
}

/// What a check comes to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Verdict {
    pub(super) status: Status,
    pub(super) found: String,
    /// The same for a table, where all of it is too much for one.
    pub(super) brief: Option<String>,
    /// What to do; there whenever not all is well.
    pub(super) help: Option<String>,
}

impl Verdict {
    pub(super) fn ok(found: impl Into<String>) -> Verdict {
        Verdict { status: Status::Ok, found: found.into(), brief: None, help: None }
    }

    pub(super) fn warning(found: impl Into<String>, help: impl Into<String>) -> Verdict {
        Verdict { status: Status::Warning, help: Some(help.into()), ..Verdict::ok(found) }
    }

    pub(super) fn failed(found: impl Into<String>, help: impl Into<String>) -> Verdict {
        Verdict { status: Status::Failed, help: Some(help.into()), ..Verdict::ok(found) }
    }

    /// The same, with this for a table.
    pub(super) fn shown_as(self, brief: String) -> Verdict {
        Verdict { brief: Some(brief), ..self }
    }

    /// A question that was answered with a failure.
    pub(super) fn of_failure(failure: Failure, else_help: &str) -> Verdict {
        let help = failure.help.unwrap_or_else(|| else_help.to_owned());
        Verdict::failed(failure.message, help)
    }

    /// A question that was not answered.
    pub(super) fn silent(help: &str) -> Verdict {
        let seconds = super::PATIENCE.as_secs();
        Verdict::failed(format!("no answer within {seconds} s"), help)
    }

    /// Its line.
    pub(super) fn of(self, check: &'static str) -> Finding {
        Finding { check, verdict: self }
    }
}

/// As many of several as a table has room for.
pub(super) fn some(names: &[String], between: &str) -> String {
    const MOST: usize = 4;
    match names.len().saturating_sub(MOST) {
        0 => names.join(between),
        more => {
            format!("{}{between}and {more} more: -o json names all", names[..MOST].join(between))
        }
    }
}

/// A check and what it came to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Finding {
    pub(super) check: &'static str,
    pub(super) verdict: Verdict,
}

impl Finding {
    pub(super) fn to_json(&self) -> Json {
        let Verdict { status, found, help, .. } = &self.verdict;
        object([
            ("check", Json::from(self.check)),
            ("status", Json::from(status.as_str())),
            ("found", Json::from(found.as_str())),
            ("help", Json::from(help.clone())),
        ])
    }
}
