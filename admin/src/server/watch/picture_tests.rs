//! What a look changes in a picture.

use dg_projections::projection::Projection;
use dg_store::{Run, RunMode};
use time::OffsetDateTime;

use super::*;

const START: OffsetDateTime = OffsetDateTime::UNIX_EPOCH;

fn nothing() -> Sight {
    Sight { database: DatabaseState::Up, workers: None, parked: None, runs: None }
}

fn down(reason: &str) -> DatabaseState {
    DatabaseState::Down { since: START, reason: reason.to_owned(), probes: 1 }
}

fn worker(tenant: &str, status: &'static str) -> WorkerSnapshot {
    WorkerSnapshot {
        key: WorkerKey {
            tenant_id: tenant.to_owned(),
            projection: Projection::TraceSummary,
            partition: 0,
        },
        started_at: START,
        status,
        cursor: None,
        last_sync_at: None,
        sync_count: 0,
        retry_count: 0,
        next_retry_at: None,
        is_busy: false,
        last_error: None,
    }
}

fn run(id: &str, status: RunStatus, processed: i64) -> RunView {
    let run = Run {
        key: RunKey { tenant_id: "t".to_owned(), run_id: id.to_owned() },
        projection_name: "all".to_owned(),
        mode: RunMode::Replay,
        dry_run: false,
        status,
        phase: None,
        reason: "x".to_owned(),
        requested_by: None,
        requested_at: START,
        started_at: None,
        finished_at: None,
        since_log_seq: 0,
        until_log_seq: None,
        processed_events: processed,
        last_log_seq: processed,
        total_events: None,
        error_code: None,
        error_message: None,
        owner: None,
        work_ms: 0,
        steps: Vec::new(),
    };
    RunView { run, events_per_second: None, eta_seconds: None }
}

/// A picture, after which `runs` are what is seen.
fn picture(runs: Vec<RunView>) -> (Picture, Instant) {
    let now = Instant::now();
    (Picture::new(Sight { runs: Some(runs), ..nothing() }, now), now)
}

/// What changes of runs, in short.
fn see(picture: &mut Picture, runs: Vec<RunView>, now: Instant) -> Vec<String> {
    let changes = picture.update(Sight { runs: Some(runs), ..nothing() }, now);
    let word = |status: RunStatus| status.as_str();
    let short = |change: &Change| match change {
        Change::Run { view, from } => {
            format!(
                "{}: {} to {}",
                view.run.key.run_id,
                from.map_or("-", word),
                word(view.run.status)
            )
        }
        Change::Progress(view) => {
            format!("{} at {}", view.run.key.run_id, view.run.processed_events)
        }
        other => panic!("{other:?}"),
    };
    changes.iter().map(short).collect()
}

#[test]
fn a_worker_is_told_when_it_begins_changes_and_ends() {
    let mut picture = Picture::new(nothing(), Instant::now());
    let mut see = |workers: &[WorkerSnapshot]| -> Vec<_> {
        let sight = Sight { workers: Some(workers.to_vec()), ..nothing() };
        let word = |state: Option<WorkerState>| state.map_or("-", |state| state.status);
        let short = |change: Change| match change {
            Change::Worker { key, from, to } => {
                format!("{}: {} to {}", key.tenant_id, word(from), word(to))
            }
            other => panic!("{other:?}"),
        };
        picture.update(sight, Instant::now()).into_iter().map(short).collect()
    };
    assert_eq!(see(&[worker("a", "starting")]), ["a: - to starting"]);
    assert_eq!(see(&[worker("a", "starting")]), [""; 0]);
    let both = [worker("a", "idle"), worker("b", "failed")];
    assert_eq!(see(&both), ["a: starting to idle", "b: - to failed"]);
    assert_eq!(see(&both[1..]), ["a: idle to -"]);
}

#[test]
fn the_database_is_told_when_it_comes_or_goes_and_not_why_anew() {
    let mut picture = Picture::new(nothing(), Instant::now());
    let mut see = |database| picture.update(Sight { database, ..nothing() }, Instant::now()).len();
    let seen = [down("x"), down("y"), DatabaseState::Up, DatabaseState::Up].map(&mut see);
    assert_eq!(seen, [1, 0, 1, 0]);
}

