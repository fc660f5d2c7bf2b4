//! Pictures on screens of several sizes, as text and as colours.

use std::time::Duration;

use ratatui::Terminal;
use ratatui::backend::TestBackend;
use ratatui::buffer::Buffer;
use ratatui::style::{Color, Modifier};
use time::OffsetDateTime;

use super::ask::{Answers, Heard};
use super::draw::{Palette, draw};
use super::picture::{Key, Picture};
use super::picture_tests::{after, answers, json, picture};

const START: OffsetDateTime = OffsetDateTime::UNIX_EPOCH;

fn drawn(picture: &Picture, (width, height): (u16, u16), is_colored: bool, after: u64) -> Buffer {
    let mut terminal = Terminal::new(TestBackend::new(width, height)).unwrap();
    let now = START + Duration::from_secs(after);
    terminal.draw(|frame| draw(frame, picture, Palette { is_colored }, now)).unwrap();
    terminal.backend().buffer().clone()
}

fn text(buffer: &Buffer) -> String {
    let width = usize::from(buffer.area.width).max(1);
    let lines = buffer
        .content
        .chunks(width)
        .map(|row| row.iter().map(|cell| cell.symbol()).collect::<String>().trim_end().to_owned());
    lines.collect::<Vec<_>>().join("\n")
}

fn with(change: impl FnOnce(&mut Answers)) -> Picture {
    let mut known = answers();
    change(&mut known);
    Picture::new(known, String::new(), START)
}

#[test]
fn a_screen_of_eighty_by_twenty_four_reads_so() {
    let expected = "\
decisiongraph 1.0  up 1 min 15 s  00:00:00 UTC
database up
workers  1 failed  2 idle
appended 0/s         applied 0/s         by runs 0/s          visible in -


 Tenants   Workers 3   Runs 0 active   Failures 2
TENANT                 STATE       PENDING         LAG FAILURES BEHIND
acme                   behind           12      12.5 s        0 trace_summary
borg                   failed            3       3.5 s        2 all
calm                   current           0      500 ms        0 -
(all others)           behind           40      40.5 s        0 context_graph";
    let screen = text(&drawn(&picture(), (80, 24), true, 1));
    assert!(screen.starts_with(expected), "{screen}");
    assert!(
        screen.ends_with("Tab list  s sort: lag  / filter  Enter details  p pause  ? help  q quit")
    );
}

#[test]
fn every_size_is_drawn_and_too_small_ones_say_so() {
    let pictures = [picture(), after(&[Key::Enter]).unwrap(), after(&[Key::Char('?')]).unwrap()];
    for width in [0, 1, 2, 10, 59, 60, 61, 80, 133, 300] {
        for height in [0, 1, 2, 5, 13, 14, 15, 24, 50, 120] {
            for picture in &pictures {
                let screen = text(&drawn(picture, (width, height), true, 1));
                let is_enough = width >= 60 && height >= 14;
                assert_eq!(screen.contains("database up"), is_enough, "{width} x {height}");
            }
        }
    }
    assert!(text(&drawn(&picture(), (59, 24), true, 1)).contains("59 x 24"));
}

#[test]
fn what_is_wrong_is_said_in_words() {
    let down = with(|known| {
        known.status = json(
            r#"{"version":"1","database":{"state":"down","down_since":"1969-12-31T23:59:15Z",
                "reason":"connection refused"},"workers":{},"parked":[{}],"waiting_tenants":8000}"#,
        );
    });
    let silent = picture().hear(Heard::Silence("connection refused".to_owned()), START);
    let paused = after(&[Key::Char('p')]).unwrap();
    for (picture, seconds, expected) in [
        (
            &down,
            3,
            "DATABASE AWAY since 23:59:15 UTC, 48 s ago; lists of 00:00:00; connection refused",
        ),
        (&down, 3, "1 tenants parked"),
        (&down, 3, "8,000 tenants wait for a place"),
        (&silent, 12, "DAEMON AWAY since 12 s; trying"),
        (&picture(), 60, "DAEMON AWAY since 1 min; trying"),
        (&paused, 60, "PAUSED at 00:00:00 UTC"),
    ] {
        let screen = text(&drawn(picture, (120, 24), true, seconds));
        assert!(screen.contains(expected), "{expected} is not in\n{screen}");
    }
}

