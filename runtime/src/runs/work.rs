//! What a run does at the database: each effect is one awaited call that ends in one input. It may be
//! cut off at any wait; what was done until then stands in the database, and `open` finds it.

use std::time::{Duration, Instant};

use dg_projections::Code;
use dg_projections::projection::Projection;
use dg_store::failpoint::{self, Point};
use dg_store::{Cursor, Prepared, Progress, Run, RunMode, Spread, StoreError};

use super::Runs;
use super::coordinator::reclaim;
use super::lanes::{At, Lane};
use super::state::{Effect, Input, Outcome};
use crate::pauses::Pause;
use crate::tenants::Tenants;
use crate::worker::Failure;

/// Rows that one transaction deletes of a generation that nobody needs.
pub(super) const SLICE: i64 = 10_000;
/// Partitions that a rebuild builds in, if runs may use as many connections: each reads the whole log
/// and writes its share, and a few of them keep the database busy.
const MOST_LANES: usize = 4;
/// How long a rebuild waits for the room that earlier ones took: somebody else may be clearing what
/// is of other tenants.
const FOR_SPACE: Duration = Duration::from_secs(3);
/// How long to wait for another run of ours that is still ending.
const HANDED_OVER: Duration = Duration::from_millis(50);

/// A run at work.
#[derive(Debug)]
pub(super) struct Work {
    pub(super) tenants: Tenants,
    runs: Runs,
    pub(super) run: Run,
    /// Where the present step is.
    pub(super) at: At,
    /// What people are shown that it is at.
    pub(super) phase: &'static str,
    /// For how long the live workers were kept from their work by the switch of this step.
    pub(super) switch_took: Option<Duration>,
    /// When this life began.
    began: Instant,
    /// When work was last accounted for.
    counted: Instant,
    /// The live workers of the step, while a replay does their work.
    pub(super) held: Option<Pause>,
}

impl Work {
    pub(super) fn new(runs: Runs, run: Run) -> Work {
        Work {
            tenants: runs.tenants.clone(),
            runs,
            run,
            at: At::default(),
            phase: "opening",
            switch_took: None,
            began: Instant::now(),
            counted: Instant::now(),
            held: None,
        }
    }

    /// For how long it has been at work, over all its lives, as far as that was written down.
    pub(super) fn worked(&self) -> Duration {
        Duration::from_millis(self.run.work_ms.unsigned_abs()) + self.began.elapsed()
    }

    pub(super) fn owner(&self) -> &str {
        self.runs.owner()
    }

    /// Does what the machine asks for.
    pub(super) async fn perform(&mut self, effect: Effect) -> Input {
        let done = match effect {
            Effect::Open(projection) => self.open(projection).await,
            Effect::Apply { projection, to_served, limit } => {
                self.apply(projection, to_served, limit).await
            }
            Effect::Compare(projection) => self.compare(projection).await,
            Effect::Switch(projection) => self.switch(projection).await,
            Effect::Close(projection) => self.close(projection).await,
            Effect::Digest => self.digest().await,
            Effect::Wait(after) => {
                self.held = None;
                tokio::time::sleep(after).await;
                self.counted = Instant::now();
                Ok(Input::Waited)
            }
            Effect::End(outcome) => self.end(&outcome).await,
        };
        done.unwrap_or_else(|error| match error.code {
            // What it was building is gone, or the row was changed under it: look again.
            Code::Conflict => Input::Superseded,
            _ => Input::Failed(Failure::from(&error)),
        })
    }

    async fn open(&mut self, projection: Projection) -> Result<Input, StoreError> {
        (self.at, self.switch_took) = (At::default(), None);
        match self.run.mode {
            RunMode::Replay => self.open_replay(projection).await,
            RunMode::Rebuild => self.open_rebuild(projection).await,
        }
    }

    async fn open_replay(&mut self, projection: Projection) -> Result<Input, StoreError> {
        if self.held.is_none() {
            self.held = Some(self.pause(projection).await);
        }
        let cursors = self.served(projection).await?;
        let applied: i64 = cursors.iter().map(|cursor| cursor.applied_events).sum();
        let (own, gate) = ((&self.run.key, self.owner()), &self.tenants.gate);
        let begin =
            gate.run(|store| async move { store.begin_replay(own, projection, applied).await });
        let Some(since_applied) = begin.await? else { return Ok(Input::Lost) };
        self.at.since_applied = since_applied;
        let announced = cursors.iter().filter_map(|cursor| cursor.until).min();
        self.at.lanes = cursors.into_iter().map(Lane::new).collect();
        let until = self.run.until_log_seq.into_iter().chain(announced).min();
        self.at.is_respreading = announced.is_some() && until == announced;
        self.at.go_to(until);
        Ok(Input::Opened { is_compared: true })
    }

