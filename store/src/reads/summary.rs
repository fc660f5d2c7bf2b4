//! One trace at a glance.

use dg_projections::Code;
use dg_projections::projection::Projection;
use dg_projections::rows::SummaryRow;

use super::current_generation;
use crate::database::snapshot;
use crate::rows::StoredRow;
use crate::{Store, StoreError};

impl Store {
    /// The summary of a trace.
    ///
    /// # Errors
    /// `projection_out_of_date` behind the log, `not_found` for an unknown trace.
    pub async fn trace_summary(
        &self,
        tenant: &str,
        trace_id: &str,
    ) -> Result<SummaryRow, StoreError> {
        let mut client = self.client().await?;
        let transaction = snapshot(&mut client, false).await?;
        let generation =
            current_generation(&transaction, tenant, Projection::TraceSummary, self.enough).await?;
        let sql = format!(
            "SELECT {} FROM dg_trace_summary WHERE tenant_id = $1 AND generation = $2 AND trace_id = $3",
            SummaryRow::COLUMNS
        );
        let statement = transaction.prepare_cached(&sql).await?;
        match transaction.query_opt(&statement, &[&tenant, &generation, &trace_id]).await? {
            Some(row) => SummaryRow::decode(&row),
            None => {
                let message = format!("trace '{trace_id}' is not known to tenant '{tenant}'");
                Err(StoreError::new(Code::NotFound, message))
            }
        }
    }
}
