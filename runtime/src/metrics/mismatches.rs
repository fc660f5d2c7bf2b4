//! Whose projection was found not to be what the log says, when, and by what: enough for an alert to
//! name the tenant. A time needs no first value to rise from, unlike a counter, so that the first
//! mismatch is seen as well as the second, also by a Prometheus that looks for the first time.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};

use dg_projections::projection::Projection;
use time::OffsetDateTime;

use super::page::Page;
use super::tenants;

/// What found the mismatch.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum FoundBy {
    /// A worker at the end of the log: the events that it has applied are not as many as there are.
    Count,
    /// A rebuild, or the trial of one: the rows that are served are not those that the log gives.
    Comparison,
}

impl FoundBy {
    const fn as_str(self) -> &'static str {
        match self {
            FoundBy::Count => "count",
            FoundBy::Comparison => "comparison",
        }
    }
}

/// Tenant, projection, and what found it.
type Series = (String, Projection, FoundBy);

/// One a process, as the recorder.
static FOUND: Mutex<BTreeMap<Series, OffsetDateTime>> = Mutex::new(BTreeMap::new());

/// A mismatch was found now.
pub(crate) fn note(tenant: &str, projection: Projection, by: FoundBy) {
    let label = tenants::label_of_mismatch(tenant);
    let now = OffsetDateTime::now_utc();
    let mut found = FOUND.lock().unwrap_or_else(PoisonError::into_inner);
    found.insert((label, projection, by), now);
}

pub(super) fn write(page: &mut Page) {
    let mut family = page.gauge(
        "decisiongraph_projection_mismatch_timestamp_seconds",
        "When a projection of a tenant was last found not to be what the log says, as Unix time in seconds; \
         found_by is count (of events, by its worker) or comparison (of rows, by a rebuild or a dry \
         run). Since this process started.",
    );
    let found = FOUND.lock().unwrap_or_else(PoisonError::into_inner);
    for ((tenant, projection, by), at) in &*found {
        let labels =
            [("tenant", &**tenant), ("projection", projection.as_str()), ("found_by", by.as_str())];
        family.add(&labels, at.unix_timestamp_nanos() as f64 / 1e9);
    }
}
