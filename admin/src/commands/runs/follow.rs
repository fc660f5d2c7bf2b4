//! Watching a run until it is over, across restarts of the daemon.

use std::io::IsTerminal as _;
use std::time::{Duration, Instant};

use dg_projections::Code;
use dg_projections::json::Json;
use indicatif::{ProgressBar, ProgressStyle};

use super::card::{progress, rate, state, what, word};
use super::path;
use crate::client::Client;
use crate::commands::run::Signals;
use crate::failure::Failure;
use crate::output::{duration, field, grouped, note};

/// Between two looks.
const PAUSE: Duration = Duration::from_millis(200);
/// Between two lines, where they are not a bar.
const LINE_PAUSE: Duration = Duration::from_secs(3);
/// How long a daemon may be away.
const ABSENCE: Duration = Duration::from_secs(30);
/// A daemon that lets interrupted runs go on does so within this time.
const SECOND_THOUGHTS: Duration = Duration::from_secs(2);

/// The run as it is when it is over. Who stops watching does not stop the run.
pub(super) async fn until_over(client: &Client, run: Json) -> Result<Json, Failure> {
    let id = field(&run, "run_id");
    let mut watch = Watch { client, path: path(&id), shown: Shown::new(&run) };
    let mut signals = Signals::new()?;
    let ended = tokio::select! {
        ended = watch.follow(run) => ended,
        () = signals.next() => {
            let help = format!("the run goes on; `decisiongraph cancel {id}` ends it");
            Err(Failure::interrupted().help(help))
        }
    };
    watch.shown.clear();
    ended
}

struct Watch<'a> {
    client: &'a Client,
    path: String,
    shown: Shown,
}

impl Watch<'_> {
    async fn follow(&mut self, mut run: Json) -> Result<Json, Failure> {
        while is_active(&run) {
            self.shown.show(&run);
            tokio::time::sleep(PAUSE).await;
            run = self.look().await?;
            if word(&run, "status") == Some("interrupted") {
                tokio::time::sleep(SECOND_THOUGHTS).await;
                run = self.look().await?;
            }
        }
        Ok(run)
    }

    /// The run as it stands; a daemon or database that is away for a moment is waited for.
    async fn look(&mut self) -> Result<Json, Failure> {
        let since = Instant::now();
        let mut is_told = false;
        loop {
            match self.client.get(&self.path, &[]).await {
                Err(failure) if is_away(&failure) && since.elapsed() < ABSENCE => {
                    if !is_told {
                        self.shown.say(&format!("{}; waiting for it", failure.message));
                    }
                    is_told = true;
                    tokio::time::sleep(PAUSE).await;
                }
                looked => return looked,
            }
        }
    }
}

fn is_active(run: &Json) -> bool {
    matches!(word(run, "status"), Some("queued" | "running"))
}

fn is_away(failure: &Failure) -> bool {
    failure.code == Code::Storage.as_str()
}

/// What is seen of it on standard error.
enum Shown {
    /// A bar, on a terminal.
    Bar(ProgressBar),
    /// A line now and then.
    Lines(Option<Told>),
}

/// The last line.
struct Told {
    state: String,
    line: String,
    at: Instant,
}

impl Shown {
    fn new(run: &Json) -> Shown {
        if !is_active(run) {
            return Shown::Lines(None);
        }
        note(&format!("run {}: {}", field(run, "run_id"), what(run)));
        if std::io::stderr().is_terminal() { Shown::Bar(bar()) } else { Shown::Lines(None) }
    }

    fn show(&mut self, run: &Json) {
        match self {
            Shown::Bar(bar) => draw(bar, run),
            Shown::Lines(last) => {
                let told = Told::of(run);
                if last.as_ref().is_none_or(|last| told.is_news_after(last)) {
                    note(&told.line);
                    *last = Some(told);
                }
            }
        }
    }

    fn say(&self, text: &str) {
        match self {
            Shown::Bar(bar) => bar.suspend(|| note(text)),
            Shown::Lines(_) => note(text),
        }
    }

    fn clear(&self) {
        if let Shown::Bar(bar) = self {
            bar.finish_and_clear();
        }
    }
}

impl Told {
    fn of(run: &Json) -> Told {
        let state = state(run);
        let parts = [Some(state.clone()), Some(progress(run)), rate(run)];
        let line = parts.into_iter().flatten().collect::<Vec<_>>().join(", ");
        Told { state, line, at: Instant::now() }
    }

    fn is_news_after(&self, last: &Told) -> bool {
        let is_due = self.at.duration_since(last.at) >= LINE_PAUSE;
        self.state != last.state || (is_due && self.line != last.line)
    }
}

fn bar() -> ProgressBar {
    let style =
        ProgressStyle::with_template("{prefix} [{wide_bar}] {human_pos}/{human_len} events {msg}");
    let bar = ProgressBar::new(0);
    match style {
        Ok(style) => bar.with_style(style.progress_chars("=> ")),
        Err(_) => bar,
    }
}

fn draw(bar: &ProgressBar, run: &Json) {
    let count = |key| run.get(key).and_then(Json::as_i64).unwrap_or(0).unsigned_abs();
    let measured = |key| run.get(key).and_then(Json::as_f64);
    bar.set_length(count("total_events"));
    bar.set_prefix(word(run, "phase").or(word(run, "status")).unwrap_or_default().to_owned());
    let rate = measured("events_per_second").map(|rate| format!("{}/s", grouped(rate as i64)));
    let left = measured("eta_seconds").map(|left| format!("eta {}", duration(left)));
    bar.set_message([rate, left].into_iter().flatten().collect::<Vec<_>>().join(" "));
    bar.set_position(count("processed_events"));
}

#[cfg(test)]
mod tests {
    use dg_projections::json::parse;

    use super::*;

    #[test]
    fn a_line_is_written_when_the_phase_changes_and_otherwise_now_and_then() {
        let at = |phase: &str, done: u32, later: u64| {
            let text = format!(
                r#"{{"status":"running","phase":"{phase}","processed_events":{done},"total_events":9}}"#
            );
            let told = Told::of(&parse(&text).unwrap());
            Told { at: told.at + Duration::from_secs(later), ..told }
        };
        let first = at("building", 3, 0);
        assert_eq!(first.line, "running: building, 3 of 9 events (33 %)");
        assert!(at("comparing", 3, 0).is_news_after(&first));
        assert!(!at("building", 4, 0).is_news_after(&first));
        assert!(at("building", 4, 60).is_news_after(&first));
        assert!(!at("building", 3, 60).is_news_after(&first));
    }
}
