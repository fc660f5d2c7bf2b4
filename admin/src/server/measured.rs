//! What is told of requests in metrics: how many there were by route and outcome, and how long each
//! took. A route is what the table of routes calls it, as in the audit log; all that finds none, or
//! is not HTTP, is one.
//!
//! Invariant: a request is counted exactly once, also one whose client went away before its answer.

use std::time::Instant;

use dg_projections::Code;
use metrics::{Counter, Histogram, counter, describe_counter, describe_histogram, histogram};

use super::asked::Handled;
use super::respond::Refusal;
use super::routes::{ROUTES, Route};

const REQUESTS: &str = "decisiongraph_admin_requests_total";
const SECONDS: &str = "decisiongraph_admin_request_duration_seconds";

/// The route of what has none.
const UNMATCHED: &str = "unmatched";
const OK: &str = "ok";
/// The outcome of a request that nobody waited for.
const UNANSWERED: &str = "unanswered";

/// Says what they mean, and makes those appear at 0 that an alert looks at. The rest begins with its
/// first request: nobody is called for a refusal.
pub(crate) fn describe() {
    describe_counter!(
        REQUESTS,
        "Requests of the admin socket by route and outcome: ok, the stable code of the error, \
         forbidden, or unanswered for a client that went away before its answer. A stream counts as \
         what its head says. The route unmatched is every path that there is not, and what is not \
         HTTP."
    );
    describe_histogram!(
        SECONDS,
        "Seconds from the head of a request to the head of its answer: with the time for the \
         request's body and for what it asked to wait for (wait_ms), without that of a streamed \
         answer (watch, lists of events)."
    );
    for route in ROUTES {
        for code in [OK, Code::Storage.as_str(), Code::Internal.as_str()] {
            requests(route.name, code).increment(0);
        }
        let _ = seconds(route.name);
    }
}

fn requests(route: &'static str, code: &'static str) -> Counter {
    counter!(REQUESTS, "route" => route, "code" => code)
}

fn seconds(route: &'static str) -> Histogram {
    histogram!(SECONDS, "route" => route)
}

/// Something came that is not HTTP, or more of it than may come.
pub(super) fn count_malformed() {
    requests(UNMATCHED, Code::InvalidArgument.as_str()).increment(1);
}

/// A request under way; counted when it goes.
#[derive(Debug)]
pub(super) struct Measured {
    route: &'static str,
    began: Instant,
    code: &'static str,
}

impl Measured {
    /// A request of this route, if of any.
    pub(super) fn new(route: Option<&Route>) -> Measured {
        let route = route.map_or(UNMATCHED, |route| route.name);
        Measured { route, began: Instant::now(), code: UNANSWERED }
    }

    /// Takes down how it ended.
    pub(super) fn ended(&mut self, outcome: &Handled) {
        self.code = outcome.as_ref().map_or_else(Refusal::code, |_| OK);
    }
}

impl Drop for Measured {
    fn drop(&mut self) {
        seconds(self.route).record(self.began.elapsed().as_secs_f64());
        requests(self.route, self.code).increment(1);
    }
}
