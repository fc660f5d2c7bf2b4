//! How what was built takes the place of what is served: both are brought to one cursor and compared,
//! and then exchanged. The live workers are kept from their work for as long as that takes and no
//! longer: for the last pages before a snapshot, and for the last pages before the switch.

use std::time::{Duration, Instant};

use dg_projections::projection::Projection;
use dg_store::failpoint::{self, Point};
use dg_store::{Compared, Comparison, Cursor, Store, StoreError, Switch, Switched};

use super::state::Input;
use super::work::Work;
use crate::pages::{Applier, On, Outcome};
use crate::pauses::Pause;
use crate::worker::{FailureClass, WorkerKey};

/// How often the two are brought together while somebody else moves what is served.
const TRIES: usize = 5;

/// Before a switch is tried again that came too late.
const BEHIND: Duration = Duration::from_millis(500);

/// Where what is served and what was built stand.
enum Stand {
    /// At one cursor.
    Together,
    /// They cannot be brought there, and why.
    Apart(String),
    /// Something stood in the way.
    Trouble(Input),
}

impl Work {
    /// Compares what was built with what is served, and writes down what it came to.
    pub(super) async fn compare(&mut self, projection: Projection) -> Result<Input, StoreError> {
        let gate = self.tenants.gate.clone();
        // The turn comes before the pause: a digest of everything may be under way.
        gate.stream(|store| async move { self.compare_in_turn(&store, projection).await }).await
    }

    async fn compare_in_turn(
        &mut self,
        store: &Store,
        projection: Projection,
    ) -> Result<Input, StoreError> {
        failpoint::hit(Point::RunCompareBefore, "").await;
        let mut why = "another daemon keeps moving what is served".to_owned();
        for _ in 0..TRIES {
            let pause = self.pause(projection).await;
            match self.bring_together(projection).await? {
                Stand::Together => {}
                Stand::Trouble(input) => return Ok(input),
                Stand::Apart(reason) => {
                    why = reason;
                    break;
                }
            }
            let (tenant, generation) = (&self.run.key.tenant_id, self.at.generation);
            let compared =
                store.compare_generations(tenant, projection, generation, || drop(pause)).await?;
            if let Compared::Whole(found) = compared {
                let (own, what) = ((&self.run.key, self.owner()), (projection, generation));
                if !store.record_comparison(own, what, Ok(&found)).await? {
                    return Ok(Input::Superseded);
                }
                self.tell(projection, &found);
                failpoint::hit(Point::RunCompareAfter, "").await;
                return Ok(Input::Compared);
            }
        }
        tracing::warn!(run = %self.run.key, %projection, reason = why, "not compared with what is served");
        let (own, what) = ((&self.run.key, self.owner()), (projection, self.at.generation));
        let is_ours = store.record_comparison(own, what, Err(&why)).await?;
        Ok(if is_ours { Input::Compared } else { Input::Superseded })
    }

    /// Loudly: a difference means that readers were given something else than the log says.
    fn tell(&self, projection: Projection, found: &Comparison) {
        let (run, log_seq) = (&self.run.key, found.log_seq);
        match &found.difference {
            None => {
                tracing::info!(%run, %projection, log_seq, "what was built equals what is served");
            }
            Some(difference) => tracing::error!(
                %run, %projection, log_seq, digest = %found.digest, served = %found.digest_before, %difference,
                "what is served is not what the log says"
            ),
        }
    }

