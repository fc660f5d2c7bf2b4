//! The table of keys: each key once, everything else derives from it.
//!
//! Adding a key: a row here and a field in `settings.rs`. Names and defaults are a contract with
//! operators; adding is free, changing is not.

use super::kind::Kind;

/// One configuration key.
#[derive(Debug, Clone, Copy)]
pub struct Key {
    /// The name in the file; the flag is its kebab-case, the variable `DECISIONGRAPH_` and its
    /// upper case.
    pub name: &'static str,
    /// The shape and the bounds of the value.
    pub kind: Kind,
    /// What a number counts, for people; empty where the value has no unit.
    pub unit: &'static str,
    /// The value when no source gives one.
    pub fallback: Fallback,
    /// What a file might say where there is no default; else empty.
    pub example: &'static str,
    /// One line for `--help` and the README, without a full stop.
    pub meaning: &'static str,
    /// Whether the value may hold a password, which output masks.
    pub secret: bool,
    /// Whether SIGHUP changes it in a daemon that runs; the others need a restart.
    pub reloadable: bool,
    /// Another environment variable for the same key; ranks below the one with the key's name.
    pub env_alias: Option<&'static str>,
    /// The id of another flag for the same key, defined elsewhere; ranks below the key's own.
    pub flag_alias: Option<&'static str>,
}

