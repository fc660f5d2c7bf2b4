//! Log lines of the daemon: to standard error, in the configured form.

use std::io::IsTerminal as _;

use tracing_subscriber::EnvFilter;
use tracing_subscriber::fmt::SubscriberBuilder;

use crate::config::{Config, LogFormat};

/// Starts logging; a second call changes nothing.
pub(crate) fn start(config: &Config) {
    let level = EnvFilter::builder().parse_lossy(&config.log_level);
    let builder = SubscriberBuilder::default()
        .with_env_filter(level)
        .with_writer(std::io::stderr)
        .with_target(false);
    // The journal stamps its lines itself.
    let in_journal = std::env::var_os("JOURNAL_STREAM").is_some();
    let started = match config.log_format {
        LogFormat::Json => builder.json().flatten_event(true).try_init(),
        LogFormat::Journald => builder.with_ansi(false).without_time().try_init(),
        LogFormat::Auto if in_journal => builder.with_ansi(false).without_time().try_init(),
        LogFormat::Auto | LogFormat::Text => {
            builder.with_ansi(std::io::stderr().is_terminal()).try_init()
        }
    };
    // Somebody else's subscriber (a test's) stays.
    drop(started);
}
