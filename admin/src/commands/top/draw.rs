//! The picture on a screen: header, charts, the list or a card, a line of keys.
//!
//! Invariants: only the sixteen colours of the terminal, and never a background; what a colour says is
//! there in words or shapes as well. Any size can be drawn; too small ones say so.

use dg_projections::json::Json;
use ratatui::Frame;
use ratatui::layout::{Alignment, Constraint, Layout, Rect};
use ratatui::style::{Color, Modifier, Style};
use ratatui::text::{Line, Text};
use ratatui::widgets::{Cell, Paragraph, Row as TableRow, Table, TableState, Wrap};
use time::OffsetDateTime;

use super::ask::listed_states;
use super::header::{header_lines, open_failures, tab_line};
use super::picture::{Mode, Pane, Picture};
use super::{card, charts, rows};
use crate::output::{Tone, grouped, printable, tone};

/// The least that everything fits in.
const LEAST: (u16, u16) = (60, 14);

/// What a name gets at most of what a wide screen has to spare.
const MOST_SPARE: u16 = 40;

/// Whether there are colours.
#[derive(Debug, Clone, Copy)]
pub(super) struct Palette {
    pub(super) is_colored: bool,
}

impl Palette {
    pub(super) fn of(self, tone: Tone) -> Style {
        let style = match tone {
            Tone::Plain => Style::new(),
            Tone::Faint => Style::new().add_modifier(Modifier::DIM),
            Tone::Good => Style::new().fg(Color::Green),
            Tone::Busy => Style::new().fg(Color::Cyan),
            Tone::Attention => Style::new().fg(Color::Yellow),
            Tone::Bad => Style::new().fg(Color::Red).add_modifier(Modifier::BOLD),
        };
        if self.is_colored { style } else { Style { fg: None, ..style } }
    }
}

/// Draws all of it.
pub(super) fn draw(
    frame: &mut Frame<'_>,
    picture: &Picture,
    palette: Palette,
    now: OffsetDateTime,
) {
    let whole = frame.area();
    if whole.width < LEAST.0 || whole.height < LEAST.1 {
        let text = format!(
            "The terminal has {} x {} cells; top needs {} x {}. q quits.",
            whole.width, whole.height, LEAST.0, LEAST.1
        );
        frame.render_widget(Paragraph::new(text).wrap(Wrap { trim: true }), whole);
        return;
    }
    let charts_height = if whole.height < 20 { 2 } else { (whole.height / 8).clamp(3, 8) };
    let [header, charts, tabs, body, footer] = Layout::vertical([
        Constraint::Length(3),
        Constraint::Length(charts_height),
        Constraint::Length(1),
        Constraint::Fill(1),
        Constraint::Length(1),
    ])
    .areas(whole);
    frame.render_widget(Text::from(header_lines(picture, palette, now)), header);
    let samples = picture.known.history.as_ref().and_then(Json::as_array).unwrap_or_default();
    charts::draw(frame, charts, samples, palette);
    frame.render_widget(tab_line(picture, palette), tabs);
    match picture.mode {
        Mode::Help => frame.render_widget(Text::from(HELP), body),
        Mode::Details => {
            let card = card::of(picture, now);
            let most = card.len().saturating_sub(1).min(usize::from(u16::MAX)) as u16;
            let card = Paragraph::new(card.join("\n")).wrap(Wrap { trim: false });
            frame.render_widget(card.scroll((picture.scroll.min(most), 0)), body);
        }
        Mode::List | Mode::Filter => list(frame, body, picture, palette),
    }
    frame.render_widget(footer_line(picture), footer);
    if picture.away(now).is_some() {
        for area in [charts, tabs, body] {
            frame.buffer_mut().set_style(area, Style::reset().add_modifier(Modifier::DIM));
        }
    }
}

const HELP: &str = "\
q, Ctrl-C      quit
Tab, 1 to 4    the next list: tenants, workers, runs, failures; Shift-Tab the one before
j k, arrows    choose a row; g G the first and the last, PgUp PgDn ten rows
Enter          about the chosen row; Esc goes back
s              sort by something else
/              show only rows with this text in them; Esc shows all
p              pause; p goes on
? or any key   close this";

