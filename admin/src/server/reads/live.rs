//! What live views show: the last minutes of this daemon, and who lags most.

use crate::history::MOST_SAMPLES;
use crate::server::asked::{Asked, Handled};
use crate::wire;

/// Samples that are told unless asked otherwise: two minutes.
const SAMPLES: i64 = 120;
/// Tenants that are told one by one unless asked otherwise, and at most.
const TENANTS: i64 = 50;
const MOST_TENANTS: i64 = 1000;

pub(crate) async fn history(asked: Asked<'_>) -> Handled {
    let limit = asked.query.bounded("limit", SAMPLES, 1, MOST_SAMPLES as i64)?;
    Ok(wire::history(&asked.context.history.last(limit as usize)).into())
}

pub(crate) async fn lag(asked: Asked<'_>) -> Handled {
    let limit = asked.query.bounded("limit", TENANTS, 0, MOST_TENANTS)?;
    Ok(wire::lags(&asked.runtime()?.lags(limit as usize).await?).into())
}