#[test]
fn what_could_not_be_seen_is_as_it_was() {
    let mut picture = Picture::new(
        Sight { workers: Some(vec![worker("a", "idle")]), ..nothing() },
        Instant::now(),
    );
    assert_eq!(picture.update(nothing(), Instant::now()), []);
    assert_eq!(picture.workers.len(), 1);
}

#[test]
fn a_tenant_is_told_when_it_is_parked_and_when_it_is_no_more() {
    let mut picture = Picture::new(nothing(), Instant::now());
    let parked = Parked { since: START, reason: "x".into(), worker: None, next_attempt_at: START };
    let parked = BTreeMap::from([("a".to_owned(), parked)]);
    for (seen, is_parked) in
        [(parked.clone(), Some(true)), (parked, None), (BTreeMap::new(), Some(false))]
    {
        let changes = picture.update(Sight { parked: Some(seen), ..nothing() }, Instant::now());
        let told = changes.iter().map(|change| match change {
            Change::Tenant { parked, .. } => parked.is_some(),
            other => panic!("{other:?}"),
        });
        assert!(told.eq(is_parked), "{changes:?}");
    }
}

#[test]
fn a_run_is_told_by_its_states_and_what_had_ended_before_is_no_news() {
    let (mut picture, now) = picture(vec![run("old", RunStatus::Completed, 5)]);
    let queued = vec![run("old", RunStatus::Completed, 5), run("r", RunStatus::Queued, 0)];
    assert_eq!(see(&mut picture, queued.clone(), now), ["r: - to queued"]);
    assert_eq!(see(&mut picture, queued, now), [""; 0]);
    assert_eq!(picture.active_runs().count(), 1);
    let done = vec![run("r", RunStatus::Completed, 5)];
    assert_eq!(see(&mut picture, done, now), ["r: queued to completed"]);
    assert_eq!(picture.active_runs().count(), 0);

    let mut late = Picture::new(nothing(), now);
    let first = vec![run("old", RunStatus::Failed, 5), run("r", RunStatus::Running, 0)];
    assert_eq!(see(&mut late, first, now), ["r: - to running"]);
}

#[test]
fn progress_is_told_once_a_second_and_what_was_held_back_later() {
    let (mut picture, start) = picture(vec![run("r", RunStatus::Running, 0)]);
    let mut at = |millis, processed| {
        let now = start + Duration::from_millis(millis);
        see(&mut picture, vec![run("r", RunStatus::Running, processed)], now)
    };
    assert_eq!(at(250, 10), [""; 0]);
    assert_eq!(at(1000, 40), ["r at 40"]);
    assert_eq!(at(1250, 50), [""; 0]);
    // It stands still since, and yet what was held back is told.
    assert_eq!(at(2000, 50), ["r at 50"]);
    assert_eq!(at(4000, 50), [""; 0]);
}

#[test]
fn a_run_that_was_admitted_is_told_unless_it_is_known() {
    let (mut picture, now) = picture(vec![run("known", RunStatus::Running, 0)]);
    assert!(picture.admitted(run("known", RunStatus::Queued, 0), now).is_none());
    assert!(picture.admitted(run("new", RunStatus::Queued, 0), now).is_some());
    assert!(picture.admitted(run("new", RunStatus::Queued, 0), now).is_none());
    let seen = vec![run("known", RunStatus::Running, 0), run("new", RunStatus::Running, 0)];
    assert_eq!(see(&mut picture, seen, now), ["new: queued to running"]);
}

#[test]
fn a_run_that_was_admitted_while_it_was_looked_is_not_forgotten() {
    let (mut picture, now) = picture(vec![]);
    picture.admitted(run("new", RunStatus::Queued, 0), now);
    assert_eq!(see(&mut picture, vec![], now), [""; 0]);
    assert_eq!(picture.active_runs().count(), 1);
    let seen = vec![run("new", RunStatus::Completed, 0)];
    assert_eq!(see(&mut picture, seen, now), ["new: queued to completed"]);
}
