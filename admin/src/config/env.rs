//! What loading starts from, and what the environment and the flags say.

use std::collections::BTreeMap;
use std::path::PathBuf;

use super::keys::{ENV_PREFIX, KEYS, Key, key};
use super::merge::Entry;
use super::problem::{Problem, Source};
use super::suggest::nearest;
use super::value::Raw;

/// Where the file is when neither a flag nor the environment names one; the first that exists.
pub const CANDIDATES: [&str; 2] = ["./decisiongraph.toml", "/etc/decisiongraph/config.toml"];

/// The variable that names the file.
pub(super) const CONFIG_ENV: &str = "DECISIONGRAPH_CONFIG";
/// The variable that names the directory of systemd's credentials.
const CREDENTIALS_ENV: &str = "CREDENTIALS_DIRECTORY";
/// Variables with our prefix that are no keys: the file, and switches of the tests.
const NOT_KEYS: [&str; 3] = [CONFIG_ENV, "DECISIONGRAPH_PARITY", "DECISIONGRAPH_OTP_SCENARIOS"];
/// What more switches of the tests start with.
const TEST_PREFIX: &str = "DECISIONGRAPH_TEST_";

/// Everything a configuration is made from. `Default` is empty: no file, no variables, no flags.
/// No `Debug`: the environment and flags may hold passwords.
#[derive(Clone, Default)]
pub struct Inputs {
    /// The file of `--config`; it has to exist.
    pub config_file: Option<PathBuf>,
    /// Environment variables by name. Others than ours may be there; they are not looked at.
    /// An empty one counts as not set.
    pub env: BTreeMap<String, String>,
    /// Given flags by the name of their key, as [`flags_from`](super::flags_from) makes them.
    pub flags: BTreeMap<&'static str, String>,
    /// Where the file may be when nothing names one, the most wanted first.
    pub candidates: Vec<PathBuf>,
}

impl Inputs {
    /// The inputs of this process: its environment and the usual [`CANDIDATES`].
    #[must_use]
    pub fn from_process(
        config_file: Option<PathBuf>,
        flags: BTreeMap<&'static str, String>,
    ) -> Self {
        let text = |os: std::ffi::OsString| os.to_string_lossy().into_owned();
        let env = std::env::vars_os()
            .map(|(name, value)| (text(name), text(value)))
            .filter(|(name, _)| is_ours(name))
            .collect();
        Self { config_file, env, flags, candidates: CANDIDATES.map(PathBuf::from).to_vec() }
    }

    /// The variable's value, when it is set and not empty.
    pub(super) fn variable(&self, name: &str) -> Option<&str> {
        self.env.get(name).map(String::as_str).filter(|value| !value.is_empty())
    }

    /// The file of a credential, when systemd has passed it.
    pub(super) fn credential(&self, name: &str) -> Option<PathBuf> {
        let file = PathBuf::from(self.variable(CREDENTIALS_ENV)?).join(name);
        file.exists().then_some(file)
    }
}

fn is_ours(name: &str) -> bool {
    name == CREDENTIALS_ENV
        || name.starts_with(ENV_PREFIX)
        || KEYS.iter().any(|key| key.env_alias == Some(name))
}

/// What the environment says, in the order of the keys, aliases first.
pub(super) fn env_entries(inputs: &Inputs) -> Vec<Entry> {
    let mut entries = Vec::new();
    for key in KEYS {
        for name in key.env_alias.map(str::to_owned).into_iter().chain([key.env_name()]) {
            let Some(value) = inputs.variable(&name) else { continue };
            let raw = raw(key, value);
            let shared = !name.starts_with(ENV_PREFIX);
            entries.push(Entry { key, raw, source: Source::Env(name), position: None, shared });
        }
    }
    entries
}

/// Text from outside. Bytes that are no UTF-8 became U+FFFD on the way in.
fn raw(key: &Key, text: &str) -> Result<Raw, String> {
    match text.contains(char::REPLACEMENT_CHARACTER) {
        true => Err("is not UTF-8".to_owned()),
        false => Ok(Raw::from_text(key.kind, text)),
    }
}

/// Variables with our prefix that mean nothing.
pub(super) fn unknown_variables(inputs: &Inputs) -> Vec<Problem> {
    let known = |name: &str| {
        let is_key = |key: &Key| key.env_alias == Some(name) || key.env_name() == name;
        NOT_KEYS.contains(&name) || name.starts_with(TEST_PREFIX) || KEYS.iter().any(is_key)
    };
    let unknown = inputs.env.keys().filter(|name| name.starts_with(ENV_PREFIX) && !known(name));
    unknown.map(|name| unknown_variable(name)).collect()
}

fn unknown_variable(name: &str) -> Problem {
    let word = name[ENV_PREFIX.len()..].to_lowercase();
    let meant = nearest(&word, KEYS.iter().map(|key| key.name)).and_then(key);
    let mut problem = unknown_key(word, Source::Env(name.to_owned()));
    problem.suggestion = meant.map(Key::env_name);
    problem
}

/// A name that is no key.
pub(super) fn unknown_key(name: String, source: Source) -> Problem {
    Problem::new(name, source, "is not a configuration key", "a key of `decisiongraph config`")
}

/// What the flags say, in the order of the keys, aliases first.
pub(super) fn flag_entries(inputs: &Inputs) -> Vec<Entry> {
    let mut entries = Vec::new();
    for key in KEYS {
        for id in key.flag_alias.into_iter().chain([key.name]) {
            let Some(value) = inputs.flags.get(id) else { continue };
            let source = Source::Flag(format!("--{}", id.replace('_', "-")));
            let raw = raw(key, value);
            entries.push(Entry { key, raw, source, position: None, shared: false });
        }
    }
    entries
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_process_gives_our_variables_and_the_usual_places() {
        let flags = BTreeMap::from([("pool_size", "20".to_owned())]);
        let inputs = Inputs::from_process(None, flags.clone());
        assert!(inputs.env.keys().all(|name| is_ours(name)), "PATH and the like are left out");
        assert_eq!(inputs.candidates, CANDIDATES.map(PathBuf::from));
        assert_eq!((inputs.config_file, inputs.flags), (None, flags));
        for (name, ours) in
            [("DATABASE_URL", true), ("DECISIONGRAPH_X", true), ("PATH", false), ("HOME", false)]
        {
            assert_eq!(is_ours(name), ours, "{name}");
        }
    }
}
