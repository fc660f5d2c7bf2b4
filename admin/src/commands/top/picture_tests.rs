//! Keys and answers as tables: what each does to the picture.

use std::time::Duration;

use dg_projections::json::{Json, parse};
use time::OffsetDateTime;

use super::ask::{Answers, Heard};
use super::picture::{Key, Mode, Pane, Picture};
use super::rows;

const START: OffsetDateTime = OffsetDateTime::UNIX_EPOCH;

fn at(seconds: u64) -> OffsetDateTime {
    START + Duration::from_secs(seconds)
}

pub(super) fn json(text: &str) -> Json {
    parse(text).unwrap_or_else(|error| panic!("{error}: {text}"))
}

fn lag(tenant: &str, projection: &str, pending: i64, failures: i64) -> String {
    format!(
        r#"{{"tenant_id":{tenant},"projection_name":"{projection}","pending_events":{pending},
            "lag_seconds":{pending}.5,"last_log_seq":7,"open_failures":{failures}}}"#
    )
}

/// A daemon with three tenants and the others.
pub(super) fn answers() -> Answers {
    let status = r#"{"version":"1.0","uptime_seconds":75,"database":{"state":"up"},
        "workers":{"idle":2,"failed":1},"parked":[],"active_runs":[],"other_owners":[]}"#;
    let lags = [
        lag(r#""acme""#, "context_graph", 0, 0),
        lag(r#""acme""#, "trace_summary", 12, 0),
        lag(r#""borg""#, "context_graph", 3, 0),
        lag(r#""borg""#, "trace_summary", 3, 2),
        lag(r#""calm""#, "context_graph", 0, 0),
        lag(r#""calm""#, "trace_summary", 0, 0),
        lag("null", "context_graph", 40, 0),
        lag("null", "trace_summary", 0, 0),
    ];
    Answers {
        status: json(status),
        history: None,
        lags: Some(json(&format!("[{}]", lags.join(",")))),
        workers: Some(Vec::new()),
        runs: Some(json("[]")),
        failures: Some(Vec::new()),
        next_in: Duration::from_secs(1),
    }
}

pub(super) fn picture() -> Picture {
    Picture::new(answers(), String::new(), START)
}

/// The picture after these keys, if it goes on.
pub(super) fn after(keys: &[Key]) -> Option<Picture> {
    keys.iter().try_fold(picture(), |picture, key| picture.press(*key, at(9)))
}

fn names(picture: &Picture) -> Vec<String> {
    rows::of(picture).into_iter().map(|row| row.name).collect()
}

const OTHERS: &str = "(all others)";

#[test]
fn tenants_are_sorted_and_the_others_stay_last() {
    for (keys, expected) in [
        (&[][..], ["acme", "borg", "calm", OTHERS]),
        (&[Key::Char('s')], ["borg", "acme", "calm", OTHERS]),
        (&[Key::Char('s'), Key::Char('s')], ["acme", "borg", "calm", OTHERS]),
        (&[Key::Char('s'); 3], ["acme", "borg", "calm", OTHERS]),
    ] {
        assert_eq!(names(&after(keys).unwrap()), expected, "{keys:?}");
    }
}

#[test]
fn the_state_of_a_tenant_is_that_of_its_worst_projection() {
    let cells: Vec<[String; 4]> = rows::of(&picture())
        .into_iter()
        .map(|row| [1, 2, 4, 5].map(|column| row.cells[column].clone()))
        .collect();
    let expected = [
        ["behind", "12", "0", "trace_summary"],
        ["failed", "3", "2", "all"],
        ["current", "0", "0", "-"],
        ["behind", "40", "0", "context_graph"],
    ];
    assert_eq!(cells, expected);
}

#[test]
fn keys_end_it_or_change_what_is_shown() {
    let is = |keys: &[Key]| after(keys).map(|picture| (picture.pane, picture.mode));
    for (keys, expected) in [
        (&[Key::Char('q')][..], None),
        (&[Key::Interrupt], None),
        (&[Key::Char('/'), Key::Interrupt], None),
        (&[Key::Char('/'), Key::Char('q')], Some((Pane::Tenants, Mode::Filter))),
        (&[Key::NextPane], Some((Pane::Workers, Mode::List))),
        (&[Key::NextPane; 4], Some((Pane::Tenants, Mode::List))),
        (&[Key::PreviousPane], Some((Pane::Failures, Mode::List))),
        (&[Key::Char('3')], Some((Pane::Runs, Mode::List))),
        (&[Key::Enter], Some((Pane::Tenants, Mode::Details))),
        (&[Key::Enter, Key::Back], Some((Pane::Tenants, Mode::List))),
        (&[Key::Enter, Key::NextPane], Some((Pane::Workers, Mode::List))),
        (&[Key::Char('3'), Key::Enter], Some((Pane::Runs, Mode::List))),
        (&[Key::Char('?')], Some((Pane::Tenants, Mode::Help))),
        (&[Key::Char('?'), Key::Char('x')], Some((Pane::Tenants, Mode::List))),
        (&[Key::Char('?'), Key::Char('q')], None),
        (&[Key::Char('x')], Some((Pane::Tenants, Mode::List))),
    ] {
        assert_eq!(is(keys), expected, "{keys:?}");
    }
}

#[test]
fn a_row_is_chosen_within_the_list_and_stays_chosen_where_it_moves() {
    for (keys, expected) in [
        (&[][..], "acme"),
        (&[Key::Up], "acme"),
        (&[Key::Down], "borg"),
        (&[Key::Char('j'), Key::Char('k')], "acme"),
        (&[Key::End], OTHERS),
        (&[Key::End, Key::Down], OTHERS),
        (&[Key::PageDown, Key::PageUp], "acme"),
        (&[Key::Down, Key::Char('s')], "borg"),
        (&[Key::Down, Key::NextPane, Key::PreviousPane], "borg"),
    ] {
        assert_eq!(after(keys).unwrap().chosen_row().as_deref(), Some(expected), "{keys:?}");
    }
}

#[test]
fn a_filter_is_written_kept_and_dropped() {
    let typed = [Key::Char('/'), Key::Char('B'), Key::Char('o')];
    let with = |more: &[Key]| after(&[&typed, more].concat()).unwrap();
    assert_eq!(names(&with(&[])), ["borg"]);
    assert_eq!(names(&with(&[Key::Enter])), ["borg"]);
    assert_eq!(names(&with(&[Key::Enter, Key::Back])).len(), 4);
    assert_eq!(names(&with(&[Key::Back])).len(), 4);
    assert_eq!(names(&with(&[Key::Erase, Key::Erase])).len(), 4);
    assert_eq!(with(&[Key::Char('x')]).chosen_row(), None);
}

fn silence() -> Heard {
    Heard::Silence("gone".to_owned())
}

#[test]
fn a_daemon_is_away_when_it_says_nothing_or_is_late() {
    let away = |picture: &Picture, seconds| {
        picture.away(at(seconds)).map(|(since, reason)| (since.as_secs(), reason.to_owned()))
    };
    assert_eq!(away(&picture(), 4), None);
    assert_eq!(away(&picture(), 5), Some((5, "no answer".to_owned())));
    let silent = picture().hear(silence(), at(2));
    assert_eq!(away(&silent, 2), Some((2, "gone".to_owned())));
    let back = silent.hear(Heard::Answers(Box::new(answers())), at(60));
    assert_eq!(away(&back, 61), None);
    let slow = Answers { next_in: Duration::from_secs(10), ..answers() };
    let slow = picture().hear(Heard::Answers(Box::new(slow)), at(0));
    assert_eq!(away(&slow, 12), None);
}

#[test]
fn what_the_daemon_does_not_know_now_stays_as_it_was() {
    let without = Answers { lags: None, runs: None, workers: None, failures: None, ..answers() };
    let picture = picture().hear(Heard::Answers(Box::new(without)), at(7));
    assert_eq!(names(&picture).len(), 4);
    assert_eq!((picture.heard_at, picture.read_at), (at(7), START));
}

#[test]
fn a_paused_picture_stands_still_and_is_not_taken_for_old() {
    let paused = after(&[Key::Char('p')]).unwrap();
    let paused = paused.hear(silence(), at(60));
    assert_eq!((paused.away(at(60)), paused.heard_at), (None, START));
    let on = paused.press(Key::Char('p'), at(61)).unwrap();
    assert!(on.away(at(61)).is_some());
}
