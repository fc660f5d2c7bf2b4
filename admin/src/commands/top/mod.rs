//! `top`: the daemon at work, on a terminal.
//!
//! ```text
//! daemon ══ socket ══ ask ── answers ──┐
//! terminal ── keys ────────────────────┴── picture ── draw ── terminal
//! ```
//! The picture is plain data with two changes, `hear` and `press`; this file is the shell around it. It
//! gives the terminal back however it ends.

mod ask;
mod card;
mod charts;
mod draw;
mod header;
mod picture;
#[cfg(test)]
mod picture_tests;
mod rows;
#[cfg(test)]
mod screen_tests;

use std::io::IsTerminal as _;
use std::time::Duration;

use dg_projections::Code;
use ratatui::DefaultTerminal;
use ratatui::crossterm::event::{self, Event, KeyCode, KeyEvent, KeyEventKind, KeyModifiers};
use time::OffsetDateTime;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::mpsc::{Receiver, Sender, channel};

use super::run::Signals;
use crate::cli::Session;
use crate::failure::{Failure, exit};
use ask::Asker;
use draw::Palette;
use picture::{Key, Picture};

/// The screen is drawn anew so often at least: ages grow.
const TICK: Duration = Duration::from_millis(500);

pub(crate) async fn top(session: &Session) -> Result<u8, Failure> {
    if !(std::io::stdout().is_terminal() && std::io::stdin().is_terminal()) {
        return Err(Failure::new(
            Code::InvalidArgument,
            "top draws on a terminal, and there is none",
        )
        .exit(exit::USAGE)
        .help("`decisiongraph status --watch` prints instead; `-o json` is for scripts"));
    }
    let asker = Asker { client: session.client()?.of_all() };
    // Who cannot be asked at all is no picture.
    let known = asker.first().await?;
    let filter = session.named_tenant().unwrap_or_default().to_owned();
    let picture = Picture::new(known, filter, now());
    let palette = Palette { is_colored: session.output.color };
    let mut screen = Screen::open()?;
    live(&mut screen, asker, picture, palette).await
}

/// Until somebody quits, or the terminal is gone.
async fn live(
    screen: &mut Screen,
    asker: Asker,
    mut picture: Picture,
    palette: Palette,
) -> Result<u8, Failure> {
    let (tell, mut heard) = channel(1);
    let asking = tokio::spawn(asker.go_on(tell));
    let mut input = input();
    let mut signals = Signals::new()?;
    let mut hangup = signal(SignalKind::hangup())?;
    let mut tick = tokio::time::interval(TICK);
    let ended = loop {
        screen.draw(&picture, palette)?;
        tokio::select! {
            answer = heard.recv() => match answer {
                Some(answer) => picture = picture.hear(answer, now()),
                None => break Err(Failure::new(Code::Internal, "nobody asks the daemon any more")),
            },
            pressed = input.recv() => match pressed {
                Some(Input::Key(key)) => match picture.press(key, now()) {
                    Some(next) => picture = next,
                    None => break Ok(0),
                },
                Some(Input::Resized) => {}
                None => break Ok(0),
            },
            () = signals.next() => break Ok(0),
            _ = hangup.recv() => break Ok(0),
            _ = tick.tick() => {}
        }
    };
    asking.abort();
    ended
}

fn now() -> OffsetDateTime {
    OffsetDateTime::now_utc()
}

/// The terminal while it is ours.
struct Screen(DefaultTerminal);

impl Screen {
    fn open() -> Result<Screen, Failure> {
        ratatui::try_init().map(Screen).map_err(|error| {
            // Half of it may have been done.
            let _ = ratatui::try_restore();
            Failure::new(Code::Internal, format!("the terminal: {error}"))
                .help("`decisiongraph status --watch` needs nothing of it")
        })
    }

    fn draw(&mut self, picture: &Picture, palette: Palette) -> Result<(), Failure> {
        self.0.draw(|frame| draw::draw(frame, picture, palette, now())).map(drop)?;
        Ok(())
    }
}

impl Drop for Screen {
    fn drop(&mut self) {
        // A terminal that is gone needs nothing.
        let _ = self.0.show_cursor();
        let _ = ratatui::try_restore();
    }
}

/// What the terminal says.
enum Input {
    Key(Key),
    Resized,
}

/// Reads the terminal in a thread of its own: a read of it cannot be given up. It ends with the
/// process, or when nobody listens.
fn input() -> Receiver<Input> {
    let (tell, told) = channel(64);
    std::thread::spawn(move || read(&tell));
    told
}

fn read(tell: &Sender<Input>) {
    while let Ok(event) = event::read() {
        let said = match event {
            Event::Key(pressed) if pressed.kind != KeyEventKind::Release => {
                key(pressed).map(Input::Key)
            }
            Event::Resize(..) => Some(Input::Resized),
            _ => None,
        };
        if let Some(said) = said
            && tell.blocking_send(said).is_err()
        {
            return;
        }
    }
}

fn key(pressed: KeyEvent) -> Option<Key> {
    let with_control = pressed.modifiers.contains(KeyModifiers::CONTROL);
    Some(match pressed.code {
        KeyCode::Char('c' | 'd') if with_control => Key::Interrupt,
        KeyCode::Char(_) if with_control => return None,
        KeyCode::Char(c) => Key::Char(c),
        KeyCode::Up => Key::Up,
        KeyCode::Down => Key::Down,
        KeyCode::PageUp => Key::PageUp,
        KeyCode::PageDown => Key::PageDown,
        KeyCode::Home => Key::Home,
        KeyCode::End => Key::End,
        KeyCode::Tab | KeyCode::Right => Key::NextPane,
        KeyCode::BackTab | KeyCode::Left => Key::PreviousPane,
        KeyCode::Enter => Key::Enter,
        KeyCode::Esc => Key::Back,
        KeyCode::Backspace => Key::Erase,
        _ => return None,
    })
}
