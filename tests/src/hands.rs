//! Runs worked at by hand, without a runtime: admitted, claimed, built page by page.

use dg_projections::event::Line;
use dg_projections::projection::Projection;
use dg_projections::{Code, Rejection};
use dg_store::{
    Committed, Compared, Comparison, NewRun, Prepared, Run, RunKey, RunMode, Spread, Store,
    StoreError, Switch, Switched,
};

use crate::Database;
use crate::log::{append_all, build_page, catch_up, generated_lines};

/// A run over everything of a tenant.
pub const fn asked(tenant: &str, mode: RunMode) -> NewRun<'_> {
    NewRun {
        tenant,
        mode,
        scope: None,
        kept: &Projection::ALL,
        dry_run: false,
        reason: "a test",
        until_log_seq: None,
        requested_by: None,
    }
}

/// The same of one projection.
pub const fn asked_of(tenant: &str, mode: RunMode, projection: Projection) -> NewRun<'_> {
    NewRun { scope: Some(projection), ..asked(tenant, mode) }
}

/// Admits a run.
///
/// # Panics
/// When it is refused.
pub async fn admitted(store: &Store, new: &NewRun<'_>) -> Run {
    store.start_run(new).await.unwrap().unwrap()
}

/// The refusal of a run.
///
/// # Panics
/// When it is admitted.
pub async fn refused(store: &Store, new: &NewRun<'_>) -> Rejection {
    store.start_run(new).await.unwrap().unwrap_err()
}

/// Asserts that this is the refusal of something that the run stands in the way of.
///
/// # Panics
/// When it is not, or does not name it.
#[track_caller]
pub fn names(refusal: &Rejection, in_the_way: &RunKey) {
    let named = refusal.details.get("run_id").and_then(dg_projections::json::Json::as_str);
    assert_eq!((refusal.code, named), (Code::Conflict, Some(&*in_the_way.run_id)));
    assert!(refusal.message.contains(&in_the_way.run_id), "{refusal:?}");
}

/// Admits a run and takes it up for this owner.
///
/// # Panics
/// When it is refused, or another one waits.
pub async fn taken_up(store: &Store, owner: &str, new: &NewRun<'_>) -> Run {
    let run = admitted(store, new).await;
    let claimed = store.claim_run(owner, &crate::log::ALL).await.unwrap().unwrap();
    assert_eq!(claimed.key, run.key);
    claimed
}

/// What a run builds of a projection.
///
/// # Panics
/// When it builds nothing.
pub async fn prepared(
    store: &Store,
    run: &RunKey,
    owner: &str,
    projection: Projection,
    spread: impl Into<Spread>,
) -> i32 {
    match store.prepare_generation(run, owner, projection, spread).await.unwrap() {
        Prepared::Building { generation, .. } => generation,
        other => panic!("nothing to build: {other:?}"),
    }
}

/// Builds a generation to the end of the log.
///
/// # Panics
/// When somebody else is at it.
pub async fn build(store: &Store, tenant: &str, projection: Projection, generation: i32) {
    for mut cursor in store.building(tenant, projection, generation).await.unwrap().cursors {
        loop {
            let (committed, to) = build_page(store, tenant, projection, cursor, 100).await;
            assert!(matches!(committed, Committed::Done { .. }), "{cursor:?}");
            if to == cursor {
                break;
            }
            cursor = to;
        }
    }
}

/// Every row of these tables, as text.
///
/// # Panics
/// When they cannot be read.
pub async fn image(database: &Database, tables: &[&str]) -> Vec<String> {
    let client = database.connect().await;
    let mut image = Vec::new();
    for table in tables {
        let sql = format!("SELECT '{table} ' || t::text FROM {table} AS t ORDER BY 1");
        let rows = client.query(&sql, &[]).await.unwrap();
        image.extend(rows.iter().map(|row| row.get::<_, String>(0)));
    }
    image
}

/// What runs and generations are made of, but for the rows of projections.
pub const RUN_TABLES: [&str; 4] =
    ["dg_projections", "dg_projection_cursors", "dg_projection_runs", "dg_projection_run_steps"];

/// What the rows of a projection are in.
pub const fn row_tables(projection: Projection) -> &'static [&'static str] {
    match projection {
        Projection::ContextGraph => &["dg_cg_nodes", "dg_cg_edges"],
        Projection::TraceSummary => &["dg_trace_summary"],
        Projection::PrecedentIndex => &["dg_policy_eval_index", "dg_precedent_index"],
    }
}

/// A tenant `a` whose log is projected to its end.
pub async fn projected(traces: u64, seed: u64) -> (Database, Store, Vec<Line>) {
    let (database, store) = Database::with_schema().await;
    let log = generated_lines("a", traces, 8, seed);
    append_all(&store, "a", &log, 100).await;
    catch_up(&store, "a", 100).await;
    (database, store, log)
}

/// A rebuild of one projection of `a` that `x` is at.
#[derive(Debug)]
pub struct Rebuild<'a> {
    store: &'a Store,
    /// The run.
    pub run: RunKey,
    /// What it builds.
    pub projection: Projection,
    /// Its number.
    pub generation: i32,
}

impl<'a> Rebuild<'a> {
    /// Begins one, and builds nothing yet.
    ///
    /// # Panics
    /// When another run is in the way.
    pub async fn begin(
        store: &'a Store,
        projection: Projection,
        spread: impl Into<Spread>,
    ) -> Rebuild<'a> {
        let new = asked_of("a", RunMode::Rebuild, projection);
        let run = taken_up(store, "x", &new).await.key;
        let generation = prepared(store, &run, "x", projection, spread).await;
        Rebuild { store, run, projection, generation }
    }

    /// One that is built to the end of the log.
    ///
    /// # Panics
    /// As [`Rebuild::begin`].
    pub async fn built(store: &'a Store, projection: Projection, partitions: i32) -> Rebuild<'a> {
        let rebuild = Rebuild::begin(store, projection, partitions).await;
        rebuild.build().await;
        rebuild
    }

    /// Builds to the end of the log.
    ///
    /// # Panics
    /// When somebody else is at it.
    pub async fn build(&self) {
        build(self.store, "a", self.projection, self.generation).await;
    }

    /// Switches to it.
    ///
    /// # Errors
    /// As [`Store::switch_generation`].
    pub async fn switch_as(&self, owner: &str) -> Result<Switched, StoreError> {
        let (projection, generation) = (self.projection, self.generation);
        let switch = Switch { run: &self.run, owner, projection, generation };
        self.store.switch_generation(&switch).await
    }

    /// The same by whoever is at it.
    ///
    /// # Errors
    /// As [`Store::switch_generation`].
    pub async fn switch(&self) -> Result<Switched, StoreError> {
        self.switch_as("x").await
    }

    /// What it is held against what is served.
    ///
    /// # Panics
    /// When the two stand apart.
    pub async fn compared(&self) -> Comparison {
        let compare = self.store.compare_generations("a", self.projection, self.generation, || ());
        match compare.await.unwrap() {
            Compared::Whole(found) => *found,
            apart @ Compared::Apart { .. } => panic!("{apart:?}"),
        }
    }

    /// Ends the run.
    ///
    /// # Panics
    /// When it has ended.
    pub async fn complete(&self) {
        assert!(self.store.end_run(&self.run, "x", &dg_store::Ending::Completed).await.unwrap());
    }
}
