//! What is on the screen as plain data: what was heard last, and what whoever looks has chosen.
//!
//! Invariants: `press` and `hear` are the only changes; neither knows a terminal, a clock or a socket.
//! What was heard stays until something newer is: the view says how old it is.

use std::time::Duration;

use dg_projections::json::Json;
use time::OffsetDateTime;

use super::ask::{Answers, Heard};
use super::rows;

/// How much later than announced an answer may come before the picture counts as old.
const GRACE: Duration = Duration::from_secs(3);
/// Rows that a page key goes.
const PAGE: usize = 10;

/// One of the lists, of which one is on the screen.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Pane {
    Tenants,
    Workers,
    Runs,
    Failures,
}

impl Pane {
    pub(super) const ALL: [Pane; 4] = [Pane::Tenants, Pane::Workers, Pane::Runs, Pane::Failures];

    fn next(self, step: usize) -> Pane {
        Pane::ALL[(self as usize + step) % Pane::ALL.len()]
    }
}

/// A key, by what it is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Key {
    /// Ctrl-C.
    Interrupt,
    Up,
    Down,
    PageUp,
    PageDown,
    Home,
    End,
    NextPane,
    PreviousPane,
    Enter,
    Back,
    Erase,
    Char(char),
}

/// What keys do now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Mode {
    /// Choose among rows.
    List,
    /// Write the filter.
    Filter,
    /// Read about one row.
    Details,
    /// Read what keys do.
    Help,
}

/// All of it.
#[derive(Debug, Clone)]
pub(super) struct Picture {
    /// What was heard last of each thing.
    pub(super) known: Answers,
    /// When the daemon answered last.
    pub(super) heard_at: OffsetDateTime,
    /// When the database answered last through it.
    pub(super) read_at: OffsetDateTime,
    /// Why the daemon does not answer.
    pub(super) silence: Option<String>,
    pub(super) pane: Pane,
    pub(super) mode: Mode,
    pub(super) filter: String,
    pub(super) paused_at: Option<OffsetDateTime>,
    /// The order of each list, by its number there.
    pub(super) order: [usize; 4],
    /// Lines of a card that are above the screen.
    pub(super) scroll: u16,
    /// The row that is chosen in each list, by its name: it stays chosen where it moves.
    chosen: [Option<String>; 4],
}

impl Picture {
    /// After the first round. A tenant that was named is what it begins with.
    pub(super) fn new(known: Answers, filter: String, now: OffsetDateTime) -> Picture {
        Picture {
            known,
            heard_at: now,
            read_at: now,
            silence: None,
            pane: Pane::Tenants,
            mode: Mode::List,
            filter,
            paused_at: None,
            order: [0; 4],
            scroll: 0,
            chosen: [const { None }; 4],
        }
    }

    /// The same after a round; a picture that was paused stands still.
    pub(super) fn hear(mut self, heard: Heard, now: OffsetDateTime) -> Picture {
        if self.paused_at.is_some() {
            return self;
        }
        match heard {
            Heard::Silence(reason) => self.silence = Some(reason),
            Heard::Answers(answers) => {
                self.silence = None;
                self.heard_at = now;
                if answers.lags.is_some() {
                    self.read_at = now;
                }
                let known = self.known;
                self.known = Answers {
                    history: answers.history.or(known.history),
                    lags: answers.lags.or(known.lags),
                    workers: answers.workers.or(known.workers),
                    runs: answers.runs.or(known.runs),
                    failures: answers.failures.or(known.failures),
                    ..*answers
                };
            }
        }
        self
    }

