//! Each line of the checklist for the figures that it may be given.

use super::*;
use crate::commands::doctor::recovered::line::State;

fn of(count: i64, examples: &[(&str, &str)]) -> Waiting {
    let examples = examples.iter().map(|(a, b)| ((*a).to_owned(), (*b).to_owned())).collect();
    Waiting { count, examples }
}

/// Its state, its page, and that it helps whenever it does not hold.
#[track_caller]
fn told(line: &Line) -> (State, Option<String>) {
    assert_eq!(line.help.is_some(), line.state != State::Ok, "{line:?}");
    assert_eq!(line.found.is_some(), line.state != State::Ok, "{line:?}");
    (line.state, line.page().map(|page| page["ops/runbooks/".len()..page.len() - 3].to_owned()))
}

fn failed(page: &str) -> (State, Option<String>) {
    (State::Failed, Some(page.to_owned()))
}

const HOLDS: (State, Option<String>) = (State::Ok, None);

#[test]
fn projections_hold_only_at_the_end_of_their_log_and_counted() {
    let one = |behind, beyond, miscounted| {
        let bad = behind + beyond + miscounted > 0;
        let examples = bad.then(|| ("a b".to_owned(), "context_graph".to_owned()));
        let examples = examples.into_iter().collect();
        let standings = Standings {
            tenants: 1,
            projections: 3,
            behind,
            beyond,
            miscounted,
            examples,
            events: 9,
        };
        projections(Ok(standings))
    };
    assert_eq!(told(&one(0, 0, 0)), HOLDS);
    assert_eq!(told(&one(1, 0, 1)), failed("projection-lagging"));
    assert_eq!(told(&one(0, 1, 0)), failed("lost-commits"));
    assert_eq!(told(&one(0, 0, 1)), failed("projection-count-mismatch"));
    assert!(one(0, 0, 1).help.is_some_and(|help| help.contains("-t 'a b'")));
    let text = one(0, 0, 0).evidence_text();
    assert_eq!(text, "tenants 1, events 9, projections 3, behind 0, beyond 0, miscounted 0");
}

#[test]
fn what_waits_for_somebody_is_counted_and_named() {
    assert_eq!(told(&failures(Ok(of(0, &[])))), HOLDS);
    let many = failures(Ok(of(9, &[("a", "x"), ("b", "x"), ("c", "x")])));
    assert_eq!(told(&many), failed("projection-failed"));
    let found = "tenant a: x; tenant b: x; tenant c: x; and 6 more";
    assert_eq!(many.found.as_deref(), Some(found));
    let run = |interrupted, stalled| runs(Ok(OpenRuns { active: 1, interrupted, stalled }));
    assert_eq!(told(&run(of(0, &[]), of(0, &[]))), HOLDS);
    assert_eq!(told(&run(of(1, &[("a", "r1")]), of(0, &[]))), failed("run-interrupted"));
    let stalled = run(of(0, &[]), of(1, &[("a", "r1")]));
    assert_eq!(told(&stalled), failed("run-stalled"));
    assert!(stalled.help.is_some_and(|help| help.contains("resume r1")));
}

#[test]
fn workers_in_trouble_are_told_and_those_that_pause_are_not() {
    let states = |all: &[(&str, i64)]| {
        let all: Vec<_> = all.iter().map(|(state, count)| ((*state).to_owned(), *count)).collect();
        told(&workers(&all, None))
    };
    assert_eq!(states(&[]), HOLDS);
    assert_eq!(states(&[("idle", 3), ("paused", 1)]), HOLDS);
    assert_eq!(states(&[("retrying", 1)]), failed("workers-retrying"));
    assert_eq!(states(&[("retrying", 1), ("failed", 1)]), failed("projection-failed"));
}