    async fn open_rebuild(&mut self, projection: Projection) -> Result<Input, StoreError> {
        self.clear_remains(projection).await?;
        let (key, owner) = (&self.run.key, self.owner());
        let gate = &self.tenants.gate;
        let lanes = gate.most_jobs().min(MOST_LANES) as i32;
        let spread = Spread { building: lanes, serving: self.tenants.settings.partitions };
        let prepared = gate.run(|store| async move {
            store.prepare_generation(key, owner, projection, spread).await
        });
        let (generation, is_compared) = match prepared.await? {
            // The answer to the switch was lost.
            Prepared::Switched => {
                let own = (key, owner);
                let finish =
                    gate.run(|store| async move { store.finish_step(own, projection, None).await });
                return Ok(if finish.await? { Input::AlreadyDone } else { Input::Lost });
            }
            Prepared::NotOurs => return Ok(Input::Lost),
            Prepared::Building { generation, is_compared } => (generation, is_compared),
        };
        let tenant = &key.tenant_id;
        let building = gate
            .run(|store| async move { store.building(tenant, projection, generation).await })
            .await?;
        self.at.generation = generation;
        self.at.lanes = building.cursors.into_iter().map(Lane::new).collect();
        let served = building.active.map_or(0, |places| places.into_iter().min().unwrap_or(0));
        self.at.go_to((!is_compared).then_some(served));
        failpoint::hit(Point::RunOpenAfter, "").await;
        Ok(Input::Opened { is_compared })
    }

    /// What earlier rebuilds of the projection have left goes first, and its space is used again:
    /// rebuilds in a row take no more room than a few of them. It is not waited for for long.
    async fn clear_remains(&self, projection: Projection) -> Result<(), StoreError> {
        let of = Some((&*self.run.key.tenant_id, projection));
        let gate = &self.tenants.gate;
        let clear = || gate.job(|store| async move { store.clear_retired(of, SLICE).await });
        let mut has_cleared = false;
        while clear().await?.is_some() {
            has_cleared = true;
        }
        if has_cleared {
            let space = async {
                let _clearing = self.runs.clearing.lock().await;
                reclaim(&self.runs, projection).await;
            };
            // Without it the rebuild takes more room, and no harm is done.
            let _ = tokio::time::timeout(FOR_SPACE, space).await;
        }
        Ok(())
    }

    /// Writes down how far the step is; false when the run is no longer ours.
    pub(super) async fn checkpoint(&mut self, projection: Projection) -> Result<bool, StoreError> {
        let now = Instant::now();
        let progress = Progress {
            phase: self.phase,
            projection,
            processed_events: self.at.processed(),
            last_log_seq: self.at.last_log_seq(),
            worked: now - self.counted,
        };
        let (key, owner, progress) = (&self.run.key, self.owner(), &progress);
        let write = self
            .tenants
            .gate
            .run(|store| async move { store.checkpoint_run(key, owner, progress).await });
        let is_ours = write.await?;
        self.counted = now;
        failpoint::hit(Point::RunCheckpointAfter, "").await;
        Ok(is_ours)
    }

    /// Keeps the live workers of a projection from their work, once they have ended what they are at.
    pub(super) async fn pause(&self, projection: Projection) -> Pause {
        let (tenant, run_id) = (&self.run.key.tenant_id, &self.run.key.run_id);
        let pause = loop {
            match self.tenants.pauses.pause(tenant, projection, run_id) {
                Ok(pause) => break pause,
                // A run that was cancelled and has not quite ended.
                Err(_) => tokio::time::sleep(HANDED_OVER).await,
            }
        };
        pause.settled().await;
        pause
    }

    async fn close(&mut self, projection: Projection) -> Result<Input, StoreError> {
        self.held = None;
        if !self.checkpoint(projection).await? {
            return Ok(Input::Lost);
        }
        let (own, gate) = ((&self.run.key, self.owner()), &self.tenants.gate);
        if self.run.dry_run {
            let (tenant, generation) = (&self.run.key.tenant_id, self.at.generation);
            gate.run(|store| async move {
                store.retire_generation(tenant, projection, generation).await
            })
            .await?;
        }
        let took = self.switch_took;
        let is_ours =
            gate.run(|store| async move { store.finish_step(own, projection, took).await }).await?;
        Ok(if is_ours { Input::Closed } else { Input::Lost })
    }

    async fn digest(&mut self) -> Result<Input, StoreError> {
        crate::digests::refresh(&self.tenants.gate, &self.run.key.tenant_id, false).await?;
        Ok(Input::Digested)
    }

    async fn end(&mut self, outcome: &Outcome) -> Result<Input, StoreError> {
        let reason = match outcome {
            Outcome::Failed(failure) => told(failure),
            Outcome::Completed | Outcome::Lost => String::new(),
        };
        let ending = match outcome {
            Outcome::Completed => dg_store::Ending::Completed,
            Outcome::Failed(failure) => dg_store::Ending::Failed(failure.code, &reason),
            Outcome::Lost => return Ok(Input::Ended),
        };
        failpoint::hit(Point::RunEndBefore, "").await;
        let (key, owner, ending) = (&self.run.key, self.owner(), &ending);
        let write =
            self.tenants.gate.run(|store| async move { store.end_run(key, owner, ending).await });
        Ok(if write.await? { Input::Ended } else { Input::Lost })
    }

    /// The cursors of what is served, by partition.
    pub(super) async fn served(&self, projection: Projection) -> Result<Vec<Cursor>, StoreError> {
        let tenant = &self.run.key.tenant_id;
        let cursors = self
            .tenants
            .gate
            .run(|store| async move { store.live_cursors(tenant, projection).await });
        cursors.await
    }
}

/// A failure in words, with the event that is to blame.
pub(super) fn told(failure: &Failure) -> String {
    match &failure.event {
        Some((log_seq, trace_id, event_id)) => {
            format!("event {event_id} (log_seq {log_seq}, trace {trace_id}): {}", failure.message)
        }
        None => failure.message.clone(),
    }
}
