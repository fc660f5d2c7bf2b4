//! Everything that happens to generations, in any order, by two owners: what is served is at any
//! moment what the log says, and in the end it is all that there is.

#![allow(clippy::unwrap_used, reason = "tests")]

use std::collections::BTreeMap;
use std::time::Duration;

use dg_projections::Code;
use dg_projections::event::Line;
use dg_projections::projection::Projection;
use dg_store::{
    Compared, Cursor, Ending, NewRun, Prepared, Run, RunFilter, RunMode, RunStatus, Share, Store,
    StoreError, Switch, Switched,
};
use dg_tests::hands::{asked, row_tables};
use dg_tests::log::{append_all, apply_page, assert_proven, build_page, catch_up, generated_lines};
use dg_tests::{Database, Random};

const OWNERS: [&str; 2] = ["x", "y"];
const STEPS: usize = 200;

/// A generation that was given up under whoever was at it.
fn unless_gone<T>(outcome: Result<T, StoreError>) -> Option<T> {
    match outcome {
        Ok(done) => Some(done),
        Err(error) => {
            assert_eq!(error.code, Code::Conflict, "{error}");
            None
        }
    }
}

struct Play {
    store: Store,
    random: Random,
    /// What is yet to be appended.
    log: Vec<Line>,
    /// Cursors that somebody had once, and may still write from.
    held: Vec<(Projection, Cursor)>,
    /// How many events each projection has applied.
    applied: BTreeMap<String, i64>,
    switched: usize,
}

impl Play {
    fn projection(&mut self) -> Projection {
        *self.random.pick(&Projection::ALL)
    }

    async fn runs(&self, statuses: &[RunStatus]) -> Vec<Run> {
        let filter = RunFilter { tenant: None, statuses, limit: 100 };
        self.store.runs(filter).await.unwrap()
    }

    async fn run(&mut self, statuses: &[RunStatus]) -> Option<Run> {
        let runs = self.runs(statuses).await;
        (!runs.is_empty()).then(|| self.random.pick(&runs).clone())
    }

    /// A projection of a running run, and what it builds of it, if it has begun.
    async fn step(&mut self) -> Option<(Run, Projection, Option<i32>)> {
        let run = self.run(&[RunStatus::Running]).await?;
        let step = self.random.pick(&run.steps).clone();
        Some((run, step.projection, step.generation))
    }

