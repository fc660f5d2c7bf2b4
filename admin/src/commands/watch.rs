//! `--watch`: the answer of a command again and again, until Ctrl-C.
//!
//! On a terminal it is drawn in place; elsewhere answers follow each other, with the time where they are
//! for people. A daemon or database that goes away is waited for, and said to be away.

use std::io::IsTerminal as _;
use std::time::Duration;

use ratatui::crossterm::terminal;
use time::OffsetDateTime;

use super::run::Signals;
use crate::cli::Session;
use crate::failure::{Failure, exit};
use crate::output::{Format, ago, note, print, to_the_second};

/// Prints an answer once, or as `--watch` says. Ctrl-C is how watching ends, and no failure.
pub(super) async fn shown(
    session: &Session,
    answer: impl AsyncFn() -> Result<String, Failure>,
) -> Result<u8, Failure> {
    let Some(seconds) = session.args.get_one::<u64>("watch") else {
        print(&answer().await?)?;
        return Ok(0);
    };
    let mut signals = Signals::new()?;
    tokio::select! {
        failed = again_and_again(session, Duration::from_secs(*seconds), answer) => failed,
        () = signals.next() => Ok(0),
    }
}

async fn again_and_again(
    session: &Session,
    pause: Duration,
    answer: impl AsyncFn() -> Result<String, Failure>,
) -> Result<u8, Failure> {
    let mut view = View::new(session, pause);
    // What fails at once is a mistake; later it is an absence.
    let mut text = answer().await?;
    let mut answered_at = OffsetDateTime::now_utc();
    let mut absence = None;
    loop {
        view.show(&text, answered_at, absence.as_ref())?;
        tokio::time::sleep(pause).await;
        match answer().await {
            Ok(answered) => {
                (text, answered_at, absence) = (answered, OffsetDateTime::now_utc(), None);
            }
            Err(failure) if failure.exit == exit::UNAVAILABLE => absence = Some(failure),
            Err(failure) => return Err(failure),
        }
    }
}

/// Where answers are shown.
enum View {
    /// In place, below this title.
    Screen { title: String, _cut: CutLines },
    /// One after another.
    Blocks { is_stamped: bool, was_away: bool },
}

impl View {
    fn new(session: &Session, pause: Duration) -> View {
        let is_for_people = session.output.format == Format::Table;
        if is_for_people && std::io::stdout().is_terminal() {
            let title = format!("every {} s, Ctrl-C ends", pause.as_secs());
            return View::Screen { title, _cut: CutLines };
        }
        View::Blocks { is_stamped: is_for_people, was_away: false }
    }

    fn show(
        &mut self,
        text: &str,
        at: OffsetDateTime,
        absence: Option<&Failure>,
    ) -> Result<(), Failure> {
        match self {
            View::Screen { title, .. } => {
                let rows = terminal::size().map_or(24, |(_, rows)| rows);
                let absence = absence.map(|failure| {
                    let since = ago(at, OffsetDateTime::now_utc());
                    format!("AWAY, trying: {}. The answer below is from {since}", failure.message)
                });
                let head = format!("{} UTC, {title}", to_the_second(at));
                print(&page(absence.as_deref().unwrap_or(&head), text, usize::from(rows)))
            }
            View::Blocks { is_stamped, was_away } => {
                let is_news = absence.is_some() != *was_away;
                *was_away = absence.is_some();
                match absence {
                    Some(failure) if is_news => {
                        note(&format!("{}; waiting for it", failure.message));
                    }
                    Some(_) => {}
                    None if *is_stamped => {
                        print(&format!("-- {} UTC\n{text}\n", to_the_second(at)))?;
                    }
                    None => print(text)?,
                }
                Ok(())
            }
        }
    }
}

/// A screen: cursor home, each line over the one that was there, nothing below. Lines are cut by the
/// terminal.
fn page(head: &str, text: &str, rows: usize) -> String {
    let room = rows.saturating_sub(4).max(1);
    let lines: Vec<&str> = text.lines().collect();
    let mut page = format!("\x1b[?7l\x1b[H{head}\x1b[K\n\x1b[K\n");
    for line in lines.iter().take(room) {
        page.push_str(line);
        page.push_str("\x1b[K\n");
    }
    if lines.len() > room {
        page.push_str(&format!("... {} more lines\x1b[K\n", lines.len() - room));
    }
    page.push_str("\x1b[J");
    page
}

/// While it lives the terminal cuts lines instead of going on below.
struct CutLines;

impl Drop for CutLines {
    fn drop(&mut self) {
        // A terminal that is gone needs nothing.
        let _ = print("\x1b[?7h");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_page_fills_the_screen_and_says_what_is_left_out() {
        let text: String = (1..=30).map(|n| format!("line {n}\n")).collect();
        let long = page("head", &text, 24);
        assert!(long.starts_with("\x1b[?7l\x1b[Hhead\x1b[K\n"), "{long:?}");
        assert!(long.contains("line 20\x1b[K\n") && !long.contains("line 21"), "{long:?}");
        assert!(long.ends_with("... 10 more lines\x1b[K\n\x1b[J"), "{long:?}");
        assert_eq!(long.lines().count(), 24);
        assert!(!page("head", "one\n", 24).contains("more"), "{text}");
        assert!(page("head", &text, 0).contains("... 29 more"));
    }
}
