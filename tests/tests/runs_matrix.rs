//! Every kind of run, quiet and under writes, undisturbed, cancelled, interrupted, and with the
//! database gone for a while: it ends in the rows and digests of the model, and nobody who reads
//! meanwhile ever misses a row.

#![allow(clippy::unwrap_used, reason = "tests")]

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use dg_projections::Code;
use dg_projections::event::Line;
use dg_projections::projection::Projection;
use dg_runtime::{RunRequest, Runtime, Settings};
use dg_store::{RunMode, RunStatus, Store};
use dg_tests::log::{
    append_all, assert_proven, generated_lines, model_of, settings, until_applied,
};
use dg_tests::runs::{completed, refused, request, request_of, start, until_status};
use dg_tests::{Auditor, Database, eventually};
use tokio::task::JoinHandle;

const STOP: Duration = Duration::from_secs(10);

/// What becomes of the run on its way.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fate {
    Undisturbed,
    /// Cancelled in the middle, and resumed.
    Cancelled,
    /// Its runtime stops in the middle; the next one resumes it.
    Interrupted,
    /// Every session is ended in the middle, again and again.
    CutOff,
}

/// Small pages, so that there is a middle.
async fn runtime(database: &Database, partitions: i32) -> Runtime {
    let settings = Settings { job_batch_size: 16, partitions, ..settings() };
    Runtime::start(database.store(), settings).await.unwrap()
}

/// Appends and reads through the runtime of the moment until it is told to stop.
struct Traffic {
    runtime: Arc<Mutex<Runtime>>,
    ends: Arc<AtomicBool>,
    writer: Option<JoinHandle<Vec<Line>>>,
    reader: JoinHandle<()>,
}

impl Traffic {
    fn start(runtime: &Runtime, trace: &str, seed: Option<u64>) -> Traffic {
        let shared = Arc::new(Mutex::new(runtime.clone()));
        let ends = Arc::new(AtomicBool::new(false));
        let writer = seed.map(|seed| tokio::spawn(write(shared.clone(), ends.clone(), seed)));
        let reader = tokio::spawn(read(shared.clone(), ends.clone(), trace.to_owned()));
        Traffic { runtime: shared, ends, writer, reader }
    }

    fn go_on_with(&self, runtime: &Runtime) {
        *self.runtime.lock().unwrap() = runtime.clone();
    }

    /// What was appended.
    async fn finish(self) -> Vec<Line> {
        self.ends.store(true, Ordering::SeqCst);
        self.reader.await.unwrap();
        match self.writer {
            Some(writer) => writer.await.unwrap(),
            None => Vec::new(),
        }
    }
}