    /// The same after a key; none when it ends the view.
    pub(super) fn press(mut self, key: Key, now: OffsetDateTime) -> Option<Picture> {
        match (self.mode, key) {
            (_, Key::Interrupt) => return None,
            (Mode::Filter, key) => self.write(key),
            (_, Key::Char('q')) => return None,
            (_, Key::Char('p')) => {
                self.paused_at = if self.paused_at.is_some() { None } else { Some(now) };
            }
            (Mode::Help, _) => self.mode = Mode::List,
            (_, Key::Char('?')) => self.mode = Mode::Help,
            (Mode::Details, Key::Back | Key::Enter | Key::Erase) => self.mode = Mode::List,
            (Mode::List, Key::Back) => self.filter.clear(),
            (Mode::List, Key::Enter) => {
                if self.chosen_row().is_some() {
                    self.chosen[self.pane as usize] = self.chosen_row();
                    self.mode = Mode::Details;
                    self.scroll = 0;
                }
            }
            (Mode::Details, Key::Up | Key::Char('k')) => {
                self.scroll = self.scroll.saturating_sub(1);
            }
            (Mode::Details, Key::Down | Key::Char('j')) => {
                self.scroll = self.scroll.saturating_add(1);
            }
            (_, Key::NextPane) => self.turn_to(self.pane.next(1)),
            (_, Key::PreviousPane) => self.turn_to(self.pane.next(Pane::ALL.len() - 1)),
            (_, Key::Char(digit @ '1'..='4')) => {
                self.turn_to(Pane::ALL[digit as usize - '1' as usize]);
            }
            (Mode::List, Key::Char('s')) => {
                let order = &mut self.order[self.pane as usize];
                *order = (*order + 1) % rows::orders(self.pane).len();
            }
            (Mode::List, Key::Char('/')) => self.mode = Mode::Filter,
            (Mode::List, key) => self.choose(key),
            (Mode::Details, _) => {}
        }
        Some(self)
    }

    fn turn_to(&mut self, pane: Pane) {
        self.pane = pane;
        self.mode = Mode::List;
    }

    fn write(&mut self, key: Key) {
        match key {
            Key::Char(c) => self.filter.push(c),
            Key::Erase => drop(self.filter.pop()),
            Key::Enter => self.mode = Mode::List,
            Key::Back => {
                self.filter.clear();
                self.mode = Mode::List;
            }
            _ => {}
        }
    }

    /// Chooses another row.
    fn choose(&mut self, key: Key) {
        let names: Vec<String> = rows::of(self).into_iter().map(|row| row.name).collect();
        let Some(last) = names.len().checked_sub(1) else { return };
        let at = self.chosen_at(&names);
        let at = match key {
            Key::Up | Key::Char('k') => at.saturating_sub(1),
            Key::Down | Key::Char('j') => at + 1,
            Key::PageUp => at.saturating_sub(PAGE),
            Key::PageDown => at + PAGE,
            Key::Home | Key::Char('g') => 0,
            Key::End | Key::Char('G') => last,
            _ => return,
        };
        self.chosen[self.pane as usize] = Some(names[at.min(last)].clone());
    }

    /// Where the chosen row is among these; the first where it is not.
    pub(super) fn chosen_at(&self, names: &[String]) -> usize {
        let chosen = self.chosen[self.pane as usize].as_ref();
        chosen.and_then(|chosen| names.iter().position(|name| name == chosen)).unwrap_or(0)
    }

    /// The name of the chosen row, which may be gone where it is read about.
    pub(super) fn chosen_row(&self) -> Option<String> {
        if self.mode == Mode::Details {
            return self.chosen[self.pane as usize].clone();
        }
        let names: Vec<String> = rows::of(self).into_iter().map(|row| row.name).collect();
        names.get(self.chosen_at(&names)).cloned()
    }

    /// Since when the daemon has not answered although it should have, and why.
    pub(super) fn away(&self, now: OffsetDateTime) -> Option<(Duration, &str)> {
        let since = Duration::try_from(now - self.heard_at).unwrap_or_default();
        let is_late = self.paused_at.is_none() && since > self.known.next_in + GRACE;
        match &self.silence {
            Some(reason) => Some((since, reason)),
            None => is_late.then_some((since, "no answer")),
        }
    }

    /// Since when the database is away, and why, as the daemon says it.
    pub(super) fn database_away(&self) -> Option<(Option<OffsetDateTime>, String)> {
        let database = self.known.status.get("database")?;
        let is_down = database.get("state").and_then(Json::as_str) == Some("down");
        is_down.then(|| {
            (
                crate::output::instant(database, "down_since"),
                crate::output::field(database, "reason"),
            )
        })
    }
}
