//! Cursors: how far each partition of a projection is, and how many partitions there are.
//!
//! A trace belongs to one partition, whole, by a hash that never changes. How many there are is a
//! fact of the cursors and not of a setting, since what a cursor has passed depends on it:
//! - the cursors of one generation carry the same number, and there are so many of them;
//! - a commit names the number that its page was read under: under another it writes nothing;
//! - the number changes only where all cursors stand at one place. A change is announced on them,
//!   with the place of the foremost: none passes it, those behind come up, and whoever finds all of
//!   them there makes the change, also when the one who announced it is gone.

use deadpool_postgres::Transaction;
use dg_projections::projection::Projection;
use tokio_postgres::Row;
use tokio_postgres::types::ToSql;

use crate::database::writing;
use crate::{Store, StoreError};

/// Which traces of a tenant: those whose hash leaves `partition` when divided by `partitions`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Share {
    /// Which partition, from 0.
    pub partition: i32,
    /// Of how many.
    pub partitions: i32,
}

impl Share {
    /// All traces.
    pub const WHOLE: Share = Share { partition: 0, partitions: 1 };
}

/// The hash of a trace, 0 to 255. SHA-256, since its values can never change with a release, a
/// platform or a build of Postgres; `hashtext` promises nothing and `md5` may be forbidden.
pub(crate) const TRACE_HASH: &str = "get_byte(sha256(convert_to(trace_id, 'UTF8')), 0)";

/// Where a partition of a projection is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Cursor {
    /// The generation that readers see.
    pub generation: i32,
    /// How far the log was looked through: every event of the share up to here is applied.
    pub last_log_seq: i64,
    /// How many events were applied.
    pub applied_events: i64,
    /// Whose events it counts.
    pub share: Share,
    /// It must not pass this.
    pub until: Option<i64>,
    /// Whether this is not the holder's own for good: ask again after each page.
    pub lent: bool,
}

impl Cursor {
    /// A cursor of a projection that is not spread.
    pub const fn whole(generation: i32, last_log_seq: i64, applied_events: i64) -> Cursor {
        let share = Share::WHOLE;
        Cursor { generation, last_log_seq, applied_events, share, until: None, lent: false }
    }
}

/// The cursors of a projection's active generation.
#[derive(Debug, Clone)]
pub(crate) struct Standing {
    pub(crate) generation: i32,
    /// `last_log_seq` by partition; 0 for one that is missing.
    pub(crate) places: Vec<i64>,
    applied: Vec<i64>,
    found: usize,
    /// A change that was announced: where, and to how many.
    respread: Option<(i64, i32)>,
}

/// What must happen to the cursors before they can be used.
enum Change {
    /// So many partitions, and not all have a cursor.
    Fill(i32),
    Announce(i32),
    Make(i32),
}

const STANDING: &str = "SELECT c.generation, c.partition, c.partitions, c.last_log_seq,
        c.applied_events, c.respread_at, c.respread_to
    FROM dg_projections AS p
    JOIN dg_projection_cursors AS c ON c.tenant_id = p.tenant_id
        AND c.projection_name = p.projection_name AND c.generation = p.active_generation
    WHERE p.tenant_id = $1 AND p.projection_name = $2 ORDER BY c.partition";

impl Standing {
    /// None where nothing was ever projected.
    pub(crate) async fn read(
        transaction: &Transaction<'_>,
        tenant: &str,
        projection: Projection,
    ) -> Result<Option<Standing>, StoreError> {
        let statement = transaction.prepare_cached(STANDING).await?;
        Standing::of(&transaction.query(&statement, &[&tenant, &projection.as_str()]).await?)
    }

    /// Of a projection without cursors: one partition, at the start.
    pub(crate) fn start(generation: i32) -> Standing {
        Standing { generation, places: vec![0], applied: vec![0], found: 0, respread: None }
    }

