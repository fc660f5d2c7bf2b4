//! A connection string's words: those of libpq that the driver does not know are taken out of it.
//!
//! Invariant: no message repeats what stands in the string. What is not understood may be half a
//! password or, for the URL of another database, all of it.

use std::collections::BTreeMap;
use std::error::Error as _;

use percent_encoding::percent_decode_str;

/// Words that are not for the driver: it does not know them, or knows less of them than libpq.
const OURS: &[&str] =
    &["keepalives_count", "sslcert", "sslkey", "sslmode", "sslrootcert", "tcp_user_timeout"];

/// Options whose name may be repeated: those of libpq.
#[rustfmt::skip]
const OPTIONS: &[&str] = &[
    "application_name", "channel_binding", "client_encoding", "connect_timeout", "dbname",
    "fallback_application_name", "gssdelegation", "gssencmode", "gsslib", "host", "hostaddr",
    "keepalives", "keepalives_count", "keepalives_idle", "keepalives_interval",
    "keepalives_retries", "krbsrvname", "load_balance_hosts", "options", "passfile", "password",
    "port", "replication", "require_auth", "requirepeer", "requiressl", "service",
    "ssl_max_protocol_version", "ssl_min_protocol_version", "sslcert", "sslcertmode",
    "sslcompression", "sslcrl", "sslcrldir", "sslkey", "sslmode", "sslnegotiation",
    "sslpassword", "sslrootcert", "sslsni", "target_session_attrs", "tcp_user_timeout", "user",
];

/// What stands in a connection string.
pub(super) struct Words {
    /// The string without the words that are not for the driver.
    pub(super) rest: String,
    found: BTreeMap<String, String>,
}

impl Words {
    /// Reads either form. What is not understood is left to the driver, which says so.
    pub(super) fn of(text: &str) -> Words {
        let is_url = ["postgres://", "postgresql://"].iter().any(|start| text.starts_with(start));
        if is_url { of_url(text) } else { of_pairs(text) }
    }

    /// The value of a word; where it stands twice, the last.
    pub(super) fn get(&self, name: &str) -> Option<&str> {
        self.found.get(name).map(String::as_str)
    }

    /// The value of a word that is a number.
    pub(super) fn number(&self, name: &str) -> Result<Option<u32>, String> {
        let number = self.get(name).map(str::parse).transpose();
        number.map_err(|_| format!("does not parse: invalid value for option `{name}`"))
    }

    /// The driver's reading of the rest.
    pub(super) fn config(&self) -> Result<tokio_postgres::Config, String> {
        self.rest.parse().map_err(|error| format!("does not parse: {}", explain(&error)))
    }
}

/// `postgres://user:password@host/name?word=value&...`, split where the driver splits it.
fn of_url(text: &str) -> Words {
    let mut found = BTreeMap::new();
    let host = text.find('@').map_or(0, |at| at + 1);
    let Some((before, pairs)) = text[host..].split_once('?') else {
        return Words { rest: text.to_owned(), found };
    };
    let mut is_kept = |pair: &&str| {
        let Some((name, value)) = pair.split_once('=') else { return true };
        let decode = |part| percent_decode_str(part).decode_utf8_lossy().into_owned();
        let name = decode(name);
        let is_ours = OURS.contains(&name.as_str());
        found.insert(name, decode(value));
        !is_ours
    };
    let kept: Vec<&str> = pairs.split('&').filter(|pair| is_kept(pair)).collect();
    let rest = format!("{}{before}?{}", &text[..host], kept.join("&"));
    Words { rest, found }
}

/// `word=value word='quoted value'`. Blanks take the place of what is taken out, so that the driver
/// names the right byte of a mistake.
fn of_pairs(text: &str) -> Words {
    let (mut rest, mut found) = (text.to_owned(), BTreeMap::new());
    let mut at = 0;
    while let Some((name, value, end)) = next_pair(text, at) {
        if OURS.contains(&name) {
            rest.replace_range(at..end, &" ".repeat(end - at));
        }
        found.insert(name.to_owned(), value);
        at = end;
    }
    Words { rest, found }
}

/// The pair after `at`: its name, its value, and where it ends.
fn next_pair(text: &str, at: usize) -> Option<(&str, String, usize)> {
    let (name, after) = text[at..].split_once('=')?;
    let value = after.trim_start();
    let (decoded, length) = value_of(value)?;
    let name = name.trim();
    let is_name = !name.is_empty() && !name.contains(char::is_whitespace);
    is_name.then(|| (name, decoded, text.len() - value.len() + length))
}

/// The value that `text` starts with, and its length in bytes; `None` when its quote stays open.
fn value_of(text: &str) -> Option<(String, usize)> {
    let quoted = text.starts_with('\'');
    let mut value = String::new();
    let mut chars = text.char_indices().skip(usize::from(quoted));
    while let Some((at, c)) = chars.next() {
        match c {
            '\\' => value.extend(chars.next().map(|(_, escaped)| escaped)),
            '\'' if quoted => return Some((value, at + 1)),
            c if !quoted && c.is_whitespace() => return Some((value, at)),
            c => value.push(c),
        }
    }
    (!quoted).then_some((value, text.len()))
}

fn explain(error: &tokio_postgres::Error) -> String {
    let cause = error.source().map(ToString::to_string).unwrap_or_default();
    if cause.starts_with("unknown option") {
        let name = cause.split('`').nth(1).unwrap_or_default();
        return match OPTIONS.contains(&name) {
            true => format!("the option `{name}` is not supported"),
            false => "an option is not known".to_owned(),
        };
    }
    match cause.split_once(':') {
        _ if cause.is_empty() => "not a connection string".to_owned(),
        Some((place, _)) if cause.starts_with("unexpected character") => place.to_owned(),
        _ => cause,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_of_both_forms_are_taken_out() {
        let table = [
            ("postgres://u:p@h/db?sslmode=disable", "postgres://u:p@h/db?", Some("disable")),
            ("postgres://h/db?a=b&sslmode=x&c=d", "postgres://h/db?a=b&c=d", Some("x")),
            ("postgres://h/?ssl%6dode=a%20b", "postgres://h/?", Some("a b")),
            ("postgres://u:?sslmode=x@h/db", "postgres://u:?sslmode=x@h/db", None),
            ("postgres://h/db?sslmode", "postgres://h/db?sslmode", None),
            ("host=h sslmode=a user=u", "host=h           user=u", Some("a")),
            ("sslmode = 'a \\' b' host=h", "                   host=h", Some("a ' b")),
            ("password='sslmode=x' host=h", "password='sslmode=x' host=h", None),
            ("host=h sslmode='open", "host=h sslmode='open", None),
        ];
        for (text, rest, mode) in table {
            let words = Words::of(text);
            assert_eq!((words.rest.as_str(), words.get("sslmode")), (rest, mode), "{text}");
        }
    }
}
