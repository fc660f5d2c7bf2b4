//! Waiting for one's own writes: until projections have reached the end that the log has now.
//!
//! The database is asked, not a worker: any daemon may apply the events. No connection is held
//! between two looks.

use std::time::{Duration, Instant};

use dg_projections::projection::Projection;
use dg_store::StoreError;

use crate::Runtime;

/// Between two looks: at first about what a batch takes, then what many who wait may cost.
const LOOK_FIRST: Duration = Duration::from_millis(5);
const LOOK_LAST: Duration = Duration::from_millis(100);

impl Runtime {
    /// Waits until the projections have reached the end that the tenant's log has now, or until the
    /// deadline; that end. Whether they did is for the read to find out, in its own snapshot.
    ///
    /// # Errors
    /// `storage` when the database cannot be asked.
    pub async fn until_visible(
        &self,
        tenant: &str,
        projections: &[Projection],
        deadline: Instant,
    ) -> Result<i64, StoreError> {
        // Events written elsewhere are otherwise found at the directory's next look.
        self.wake(tenant);
        let mut end = None;
        for projection in projections {
            let look =
                || self.gate().run(|store| async move { store.place(tenant, *projection).await });
            let first = look().await?;
            let end = *end.get_or_insert(first.log_end);
            let (mut cursor, mut pause) = (first.cursor, LOOK_FIRST);
            while cursor < end {
                let left = deadline.saturating_duration_since(Instant::now());
                if left.is_zero() {
                    break;
                }
                tokio::time::sleep(pause.min(left)).await;
                pause = (pause * 2).min(LOOK_LAST);
                cursor = look().await?.cursor;
            }
        }
        Ok(end.unwrap_or(0))
    }
}
