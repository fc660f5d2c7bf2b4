//! What live views show.

use dg_projections::json::Json;
use dg_store::Lag;

use super::{instant, list, number, object, optional_number, seconds, text};
use crate::history::Sample;

/// Samples of the last minutes, the oldest first.
pub(crate) fn history(samples: &[Sample]) -> Json {
    list(samples, |sample| {
        object([
            ("at", instant(Some(sample.at))),
            ("appended_per_second", seconds(sample.appended_per_second)),
            ("applied_per_second", seconds(sample.applied_per_second)),
            ("run_events_per_second", seconds(sample.run_events_per_second)),
            ("visible_seconds", seconds(sample.visible_after.as_secs_f64())),
            ("database", text(if sample.is_database_up { "up" } else { "down" })),
        ])
    })
}

/// How far tenants are, the others together last, without a name.
pub(crate) fn lags(lags: &[Lag]) -> Json {
    list(lags, |lag| {
        object([
            ("tenant_id", Json::from(lag.tenant_id.clone())),
            ("projection_name", text(&lag.projection_name)),
            ("pending_events", number(lag.pending_events)),
            ("lag_seconds", seconds(lag.lag_seconds)),
            ("last_log_seq", optional_number(lag.last_log_seq)),
            ("open_failures", number(lag.open_failures)),
        ])
    })
}
