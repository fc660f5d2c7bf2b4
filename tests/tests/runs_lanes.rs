//! Rebuilds in lanes of their own: however many live partitions there are, and whatever happens while
//! the lanes are apart, readers get the rows of the log in as many partitions as are wanted.

#![allow(clippy::unwrap_used, reason = "tests")]

use dg_projections::projection::Projection;
use dg_runtime::{RunView, Runtime, Settings};
use dg_store::{Cursor, RunMode, RunStatus, Store};
use dg_tests::log::{
    append_all, assert_proven, generated_lines, model_of, settings, until_applied,
};
use dg_tests::runs::{completed, request_of, start, until_status};
use dg_tests::{Daemon, Database, Where, eventually, until};
use std::time::Duration;

const STOP: Duration = Duration::from_secs(10);
const GRAPH: Projection = Projection::ContextGraph;
/// What these settings build in.
const LANES: usize = 3;

fn in_lanes(partitions: i32) -> Settings {
    Settings { worker_permits: 2 * LANES, job_batch_size: 20, partitions, ..settings() }
}

/// A log of 400 events, all of it projected.
async fn current(partitions: i32) -> (Database, Store, Runtime) {
    let (database, store) = Database::with_schema().await;
    append_all(&store, "a", &generated_lines("a", 50, 8, 91), 100).await;
    let runtime = Runtime::start(database.store(), in_lanes(partitions)).await.unwrap();
    until_applied(&store, "a").await;
    (database, store, runtime)
}

/// Keeps the last lane of whatever is built from going on, until the connection lets go. The last: where
/// runs give way to live workers, the lanes have their turns one after the other.
async fn hold_a_lane(database: &Database) -> tokio_postgres::Client {
    let client = database.connect().await;
    let sql = "SELECT pg_advisory_lock(7);
        CREATE FUNCTION wait() RETURNS trigger LANGUAGE plpgsql
            AS $$ BEGIN PERFORM pg_advisory_xact_lock(7); RETURN NEW; END $$;
        CREATE TRIGGER wait BEFORE UPDATE ON dg_projection_cursors FOR EACH ROW
            WHEN (NEW.generation > 1 AND NEW.partition = 2 AND NEW.last_log_seq > OLD.last_log_seq)
            EXECUTE FUNCTION wait()";
    client.batch_execute(sql).await.unwrap();
    client
}

async fn let_go(client: &tokio_postgres::Client) {
    let sql = "SELECT pg_advisory_unlock(7); DROP TRIGGER wait ON dg_projection_cursors";
    client.batch_execute(sql).await.unwrap();
}

async fn lanes(store: &Store, generation: i32) -> Vec<Cursor> {
    let building = store.building("a", GRAPH, generation).await;
    building.map_or(Vec::new(), |building| building.cursors)
}

/// Waits until all lanes but the last have begun.
async fn until_apart(store: &Store, generation: i32) {
    eventually("the lanes are apart", || async {
        let places: Vec<i64> =
            lanes(store, generation).await.iter().map(|lane| lane.last_log_seq).collect();
        matches!(places[..], [first, second, 0] if first > 0 && second > 0).then_some(())
    })
    .await;
}

async fn rebuild(runtime: &Runtime) -> RunView {
    start(runtime, request_of("a", RunMode::Rebuild, GRAPH)).await
}

