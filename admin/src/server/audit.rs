//! What auditors are told: one line for each act, when it has ended, however it ended.
//!
//! Invariant: an act is told exactly once, also one that was refused, and one whose client went away
//! before it was answered.

use hyper::Method;
use hyper::http::request::Parts;

use super::caller::Caller;
use super::query::{TENANT, tenant};
use super::respond::{Answer, Refusal};
use super::routes::Route;

/// What is told of a text that somebody else wrote, at most.
const MOST: usize = 500;

/// The outcome of an act that nobody waited for: it may have been done.
const UNANSWERED: &str = "unanswered";

/// A request that changes something, if it is one; told when it goes.
#[derive(Debug, Default)]
pub(crate) struct Act {
    /// What is to be told of it, if anything.
    told: Option<Told>,
    /// The tenant: the one that was named, or the one that the thing belongs to.
    pub(super) tenant: Option<String>,
    /// What it is about.
    pub(super) what: Option<String>,
    /// Why, in the words of who asked.
    pub(super) reason: Option<String>,
}

#[derive(Debug)]
struct Told {
    route: &'static str,
    caller: Caller,
    request_id: String,
    outcome: &'static str,
}

impl Act {
    /// A request to a route, which has not been looked at yet.
    pub(super) fn new(route: &Route, argument: &str, parts: &Parts, asked: (Caller, &str)) -> Act {
        let (caller, request_id) = asked;
        let is_told = route.is_act() || (route.changes() && !caller.may(&Method::POST));
        let told = is_told.then(|| Told {
            route: route.name,
            caller,
            request_id: request_id.to_owned(),
            outcome: UNANSWERED,
        });
        let names_tenant = told.is_some() && parts.headers.contains_key(TENANT);
        let tenant = names_tenant.then(|| tenant(&parts.headers).ok()).flatten();
        let what = Some(argument).filter(|what| !what.is_empty()).map(str::to_owned);
        Act { told, tenant, what, reason: None }
    }

    /// Takes down how it ended.
    pub(super) fn ended(&mut self, outcome: &Result<Answer, Refusal>) {
        if let Some(told) = &mut self.told {
            told.outcome = outcome.as_ref().map_or_else(Refusal::code, |_| "ok");
        }
    }
}

impl Drop for Act {
    fn drop(&mut self) {
        let Some(told) = &self.told else { return };
        // Given as texts, these are quoted: nobody writes lines of their own into the log.
        tracing::info!(
            target: "audit",
            route = told.route,
            tenant = self.tenant.as_deref().map(shortened),
            what = self.what.as_deref().map(shortened),
            reason = self.reason.as_deref().map(shortened),
            uid = told.caller.uid,
            pid = told.caller.pid,
            request_id = told.request_id.as_str(),
            outcome = told.outcome,
            "audit"
        );
    }
}

fn shortened(text: &str) -> &str {
    match text.char_indices().nth(MOST) {
        Some((end, _)) => &text[..end],
        None => text,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_texts_are_cut_between_characters() {
        assert_eq!(shortened("short"), "short");
        assert_eq!(shortened(&"é".repeat(MOST)).chars().count(), MOST);
        assert_eq!(shortened(&"é".repeat(MOST + 1)).chars().count(), MOST);
    }
}
