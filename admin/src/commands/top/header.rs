//! What stands above the list: the daemon, its database, its work, the names of the lists.

use dg_projections::json::Json;
use ratatui::style::Modifier;
use ratatui::text::{Line, Span};
use time::OffsetDateTime;

use super::ask::WORKER_STATES;
use super::draw::Palette;
use super::picture::{Pane, Picture};
use crate::output::{Tone, ago, clock, duration, field, grouped, roughly, tone};

/// The daemon, its database, its work: a line each.
pub(super) fn header_lines(
    picture: &Picture,
    palette: Palette,
    now: OffsetDateTime,
) -> Vec<Line<'static>> {
    let status = &picture.known.status;
    let uptime = status.get("uptime_seconds").and_then(Json::as_f64).unwrap_or(0.0);
    let (at, tone) = match picture.paused_at {
        Some(_) => {
            (format!("PAUSED at {} UTC; p goes on", clock(picture.heard_at)), Tone::Attention)
        }
        None => (format!("{} UTC", clock(picture.heard_at)), Tone::Faint),
    };
    let first = vec![
        Span::styled(format!("decisiongraph {}", field(status, "version")), Modifier::BOLD),
        Span::raw(format!("  up {}  ", duration(uptime))),
        Span::styled(at, palette.of(tone)),
    ];
    let second = match picture.away(now) {
        Some((since, reason)) => {
            let since = roughly(since.as_secs());
            let text = format!("DAEMON AWAY since {since}; trying. This is old. {reason}");
            Line::styled(text, palette.of(Tone::Bad))
        }
        None => database_line(picture, palette, now),
    };
    vec![Line::from(first), second, work_line(picture, palette)]
}

fn database_line(picture: &Picture, palette: Palette, now: OffsetDateTime) -> Line<'static> {
    let state = picture
        .known
        .status
        .get("database")
        .map_or_else(String::new, |database| field(database, "state"));
    let Some((since, reason)) = picture.database_away() else {
        let others = picture.known.status.get("other_owners").and_then(Json::as_array);
        let others = match others.unwrap_or_default().len() {
            0 => Span::raw(""),
            _ => Span::styled("  other daemons are at it", palette.of(Tone::Attention)),
        };
        let word = Span::styled(state.clone(), palette.of(tone(&state)));
        return Line::from(vec![Span::raw("database "), word, others]);
    };
    let since = since.map_or_else(String::new, |since| {
        format!(" since {} UTC, {}", clock(since), ago(since, now))
    });
    let shown = clock(picture.read_at);
    let text = format!("DATABASE AWAY{since}; lists of {shown}; {reason}");
    Line::from(Span::styled(text, palette.of(Tone::Bad)))
}

fn work_line(picture: &Picture, palette: Palette) -> Line<'static> {
    let status = &picture.known.status;
    let mut spans = vec![Span::raw("workers ")];
    let counts = status.get("workers");
    let count = |state: &str| counts.and_then(|counts| counts.get(state)?.as_i64()).unwrap_or(0);
    for state in WORKER_STATES.iter().filter(|state| count(state) > 0) {
        let text = format!(" {} {state} ", grouped(count(state)));
        spans.push(Span::styled(text, palette.of(tone(state))));
    }
    if spans.len() == 1 {
        spans.push(Span::styled(" none at work ", palette.of(Tone::Faint)));
    }
    let parked = status.get("parked").and_then(Json::as_array).unwrap_or_default().len();
    if parked > 0 {
        spans.push(Span::styled(format!(" {parked} tenants parked "), palette.of(Tone::Bad)));
    }
    let waiting = status.get("waiting_tenants").and_then(Json::as_i64).unwrap_or(0);
    if waiting > 0 {
        let text = format!(" {} tenants wait for a place ", grouped(waiting));
        spans.push(Span::styled(text, palette.of(Tone::Attention)));
    }
    Line::from(spans)
}

/// The names of the lists, with what is in them.
pub(super) fn tab_line(picture: &Picture, palette: Palette) -> Line<'static> {
    let known = &picture.known;
    let lags = known.lags.as_ref().and_then(Json::as_array).unwrap_or_default();
    let failures = open_failures(lags);
    let counts = known.status.get("workers").and_then(Json::as_object);
    let workers: i64 = counts.into_iter().flatten().filter_map(|(_, count)| count.as_i64()).sum();
    let runs = known.status.get("active_runs").and_then(Json::as_array).map_or(0, <[Json]>::len);
    let mut spans = Vec::new();
    for pane in Pane::ALL {
        let (text, mark) = match pane {
            Pane::Tenants => (" Tenants ".to_owned(), Tone::Plain),
            Pane::Workers => (format!(" Workers {} ", grouped(workers)), Tone::Plain),
            Pane::Runs => {
                (format!(" Runs {runs} active "), if runs > 0 { Tone::Busy } else { Tone::Plain })
            }
            Pane::Failures => (
                format!(" Failures {} ", grouped(failures)),
                if failures > 0 { Tone::Bad } else { Tone::Plain },
            ),
        };
        let style = palette.of(mark);
        let style = if pane == picture.pane {
            style.add_modifier(Modifier::REVERSED | Modifier::BOLD)
        } else {
            style
        };
        spans.push(Span::styled(text, style));
        spans.push(Span::raw(" "));
    }
    Line::from(spans)
}

/// Those of all tenants, the others included.
pub(super) fn open_failures(lags: &[Json]) -> i64 {
    lags.iter().filter_map(|lag| lag.get("open_failures").and_then(Json::as_i64)).sum()
}