/// A key's value when no source gives one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fallback {
    /// No value.
    Unset,
    /// This value, written as the environment writes it.
    Text(&'static str),
    /// The file of this name in the effective `data_dir`.
    InDataDir(&'static str),
    /// The credential of this name that systemd passes (`LoadCredential=`), if it does.
    Credential(&'static str),
}

/// What every environment variable of this program starts with.
pub(super) const ENV_PREFIX: &str = "DECISIONGRAPH_";

impl Key {
    /// The environment variable of the key.
    #[must_use]
    pub fn env_name(&self) -> String {
        format!("{ENV_PREFIX}{}", self.name.to_ascii_uppercase())
    }

    /// The flag of the key, with its dashes.
    #[must_use]
    pub fn flag_name(&self) -> String {
        format!("--{}", self.name.replace('_', "-"))
    }

    /// The accepted range as people read it.
    #[must_use]
    pub fn accepted(&self) -> String {
        self.kind.accepted(self.unit)
    }

    /// The default as people read it; `None` when the key then has no value.
    #[must_use]
    pub fn default_text(&self) -> Option<String> {
        match self.fallback {
            Fallback::Unset | Fallback::Text("") => None,
            Fallback::Text(text) => Some(text.to_owned()),
            Fallback::InDataDir(file) => Some(format!("<data_dir>/{file}")),
            Fallback::Credential(name) => {
                Some(format!("the credential {name}, if systemd passes it"))
            }
        }
    }
}

/// The key with this name.
#[must_use]
pub fn key(name: &str) -> Option<&'static Key> {
    KEYS.iter().find(|key| key.name == name)
}

/// `PATH_MAX` without the NUL at the end.
const PATH: Kind = Kind::Path { max_bytes: 4095 };
/// `sun_path` of a Unix socket's address without the NUL at the end.
const SOCKET: Kind = Kind::Path { max_bytes: 107 };

const PROJECTIONS: &[&str] = &["context_graph", "trace_summary", "precedent_index"];
const ALL_PROJECTIONS: &str = "context_graph,trace_summary,precedent_index";

const SECOND: u64 = 1_000;
const MINUTE: u64 = 60 * SECOND;
const HOUR: u64 = 60 * MINUTE;
const DAY: u64 = 24 * HOUR;

const fn plain(name: &'static str, kind: Kind, text: &'static str, meaning: &'static str) -> Key {
    let fallback = Fallback::Text(text);
    Key {
        name,
        kind,
        unit: "",
        fallback,
        example: "",
        meaning,
        secret: false,
        reloadable: false,
        env_alias: None,
        flag_alias: None,
    }
}

const fn count(
    name: &'static str,
    (min, max): (u64, u64),
    (text, unit): (&'static str, &'static str),
    meaning: &'static str,
) -> Key {
    Key { unit, ..plain(name, Kind::Count { min, max }, text, meaning) }
}

/// The same key, changed by a reload.
const fn live(key: Key) -> Key {
    Key { reloadable: true, ..key }
}

const DATABASE_URL: Key = Key {
    fallback: Fallback::Unset,
    example: "postgres://dg@db.example/dg?sslmode=verify-full",
    secret: true,
    env_alias: Some("DATABASE_URL"),
    ..plain(
        "database_url",
        Kind::Postgres,
        "",
        "the Postgres to use; without one an embedded one runs in data_dir",
    )
};

const DATABASE_PASSWORD_FILE: Key = Key {
    fallback: Fallback::Credential("pg-password"),
    example: "/etc/decisiongraph/pg-password",
    ..plain(
        "database_password_file",
        PATH,
        "",
        "the file that holds the password for database_url, which then has none; read at each connection",
    )
};

const POSTGRES_BIN_DIR: Key = Key {
    fallback: Fallback::Unset,
    example: "/usr/lib/postgresql/15/bin",
    ..plain(
        "postgres_bin_dir",
        PATH,
        "",
        "where initdb, postgres and psql are; without one they are looked for",
    )
};

const SOCKET_PATH: Key = Key {
    fallback: Fallback::InDataDir("decisiongraph.sock"),
    env_alias: Some("DECISIONGRAPH_SOCKET"),
    flag_alias: Some("socket"),
    ..plain("socket_path", SOCKET, "", "the admin socket")
};

/// Every key, in the order `--help` and the README list them.
#[rustfmt::skip]
pub const KEYS: &[Key] = &[
    DATABASE_URL,
    DATABASE_PASSWORD_FILE,
    plain("data_dir", PATH, ".decisiongraph", "the embedded Postgres and, by default, the admin socket"),
    POSTGRES_BIN_DIR,
    plain("migrate", Kind::Choice(&["apply", "check"]), "apply", "apply missing migrations at the start, or only check that none is missing"),
    count("pool_size", (4, 500), ("16", "connections"), "the greatest number of database connections"),
    count("storage_timeout_ms", (1, HOUR), ("30000", "ms"), "how long one call to the database may take"),
    SOCKET_PATH,
    live(plain("admin_uids", Kind::Uids, "", "users who may use the admin socket besides root and the daemon's own")),
    live(plain("observer_uids", Kind::Uids, "", "users who may look through the admin socket and change nothing")),
    plain("metrics_listen", Kind::Listen, "127.0.0.1:9464", "where metrics, liveness and readiness are served"),
    live(count("metrics_max_tenants", (0, 10_000), ("200", "tenants"), "tenants with metrics of their own; the rest are summed")),
    plain("console", Kind::Switch, "false", "a web console on metrics_listen, which every local user can read; needs a loopback address"),
    plain("console_payloads", Kind::Switch, "false", "the console shows the payloads of events, too"),
    plain("log_format", Kind::Choice(&["auto", "text", "json", "journald"]), "auto", "how log lines are written; auto fits the place they go to"),
    live(plain("log_level", Kind::Filter, "info", "what is logged")),
    count("append_batch_max_events", (1, 10_000), ("1000", "events"), "the most events of one append transaction"),
    count("append_batch_max_wait_ms", (0, MINUTE), ("0", "ms"), "how long an append waits for company; 0: whatever is waiting goes"),
    plain("projections", Kind::Choices(PROJECTIONS), ALL_PROJECTIONS, "the projections to keep; none keeps the log alone"),
    count("projection_partitions", (1, 64), ("1", "workers"), "workers a tenant's projection is spread over"),
    count("projection_max_workers", (1, 1_000_000), ("6000", "workers"), "the most workers at once, some 20 kB of memory each; tenants beyond it wait for others to come to rest"),
    count("projection_batch_size", (1, 100_000), ("1000", "events"), "the most events of a page of a worker; far behind, it commits up to five at once"),
    count("projection_job_batch_size", (1, 100_000), ("5000", "events"), "the most events a replay or rebuild applies in one commit"),
    count("projection_poll_interval_ms", (1, HOUR), ("1000", "ms"), "how often events written by other processes are looked for"),
    count("projection_retry_base_ms", (1, HOUR), ("250", "ms"), "the wait before a worker's first retry; doubles with each"),
    count("projection_retry_max_ms", (1, DAY), ("30000", "ms"), "the longest wait between a worker's retries; at least projection_retry_base_ms"),
    count("projection_max_retries", (0, 1_000), ("5", "retries"), "retries before a worker counts as degraded"),
    live(count("projection_max_nodes", (1, 100_000), ("500", "nodes"), "the most nodes a subgraph read returns")),
    live(count("projection_max_edges", (1, 100_000), ("500", "edges"), "the most edges a subgraph read returns")),
    plain("resume_interrupted_runs", Kind::Switch, "false", "runs that were interrupted go on by themselves"),
    count("digest_idle_ms", (1, DAY), ("2000", "ms"), "how long a projection is at rest before its digest is refreshed"),
    count("tenant_idle_stop_ms", (1, 7 * DAY), ("600000", "ms"), "how long a tenant is at rest before its workers stop"),
    count("shutdown_timeout_ms", (1, HOUR), ("10000", "ms"), "how long an orderly stop may take"),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_unique_snake_case_and_lead_to_flag_and_variable() {
        for (at, row) in KEYS.iter().enumerate() {
            assert!(row.name.chars().all(|c| c.is_ascii_lowercase() || c == '_'), "{}", row.name);
            assert!(KEYS[at + 1..].iter().all(|other| other.name != row.name), "{}", row.name);
            assert!(!row.meaning.is_empty() && !row.meaning.ends_with('.'), "{}", row.name);
        }
        let row = key("append_batch_max_wait_ms").unwrap();
        assert_eq!(row.env_name(), "DECISIONGRAPH_APPEND_BATCH_MAX_WAIT_MS");
        assert_eq!(row.flag_name(), "--append-batch-max-wait-ms");
        assert!(key("nonsense").is_none());
    }
}