    fn of(rows: &[Row]) -> Result<Option<Standing>, StoreError> {
        let Some(first) = rows.first() else { return Ok(None) };
        let partitions: i32 = first.try_get(2)?;
        let slots = usize::try_from(partitions).unwrap_or(0);
        let mut standing = Standing {
            generation: first.try_get(0)?,
            places: vec![0; slots],
            applied: vec![0; slots],
            found: rows.len(),
            respread: first.try_get::<_, Option<i64>>(5)?.zip(first.try_get(6)?),
        };
        for row in rows {
            let at = usize::try_from(row.try_get::<_, i32>(1)?).unwrap_or(usize::MAX);
            if let (Some(place), Some(applied)) =
                (standing.places.get_mut(at), standing.applied.get_mut(at))
            {
                (*place, *applied) = (row.try_get(3)?, row.try_get(4)?);
            }
        }
        Ok(Some(standing))
    }

    /// What readers see of the projection.
    pub(crate) fn least(&self) -> i64 {
        self.places.iter().copied().min().unwrap_or(0)
    }

    pub(crate) fn foremost(&self) -> i64 {
        self.places.iter().copied().max().unwrap_or(0)
    }

    pub(crate) fn applied_events(&self) -> i64 {
        self.applied.iter().sum()
    }

    /// Where all partitions stand, if at one place: only then do the rows stand for a cursor.
    pub(crate) fn common(&self) -> Option<i64> {
        Some(self.least()).filter(|least| *least == self.foremost())
    }

    fn partitions(&self) -> i32 {
        self.places.len() as i32
    }

    fn change(&self, wanted: Share, claim: bool) -> Option<Change> {
        let partitions = self.partitions();
        match self.respread {
            _ if self.found < self.places.len() => Some(Change::Fill(partitions)),
            Some((at, to)) => (self.common() == Some(at)).then_some(Change::Make(to)),
            None if claim && partitions != wanted.partitions => {
                Some(Change::Announce(wanted.partitions))
            }
            None => None,
        }
    }

    /// What the holder of a share works on: its own partition where the number is the one it knows,
    /// else the hindmost of those that fall to it, and nothing where there are too few.
    fn cursor(&self, wanted: Share) -> Cursor {
        let partitions = self.partitions();
        let place = |partition: &i32| self.places[*partition as usize];
        let fall_to_it = (0..partitions).filter(|one| one % wanted.partitions == wanted.partition);
        let (partition, until) = match fall_to_it.min_by_key(place) {
            Some(partition) => (partition, self.respread.map(|(at, _)| at)),
            None => {
                let spare = wanted.partition % partitions;
                (spare, Some(place(&spare)))
            }
        };
        Cursor {
            generation: self.generation,
            last_log_seq: place(&partition),
            applied_events: self.applied[partition as usize],
            share: Share { partition, partitions },
            until,
            lent: partitions != wanted.partitions || until.is_some(),
        }
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
        transaction.commit().await?;
        Ok(standing.cursor(wanted))
    }
}

const ENSURE_POINTER: &str = "INSERT INTO dg_projections (tenant_id, projection_name)
    VALUES ($1, $2) ON CONFLICT DO NOTHING";

const LOCK_POINTER: &str = "SELECT active_generation FROM dg_projections
    WHERE tenant_id = $1 AND projection_name = $2 FOR UPDATE";

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
        transaction.execute(ENSURE_POINTER, &[&tenant, &name]).await?;
        let generation =
            transaction.query_one(LOCK_POINTER, &[&tenant, &name]).await?.try_get(0)?;
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
        let (foremost, applied) =
            standing.map_or((0, 0), |standing| (standing.foremost(), standing.applied_events()));
        match change {
            Change::Fill(to) => {
                self.transaction.execute(FILL, &[tenant, name, generation, &to]).await?;
            }
            Change::Announce(to) => {
                let place: [&(dyn ToSql + Sync); 5] = [tenant, name, generation, &foremost, &to];
                self.transaction.execute(ANNOUNCE, &place).await?;
            }
            Change::Make(to) => {
                self.transaction.execute(REMOVE, &[tenant, name, generation]).await?;
                let begin: [&(dyn ToSql + Sync); 6] =
                    [tenant, name, generation, &to, &foremost, &applied];
                self.transaction.execute(BEGIN_AT, &begin).await?;
                self.transaction.execute(FORGET_FAILURES, &[tenant, name]).await?;
            }
        }
        Ok(())
    }
}
