//! Which tenants have a label of their own in metrics: at most `metrics_max_tenants`, so that the
//! number of series is bounded; all others share [`OTHER`]. Two rules, since two kinds of metrics:
//!
//! - **gauges** (lag, cursor, open failures) are asked of the database at each scrape: the most
//!   lagging tenants, by name where they lag alike, have labels; of the others the sum is shown, of
//!   lag in seconds the greatest, and no cursor. A tenant that leaves has no series any more.
//! - **counters** must never go back, so a label is kept: the first tenants that this process applied
//!   events of have one for as long as it runs, whatever their lag. Every event is counted once,
//!   under the same label each time, so that sums over tenants are right at any time.
//!
//! Mismatches have labels of their own, as many: a tenant in trouble is named however many others were
//! at work before it.
//!
//! A tenant that is called as the others are together never has a label of its own.

use std::collections::HashSet;
use std::sync::{Mutex, PoisonError};

/// The label of all tenants without one.
pub const OTHER: &str = "_other";

#[derive(Debug)]
struct Labels {
    most: usize,
    given: Option<HashSet<String>>,
}

/// One a process, as the recorder.
static APPLIED: Mutex<Labels> = Mutex::new(Labels { most: 0, given: None });
static MISMATCHED: Mutex<Labels> = Mutex::new(Labels { most: 0, given: None });

/// How many tenants have labels that are kept; until this is said, none has.
pub fn set_most(most: usize) {
    for labels in [&APPLIED, &MISMATCHED] {
        labels.lock().unwrap_or_else(PoisonError::into_inner).most = most;
    }
}

/// The label of a tenant in counters.
pub(super) fn label(tenant: &str) -> String {
    APPLIED.lock().unwrap_or_else(PoisonError::into_inner).of(tenant).to_owned()
}

/// The label of a tenant that has a mismatch.
pub(super) fn label_of_mismatch(tenant: &str) -> String {
    MISMATCHED.lock().unwrap_or_else(PoisonError::into_inner).of(tenant).to_owned()
}

impl Labels {
    fn of<'a>(&mut self, tenant: &'a str) -> &'a str {
        let given = self.given.get_or_insert_default();
        if given.contains(tenant) {
            return tenant;
        }
        if tenant == OTHER || given.len() >= self.most {
            return OTHER;
        }
        given.insert(tenant.to_owned());
        tenant
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_tenants_keep_their_labels_and_the_rest_share_one() {
        let mut labels = Labels { most: 2, given: None };
        let given = ["a", OTHER, "b", "c", "a", "c", "b"].map(|tenant| labels.of(tenant));
        assert_eq!(given, ["a", OTHER, "b", OTHER, "a", OTHER, "b"]);
        assert_eq!(Labels { most: 0, given: None }.of("a"), OTHER);
    }
}
