//! The commented configuration file: every key with its meaning, range and default, none of them set.

use std::fmt::Write as _;

use super::keys::{Fallback, KEYS, Key, key};
use super::kind::Kind;
use super::value::Raw;

const HEAD: &str = "\
# Configuration of the DecisionGraph daemon and of its clients on this machine.
#
# Every key there is, commented out, with its default or, where it has none, an example. Take away
# the `#` before a key to set it. Flags of `decisiongraph serve` and variables DECISIONGRAPH_<KEY>
# rank above this file.
#
#   decisiongraph config check      names all mistakes at once
#   decisiongraph config --origin   shows each value and where it comes from
";

/// The text of the file. Without its `#` before keys it is a valid configuration.
#[must_use]
pub fn commented_file() -> String {
    KEYS.iter().fold(HEAD.to_owned(), |mut file, key| {
        let (meaning, accepted, changed) = (key.meaning, key.accepted(), changed(key));
        let line = format!("{} = {}", key.name, shown(key));
        // Writing to a String does not fail.
        let _ = writeln!(file, "\n# {meaning}\n# accepted: {accepted}; {changed}\n#{line}");
        file
    })
}

fn changed(key: &Key) -> &'static str {
    if key.reloadable { "a reload (SIGHUP) changes it" } else { "a restart changes it" }
}

/// The default, or an example where there is none.
fn shown(key: &Key) -> String {
    let text = match key.fallback {
        Fallback::Text(text) => text.to_owned(),
        Fallback::Unset | Fallback::Credential(_) => key.example.to_owned(),
        Fallback::InDataDir(file) => format!("{}/{file}", data_dir()),
    };
    toml(&Raw::from_text(key.kind, &text), key.kind)
}

fn data_dir() -> &'static str {
    match key("data_dir").map(|key| key.fallback) {
        Some(Fallback::Text(text)) => text,
        _ => unreachable!("data_dir has a default"),
    }
}

fn toml(raw: &Raw, kind: Kind) -> String {
    match raw {
        Raw::Integer(number) => number.to_string(),
        Raw::Boolean(value) => value.to_string(),
        Raw::Text(text) => format!("{text:?}"),
        Raw::List(items) => {
            let items: Vec<String> = items.iter().map(|item| toml(item, kind)).collect();
            format!("[{}]", items.join(", "))
        }
        Raw::Other(name) => unreachable!("{kind:?} of the type {name}"),
    }
}
