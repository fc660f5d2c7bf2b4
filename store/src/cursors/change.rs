//! Opening a cursor, and the changes that may have to be made before: cursors that are not there yet,
//! and another number of them.
//!
//! Changes are made with the pointer and all cursors locked, in this order. A commit locks its own
//! cursor alone, so the two wait for each other and never deadlock.

use deadpool_postgres::Transaction;
use dg_projections::projection::Projection;
use tokio_postgres::types::ToSql;

use super::{Cursor, STANDING, Share, Standing};
use crate::database::writing;
use crate::failpoint::{self, Point};
use crate::pointer::lock_pointer;
use crate::{Store, StoreError};

/// What must happen to the cursors before they can be used.
enum Change {
    /// So many partitions, and not all have a cursor.
    Fill(i32),
    Announce(i32),
    Make,
}

impl Standing {
    fn change(&self, wanted: Share, claim: bool) -> Option<Change> {
        let partitions = self.partitions();
        match self.respread {
            _ if self.found < self.places.len() => Some(Change::Fill(partitions)),
            Some((at, _)) => (self.common() == Some(at)).then_some(Change::Make),
            None if claim && partitions != wanted.partitions => {
                Some(Change::Announce(wanted.partitions))
            }
            None => None,
        }
    }

    /// Makes the change that was announced, if one was: all cursors stand at one place, and nobody
    /// moves them until the transaction ends.
    pub(crate) async fn make(
        &self,
        transaction: &Transaction<'_>,
        tenant: &str,
        name: &str,
    ) -> Result<(), StoreError> {
        let Some((_, to)) = self.respread else { return Ok(()) };
        let (generation, place, applied) = (self.generation, self.least(), self.applied_events());
        transaction.execute(REMOVE, &[&tenant, &name, &generation]).await?;
        let begin: [&(dyn ToSql + Sync); 6] = [&tenant, &name, &generation, &to, &place, &applied];
        transaction.execute(BEGIN_AT, &begin).await?;
        Ok(())
    }
}

impl Store {
    /// The cursor that the holder of a share goes on from. Where nothing was projected yet, there
    /// are as many partitions as it wants; where there are others, `claim` asks for a change.
    ///
    /// # Errors
    /// When the database cannot be asked.
    pub async fn open_cursor(
        &self,
        tenant: &str,
        projection: Projection,
        wanted: Share,
        claim: bool,
    ) -> Result<Cursor, StoreError> {
        let mut client = self.client().await?;
        let name = projection.as_str();
        let statement = client.prepare_cached(STANDING).await?;
        if let Some(standing) = Standing::of(&client.query(&statement, &[&tenant, &name]).await?)?
            && standing.change(wanted, claim).is_none()
        {
            return Ok(standing.cursor(wanted));
        }
        let transaction = writing(&mut client).await?;
        let cursors = Locked::take(&transaction, tenant, name).await?;
        let standing = cursors.settle(wanted, claim).await?;
        failpoint::pass_on(&*transaction, Point::CursorsBefore, tenant).await?;
        transaction.commit().await?;
        failpoint::pass(Point::CursorsAfter, tenant).await?;
        Ok(standing.cursor(wanted))
    }
}

impl Store {
    /// The cursors of all partitions that readers see, by partition: for whoever does the work of all
    /// their workers. A change that is due is made.
    ///
    /// # Errors
    /// When the database cannot be asked.
    pub async fn live_cursors(
        &self,
        tenant: &str,
        projection: Projection,
    ) -> Result<Vec<Cursor>, StoreError> {
        let mut client = self.client().await?;
        let transaction = writing(&mut client).await?;
        let cursors = Locked::take(&transaction, tenant, projection.as_str()).await?;
        let standing = cursors.settle(Share::WHOLE, false).await?;
        failpoint::pass_on(&*transaction, Point::CursorsBefore, tenant).await?;
        transaction.commit().await?;
        failpoint::pass(Point::CursorsAfter, tenant).await?;
        Ok(standing.cursors())
    }
}

const FILL: &str = "INSERT INTO dg_projection_cursors
        (tenant_id, projection_name, generation, partition, partitions)
    SELECT $1::text, $2::text, $3::integer, partition, $4::integer
    FROM generate_series(0, $4 - 1) AS partition
    ON CONFLICT DO NOTHING";

const ANNOUNCE: &str = "UPDATE dg_projection_cursors SET respread_at = $4, respread_to = $5
    WHERE tenant_id = $1 AND projection_name = $2 AND generation = $3";

const REMOVE: &str = "DELETE FROM dg_projection_cursors
    WHERE tenant_id = $1 AND projection_name = $2 AND generation = $3";

// Which partition applied what is no longer known; the sum is what counts.
const BEGIN_AT: &str = "INSERT INTO dg_projection_cursors (tenant_id, projection_name, generation,
        partition, partitions, last_log_seq, applied_events)
    SELECT $1::text, $2::text, $3::integer, partition, $4::integer, $5::bigint,
        CASE partition WHEN 0 THEN $6::bigint ELSE 0 END
    FROM generate_series(0, $4 - 1) AS partition";

/// A failure is written down for a partition. Whichever meets the same event under the new number
/// writes it down anew.
const FORGET_FAILURES: &str = "UPDATE dg_projection_failures
    SET status = 'resolved', resolved_at = now()
    WHERE tenant_id = $1 AND projection_name = $2 AND status = 'open'";

/// The cursors of a projection while nobody else moves them: first the pointer, which says what the
/// active ones are, then each of them.
struct Locked<'a> {
    transaction: &'a Transaction<'a>,
    tenant: &'a str,
    name: &'a str,
    generation: i32,
}

impl<'a> Locked<'a> {
    async fn take(
        transaction: &'a Transaction<'a>,
        tenant: &'a str,
        name: &'a str,
    ) -> Result<Locked<'a>, StoreError> {
        let generation = lock_pointer(transaction, tenant, name).await?;
        Ok(Locked { transaction, tenant, name, generation })
    }

    /// Makes every change that is due; each leads to another at most twice.
    async fn settle(&self, wanted: Share, claim: bool) -> Result<Standing, StoreError> {
        let lock = format!("{STANDING} FOR UPDATE OF c");
        loop {
            let rows = self.transaction.query(&lock, &[&self.tenant, &self.name]).await?;
            let standing = Standing::of(&rows)?;
            let change = match &standing {
                None => Some(Change::Fill(wanted.partitions)),
                Some(standing) => standing.change(wanted, claim),
            };
            match (change, standing) {
                (Some(change), standing) => self.apply(change, standing.as_ref()).await?,
                (None, Some(standing)) => return Ok(standing),
                (None, None) => return Err(StoreError::internal("cursors that are not there")),
            }
        }
    }

    async fn apply(&self, change: Change, standing: Option<&Standing>) -> Result<(), StoreError> {
        let (tenant, name, generation) = (&self.tenant, &self.name, &self.generation);
        let foremost = standing.map_or(0, Standing::foremost);
        match change {
            Change::Fill(to) => {
                self.transaction.execute(FILL, &[tenant, name, generation, &to]).await?;
            }
            Change::Announce(to) => {
                let place: [&(dyn ToSql + Sync); 5] = [tenant, name, generation, &foremost, &to];
                self.transaction.execute(ANNOUNCE, &place).await?;
            }
            Change::Make => {
                if let Some(standing) = standing {
                    standing.make(self.transaction, self.tenant, self.name).await?;
                }
                self.transaction.execute(FORGET_FAILURES, &[tenant, name]).await?;
            }
        }
        Ok(())
    }
}
