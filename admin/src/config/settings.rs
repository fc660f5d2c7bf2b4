//! The typed configuration, made from merged settings.
//!
//! Invariant: the fields and the table of keys agree; a test loads every key, so that a field
//! whose key is missing or of another kind panics there and nowhere else.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use serde::Serialize;
use serde_json::{Map, Value as Json, json};

use super::env::Inputs;
use super::merge::{Merged, merge};
use super::password;
use super::problem::{ConfigError, Source};
use super::secret::Secret;
use super::warning::{Warning, warnings};

/// How log lines are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LogFormat {
    /// What fits the place they go to.
    Auto,
    /// Lines for people.
    Text,
    /// One JSON object a line.
    Json,
    /// The journal's own protocol, with fields.
    Journald,
}

/// What to do about missing migrations at the start.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Migrate {
    /// Apply them.
    Apply,
    /// Refuse to start.
    Check,
}

/// One key as `decisiongraph config` shows it; serializes as `{value, source}`.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct EffectiveValue {
    /// The key.
    #[serde(skip)]
    pub key: &'static str,
    /// The value in the type the file would give it, masked; null when it has none.
    pub value: Json,
    /// Where it came from.
    pub source: Source,
    /// The line, when it came from a file.
    #[serde(skip)]
    pub line: Option<usize>,
    /// What lower sources say, the highest of them first.
    #[serde(skip)]
    pub overridden: Vec<EffectiveValue>,
}

impl EffectiveValue {
    /// Where it came from, with the line in a file: `file:/etc/decisiongraph/config.toml:7`.
    #[must_use]
    pub fn origin(&self) -> String {
        let line = self.line.map(|line| format!(":{line}")).unwrap_or_default();
        format!("{}{line}", self.source)
    }

    fn with_origin(&self) -> Json {
        let overridden: Vec<Json> = self.overridden.iter().map(Self::with_origin).collect();
        let mut shown = json!({"value": self.value, "source": self.source, "line": self.line});
        if !overridden.is_empty() {
            shown["overridden"] = Json::Array(overridden);
        }
        shown
    }
}

/// The whole configuration. Every value is in its key's range; `Debug` shows no password.
#[derive(Debug, Clone)]
pub struct Config {
    /// How to reach Postgres; `None`: run an embedded one.
    pub database_url: Option<Secret>,
    /// What holds the password of `database_url`; `None`: the URL itself, if anything.
    pub database_password_file: Option<PathBuf>,
    /// The embedded Postgres and, by default, the admin socket.
    pub data_dir: PathBuf,
    /// Where Postgres' programs are; `None`: look for them.
    pub postgres_bin_dir: Option<PathBuf>,
    /// What to do about missing migrations.
    pub migrate: Migrate,
    /// The greatest number of database connections, 4 to 500.
    pub pool_size: usize,
    /// How long one call to the database may take, 1 ms to 1 h.
    pub storage_timeout: Duration,
    /// The admin socket, at most 107 bytes.
    pub socket_path: PathBuf,
    /// Users who may use the admin socket besides root and the daemon's own.
    pub admin_uids: Vec<u32>,
    /// Users who may look through it and change nothing.
    pub observer_uids: Vec<u32>,
    /// Where metrics, liveness and readiness are served; `None`: nowhere.
    pub metrics_listen: Option<SocketAddr>,
    /// Tenants with metrics of their own, 0 to 10 000.
    pub metrics_max_tenants: usize,
    /// Whether there is a web console beside the metrics; never on an address that is not loopback.
    pub console: bool,
    /// Whether it shows the payloads of events.
    pub console_payloads: bool,
    /// How log lines are written.
    pub log_format: LogFormat,
    /// Directives of a tracing filter that parse.
    pub log_level: String,
    /// The most events of one append transaction, 1 to 10 000.
    pub append_batch_max_events: usize,
    /// How long an append waits for company, 0 to 1 min.
    pub append_batch_max_wait: Duration,
    /// The projections to keep: none twice, in the order given; none at all keeps the log alone.
    pub projections: Vec<&'static str>,
    /// Workers a tenant's projection is spread over, 1 to 64.
    pub projection_partitions: u32,
    /// The most workers at once, 1 to 1 000 000.
    pub projection_max_workers: usize,
    /// The most events of a page of a worker, 1 to 100 000; far behind, it commits up to five at once.
    pub projection_batch_size: usize,
    /// The most events a replay or rebuild applies in one commit, 1 to 100 000.
    pub projection_job_batch_size: usize,
    /// Whether runs that were interrupted go on by themselves when the daemon starts.
    pub resume_interrupted_runs: bool,
    /// How often events written by other processes are looked for, 1 ms to 1 h.
    pub projection_poll_interval: Duration,
    /// The wait before a worker's first retry, 1 ms to 1 h; at most `projection_retry_max`.
    pub projection_retry_base: Duration,
    /// The longest wait between a worker's retries, 1 ms to 1 day.
    pub projection_retry_max: Duration,
    /// Retries before a worker counts as degraded, 0 to 1000.
    pub projection_max_retries: u32,
    /// The most nodes a subgraph read returns, 1 to 100 000.
    pub projection_max_nodes: usize,
    /// The most edges a subgraph read returns, 1 to 100 000.
    pub projection_max_edges: usize,
    /// How long a projection is at rest before its digest is refreshed, 1 ms to 1 day.
    pub digest_idle: Duration,
    /// How long a tenant is at rest before its workers stop, 1 ms to 7 days.
    pub tenant_idle_stop: Duration,
    /// How long an orderly stop may take, 1 ms to 1 h.
    pub shutdown_timeout: Duration,
    pub(super) effective: Vec<EffectiveValue>,
    pub(super) warnings: Vec<Warning>,
}

