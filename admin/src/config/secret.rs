//! Values that may hold a password, and how they are shown without it.

use std::fmt;

/// What stands for a password.
const HIDDEN: &str = "***";

/// A connection string. `Debug` shows it masked; there is no `Display`.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(String);

impl Secret {
    /// Wraps a connection string.
    #[must_use]
    pub fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }

    /// The connection string, password included. Not for output.
    #[must_use]
    pub fn expose(&self) -> &str {
        &self.0
    }

    /// The connection string for output.
    #[must_use]
    pub fn masked(&self) -> String {
        mask(&self.0)
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Secret({})", self.masked())
    }
}

/// A connection string with its passwords hidden: `postgres://user:***@host/db`,
/// `host=h password=***`. Text that is neither form is hidden whole.
#[must_use]
pub fn mask(text: &str) -> String {
    let url = ["postgres://", "postgresql://"]
        .into_iter()
        .find_map(|scheme| text.strip_prefix(scheme).map(|rest| (scheme, rest)));
    match url {
        Some((scheme, rest)) => format!("{scheme}{}", mask_url(rest)),
        None => mask_keywords(text).unwrap_or_else(|| HIDDEN.to_owned()),
    }
}

/// Hides what is between the first `:` and the `@` before the host, and password parameters.
/// A password with an `@` that was not encoded is hidden whole.
fn mask_url(rest: &str) -> String {
    let first = rest.find('@').unwrap_or(0);
    let query = rest[first..].find('?').map_or(rest.len(), |at| first + at);
    let (head, params) = rest.split_at(query);
    let head = match head.rsplit_once('@') {
        Some((user, host)) => match user.split_once(':') {
            Some((user, _)) => format!("{user}:{HIDDEN}@{host}"),
            None => head.to_owned(),
        },
        None => head.to_owned(),
    };
    head + &mask_params(params)
}

/// Hides the password in `?key=value&...`. A key with an escape in it may be any key.
fn mask_params(params: &str) -> String {
    let mask_one = |pair: &str| match pair.split_once('=') {
        Some((key, _)) if is_password(key) || key.contains('%') => format!("{key}={HIDDEN}"),
        _ => pair.to_owned(),
    };
    params.split('&').map(mask_one).collect::<Vec<_>>().join("&")
}

/// Hides the password in `key=value key='quoted value'`; `None` when the text is not that.
fn mask_keywords(text: &str) -> Option<String> {
    let mut pairs = Vec::new();
    let mut rest = text.trim_start();
    while !rest.is_empty() {
        let (key, value) = rest.split_once('=')?;
        let (key, value) = (key.trim_end(), value.trim_start());
        if key.contains(char::is_whitespace) {
            return None;
        }
        let (value, after) = value.split_at(value_end(value)?);
        pairs.push(format!("{key}={}", if is_password(key) { HIDDEN } else { value }));
        rest = after.trim_start();
    }
    Some(pairs.join(" "))
}

/// The length in bytes of the value that `text` starts with; `None` when its quote stays open.
fn value_end(text: &str) -> Option<usize> {
    let quoted = text.starts_with('\'');
    let mut chars = text.char_indices().skip(usize::from(quoted));
    while let Some((at, c)) = chars.next() {
        match c {
            '\\' => drop(chars.next()),
            '\'' if quoted => return Some(at + 1),
            c if !quoted && c.is_whitespace() => return Some(at),
            _ => {}
        }
    }
    (!quoted).then_some(text.len())
}

fn is_password(key: &str) -> bool {
    key.to_ascii_lowercase().contains("pass")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hides_passwords_and_nothing_else() {
        let table = [
            ("postgres://u:s3cret@h/db", "postgres://u:***@h/db"),
            ("postgresql://u:s3cret@h:5432/db?x=y", "postgresql://u:***@h:5432/db?x=y"),
            ("postgres://u@h:5432/db", "postgres://u@h:5432/db"),
            (
                "postgres://h:5432/db?application_name=dg",
                "postgres://h:5432/db?application_name=dg",
            ),
            ("postgres://h/db?password=s3cret&x=y", "postgres://h/db?password=***&x=y"),
            ("postgres://u@h/db?password=s3@cret", "postgres://u@h/db?password=***"),
            ("postgres://h/db?pass%77ord=s3cret", "postgres://h/db?pass%77ord=***"),
            ("postgres://u:s3@cret@h/db", "postgres://u:***@h/db"),
            ("postgres://u:s3/c?ret@h/db", "postgres://u:***@h/db"),
            ("postgres://u@corp:s3cret@h/db", "postgres://u@corp:***@h/db"),
            ("postgres://u:s3cret@h/db?options=a@b", "postgres://u:***@h/db?options=a@b"),
            ("host=h password=s3cret user=u", "host=h password=*** user=u"),
            ("host=h password = 's3 \\' cret' user=u", "host=h password=*** user=u"),
            ("password=s3\\ cret host=h", "password=*** host=h"),
            ("host=h password='s3cret", "***"),
            ("s3cret", "***"),
            ("mysql://u:s3cret@h/db", "***"),
            ("", ""),
        ];
        for (text, expected) in table {
            assert_eq!(mask(text), expected, "{text}");
        }
    }

    #[test]
    fn debug_is_masked() {
        let secret = Secret::new("postgres://u:s3cret@h/db");
        assert_eq!(format!("{secret:?}"), "Secret(postgres://u:***@h/db)");
        assert_eq!(secret.expose(), "postgres://u:s3cret@h/db");
    }
}