fn list(frame: &mut Frame<'_>, area: Rect, picture: &Picture, palette: Palette) {
    let rows = rows::of(picture);
    if rows.is_empty() {
        frame.render_widget(Paragraph::new(nothing(picture)).wrap(Wrap { trim: true }), area);
        return;
    }
    let columns = rows::columns(picture.pane);
    let names: Vec<String> = rows.iter().map(|row| row.name.clone()).collect();
    let place = |text: String, column: &rows::Column| {
        let side = if column.is_number { Alignment::Right } else { Alignment::Left };
        Text::from(text).alignment(side)
    };
    let head = columns.iter().map(|column| {
        Cell::new(place(column.head.to_uppercase(), column)).style(palette.of(Tone::Faint))
    });
    let lines = rows.into_iter().map(|row| {
        let cells = row.cells.into_iter().zip(columns);
        TableRow::new(cells.map(|(text, column)| {
            let style = palette.of(tone(&text));
            Cell::new(place(text, column)).style(style)
        }))
    });
    let spare = area.width.saturating_sub(80) / 3;
    let widths = columns.iter().enumerate().map(|(place, column)| match (place, column.width) {
        (0, width) => Constraint::Length(width + spare.min(MOST_SPARE)),
        (_, 0) => Constraint::Fill(1),
        (_, width) => Constraint::Length(width),
    });
    let table = Table::new(lines, widths)
        .header(TableRow::new(head))
        .row_highlight_style(Modifier::REVERSED);
    let mut state = TableState::new().with_selected(picture.chosen_at(&names));
    frame.render_stateful_widget(table, area, &mut state);
}

/// Why a list is empty.
fn nothing(picture: &Picture) -> String {
    let filtered = !picture.filter.is_empty();
    let counts = picture.known.status.get("workers").and_then(Json::as_object);
    let at_work: i64 = counts.into_iter().flatten().filter_map(|(_, count)| count.as_i64()).sum();
    let is_listed = listed_states(&picture.known.status).next().is_some();
    let known = &picture.known;
    let is_asked = match picture.pane {
        Pane::Tenants => known.lags.is_some(),
        Pane::Workers => known.workers.is_some(),
        Pane::Runs => known.runs.is_some(),
        Pane::Failures => known.failures.is_some(),
    };
    match picture.pane {
        _ if !is_asked => "not known yet: asking".to_owned(),
        _ if filtered => format!("no row has '{}' in it; Esc shows all", picture.filter),
        Pane::Tenants => "no tenant has an event yet; `decisiongraph append` takes some".to_owned(),
        Pane::Workers if at_work > 0 && !is_listed => {
            format!(
                "{} workers at rest, too many to list; `decisiongraph workers` lists them",
                grouped(at_work)
            )
        }
        Pane::Workers => "no worker is at work: every tenant has been quiet for a while".to_owned(),
        Pane::Runs => "no replay or rebuild yet; `decisiongraph rebuild` starts one".to_owned(),
        Pane::Failures => {
            match open_failures(known.lags.as_ref().and_then(Json::as_array).unwrap_or_default()) {
                0 => "no open failures".to_owned(),
                open => format!(
                    "{} open failures of tenants that are not listed; `decisiongraph failures -t TENANT` lists them",
                    grouped(open)
                ),
            }
        }
    }
}

fn footer_line(picture: &Picture) -> Line<'static> {
    let order = rows::orders(picture.pane)[picture.order[picture.pane as usize]];
    let text = match picture.mode {
        Mode::Filter => {
            let filter = printable(&picture.filter);
            return Line::from(format!("/{filter}_  Enter keeps it, Esc shows all"));
        }
        Mode::Details => "Esc back  j k scroll  Tab next list  p pause  ? help  q quit".to_owned(),
        Mode::Help => "any key closes this  q quit".to_owned(),
        Mode::List => {
            let filter = match &*picture.filter {
                "" => "/ filter".to_owned(),
                filter => format!("/{} (Esc: all)", printable(filter)),
            };
            format!("Tab list  s sort: {order}  {filter}  Enter details  p pause  ? help  q quit")
        }
    };
    Line::styled(text, Modifier::DIM)
}
