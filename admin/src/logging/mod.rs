//! Log lines of the daemon: to standard error in the configured form, or to the journal with fields.

mod journal;

use std::io::IsTerminal as _;
use std::os::unix::fs::MetadataExt as _;
use std::sync::OnceLock;

use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::util::SubscriberInitExt as _;
use tracing_subscriber::{EnvFilter, Registry, fmt, reload};

use crate::config::{Config, LogFormat};
use journal::Journal;

/// The way to change the level of the one subscriber that a process has.
static LEVEL: OnceLock<reload::Handle<EnvFilter, Registry>> = OnceLock::new();

/// How lines are written.
enum Form {
    Text { in_journal: bool },
    Json,
    Journal(Journal),
}

/// Starts logging; a second call changes nothing.
pub(crate) fn start(config: &Config) {
    let (form, trouble) = form(config.log_format);
    let (level, handle) = reload::Layer::new(filter(&config.log_level));
    let registry = tracing_subscriber::registry().with(level);
    let lines = fmt::layer().with_writer(std::io::stderr).with_target(false);
    let started = match form {
        Form::Journal(journal) => registry.with(journal).try_init(),
        Form::Json => registry.with(lines.json().flatten_event(true)).try_init(),
        // The journal stamps its lines itself.
        Form::Text { in_journal: true } => {
            registry.with(lines.with_ansi(false).without_time()).try_init()
        }
        Form::Text { in_journal: false } => {
            registry.with(lines.with_ansi(std::io::stderr().is_terminal())).try_init()
        }
    };
    // Somebody else's subscriber (a test's) stays.
    if started.is_ok() {
        let _ = LEVEL.set(handle);
    }
    if let Some(error) = trouble {
        tracing::warn!(%error, "the journal is not reached: its fields are missing in these lines");
    }
}

/// Logs at another level from now on.
pub(crate) fn set_level(directives: &str) {
    let Some(handle) = LEVEL.get() else { return };
    if let Err(error) = handle.reload(filter(directives)) {
        tracing::error!(%error, "the log's level stays");
    }
}

fn filter(directives: &str) -> EnvFilter {
    EnvFilter::builder().parse_lossy(directives)
}

/// What the configured format comes to here, and why it is not the journal where that was meant.
fn form(format: LogFormat) -> (Form, Option<std::io::Error>) {
    let is_journal = stderr_is_journal();
    match format {
        LogFormat::Json => (Form::Json, None),
        LogFormat::Journald => native(),
        LogFormat::Auto if is_journal => native(),
        LogFormat::Auto | LogFormat::Text => (Form::Text { in_journal: is_journal }, None),
    }
}

fn native() -> (Form, Option<std::io::Error>) {
    match Journal::connect() {
        Ok(journal) => (Form::Journal(journal), None),
        Err(error) => (Form::Text { in_journal: true }, Some(error)),
    }
}

/// Whether standard error is what systemd has connected with the journal. The variable alone says
/// only that it once was, perhaps for a parent of this process.
fn stderr_is_journal() -> bool {
    let Ok(stream) = std::env::var("JOURNAL_STREAM") else { return false };
    let stderr = std::fs::metadata("/proc/self/fd/2");
    stderr.is_ok_and(|stderr| stream == format!("{}:{}", stderr.dev(), stderr.ino()))
}
