//! What is valid and probably not meant so: told by `config check`, `doctor` and at the start.
//!
//! A rule here needs a reason why somebody would regret the value, and what to write instead.

use std::collections::BTreeMap;
use std::fmt;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;

use dg_store::Target;
use tracing::Level;
use tracing_subscriber::filter::Targets;

use super::merge::Setting;
use super::problem::Source;
use super::secret::Secret;
use super::value::Value;

/// A value that is valid and probably not meant so. Displayed as one line without its remedy.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Warning {
    /// The key.
    pub key: &'static str,
    /// Where the value came from.
    pub source: Source,
    /// What comes of it, as the rest of a sentence about the key.
    pub message: String,
    /// What to do.
    pub help: String,
}

impl fmt::Display for Warning {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let source = self.source.to_string();
        write!(f, "{} ({}): {}", self.key, source.escape_debug(), self.message)
    }
}

/// What comes of a value, and what to do; none when all is well.
type Regret = Option<(String, String)>;

/// Everything that is told of these settings, sorted by key.
pub(super) fn warnings(settings: &BTreeMap<&'static str, Setting>) -> Vec<Warning> {
    let of_setting = |(key, setting): (&&'static str, &Setting)| {
        let value = setting.value.as_ref()?;
        let (message, help) = regret(value, key, &setting.source)?;
        Some(Warning { key, source: setting.source.clone(), message, help })
    };
    settings.iter().filter_map(of_setting).collect()
}

fn regret(value: &Value, key: &str, source: &Source) -> Regret {
    match value {
        Value::Secret(secret) => {
            plain_text(secret).or_else(|| open_password(secret, source))
        }
        Value::Listen(Some(address)) if !address.ip().is_loopback() => Some((
            format!("everybody who reaches {address} may read the metrics, with names of tenants"),
            "write an address of this machine alone, such as 127.0.0.1:9464, or let a firewall decide"
                .to_owned(),
        )),
        Value::Filter(directives) => no_audit(directives),
        Value::Path(path) => {
            moving_path(path, key, source).or_else(|| open_password_file(path, key))
        }
        _ => None,
    }
}

fn plain_text(url: &Secret) -> Regret {
    let target = Target::parse(url.expose()).ok()?;
    target.is_readable_on_the_way().then(|| {
        let message = "password and events travel to another machine in plain text";
        (message.to_owned(), "write sslmode=verify-full".to_owned())
    })
}

/// A password in the configuration, which every user of this machine may read.
fn open_password(url: &Secret, source: &Source) -> Regret {
    let Source::File(path) = source else { return None };
    let has_password = url.masked() != url.expose();
    (has_password && is_open(path)).then(|| {
        let file = path.display();
        let message = format!("its password stands in {file}, which every user may read");
        (message, format!("chmod o= {file}"))
    })
}

fn open_password_file(path: &Path, key: &str) -> Regret {
    (key == "database_password_file" && is_open(path)).then(|| {
        let file = path.display();
        (format!("every user may read {file}"), format!("chmod o= {file}"))
    })
}

fn is_open(path: &Path) -> bool {
    std::fs::metadata(path).is_ok_and(|meta| meta.mode() & 0o004 != 0)
}

/// Directives about spans may let lines through that these do not: then nothing is said.
fn no_audit(directives: &str) -> Regret {
    let targets: Targets = directives.parse().ok()?;
    (!targets.would_enable("audit", &Level::INFO)).then(|| {
        let message = "nothing is written down of who retried, started or cancelled something";
        (message.to_owned(), format!("write \"{directives},audit=info\""))
    })
}

/// What a file for the whole machine says must not depend on where a command is typed.
fn moving_path(path: &Path, key: &str, source: &Source) -> Regret {
    let moves = matches!(source, Source::File(file) if file.is_absolute() && path.is_relative());
    moves.then(|| {
        let message = format!("{} is another place in each working directory", path.display());
        (message, format!("write {key} as an absolute path"))
    })
}
