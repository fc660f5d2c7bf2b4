//! The pointers: which generation of each projection is served. Whoever changes what a projection
//! stands on, or admits who will, locks them first, several in the order of their names.

use deadpool_postgres::Transaction;
use dg_projections::projection::Projection;

use crate::StoreError;

const ENSURE: &str = "INSERT INTO dg_projections (tenant_id, projection_name)
    SELECT $1, name FROM unnest($2::text[]) AS name ORDER BY name ON CONFLICT DO NOTHING";

const LOCK: &str = "SELECT active_generation FROM dg_projections
    WHERE tenant_id = $1 AND projection_name = ANY ($2) ORDER BY projection_name FOR UPDATE";

/// The pointer of a projection, which is made if it is not there, locked until the transaction ends:
/// the active generation.
pub(crate) async fn lock_pointer(
    transaction: &Transaction<'_>,
    tenant: &str,
    name: &str,
) -> Result<i32, StoreError> {
    let names = [name].to_vec();
    transaction.execute(ENSURE, &[&tenant, &names]).await?;
    Ok(transaction.query_one(LOCK, &[&tenant, &names]).await?.try_get(0)?)
}

/// Those of all projections of a tenant.
pub(crate) async fn lock_pointers(
    transaction: &Transaction<'_>,
    tenant: &str,
) -> Result<(), StoreError> {
    let names = Projection::ALL.map(Projection::as_str).to_vec();
    transaction.execute(ENSURE, &[&tenant, &names]).await?;
    transaction.query(LOCK, &[&tenant, &names]).await?;
    Ok(())
}
