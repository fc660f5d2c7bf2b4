//! A value on its way in (as written) and after the checks (typed by its key's kind).

use std::net::SocketAddr;
use std::path::PathBuf;

use serde_json::{Value as Json, json};
use toml::de::DeValue;

use super::kind::Kind;
use super::secret::Secret;

/// A value as a source gives it, before any check.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Raw {
    /// A whole number of any size; what does not fit is the nearest that does, which no key takes.
    Integer(i128),
    /// Text.
    Text(String),
    /// Yes or no.
    Boolean(bool),
    /// Several values.
    List(Vec<Raw>),
    /// A TOML value of a type no key has, by its name.
    Other(&'static str),
}

impl Raw {
    /// What the environment or a flag says. Lists have commas between, spaces around them are
    /// ignored; empty text is the empty list.
    pub(super) fn from_text(kind: Kind, text: &str) -> Self {
        match kind {
            Kind::Count { .. } => Self::number(text, 10),
            Kind::Uids => Self::list(text, |part| Self::number(part, 10)),
            Kind::Switch => match text {
                "true" => Self::Boolean(true),
                "false" => Self::Boolean(false),
                _ => Self::Text(text.to_owned()),
            },
            kind if kind.is_list() => Self::list(text, |part| Self::Text(part.to_owned())),
            _ => Self::Text(text.to_owned()),
        }
    }

    /// What the file says.
    pub(super) fn from_toml(value: &DeValue<'_>) -> Self {
        match value {
            DeValue::Integer(integer) => Self::number(integer.as_str(), integer.radix()),
            DeValue::String(text) => Self::Text(text.to_string()),
            DeValue::Boolean(value) => Self::Boolean(*value),
            DeValue::Array(items) => {
                Self::List(items.iter().map(|item| Self::from_toml(item.get_ref())).collect())
            }
            other => Self::Other(other.type_str()),
        }
    }

    fn list(text: &str, item: impl Fn(&str) -> Self) -> Self {
        if text.trim().is_empty() {
            return Self::List(Vec::new());
        }
        Self::List(text.split(',').map(|part| item(part.trim())).collect())
    }

    fn number(text: &str, radix: u32) -> Self {
        use std::num::IntErrorKind::{NegOverflow, PosOverflow};
        match i128::from_str_radix(text, radix) {
            Ok(number) => Self::Integer(number),
            Err(error) if *error.kind() == PosOverflow => Self::Integer(i128::MAX),
            Err(error) if *error.kind() == NegOverflow => Self::Integer(i128::MIN),
            Err(_) => Self::Text(text.to_owned()),
        }
    }
}

/// A value that passed its key's checks. `Debug` shows no password.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Value {
    /// Of [`Kind::Count`].
    Count(u64),
    /// Of [`Kind::Path`].
    Path(PathBuf),
    /// Of [`Kind::Postgres`].
    Secret(Secret),
    /// Of [`Kind::Listen`]; `None` is `off`.
    Listen(Option<SocketAddr>),
    /// Of [`Kind::Filter`].
    Filter(String),
    /// Of [`Kind::Switch`].
    Switch(bool),
    /// Of [`Kind::Choice`].
    Choice(&'static str),
    /// Of [`Kind::Choices`], in the order given.
    Choices(Vec<&'static str>),
    /// Of [`Kind::Uids`].
    Uids(Vec<u32>),
}

impl Value {
    /// The value for output, in the type the file would give it; secrets masked.
    pub(super) fn to_json(&self) -> Json {
        match self {
            Self::Count(number) => json!(number),
            Self::Path(path) => json!(path.to_string_lossy()),
            Self::Secret(secret) => json!(secret.masked()),
            Self::Listen(None) => json!("off"),
            Self::Listen(Some(address)) => json!(address.to_string()),
            Self::Filter(text) => json!(text),
            Self::Switch(value) => json!(value),
            Self::Choice(word) => json!(word),
            Self::Choices(words) => json!(words),
            Self::Uids(uids) => json!(uids),
        }
    }
}
