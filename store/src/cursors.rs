//! Cursors: how far each partition of a projection is, and how many partitions there are.
//!
//! A trace belongs to one partition, whole, by a hash that never changes. How many there are is a
//! fact of the cursors and not of a setting, since what a cursor has passed depends on it:
//! - the cursors of one generation carry the same number, and there are so many of them;
//! - a commit names the number that its page was read under: under another it writes nothing;
//! - the number changes only where all cursors stand at one place. A change is announced on them,
//!   with the place of the foremost: none passes it, those behind come up, and whoever finds all of
//!   them there makes the change, also when the one who announced it is gone. A generation that is
//!   built has it announced [`BEYOND`] any log: the switch makes it.

mod change;

use deadpool_postgres::Transaction;
use dg_projections::hash::Hash;
use dg_projections::projection::Projection;
use tokio_postgres::Row;

use crate::StoreError;

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

    /// Which of so many partitions the events of a trace are of, from 0: what the statements say as well.
    pub fn partition_of(trace_id: &str, partitions: i32) -> i32 {
        i32::from(Hash::of(trace_id.as_bytes()).0[0]) % partitions
    }
}

/// The hash of a trace, 0 to 255. SHA-256, since its values can never change with a release, a
/// platform or a build of Postgres; `hashtext` promises nothing and `md5` may be forbidden.
pub(crate) const TRACE_HASH: &str = "get_byte(sha256(convert_to(trace_id, 'UTF8')), 0)";

/// A change that is announced here binds nobody: it is made by whoever finds the cursors at one place
/// for another reason.
pub(crate) const BEYOND: i64 = i64::MAX;

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

const STANDING: &str = "SELECT c.generation, c.partition, c.partitions, c.last_log_seq,
        c.applied_events, c.respread_at, c.respread_to
    FROM dg_projections AS p
    JOIN dg_projection_cursors AS c ON c.tenant_id = p.tenant_id
        AND c.projection_name = p.projection_name AND c.generation = p.active_generation
    WHERE p.tenant_id = $1 AND p.projection_name = $2 ORDER BY c.partition";

const OF_GENERATION: &str = "SELECT generation, partition, partitions, last_log_seq,
        applied_events, respread_at, respread_to
    FROM dg_projection_cursors
    WHERE tenant_id = $1 AND projection_name = $2 AND generation = $3 AND NOT retired
    ORDER BY partition";

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

    /// The cursors of a generation that is not retired, the active one or another.
    pub(crate) async fn of_generation(
        transaction: &Transaction<'_>,
        tenant: &str,
        projection: Projection,
        generation: i32,
    ) -> Result<Option<Standing>, StoreError> {
        let statement = transaction.prepare_cached(OF_GENERATION).await?;
        let name = projection.as_str();
        Standing::of(&transaction.query(&statement, &[&tenant, &name, &generation]).await?)
    }

    /// The same, and nobody moves them until the transaction ends.
    pub(crate) async fn locked(
        transaction: &Transaction<'_>,
        tenant: &str,
        projection: Projection,
        generation: i32,
    ) -> Result<Option<Standing>, StoreError> {
        let sql = format!("{OF_GENERATION} FOR UPDATE");
        let name = projection.as_str();
        Standing::of(&transaction.query(&sql, &[&tenant, &name, &generation]).await?)
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

    /// A cursor for each partition, for whoever works on all of them.
    pub(crate) fn cursors(&self) -> Vec<Cursor> {
        let partitions = self.partitions();
        let cursor = |(partition, place): (i32, &i64)| Cursor {
            generation: self.generation,
            last_log_seq: *place,
            applied_events: self.applied[partition as usize],
            share: Share { partition, partitions },
            until: self.respread.map(|(at, _)| at).filter(|at| *at < BEYOND),
            lent: false,
        };
        (0..).zip(&self.places).map(cursor).collect()
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
