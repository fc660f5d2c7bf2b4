//! Pages of partitions that stand at one place: the log is read once for all of them, and divided. Each
//! commits its own part at once with the others, while the next page is read.

use std::panic::resume_unwind;

use dg_store::{Cursor, Page, Share, StoreError};
use futures_util::future::join_all;
use tokio::sync::OwnedSemaphorePermit;

use super::{Applier, Outcome, Work, unread};
use crate::worker::WorkerKey;

/// A page by partition, projected while the pages before it were committed.
#[derive(Debug)]
pub(crate) struct Parts {
    works: Vec<Work>,
    /// Among those that may wait in memory.
    _place: OwnedSemaphorePermit,
}

/// Whether these are the cursors of all partitions, in order, at one place.
pub(crate) fn stand_together(cursors: &[Cursor]) -> bool {
    let partitions = cursors.len() as i32; // 64 at most
    let place = |cursor: &Cursor| (cursor.last_log_seq, cursor.until);
    let is_one_of_all = |(partition, cursor): (i32, &Cursor)| {
        cursor.share == Share { partition, partitions } && place(cursor) == place(&cursors[0])
    };
    partitions > 1 && (0..).zip(cursors).all(is_one_of_all)
}

impl Applier<'_> {
    /// Applies the page after cursors that [`stand_together`], to each its part: `limit` events of all
    /// together at most. What became of each, and what comes next if that is one page again.
    pub(crate) async fn apply_together(
        &self,
        from: &[Cursor],
        limit: i64,
        ahead: Option<Parts>,
    ) -> (Vec<Outcome>, Option<Parts>) {
        let is_next = |parts: &Parts| parts.works.iter().map(|work| &work.from).eq(from);
        let mut works = match ahead.filter(is_next) {
            Some(parts) => parts.works,
            None => match self.prepare_parts(from, limit).await {
                Ok(works) => works,
                Err(error) => return (from.iter().map(|_| unread(&error, limit)).collect(), None),
            },
        };
        let to: Vec<Cursor> = works.iter().map(|work| work.to).collect();
        let goes_on = works.iter().all(Work::goes_on) && stand_together(&to);
        let commits = works.iter_mut().map(|work| async move {
            let key = WorkerKey { partition: work.from.share.partition, ..self.key.clone() };
            Applier { key: &key, ..*self }.commit(work).await
        });
        // Whoever reads asks for a turn first: it takes less time than a commit.
        let (next, outcomes) =
            tokio::join!(self.read_parts_ahead(&to, limit, goes_on), join_all(commits));
        let are_in = outcomes.iter().all(|outcome| matches!(outcome, Outcome::Applied { .. }));
        let next = next.filter(|_| are_in).map(|(next, place)| {
            let works = next.into_iter().zip(works);
            Parts { works: works.map(|(next, work)| next.after(work)).collect(), _place: place }
        });
        (outcomes, next)
    }

    async fn read_parts_ahead(
        &self,
        from: &[Cursor],
        limit: i64,
        goes_on: bool,
    ) -> Option<(Vec<Work>, OwnedSemaphorePermit)> {
        let place = self.gate.place_ahead().filter(|_| goes_on)?;
        let works = self.prepare_parts(from, limit).await.ok()?;
        Some((works, place))
    }

    async fn prepare_parts(&self, from: &[Cursor], limit: i64) -> Result<Vec<Work>, StoreError> {
        let (page, batch) = self.read(Cursor { share: Share::WHOLE, ..from[0] }, limit).await?;
        let project = |(page, from): (Page, &Cursor)| {
            let (key, from, batch) = (self.key.clone(), *from, batch.clone());
            tokio::spawn(async move { Work::new(&key, from, page, batch) })
        };
        // Each by a task of its own, so that they are projected at once; all are begun before one is awaited.
        let parts: Vec<_> =
            page.divide(from.len() as i32).into_iter().zip(from).map(project).collect();
        let mut works = Vec::with_capacity(parts.len());
        for part in parts {
            works.push(part.await.map_err(|crash| match crash.try_into_panic() {
                Ok(panic) => resume_unwind(panic),
                Err(ending) => StoreError::internal(format!("not projected: {ending}")),
            })?);
        }
        Ok(works)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_partitions_at_one_place_stand_together_and_no_others() {
        let at = |partition, partitions, last_log_seq| Cursor {
            share: Share { partition, partitions },
            ..Cursor::whole(1, last_log_seq, 0)
        };
        let bound = Cursor { until: Some(9), ..at(1, 2, 7) };
        for (cursors, expected) in [
            (vec![], false),
            (vec![at(0, 1, 7)], false),
            (vec![at(0, 2, 7), at(1, 2, 7)], true),
            (vec![at(0, 2, 7), at(1, 2, 8)], false),
            (vec![at(0, 2, 7), bound], false),
            (vec![at(1, 2, 7), at(0, 2, 7)], false),
            (vec![at(0, 3, 7), at(1, 3, 7)], false),
            (vec![at(0, 3, 7), at(1, 3, 7), at(2, 3, 7)], true),
        ] {
            assert_eq!(stand_together(&cursors), expected, "{cursors:?}");
        }
    }
}
