//! The content guard: strings that look like secrets do not enter the log.
//!
//! It looks at values, never at keys, ignoring case, and reports the pattern and the path, never
//! the value.

use std::borrow::Cow;
use std::sync::LazyLock;

use aho_corasick::AhoCorasick;

use crate::error::{Code, Rejection};
use crate::json::{Borrowed, Json, member_path};

/// What no string may contain, ignoring case.
pub const PATTERNS: [&str; 21] = [
    "Bearer ",
    "xoxb-",
    "xoxp-",
    "xoxa-",
    "xoxr-",
    "sk-",
    "ghp_",
    "gho_",
    "ghu_",
    "ghs_",
    "ghr_",
    "-----BEGIN",
    "AKIA",
    "ASIA",
    "api_key=",
    "apikey=",
    "api-key:",
    "password=",
    "passwd=",
    "secret=",
    "token=",
];

/// Refuses a value that holds a forbidden string at any depth; `path` is where the value stands.
pub(super) fn check(value: &Borrowed<'_>, path: &str) -> Result<(), Rejection> {
    locate(value)
        .map_or(Ok(()), |(below, pattern)| Err(refusal(&format!("{path}{below}"), pattern)))
}

/// Refuses a string that contains a forbidden one.
pub(super) fn check_text<P: AsRef<str>>(
    text: &str,
    path: impl FnOnce() -> P,
) -> Result<(), Rejection> {
    find(text).map_or(Ok(()), |pattern| Err(refusal(path().as_ref(), pattern)))
}

fn refusal(path: &str, pattern: &'static str) -> Rejection {
    let message = format!("contains '{pattern}', which looks like a secret");
    Rejection::at(Code::PiiPolicyViolation, path, message).with("pattern", pattern)
}

/// The first hit and its path below the value, built only on the way back from a hit.
fn locate(value: &Borrowed<'_>) -> Option<(String, &'static str)> {
    match value {
        Json::String(text) => find(text).map(|pattern| (String::new(), pattern)),
        Json::Array(items) => items.iter().enumerate().find_map(|(index, item)| {
            let (below, pattern) = locate(item)?;
            Some((format!("[{index}]{below}"), pattern))
        }),
        Json::Object(members) => members.iter().find_map(|(key, item)| {
            let (below, pattern) = locate(item)?;
            Some((member_path("", key) + &below, pattern))
        }),
        Json::Null | Json::Bool(_) | Json::Number(_) => None,
    }
}

/// The first forbidden string in the text.
fn find(text: &str) -> Option<&'static str> {
    static FORBIDDEN: LazyLock<AhoCorasick> = LazyLock::new(|| {
        let builder = AhoCorasick::builder().ascii_case_insensitive(true).build(PATTERNS);
        builder.expect("a few short patterns fit any automaton")
    });
    // Letters outside ASCII may lower into it (the Kelvin sign is a k), so they take the full rule.
    let text = if text.is_ascii() { Cow::Borrowed(text) } else { Cow::Owned(text.to_lowercase()) };
    FORBIDDEN.find(&*text).map(|hit| PATTERNS[hit.pattern().as_usize()])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_pattern_is_found_in_any_case_and_place_and_named() {
        for pattern in PATTERNS {
            for text in [
                pattern.to_owned(),
                format!("é {} x", pattern.to_uppercase()),
                format!("a{}", pattern.to_lowercase()),
            ] {
                assert_eq!(find(&text), Some(pattern), "{text}");
            }
        }
    }

    #[test]
    fn near_misses_pass() {
        for text in ["", "bearer", "Bearer\t", "s k-", "-----begi", "token =", "aki a", "ghx_"] {
            assert_eq!(find(text), None, "{text}");
        }
    }

    #[test]
    fn letters_that_lower_into_ascii_are_caught() {
        assert_eq!(find("s\u{212a}-live"), Some("sk-"));
    }
}