#[test]
fn an_empty_list_says_why() {
    let none = |key: char, change: fn(&mut Answers)| {
        let picture = with(change).press(Key::Char(key), START).unwrap();
        text(&drawn(&picture, (120, 24), true, 1))
    };
    let nobody_fails: fn(&mut Answers) = |known| known.lags = Some(json("[]"));
    let many: fn(&mut Answers) = |known| known.status = json(r#"{"workers":{"idle":30000}}"#);
    for (key, change, expected) in [
        ('1', nobody_fails, "no tenant has an event yet"),
        ('1', |known| known.lags = None, "not known yet: asking"),
        ('2', many, "30,000 workers at rest, too many to list"),
        ('3', many, "no replay or rebuild yet"),
        ('4', nobody_fails, "no open failures"),
        ('4', many, "2 open failures of tenants that are not listed"),
    ] {
        let screen = none(key, change);
        assert!(screen.contains(expected), "{expected} is not in\n{screen}");
    }
}

#[test]
fn an_old_picture_is_grey_and_a_fresh_one_is_not() {
    let dim = |after| {
        let buffer = drawn(&picture(), (80, 24), true, after);
        let rows = buffer.content.chunks(80).skip(7).take(5).flatten();
        let cells: Vec<_> = rows.filter(|cell| cell.symbol() != " ").collect();
        let dim = cells.iter().filter(|cell| cell.modifier.contains(Modifier::DIM)).count();
        (dim == cells.len(), cells.iter().all(|cell| cell.fg == Color::Reset))
    };
    assert_eq!((dim(1), dim(60)), ((false, false), (true, true)));
}

#[test]
fn colours_are_those_of_the_terminal_and_never_a_background() {
    let sixteen = [Color::Reset, Color::Green, Color::Cyan, Color::Yellow, Color::Red];
    let buffer = drawn(&picture(), (80, 24), true, 1);
    assert!(buffer.content.iter().all(|cell| sixteen.contains(&cell.fg)));
    assert!(buffer.content.iter().any(|cell| cell.fg == Color::Red));
    assert!(buffer.content.iter().all(|cell| cell.bg == Color::Reset));
    let plain = drawn(&picture(), (80, 24), false, 1);
    assert!(plain.content.iter().all(|cell| cell.fg == Color::Reset && cell.bg == Color::Reset));
    assert_eq!(text(&plain), text(&buffer));
}

#[test]
fn a_run_shows_how_far_it_is_and_wide_names_do_not_shift_columns() {
    let runs = with(|known| {
        known.runs = Some(json(
            r#"[{"run_id":"r1","tenant_id":"日本語テナント名前が長い","projection_name":"all","mode":"rebuild",
                "status":"running","processed_events":625,"total_events":1000,
                "events_per_second":1234.5,"eta_seconds":3.2},
                {"run_id":"r2","tenant_id":"a","projection_name":"all","mode":"replay",
                "status":"queued","processed_events":0,"total_events":null}]"#,
        ));
    });
    let runs = runs.press(Key::Char('3'), START).unwrap();
    let buffer = drawn(&runs, (80, 24), true, 1);
    let screen = text(&buffer);
    assert!(screen.contains("███░░░ 62 %"), "{screen}");
    assert!(screen.contains("1,234") && screen.contains("eta 3.2 s"), "{screen}");
    let column = |row: u16| (0..80).find(|x| buffer[(*x, row)].symbol() == "r" && *x > 10);
    assert_eq!(column(8), column(9), "{screen}");
}