/// Over how many partitions what is served is spread, and of which generation it is.
async fn served(store: &Store) -> (usize, Option<i32>) {
    let health = store.health(Some("a"), &[GRAPH.as_str()]).await.unwrap().remove(0);
    (health.projections[0].partitions.len(), health.projections[0].generation)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_build_has_lanes_of_its_own_and_is_served_in_as_many_partitions_as_are_wanted() {
    for partitions in [1, 3, 5] {
        let (database, store, runtime) = current(partitions).await;
        let held = hold_a_lane(&database).await;
        let run = rebuild(&runtime).await;
        until_apart(&store, 2).await;
        assert_eq!(served(&store).await, (partitions as usize, Some(1)));
        let more = generated_lines("a", 20, 8, 92);
        append_all(&store, "a", &more, 10).await;
        let_go(&held).await;
        let run = completed(&store, &run.run.key.run_id).await;
        assert_eq!(
            (run.is_equal(), served(&store).await),
            (Some(true), (partitions as usize, Some(2)))
        );
        until_applied(&store, "a").await;
        let whole = [generated_lines("a", 50, 8, 91), more].concat();
        assert_eq!(store.tables("a").await.unwrap(), model_of(&whole).tables);
        assert_proven(&store, "a").await;
        runtime.stop(STOP).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rebuild_that_is_cancelled_between_its_lanes_goes_on_with_each_from_where_it_was() {
    let (database, store, runtime) = current(1).await;
    let held = hold_a_lane(&database).await;
    let run = rebuild(&runtime).await;
    let run_id = &run.run.key.run_id;
    until_apart(&store, 2).await;
    let cancelled = runtime.cancel_run(None, run_id).await.unwrap().unwrap();
    assert_eq!(cancelled.run.status, RunStatus::Cancelled);
    let before = lanes(&store, 2).await;
    let_go(&held).await;
    runtime.resume_run(None, run_id).await.unwrap().unwrap();
    let run = completed(&store, run_id).await;
    assert_eq!((before[2].last_log_seq, run.steps[0].generation), (0, Some(2)));
    assert_eq!((run.is_equal(), served(&store).await), (Some(true), (1, Some(2))));
    assert_proven(&store, "a").await;
    runtime.stop(STOP).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_event_that_cannot_be_applied_stops_its_lane_and_is_named() {
    let (database, store, runtime) = current(1).await;
    let client = database.connect().await;
    let damage = "SET session_replication_role = replica;
        CREATE TABLE kept AS SELECT * FROM dg_event_log WHERE log_seq = 203;
        UPDATE dg_event_log SET payload_hash = sha256('x') WHERE log_seq = 203";
    client.batch_execute(damage).await.unwrap();
    let run = rebuild(&runtime).await;
    let run_id = &run.run.key.run_id;
    let failed = until_status(&store, run_id, &[RunStatus::Failed]).await;
    assert!(failed.error_message.unwrap().contains("log_seq 203"), "{:?}", failed.error_code);
    let before = lanes(&store, 2).await;
    let behind = before.iter().filter(|lane| lane.last_log_seq < 203).count();
    assert_eq!((before.len(), behind), (LANES, 1), "the others went on: {before:?}");
    let mend = "UPDATE dg_event_log AS l SET payload_hash = kept.payload_hash FROM kept
        WHERE l.log_seq = kept.log_seq";
    client.batch_execute(mend).await.unwrap();
    runtime.resume_run(None, run_id).await.unwrap().unwrap();
    let run = completed(&store, run_id).await;
    assert_eq!((run.is_equal(), run.steps[0].generation), (Some(true), Some(2)));
    assert_eq!(run.processed_events, 400);
    assert_proven(&store, "a").await;
    runtime.stop(STOP).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_daemon_that_dies_between_the_lanes_is_followed_by_one_with_other_settings() {
    let (database, store, runtime) = current(1).await;
    runtime.stop(STOP).await;
    let flags = ["--projection-job-batch-size=20", "--projection-poll-interval-ms=200"];
    let mut first = Daemon::start(Where::Url(database.url()), &flags);
    let held = hold_a_lane(&database).await;
    let rebuild = ["rebuild", "context_graph", "-t", "a", "--reason", "a trial"];
    let run_id = first.cli(&rebuild).ok().stdout.trim().to_owned();
    until_apart(&store, 2).await;
    first.kill();
    let_go(&held).await;
    // It wants more partitions, and has one connection for all lanes.
    let other = ["--projection-partitions=4", "--pool-size=4", "--projection-poll-interval-ms=200"];
    let second = Daemon::start(Where::Url(database.url()), &other);
    until_status(&store, &run_id, &[RunStatus::Interrupted]).await;
    assert_eq!(lanes(&store, 2).await.len(), LANES);
    second.cli(&["resume", &run_id, "--wait"]).ok();
    eventually("its partitions are in force", || async {
        (served(&store).await == (4, Some(2))).then_some(())
    })
    .await;
    until("it is current", || {
        let answer = second.direct(&["verify", "-t", "a"]);
        (answer.code == 0).then_some(())
    });
    let run = store.run(None, &run_id).await.unwrap().unwrap();
    assert_eq!((run.is_equal(), run.processed_events), (Some(true), 400));
}