/// Each batch until it is in: the same keys may be sent again.
async fn write(runtime: Arc<Mutex<Runtime>>, ends: Arc<AtomicBool>, seed: u64) -> Vec<Line> {
    let lines = generated_lines("a", 400, 8, seed);
    let mut written = Vec::new();
    for batch in lines.chunks(3) {
        if ends.load(Ordering::SeqCst) {
            break;
        }
        loop {
            let runtime = runtime.lock().unwrap().clone();
            match runtime.append("a", batch).await {
                Ok(answers) => {
                    assert!(answers.iter().all(Result::is_ok), "{answers:?}");
                    break;
                }
                Err(error) => assert_eq!(error.code, Code::Storage, "{error}"),
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        written.extend_from_slice(batch);
        tokio::time::sleep(Duration::from_millis(15)).await;
    }
    written
}

/// A trace that has always been there is either told whole, or the projection is out of date.
async fn read(runtime: Arc<Mutex<Runtime>>, ends: Arc<AtomicBool>, trace: String) {
    while !ends.load(Ordering::SeqCst) {
        let runtime = runtime.lock().unwrap().clone();
        let trace = trace.as_str();
        let read = runtime.gate().run(|store| async move { store.trace_summary("a", trace).await });
        match read.await {
            Ok(summary) => assert_eq!(summary.event_count, 2),
            Err(error) => {
                let expected = [Code::ProjectionOutOfDate, Code::Storage];
                assert!(expected.contains(&error.code), "{error}");
            }
        }
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
}

/// One cell of the matrix.
async fn survive(mode: RunMode, scope: Option<Projection>, writes: bool, fate: Fate) {
    let (database, store) = Database::with_schema().await;
    let log = generated_lines("a", 40, 8, 71);
    append_all(&store, "a", &log, 100).await;
    let mut at_work = runtime(&database, 1).await;
    if mode == RunMode::Rebuild {
        until_applied(&store, "a").await;
    }
    let auditor = Auditor::start(&database).await;
    let traffic = Traffic::start(&at_work, &log[0].event.trace_id, writes.then_some(72));
    let run = start(&at_work, RunRequest { scope, ..request("a", mode) }).await;
    let run_id = run.run.key.run_id.as_str();
    match fate {
        Fate::Undisturbed => {}
        Fate::Cancelled => cancel_and_resume(&store, &at_work, run_id).await,
        Fate::Interrupted => {
            until_in_the_middle(&store, run_id).await;
            at_work.stop(STOP).await;
            let ended = [RunStatus::Interrupted, RunStatus::Completed];
            until_status(&store, run_id, &ended).await;
            at_work = runtime(&database, 3).await;
            traffic.go_on_with(&at_work);
            let _ = at_work.resume_run(None, run_id).await.unwrap();
        }
        Fate::CutOff => cut_off(&database, &store, run_id).await,
    }
    let ended = completed(&store, run_id).await;
    assert!(mode == RunMode::Replay || ended.is_equal() != Some(false), "{ended:?}");
    let log = [log, traffic.finish().await].concat();
    until_applied(&store, "a").await;
    auditor.finish().await;
    assert_eq!(store.tables("a").await.unwrap(), model_of(&log).tables);
    store.compute_digests("a").await.unwrap();
    assert_proven(&store, "a").await;
    assert_eq!(store.failures("a", false).await.unwrap(), []);
    at_work.stop(STOP).await;
}

async fn until_in_the_middle(store: &Store, run_id: &str) {
    eventually("the run is in the middle", || async {
        let run = store.run(None, run_id).await.ok()??;
        (run.processed_events > 20 || run.status.is_finished()).then_some(())
    })
    .await;
}

async fn cancel_and_resume(store: &Store, runtime: &Runtime, run_id: &str) {
    until_in_the_middle(store, run_id).await;
    let generations = active(store).await;
    match runtime.cancel_run(None, run_id).await.unwrap() {
        Ok(cancelled) => {
            let first = &cancelled.run.steps[0];
            assert_eq!(cancelled.run.status, RunStatus::Cancelled);
            if first.switched_at.is_none() {
                assert_eq!(active(store).await, generations, "a cancelled rebuild changes nothing");
            }
            assert_eq!(refused(runtime.cancel_run(None, run_id).await), Code::Conflict);
            let resumed = runtime.resume_run(None, run_id).await.unwrap().unwrap();
            assert_eq!(resumed.run.steps[0].generation, first.generation, "not from zero");
            assert!(resumed.run.processed_events > 20);
        }
        // It was over before.
        Err(refusal) => assert_eq!(refusal.code, Code::Conflict),
    }
}

async fn active(store: &Store) -> Vec<Option<i32>> {
    let health = store.health(Some("a"), &dg_tests::log::ALL).await.unwrap().remove(0);
    health.projections.iter().map(|one| one.generation).collect()
}

/// Ends every session of the runtime, whatever it is at, a few times.
async fn cut_off(database: &Database, store: &Store, run_id: &str) {
    let client = database.connect().await;
    until_in_the_middle(store, run_id).await;
    for _ in 0..5 {
        let sql = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity
            WHERE datname = current_database() AND application_name = 'decisiongraph-test'";
        client.batch_execute(sql).await.unwrap();
        tokio::time::sleep(Duration::from_millis(40)).await;
    }
}

async fn row(fate: Fate) {
    for mode in RunMode::ALL {
        for scope in [Some(Projection::ContextGraph), None] {
            for writes in [false, true] {
                survive(mode, scope, writes, fate).await;
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn runs_that_nothing_disturbs() {
    row(Fate::Undisturbed).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn runs_that_are_cancelled_and_resumed() {
    row(Fate::Cancelled).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn runs_whose_daemon_stops_and_that_the_next_one_resumes() {
    row(Fate::Interrupted).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn runs_whose_sessions_are_ended_by_the_database() {
    row(Fate::CutOff).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rebuild_of_one_projection_leaves_the_others_alone() {
    let (database, store) = Database::with_schema().await;
    append_all(&store, "a", &generated_lines("a", 20, 8, 73), 100).await;
    let runtime = runtime(&database, 2).await;
    until_applied(&store, "a").await;
    let asked = request_of("a", RunMode::Rebuild, Projection::TraceSummary);
    let run = start(&runtime, asked).await;
    completed(&store, &run.run.key.run_id).await;
    assert_eq!(active(&store).await, [Some(1), Some(2), Some(1)]);
    assert_proven(&store, "a").await;
    runtime.stop(STOP).await;
}