#[test]
fn a_log_with_a_hole_and_one_without_a_head_are_damage() {
    assert_eq!(told(&logs((2, 9), &of(0, &[]), &of(0, &[]))), HOLDS);
    let hole = logs((2, 9), &of(1, &[("a", "4 events")]), &of(0, &[]));
    assert_eq!(told(&hole), failed("log-damage"));
    let headless = logs((2, 9), &of(0, &[]), &of(1, &[("b", "it has no head")]));
    assert_eq!(told(&headless), failed("log-damage"));
    assert!(headless.help.is_some_and(|help| help.contains("verify -t b")));
}

#[test]
fn a_proof_says_what_it_left_out_and_fails_for_what_it_could_not_see() {
    let sample = Proof { tenants: 10, of: 10_000, skipped: 1, ..Proof::default() };
    let line = proof(&sample);
    assert_eq!(told(&line), HOLDS);
    let text = line.evidence_text();
    assert!(
        text.starts_with("verified 10, of tenants 10,000, not verified 9,990, too large"),
        "{text}"
    );
    let different =
        |what: &str| told(&proof(&Proof { different: of(1, &[("a", what)]), ..sample.clone() }));
    assert_eq!(different("dg_event_log '1': expected"), failed("log-damage"));
    assert_eq!(different("dg_cg_nodes 'x': expected"), failed("projection-rows-differ"));
    let cursor = |field: &str| different(&format!("dg_projection_cursors 'a' field {field}: x"));
    assert_eq!(cursor("last_log_seq"), failed("lost-commits"));
    assert_eq!(cursor("applied_events"), failed("projection-rows-differ"));
    let dead = Proof { failed: vec!["a".to_owned()], ..sample.clone() };
    let dead =
        |what: &str| told(&proof(&Proof { different: of(1, &[("a", what)]), ..dead.clone() }));
    let invalid = "dg_event_log '1' field payload_json: expected 'a valid event', found 'x'";
    assert_eq!(dead(invalid), failed("projection-failed"));
    assert_eq!(different(invalid), failed("log-damage"));
    assert_eq!(dead("dg_event_log '1': expected"), failed("log-damage"));
    let unseen = Proof { unanswered: of(1, &[("a", "no answer")]), ..sample.clone() };
    assert_eq!(told(&proof(&unseen)), failed("storage"));
}

#[test]
fn a_backup_is_unknown_and_an_archive_that_fails_is_not() {
    let archive = |mode: &str, is_failing| {
        let mode = mode.to_owned();
        backups(Ok(Archive { mode, archived: 3, age_seconds: Some(61.0), is_failing }))
    };
    assert_eq!(told(&archive("off", false)), (State::Unknown, None));
    assert_eq!(told(&archive("off", true)), (State::Unknown, None));
    assert_eq!(told(&archive("on", false)), (State::Unknown, None));
    assert_eq!(told(&archive("on", true)), failed("storage"));
    let text = archive("on", false).evidence_text();
    assert_eq!(text, "age -, archive mode on, segments archived 3, last archived 1 min 1 s ago");
}

#[test]
fn a_database_that_takes_no_writes_and_stale_digests_do_not_hold() {
    let identity = |is_standby, is_read_only| {
        let (database, server_version) = ("dg".to_owned(), "15".to_owned());
        let (system_identifier, timeline) = (None, Some(2));
        database_of(Identity {
            database,
            server_version,
            system_identifier,
            timeline,
            is_standby,
            is_read_only,
        })
    };
    assert_eq!(identity(false, false), HOLDS);
    assert_eq!(identity(true, true), failed("lost-commits"));
    assert_eq!(identity(false, true), failed("lost-commits"));
    assert_eq!(told(&digests(Ok(vec![]), 5)), HOLDS);
    assert_eq!(told(&digests(Ok(vec!["a".to_owned()]), 5)), failed("projection-out-of-date"));
    assert_eq!(told(&parked(None)), (State::Unknown, None));
    assert_eq!(told(&failures(Err(StoreError::outage("gone")))), failed("storage"));
}

fn database_of(identity: Identity) -> (State, Option<String>) {
    told(&database(Ok(identity)))
}
