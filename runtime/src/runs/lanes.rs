//! The pages of a run: a lane for each partition of what it works on, how far they are, and how far
//! they may go. A replay has those of the live workers; a rebuild has its own, until the switch.

use std::time::Duration;

use dg_projections::projection::Projection;
use dg_store::failpoint::{self, Point};
use dg_store::{Cursor, RunMode, StoreError};
use futures_util::future::join_all;

use super::state::Input;
use super::work::Work;
use crate::pages::{Ahead, Applier, On, Outcome, Parts, stand_together};
use crate::worker::WorkerKey;

/// Between two looks at live workers that are still apart.
const APART: Duration = Duration::from_millis(100);

/// Where a step is.
#[derive(Debug, Default)]
pub(super) struct At {
    /// By partition, each with the page that was read before its turn.
    pub(super) lanes: Vec<Lane>,
    /// The page that was read for all of them before its turn.
    ahead: Option<Parts>,
    /// What the step had applied before it began.
    pub(super) since_applied: i64,
    /// What a rebuild builds.
    pub(super) generation: i32,
    /// How far pages may go now; to the end of the log if nothing is said.
    pub(super) until: Option<i64>,
    /// Whether that is because another number of partitions is wanted, which is made there.
    pub(super) is_respreading: bool,
}

#[derive(Debug)]
pub(super) struct Lane {
    pub(super) cursor: Cursor,
    ahead: Option<Box<Ahead>>,
    /// Whether there may be more up to where it may go.
    pub(super) more: bool,
}

impl Lane {
    pub(super) fn new(cursor: Cursor) -> Lane {
        Lane { cursor, ahead: None, more: true }
    }
}

impl At {
    pub(super) fn processed(&self) -> i64 {
        let applied: i64 = self.lanes.iter().map(|lane| lane.cursor.applied_events).sum();
        (applied - self.since_applied).max(0)
    }

    pub(super) fn last_log_seq(&self) -> i64 {
        self.lanes.iter().map(|lane| lane.cursor.last_log_seq).min().unwrap_or(0)
    }

    /// Whether a lane may have more up to where it may go.
    pub(super) fn has_more(&self) -> bool {
        self.lanes.iter().any(|lane| lane.more)
    }

    /// From now on pages may go so far.
    pub(super) fn go_to(&mut self, until: Option<i64>) {
        (self.until, self.ahead) = (until, None);
        for lane in &mut self.lanes {
            lane.cursor.until = until;
            lane.ahead = None;
            lane.more = until.is_none_or(|until| lane.cursor.last_log_seq < until);
        }
    }
}

impl Lane {
    /// What became of a page; what stood in its way.
    fn take(&mut self, outcome: Outcome) -> Option<Input> {
        match outcome {
            Outcome::Applied { to, more } => {
                (self.cursor, self.more) = (to, more);
                None
            }
            Outcome::Superseded => Some(Input::Superseded),
            Outcome::Failed(failure) => Some(Input::Failed(failure)),
        }
    }
}

/// Events of a page that is not worth dividing.
const SMALL_PAGE: i64 = 1_000;

impl Work {
    /// A page of each partition that may go on.
    pub(super) async fn apply(
        &mut self,
        projection: Projection,
        to_served: bool,
        limit: Option<i64>,
    ) -> Result<Input, StoreError> {
        if self.run.mode == RunMode::Rebuild && !to_served && self.at.until.is_some() {
            self.at.go_to(None);
        }
        let before = self.at.processed();
        let outcome = self.round(projection, limit, On::job(self.run.mode)).await;
        failpoint::hit(Point::RunApplyAfter, "").await;
        if !self.checkpoint(projection).await? {
            return Ok(Input::Lost);
        }
        if let Some(trouble) = outcome {
            return Ok(trouble);
        }
        let events = self.at.processed() - before;
        if self.at.is_respreading && !self.at.has_more() {
            return Ok(Input::Superseded);
        }
        let is_there = !self.at.has_more() && self.is_near(projection, to_served).await?;
        if !is_there && !self.at.has_more() {
            tokio::time::sleep(APART).await; // for the live workers to come together
        }
        Ok(Input::Applied { events, is_there })
    }

    /// Applies a page in each lane, together of as many events as one lane would apply: more of them
    /// take no more memory. Pages that are small already stay as they are. What stood in the way of
    /// one, if anything did.
    pub(super) async fn round(
        &mut self,
        projection: Projection,
        limit: Option<i64>,
        on: On,
    ) -> Option<Input> {
        let lanes = i64::try_from(self.at.lanes.len()).unwrap_or(1).max(1);
        let usual = self.tenants.settings.job_batch_size;
        let usual = (usual / lanes).max(usual.min(SMALL_PAGE));
        let limit = (limit.map_or(usual, |fewer| fewer.min(usual)), limit.is_some());
        let (gate, tenant) = (self.tenants.gate.clone(), &self.run.key.tenant_id);
        let cursors: Vec<Cursor> = self.at.lanes.iter().map(|lane| lane.cursor).collect();
        if !limit.1 && self.at.lanes.iter().all(|lane| lane.more) && stand_together(&cursors) {
            let key = WorkerKey { tenant_id: tenant.clone(), projection, partition: 0 };
            let applier = Applier { gate: &gate, key: &key, on };
            let (together, ahead) = (limit.0 * lanes, self.at.ahead.take());
            let (outcomes, ahead) = applier.apply_together(&cursors, together, ahead).await;
            self.at.ahead = ahead;
            let lanes = self.at.lanes.iter_mut().zip(outcomes);
            let troubles: Vec<Option<Input>> =
                lanes.map(|(lane, outcome)| lane.take(outcome)).collect();
            return troubles.into_iter().flatten().next();
        }
        let lanes = self.at.lanes.iter_mut().filter(|lane| lane.more);
        let pages = lanes.map(|lane| async {
            let (tenant_id, partition) = (tenant.clone(), lane.cursor.share.partition);
            let key = WorkerKey { tenant_id, projection, partition };
            let from = lane.cursor;
            let ahead = lane.ahead.take().filter(|ahead| ahead.is_after(from) && !limit.1);
            let (outcome, next) =
                Applier { gate: &gate, key: &key, on }.apply(from, limit, ahead).await;
            lane.ahead = next;
            lane.take(outcome)
        });
        join_all(pages).await.into_iter().flatten().next()
    }

    /// Whether what is served has not gone far ahead of what was built up to where it was: if so,
    /// it is gone after at full speed before anybody is paused.
    async fn is_near(
        &mut self,
        projection: Projection,
        to_served: bool,
    ) -> Result<bool, StoreError> {
        if self.run.mode == RunMode::Replay || !to_served {
            return Ok(true);
        }
        let (tenant, generation) = (&self.run.key.tenant_id, self.at.generation);
        let building = self
            .tenants
            .gate
            .run(|store| async move { store.building(tenant, projection, generation).await });
        let served = building.await?.active.unwrap_or_default();
        let (least, foremost) = (served.iter().min().copied(), served.iter().max().copied());
        let Some((least, foremost)) = least.zip(foremost) else { return Ok(true) };
        let near = self.at.until.unwrap_or(0) + self.tenants.settings.job_batch_size;
        if foremost <= near {
            return Ok(true);
        }
        if Some(least) > self.at.until {
            self.at.go_to(Some(least));
        } else {
            // Its own workers are still apart; without one, it stays so, and that is told.
            return Ok(!self.tenants.is_moving(&self.run.key.tenant_id));
        }
        Ok(false)
    }
}
