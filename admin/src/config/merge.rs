//! Merges the sources: every value checked, the highest one kept with where it came from.

use std::collections::BTreeMap;

use super::check::check;
use super::env::{Inputs, env_entries, flag_entries, unknown_variables};
use super::file;
use super::keys::{Fallback, KEYS, Key};
use super::problem::{Position, Problem, Source};
use super::value::{Raw, Value};

/// A value that a source gives for a key.
#[derive(Debug)]
pub(super) struct Entry {
    /// The key.
    pub(super) key: &'static Key,
    /// The value as given, or why it could not be read.
    pub(super) raw: Result<Raw, String>,
    /// Where it came from.
    pub(super) source: Source,
    /// The place, in a file.
    pub(super) position: Option<Position>,
    /// Whether the source belongs to others too, and matters only when nothing ranks above it.
    pub(super) shared: bool,
}

/// The value of a key in effect; `None` when it has none.
#[derive(Debug)]
pub(super) struct Setting {
    /// The value.
    pub(super) value: Option<Value>,
    /// Where it came from.
    pub(super) source: Source,
    /// The place, in a file.
    pub(super) position: Option<Position>,
    /// What lower sources say, the highest of them first.
    pub(super) overridden: Vec<Setting>,
}

impl Setting {
    fn of(entry: &Entry, value: Option<Value>) -> Setting {
        let (source, position) = (entry.source.clone(), entry.position);
        Setting { value, source, position, overridden: Vec::new() }
    }

    fn unset() -> Setting {
        let (source, overridden) = (Source::Default, Vec::new());
        Setting { value: None, source, position: None, overridden }
    }
}

/// The outcome of a merge. Without problems there is a setting for every key.
#[derive(Debug)]
pub(super) struct Merged {
    /// Settings by key; those whose value in effect is a problem are missing.
    pub(super) settings: BTreeMap<&'static str, Setting>,
    /// What is wrong: lowest source first, in a file from top to bottom.
    pub(super) problems: Vec<Problem>,
}

/// Merges everything the inputs lead to.
pub(super) fn merge(inputs: &Inputs) -> Merged {
    let (mut entries, mut problems) = file::entries(inputs);
    entries.extend(env_entries(inputs));
    entries.extend(flag_entries(inputs));
    problems.extend(unknown_variables(inputs));
    problems.extend(unknown_flags(inputs));
    let mut settings = BTreeMap::new();
    for key in KEYS {
        let of_key: Vec<_> = entries.iter().filter(|entry| entry.key.name == key.name).collect();
        if let Some(setting) = resolve(key, &of_key, (inputs, &settings), &mut problems) {
            settings.insert(key.name, setting);
        }
    }
    problems.extend(retry_order(&settings));
    problems.extend(console_reach(&settings));
    problems.sort_by_key(|problem| (problem.source.rank(), problem.position));
    Merged { settings, problems }
}

