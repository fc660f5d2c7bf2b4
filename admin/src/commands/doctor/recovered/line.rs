//! A line of the checklist: what it is about, whether it holds, on which figures.

use dg_projections::json::{Json, Object};

use crate::commands::doctor::finding::{Finding, Status, Verdict};
use crate::output::{field, grouped};
use crate::wire::object;

/// Whether a line holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum State {
    /// It does.
    Ok,
    /// It does not.
    Failed,
    /// Nobody here can tell.
    Unknown,
}

impl State {
    /// The stable word.
    pub(super) const fn as_str(self) -> &'static str {
        match self {
            State::Ok => "ok",
            State::Failed => "failed",
            State::Unknown => "unknown",
        }
    }
}

/// A figure with its name.
pub(super) type Figure = (&'static str, Json);

/// A line.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Line {
    pub(super) check: &'static str,
    pub(super) state: State,
    pub(super) evidence: Vec<Figure>,
    /// What was found that should not be so, or why it is not known.
    pub(super) found: Option<String>,
    pub(super) help: Option<String>,
    /// The runbook's, without folder and ending.
    page: Option<&'static str>,
}

impl Line {
    /// One that holds.
    pub(super) fn ok(check: &'static str, evidence: Vec<Figure>) -> Line {
        Line { check, state: State::Ok, evidence, found: None, help: None, page: None }
    }

    /// One of which nobody here can tell.
    pub(super) fn unknown(
        check: &'static str,
        evidence: Vec<Figure>,
        why: &str,
        help: &str,
    ) -> Line {
        let line = Line { state: State::Unknown, ..Line::ok(check, evidence) };
        Line { found: Some(why.to_owned()), help: Some(help.to_owned()), ..line }
    }

    /// The same, but it does not hold, because of this.
    pub(super) fn fails(
        self,
        found: impl Into<String>,
        help: impl Into<String>,
        page: &'static str,
    ) -> Line {
        let (found, help) = (Some(found.into()), Some(help.into()));
        Line { state: State::Failed, found, help, page: Some(page), ..self }
    }

    /// A finding of the other checks: only what is well holds.
    pub(super) fn of_finding(finding: Finding) -> Line {
        let Finding { check, verdict: Verdict { status, found, help, .. } } = finding;
        let state = if status == Status::Ok { State::Ok } else { State::Failed };
        let line = Line::ok(check, vec![("found", found.as_str().into())]);
        Line { state, help, ..line }
    }

    /// The same with its page, if it does not hold.
    pub(super) fn told_in(mut self, page: &'static str) -> Line {
        self.page = (self.state == State::Failed).then_some(page);
        self
    }

    /// Where more is told.
    pub(super) fn page(&self) -> Option<String> {
        self.page.map(|page| format!("ops/runbooks/{page}.md"))
    }

    /// The figures in one line.
    pub(super) fn evidence_text(&self) -> String {
        let shown = |(name, value): &Figure| match value {
            // A sentence of another check needs no name.
            Json::String(text) if *name == "found" => text.clone(),
            Json::Number(_) => {
                let number = value.as_i64().map(grouped);
                format!("{} {}", name.replace('_', " "), number.unwrap_or_else(|| text_of(value)))
            }
            _ => format!("{} {}", name.replace('_', " "), text_of(value)),
        };
        let texts: Vec<String> = self.evidence.iter().map(shown).collect();
        if texts.is_empty() { "-".to_owned() } else { texts.join(", ") }
    }

    pub(super) fn to_json(&self) -> Json {
        let figures = self.evidence.iter().map(|(name, value)| ((*name).to_owned(), value.clone()));
        object([
            ("check", self.check.into()),
            ("status", self.state.as_str().into()),
            ("evidence", Json::Object(figures.collect::<Object>())),
            ("found", Json::from(self.found.clone())),
            ("help", Json::from(self.help.clone())),
            ("page", Json::from(self.page())),
        ])
    }
}

/// A value as tables show it.
fn text_of(value: &Json) -> String {
    field(&object([("it", value.clone())]), "it")
}