impl Config {
    /// Loads the configuration.
    ///
    /// # Errors
    /// Everything that is wrong with it.
    pub fn load(inputs: &Inputs) -> Result<Self, ConfigError> {
        let mut merged = merge(inputs);
        merged.problems.extend(password::problem(&merged));
        match merged.problems.is_empty() {
            true => Ok(Self::from_merged(&merged)),
            false => Err(ConfigError { problems: merged.problems }),
        }
    }

    /// Every key with its value and where it came from, sorted by key, secrets masked.
    pub fn effective(&self) -> impl Iterator<Item = &EffectiveValue> {
        self.effective.iter()
    }

    /// The object `decisiongraph config` prints: key to `{value, source}`.
    #[must_use]
    pub fn effective_json(&self) -> Json {
        self.object_of(|one| json!({"value": one.value, "source": one.source}))
    }

    /// The object `decisiongraph config --origin` prints: the same with `line`, and `overridden`
    /// where lower sources say something, too.
    #[must_use]
    pub fn origins_json(&self) -> Json {
        self.object_of(EffectiveValue::with_origin)
    }

    fn object_of(&self, shown: impl Fn(&EffectiveValue) -> Json) -> Json {
        let members = self.effective().map(|one| (one.key.to_owned(), shown(one)));
        Json::Object(members.collect::<Map<_, _>>())
    }

    /// What is valid and probably not meant so, sorted by key.
    #[must_use]
    pub fn warnings(&self) -> &[Warning] {
        &self.warnings
    }

    fn from_merged(m: &Merged) -> Self {
        Self {
            database_url: m.secret("database_url"),
            database_password_file: m.optional_path("database_password_file"),
            data_dir: m.path("data_dir"),
            postgres_bin_dir: m.optional_path("postgres_bin_dir"),
            migrate: m.migrate("migrate"),
            pool_size: m.size("pool_size"),
            storage_timeout: m.millis("storage_timeout_ms"),
            socket_path: m.path("socket_path"),
            admin_uids: m.uids("admin_uids"),
            observer_uids: m.uids("observer_uids"),
            metrics_listen: m.listen("metrics_listen"),
            metrics_max_tenants: m.size("metrics_max_tenants"),
            console: m.switch("console"),
            console_payloads: m.switch("console_payloads"),
            log_format: m.log_format("log_format"),
            log_level: m.filter("log_level"),
            append_batch_max_events: m.size("append_batch_max_events"),
            append_batch_max_wait: m.millis("append_batch_max_wait_ms"),
            projections: m.choices("projections"),
            projection_partitions: m.small("projection_partitions"),
            projection_batch_size: m.size("projection_batch_size"),
            projection_max_workers: m.size("projection_max_workers"),
            projection_job_batch_size: m.size("projection_job_batch_size"),
            resume_interrupted_runs: m.switch("resume_interrupted_runs"),
            projection_poll_interval: m.millis("projection_poll_interval_ms"),
            projection_retry_base: m.millis("projection_retry_base_ms"),
            projection_retry_max: m.millis("projection_retry_max_ms"),
            projection_max_retries: m.small("projection_max_retries"),
            projection_max_nodes: m.size("projection_max_nodes"),
            projection_max_edges: m.size("projection_max_edges"),
            digest_idle: m.millis("digest_idle_ms"),
            tenant_idle_stop: m.millis("tenant_idle_stop_ms"),
            shutdown_timeout: m.millis("shutdown_timeout_ms"),
            effective: m.effective(),
            warnings: warnings(&m.settings),
        }
    }
}