/// The setting of one key from its entries, lowest first; `None` when that value is a problem.
fn resolve(
    key: &'static Key,
    entries: &[&Entry],
    known: (&Inputs, &BTreeMap<&'static str, Setting>),
    problems: &mut Vec<Problem>,
) -> Option<Setting> {
    let Some((highest, below)) = entries.split_last() else {
        return fallback(key, known, problems);
    };
    let mut overridden = Vec::new();
    for entry in below {
        // What a shared source says is none of our business here, whether or not it is valid.
        let value = if entry.shared { value(entry).ok() } else { checked(entry, problems) };
        overridden.extend(value.map(|value| Setting::of(entry, Some(value))));
    }
    overridden.reverse();
    let value = Some(checked(highest, problems)?);
    Some(Setting { overridden, ..Setting::of(highest, value) })
}

fn value(entry: &Entry) -> Result<Value, String> {
    entry.raw.as_ref().map_err(Clone::clone).and_then(|raw| check(entry.key.kind, raw))
}

fn checked(entry: &Entry, problems: &mut Vec<Problem>) -> Option<Value> {
    value(entry).map_err(|message| problems.push(problem(entry, message))).ok()
}

fn problem(entry: &Entry, message: String) -> Problem {
    let (key, source) = (entry.key, entry.source.clone());
    Problem { position: entry.position, ..Problem::new(key.name, source, message, key.accepted()) }
}

/// The default. One derived from another key can be out of range; the others never are.
fn fallback(
    key: &'static Key,
    (inputs, settings): (&Inputs, &BTreeMap<&'static str, Setting>),
    problems: &mut Vec<Problem>,
) -> Option<Setting> {
    let mut source = Source::Default;
    let raw = match key.fallback {
        Fallback::Unset => return Some(Setting::unset()),
        Fallback::Text(text) => Raw::from_text(key.kind, text),
        Fallback::Credential(name) => {
            let Some(file) = inputs.credential(name) else {
                return Some(Setting::unset());
            };
            source = Source::Credential(name);
            Raw::Text(file.to_string_lossy().into_owned())
        }
        Fallback::InDataDir(file) => {
            let Some(Value::Path(dir)) = settings.get("data_dir")?.value.as_ref() else {
                return None;
            };
            Raw::Text(dir.join(file).to_string_lossy().into_owned())
        }
    };
    let entry = Entry { key, raw: Ok(raw), source, position: None, shared: false };
    let value = Some(checked(&entry, problems)?);
    Some(Setting::of(&entry, value))
}

/// Flags that name no key: a mistake of the caller, told rather than dropped.
fn unknown_flags(inputs: &Inputs) -> Vec<Problem> {
    let known = |id: &str| KEYS.iter().any(|key| key.name == id || key.flag_alias == Some(id));
    let unknown = inputs.flags.keys().filter(|id| !known(id));
    unknown
        .map(|id| super::env::unknown_key((*id).to_owned(), Source::Flag(format!("--{id}"))))
        .collect()
}

/// The first wait of a retry may not be longer than the longest. Tells it of the key that was set.
fn retry_order(settings: &BTreeMap<&'static str, Setting>) -> Option<Problem> {
    let count = |name| match settings.get(name) {
        Some(Setting { value: Some(Value::Count(number)), source, .. }) => Some((*number, source)),
        _ => None,
    };
    let (base, base_source) = count("projection_retry_base_ms")?;
    let (max, max_source) = count("projection_retry_max_ms")?;
    if base <= max {
        return None;
    }
    Some(if *base_source == Source::Default {
        let message = format!("{max} is below projection_retry_base_ms ({base}, default)");
        let accepted = format!("{base} or more");
        Problem::new("projection_retry_max_ms", max_source.clone(), message, accepted)
    } else {
        let message = format!("{base} is above projection_retry_max_ms ({max}, {max_source})");
        let accepted = format!("{max} or less");
        Problem::new("projection_retry_base_ms", base_source.clone(), message, accepted)
    })
}

/// The console asks nobody who they are, so only this machine may reach it. Tells it of the console,
/// which was set: metrics alone may be scraped from elsewhere.
fn console_reach(settings: &BTreeMap<&'static str, Setting>) -> Option<Problem> {
    let is_on = Some(Value::Switch(true));
    let console = settings.get("console").filter(|console| console.value == is_on)?;
    let Some(Value::Listen(address)) = settings.get("metrics_listen")?.value else { return None };
    let message = match address {
        Some(address) if address.ip().is_loopback() => return None,
        Some(address) => {
            format!("is true, but metrics_listen is {address}, which others may reach")
        }
        None => "is true, but metrics_listen is off".to_owned(),
    };
    let accepted =
        "true with a loopback metrics_listen; from elsewhere: `ssh -L 9464:127.0.0.1:9464 HOST`";
    Some(Problem::new("console", console.source.clone(), message, accepted.to_owned()))
}
