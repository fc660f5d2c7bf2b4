//! One value against its key's kind: types and ranges. Pure, but for the filter's parser.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::path::PathBuf;

use tracing_subscriber::EnvFilter;

use super::kind::{Kind, MAX_UID, NONE};
use super::postgres;
use super::problem::quote;
use super::secret::Secret;
use super::value::{Raw, Value};

/// The levels a filter knows, by name.
const LEVELS: [&str; 6] = ["off", "error", "warn", "info", "debug", "trace"];

/// The typed value, or what is wrong with the raw one as the rest of a sentence.
pub(super) fn check(kind: Kind, raw: &Raw) -> Result<Value, String> {
    match (kind, raw) {
        (Kind::Count { min, max }, Raw::Integer(number)) => count(*number, min, max),
        (Kind::Path { max_bytes }, Raw::Text(text)) => path(text, max_bytes),
        (Kind::Postgres, Raw::Text(text)) => {
            postgres::check(text).map(|()| Value::Secret(Secret::new(text)))
        }
        (Kind::Listen, Raw::Text(text)) => listen(text),
        (Kind::Filter, Raw::Text(text)) => filter(text),
        (Kind::Switch, Raw::Boolean(value)) => Ok(Value::Switch(*value)),
        (Kind::Choice(words), Raw::Text(text)) => word(words, text).map(Value::Choice),
        (Kind::Choices(words), Raw::List(items)) => choices(words, items),
        (Kind::Uids, Raw::List(items)) => {
            items.iter().map(uid).collect::<Result<_, _>>().map(Value::Uids)
        }
        (kind, raw) => Err(wrong_type(raw, kind.wanted())),
    }
}

fn wrong_type(raw: &Raw, wanted: &str) -> String {
    match raw {
        Raw::Integer(_) => format!("is a whole number, {wanted} is wanted"),
        Raw::Text(text) if matches!(wanted, "a whole number" | "true or false") => {
            format!("is the text {}, {wanted} is wanted", quote(text))
        }
        Raw::Text(_) => format!("is a string, {wanted} is wanted"),
        Raw::List(_) => format!("is a list, {wanted} is wanted"),
        Raw::Boolean(_) => format!("is of type boolean, {wanted} is wanted"),
        Raw::Other(name) => format!("is of type {name}, {wanted} is wanted"),
    }
}

fn count(number: i128, min: u64, max: u64) -> Result<Value, String> {
    match u64::try_from(number) {
        Ok(number) if (min..=max).contains(&number) => Ok(Value::Count(number)),
        _ => Err(format!("{number} is out of range")),
    }
}

fn path(text: &str, max_bytes: usize) -> Result<Value, String> {
    match text.len() {
        0 => Err("is empty".to_owned()),
        _ if text.contains('\0') => Err("contains a NUL".to_owned()),
        bytes if bytes > max_bytes => Err(format!("has {bytes} bytes")),
        _ => Ok(Value::Path(PathBuf::from(text))),
    }
}

fn listen(text: &str) -> Result<Value, String> {
    if text == "off" {
        return Ok(Value::Listen(None));
    }
    match text.parse::<SocketAddr>() {
        Ok(address) => Ok(Value::Listen(Some(address))),
        Err(_) => Err(format!("{} is not an address with port", quote(text))),
    }
}

/// The filter's own parser takes a lone word that is no level for a target with everything on;
/// here that is a mistake (`verbose`, `inof`), as such a target can be written `target=trace`.
fn filter(text: &str) -> Result<Value, String> {
    let parts = || text.split(',').map(str::trim);
    let lone = |part: &&str| part.chars().all(|c| c.is_ascii_alphanumeric() || "-_".contains(c));
    let level = |part: &str| LEVELS.contains(&part.to_ascii_lowercase().as_str());
    if let Some(part) = parts().find(|part| lone(part) && !level(part)) {
        return Err(format!("{} is not a level", quote(part)));
    }
    match EnvFilter::builder().parse(text) {
        Ok(_) => Ok(Value::Filter(text.to_owned())),
        Err(error) => Err(format!("{} does not parse: {error}", quote(text))),
    }
}