    /// The workers are paused: brings the partitions of what is served to one place, and what was
    /// built to the same.
    async fn bring_together(&mut self, projection: Projection) -> Result<Stand, StoreError> {
        let served = self.served(projection).await?;
        let place = served.iter().map(|cursor| cursor.last_log_seq).max().unwrap_or(0);
        if place == 0 {
            return Ok(Stand::Apart("nothing is served yet".to_owned()));
        }
        for cursor in served.into_iter().filter(|cursor| cursor.last_log_seq < place) {
            if let Some(stand) = self.bring_up(projection, cursor, place).await {
                return Ok(stand);
            }
        }
        self.at.go_to(Some(place));
        if let Some(trouble) = self.rounds(projection).await {
            return Ok(Stand::Trouble(trouble));
        }
        let built = self.at.last_log_seq();
        Ok(match built.cmp(&place) {
            std::cmp::Ordering::Equal => Stand::Together,
            std::cmp::Ordering::Less => Stand::Apart(format!(
                "what is served stands at log_seq {place}, and the log ends at {built}"
            )),
            std::cmp::Ordering::Greater => Stand::Apart(format!(
                "what is served has gone back to log_seq {place}, and {built} is built"
            )),
        })
    }

    /// Does the work of a live partition up to a place; why it cannot be done.
    async fn bring_up(
        &self,
        projection: Projection,
        mut cursor: Cursor,
        place: i64,
    ) -> Option<Stand> {
        let (tenant_id, partition) = (self.run.key.tenant_id.clone(), cursor.share.partition);
        let key = WorkerKey { tenant_id, projection, partition };
        // On the worker's account, and in its turn: readers wait for it.
        let applier = Applier { gate: &self.tenants.gate, key: &key, on: On::Live };
        let limit = (self.tenants.settings.job_batch_size, true);
        cursor.until = Some(place);
        loop {
            match applier.apply(cursor, limit, None).await.0 {
                Outcome::Applied { to, more: true } => cursor = to,
                Outcome::Applied { .. } => return None,
                Outcome::Superseded => return Some(Stand::Trouble(Input::Superseded)),
                Outcome::Failed(failure) if failure.class == FailureClass::Storage => {
                    return Some(Stand::Trouble(Input::Failed(failure)));
                }
                Outcome::Failed(failure) => {
                    return Some(Stand::Apart(format!(
                        "partition {partition} of what is served fails: {}",
                        failure.message
                    )));
                }
            }
        }
    }

    /// Pages until the goal is reached.
    async fn rounds(&mut self, projection: Projection) -> Option<Input> {
        while self.at.has_more() {
            if let Some(trouble) = self.round(projection, None, On::Switching).await {
                return Some(trouble);
            }
        }
        None
    }

    /// Gives readers and workers what was built.
    pub(super) async fn switch(&mut self, projection: Projection) -> Result<Input, StoreError> {
        failpoint::hit(Point::RunSwitchBefore, "").await;
        let started = Instant::now();
        let pause = self.pause(projection).await;
        let served = self.served(projection).await?;
        let built = self.at.lanes.iter().map(|lane| lane.cursor.last_log_seq);
        let place = served.iter().map(|cursor| cursor.last_log_seq).chain(built).max();
        self.at.go_to(place);
        if let Some(trouble) = self.rounds(projection).await {
            return Ok(trouble);
        }
        let switched = self.exchange(projection, pause).await?;
        failpoint::hit(Point::RunSwitchAfter, "").await;
        Ok(match switched {
            Switched::Done { log_seq } => {
                let took = started.elapsed();
                self.switch_took = Some(took);
                let ms = took.as_millis();
                tracing::info!(run = %self.run.key, %projection, log_seq, ms, "switched");
                Input::Switched
            }
            // Another daemon's workers have moved it: they are not paused, so this one takes its time.
            Switched::Behind => {
                self.at.go_to(None);
                tokio::time::sleep(BEHIND).await;
                Input::Behind
            }
            Switched::NotOurs => Input::Lost,
        })
    }

    /// The switch itself; the workers go on when it is over.
    async fn exchange(&self, projection: Projection, pause: Pause) -> Result<Switched, StoreError> {
        let switch = Switch {
            run: &self.run.key,
            owner: self.owner(),
            projection,
            generation: self.at.generation,
        };
        let switch = &switch;
        let switched = self
            .tenants
            .gate
            .run(|store| async move { store.switch_generation(switch).await })
            .await;
        drop(pause);
        switched
    }
}
