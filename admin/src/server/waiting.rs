//! Reads of projections that would rather wait than be refused: read your own writes.

use std::future::Future;
use std::time::{Duration, Instant};

use dg_projections::Code;
use dg_projections::projection::Projection;
use dg_store::Store;

use super::asked::Asked;
use super::respond::Refusal;

/// The parameter that says how long, in milliseconds.
pub(crate) const WAIT: &str = "wait_ms";
/// The longest wait; well below what the client itself waits for an answer.
pub(crate) const MAX_WAIT: Duration = Duration::from_secs(60);

impl Asked<'_> {
    /// Reads from projections. Where they are behind the log and the request has time, it waits for
    /// the end that the log has now and reads what stands there: others may write on meanwhile.
    pub(crate) async fn projected<T, W, F>(
        &self,
        projections: &[Projection],
        read: W,
    ) -> Result<T, Refusal>
    where
        W: Fn(Store) -> F,
        F: Future<Output = Result<T, dg_store::StoreError>>,
    {
        let wait = self.query.bounded(WAIT, 0, 0, MAX_WAIT.as_millis() as i64)?;
        let deadline = Instant::now() + Duration::from_millis(wait.unsigned_abs());
        let runtime = self.runtime()?;
        match runtime.gate().run(&read).await {
            Err(error) if error.code == Code::ProjectionOutOfDate && wait > 0 => {
                let end = runtime.until_visible(&self.tenant, projections, deadline).await?;
                Ok(runtime.gate().run(|store| read(store.as_of(end))).await?)
            }
            outcome => Ok(outcome?),
        }
    }
}