    /// Whoever is at a run, or now and then another.
    fn owner_of(&mut self, run: &Run) -> &'static str {
        let own = OWNERS.into_iter().find(|owner| run.owner.as_deref() == Some(owner));
        match own {
            Some(owner) if !self.random.once_in(5) => owner,
            _ => OWNERS[self.random.below(OWNERS.len())],
        }
    }

    async fn append(&mut self) {
        let count = self.random.below(12).min(self.log.len());
        let batch: Vec<Line> = self.log.drain(..count).collect();
        append_all(&self.store, "a", &batch, 12).await;
    }

    async fn live_page(&mut self) {
        let (projection, limit) = (self.projection(), 1 + self.random.below(20) as i64);
        let partitions = 1 + self.random.below(3) as i32;
        let share = Share { partition: self.random.below(partitions as usize) as i32, partitions };
        let claim = self.random.once_in(5);
        let cursor = self.store.open_cursor("a", projection, share, claim).await.unwrap();
        self.held.push((projection, cursor));
        apply_page(&self.store, "a", projection, cursor, limit).await;
    }

    /// Somebody who was away for a while goes on as if nothing had happened.
    async fn late_page(&mut self) {
        if !self.held.is_empty() {
            let (projection, cursor) = *self.random.pick(&self.held);
            build_page(&self.store, "a", projection, cursor, 9).await;
        }
    }

    async fn begin(&mut self) {
        let scope = if self.random.once_in(3) { None } else { Some(self.projection()) };
        let dry_run = self.random.once_in(4);
        let new = NewRun { scope, dry_run, ..asked("a", RunMode::Rebuild) };
        let _ = self.store.start_run(&new).await.unwrap();
    }

    async fn claim(&mut self) {
        let owner = *self.random.pick(&OWNERS);
        self.store.claim_run(owner, &dg_tests::log::ALL).await.unwrap();
    }

    async fn prepare(&mut self) {
        let Some((run, projection, _)) = self.step().await else { return };
        let (owner, partitions) = (self.owner_of(&run), 1 + self.random.below(3) as i32);
        let prepared = self.store.prepare_generation(&run.key, owner, projection, partitions);
        let is_ours = prepared.await.unwrap() != Prepared::NotOurs;
        assert_eq!(is_ours, run.owner.as_deref() == Some(owner));
    }

    async fn build(&mut self) {
        let Some((_, projection, Some(generation))) = self.step().await else { return };
        let pages = 1 + self.random.below(12);
        self.pages(projection, generation, pages).await;
    }

    /// Pages of a generation, the hindmost partition first.
    async fn pages(&mut self, projection: Projection, generation: i32, pages: usize) {
        for _ in 0..pages {
            let building = self.store.building("a", projection, generation).await;
            let Some(building) = unless_gone(building) else { return };
            let hindmost = building.cursors.iter().min_by_key(|cursor| cursor.last_log_seq);
            let cursor = *hindmost.unwrap();
            self.held.push((projection, cursor));
            build_page(&self.store, "a", projection, cursor, 40).await;
        }
    }

    async fn compare(&mut self) {
        let Some((run, projection, Some(generation))) = self.step().await else { return };
        let compare = self.store.compare_generations("a", projection, generation, || ()).await;
        if let Some(Compared::Whole(found)) = unless_gone(compare) {
            assert_eq!((found.digest, &found.difference), (found.digest_before, &None));
            let owner = run.owner.as_deref().unwrap_or_default();
            let (own, what) = ((&run.key, owner), (projection, generation));
            self.store.record_comparison(own, what, Ok(&found)).await.unwrap();
        }
    }

    async fn switch(&mut self) {
        let Some((run, projection, Some(generation))) = self.step().await else { return };
        if run.dry_run {
            return;
        }
        if !self.random.once_in(3) {
            self.pages(projection, generation, 20).await;
        }
        let owner = self.owner_of(&run);
        let switch = Switch { run: &run.key, owner, projection, generation };
        let switched = unless_gone(self.store.switch_generation(&switch).await);
        assert!(run.owner.as_deref() == Some(owner) || switched == Some(Switched::NotOurs));
        self.switched += usize::from(matches!(switched, Some(Switched::Done { .. })));
    }

    async fn leave(&mut self) {
        let Some(run) = self.run(&[RunStatus::Running]).await else { return };
        let endings = [
            Ending::Completed,
            Ending::Interrupted,
            Ending::Queued,
            Ending::Failed(Code::Internal, "x"),
        ];
        let (owner, ending) = (self.owner_of(&run), *self.random.pick(&endings));
        self.store.end_run(&run.key, owner, &ending).await.unwrap();
    }

    async fn operate(&mut self) {
        let Some(run) = self.run(&[]).await else { return };
        let cancels = self.random.once_in(3);
        let outcome = if cancels {
            self.store.cancel_run(&run.key).await
        } else {
            self.store.resume_run(&run.key).await
        };
        if let Err(refusal) = outcome.unwrap() {
            assert_eq!(refusal.code, Code::Conflict);
        }
    }

    async fn tidy(&mut self) {
        match self.random.below(4) {
            0 => drop(self.store.resume_interrupted_runs().await.unwrap()),
            1 => drop(self.store.retire_abandoned(Duration::ZERO).await.unwrap()),
            _ => drop(self.store.clear_retired(None, 30).await.unwrap()),
        }
    }

    async fn act(&mut self) {
        match self.random.below(24) {
            0..3 => self.append().await,
            3..7 => self.live_page().await,
            7 => self.late_page().await,
            8..10 => self.begin().await,
            10..12 => self.claim().await,
            12..15 => self.prepare().await,
            15..17 => self.build().await,
            17 => self.compare().await,
            18..20 => self.switch().await,
            20 => self.leave().await,
            21 => self.operate().await,
            _ => self.tidy().await,
        }
    }

    /// What is served is what the log says up to its cursors, and it never goes back.
    async fn check(&mut self) {
        assert_proven(&self.store, "a").await;
        let names = Projection::ALL.map(Projection::as_str);
        for projection in &self.store.health(Some("a"), &names).await.unwrap()[0].projections {
            let name = projection.projection_name.clone();
            let before = self.applied.insert(name.clone(), projection.applied_events);
            assert!(projection.applied_events >= before.unwrap_or(0), "{name} has gone back");
        }
        let active = self.runs(&[RunStatus::Queued, RunStatus::Running]).await;
        for (at, run) in active.iter().enumerate() {
            let (one, is_all) = (&run.projection_name, run.steps.len() == 3);
            let overlaps =
                |other: &Run| is_all || other.steps.len() == 3 || *one == other.projection_name;
            assert!(!active[..at].iter().any(overlaps), "{active:?}");
        }
    }
}

/// Everything but what is served is cleared away.
async fn assert_alone(database: &Database) {
    let client = database.connect().await;
    for projection in Projection::ALL {
        for table in row_tables(projection).iter().chain(&["dg_projection_cursors"]) {
            let of =
                if *table == "dg_projection_cursors" { "AND t.projection_name = $1" } else { "" };
            let sql = format!(
                "SELECT count(*) FROM {table} AS t JOIN dg_projections AS p ON p.projection_name = $1
                 WHERE t.generation <> p.active_generation {of}"
            );
            let left: i64 = client.query_one(&sql, &[&projection.as_str()]).await.unwrap().get(0);
            assert_eq!(left, 0, "{table} of {projection}");
        }
    }
}

#[tokio::test]
async fn whatever_comes_between_what_is_served_is_what_the_log_says() {
    let mut random = Random::seeded(121);
    let mut switched = 0;
    for _ in 0..2 {
        let (database, store) = Database::with_schema().await;
        let mut log = generated_lines("a", 25, 8, random.below(1_000) as u64);
        append_all(&store, "a", &log.drain(..10).collect::<Vec<_>>(), 10).await;
        let mut play = Play {
            store: store.clone(),
            random: random.fork(),
            log,
            held: Vec::new(),
            applied: BTreeMap::new(),
            switched: 0,
        };
        for _ in 0..STEPS {
            play.act().await;
            play.check().await;
        }
        switched += play.switched;
        let goes_on = [RunStatus::Queued, RunStatus::Running, RunStatus::Interrupted];
        for run in play.runs(&goes_on).await {
            // One that has switched everything has only to say so.
            let _ = store.cancel_run(&run.key).await.unwrap();
        }
        append_all(&store, "a", &play.log, 100).await;
        catch_up(&store, "a", 100).await;
        store.compute_digests("a").await.unwrap();
        store.retire_abandoned(Duration::ZERO).await.unwrap();
        while store.clear_retired(None, 50).await.unwrap().is_some() {}
        assert_proven(&store, "a").await;
        assert_alone(&database).await;
    }
    assert!(switched > 1, "{switched} switches");
}