fn word(words: &[&'static str], text: &str) -> Result<&'static str, String> {
    let known = words.iter().find(|word| **word == text);
    known.copied().ok_or_else(|| format!("{} is not known", quote(text)))
}

fn choices(words: &[&'static str], items: &[Raw]) -> Result<Value, String> {
    // Said in so many words: an empty list is more often a mistake.
    if matches!(items, [Raw::Text(only)] if only == NONE) {
        return Ok(Value::Choices(Vec::new()));
    }
    let mut chosen = Vec::new();
    for item in items {
        let Raw::Text(text) = item else {
            return Err(format!("an entry {}", wrong_type(item, "a string")));
        };
        chosen.push(word(words, text)?);
    }
    let distinct: BTreeSet<_> = chosen.iter().collect();
    match chosen.len() {
        0 => Err("is an empty list".to_owned()),
        all if all > distinct.len() => Err("names one twice".to_owned()),
        _ => Ok(Value::Choices(chosen)),
    }
}

fn uid(item: &Raw) -> Result<u32, String> {
    let Raw::Integer(number) = item else {
        return Err(format!("an entry {}", wrong_type(item, "a whole number")));
    };
    match u32::try_from(*number) {
        Ok(uid) if uid <= MAX_UID => Ok(uid),
        _ => Err(format!("{number} is out of range")),
    }
}

#[cfg(test)]
mod tests {
    use super::super::keys::{KEYS, key};
    use super::*;

    /// The check of `text` as the environment would give it.
    fn text(name: &str, text: &str) -> Result<Value, String> {
        let kind = key(name).unwrap().kind;
        check(kind, &Raw::from_text(kind, text))
    }

    #[test]
    fn every_number_is_bounded_below_and_above() {
        for row in KEYS {
            let Kind::Count { min, max } = row.kind else { continue };
            let table = [
                (i128::from(min) - 1, false),
                (min.into(), true),
                (max.into(), true),
                (i128::from(max) + 1, false),
                (i128::MAX, false),
            ];
            for (number, fits) in table {
                let message = Err(format!("{number} is out of range"));
                let expected =
                    if fits { Ok(Value::Count(number.try_into().unwrap())) } else { message };
                assert_eq!(check(row.kind, &Raw::Integer(number)), expected, "{}", row.name);
                assert_eq!(text(row.name, &number.to_string()), expected, "{}", row.name);
            }
        }
    }

    #[test]
    fn texts_are_checked_by_their_kind() {
        let table = [
            ("pool_size", "abc", Err(r#"is the text "abc", a whole number is wanted"#)),
            ("pool_size", "", Err(r#"is the text "", a whole number is wanted"#)),
            ("data_dir", "", Err("is empty")),
            ("data_dir", "a\0b", Err("contains a NUL")),
            ("metrics_listen", "off", Ok(Value::Listen(None))),
            ("metrics_listen", "[::1]:0", Ok(Value::Listen("[::1]:0".parse().ok()))),
            ("metrics_listen", "9464", Err(r#""9464" is not an address with port"#)),
            ("metrics_listen", "Off", Err(r#""Off" is not an address with port"#)),
            ("migrate", "check", Ok(Value::Choice("check"))),
            ("migrate", "Check", Err(r#""Check" is not known"#)),
            ("log_level", "WARN", Ok(Value::Filter("WARN".to_owned()))),
            ("log_level", "inof", Err(r#""inof" is not a level"#)),
            ("log_level", "info,dg_store", Err(r#""dg_store" is not a level"#)),
            ("log_level", "", Err(r#""" is not a level"#)),
            ("projections", "", Err("is an empty list")),
            ("projections", "trace_summary,trace_summary", Err("names one twice")),
            ("projections", "none", Ok(Value::Choices(vec![]))),
            ("projections", "none,trace_summary", Err(r#""none" is not known"#)),
            ("projections", "trace_summary,", Err(r#""" is not known"#)),
            ("projections", " trace_summary ", Ok(Value::Choices(vec!["trace_summary"]))),
            ("resume_interrupted_runs", "true", Ok(Value::Switch(true))),
            ("resume_interrupted_runs", "false", Ok(Value::Switch(false))),
            (
                "resume_interrupted_runs",
                "yes",
                Err(r#"is the text "yes", true or false is wanted"#),
            ),
            ("admin_uids", "", Ok(Value::Uids(vec![]))),
            ("admin_uids", "0, 4294967294", Ok(Value::Uids(vec![0, MAX_UID]))),
            ("admin_uids", "4294967295", Err("4294967295 is out of range")),
            ("admin_uids", "-1", Err("-1 is out of range")),
            ("admin_uids", "bob", Err(r#"an entry is the text "bob", a whole number is wanted"#)),
        ];
        for (name, given, expected) in table {
            assert_eq!(text(name, given), expected.map_err(str::to_owned), "{name} {given}");
        }
    }

    #[test]
    fn a_filter_with_targets_and_spans_is_taken_as_it_is() {
        for given in ["info,dg_store=debug", "off", "dg_store::append=trace", "[run{id=1}]=info"] {
            assert_eq!(text("log_level", given), Ok(Value::Filter(given.to_owned())), "{given}");
        }
        let message = text("log_level", "dg_store=loud").unwrap_err();
        assert!(message.starts_with(r#""dg_store=loud" does not parse: "#), "{message}");
    }

    #[test]
    fn paths_are_bounded_by_what_the_kernel_takes() {
        for (name, max) in [("data_dir", 4095), ("postgres_bin_dir", 4095), ("socket_path", 107)] {
            let longest = "x".repeat(max);
            assert_eq!(text(name, &longest), Ok(Value::Path(longest.into())));
            assert_eq!(text(name, &"x".repeat(max + 1)), Err(format!("has {} bytes", max + 1)));
        }
    }
}
