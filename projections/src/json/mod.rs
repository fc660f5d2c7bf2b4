//! JSON as the contract needs it: exact integers, exact strings, canonical text.
//!
//! The general libraries lose something that a digest depends on: integers beyond 64 bits become
//! floats, or every number becomes a map that an attacker can imitate; an error has no path. This
//! module is small because it does one thing: text in, value with paths on error, canonical text out.
//!
//! Invariants: of a repeated key the last counts; object keys are kept in code point order; a
//! number is kept as it was written; depth is bounded by [`MAX_DEPTH`], so nothing recurses away.
//!
//! A value owns its strings, or, where events are read by the thousand, borrows them from the text it was read
//! from: most have no escape and stand there as they are ([`Borrowed`]).

mod parse;
mod write;

use std::borrow::{Borrow, Cow};
use std::collections::BTreeMap;

pub use parse::{ParseError, Problem, borrow, parse};
pub use write::{ascii_string, canonical, canonical_into, canonical_string};

/// How deeply arrays and objects may nest.
pub const MAX_DEPTH: usize = 128;

/// What a value keeps its strings in.
pub trait Text: AsRef<str> + Borrow<str> + Ord {}

impl<S: AsRef<str> + Borrow<str> + Ord> Text for S {}

/// The members of an object, in code point order of their keys.
pub type Object<S = String> = BTreeMap<S, Json<S>>;

/// A string as it stands in the text that it was read from; one with an escape is its own.
pub type Piece<'a> = Cow<'a, str>;

/// A value whose strings are pieces of the text that it was read from.
pub type Borrowed<'a> = Json<Piece<'a>>;

/// A JSON value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Json<S = String> {
    /// `null`
    Null,
    /// `true` or `false`
    Bool(bool),
    /// A number as it was written; `-0` is `0`.
    Number(S),
    /// A string of Unicode scalar values.
    String(S),
    /// An array.
    Array(Vec<Json<S>>),
    /// An object.
    Object(Object<S>),
}

impl<S: Text> Json<S> {
    /// The text of a string.
    pub fn as_str(&self) -> Option<&str> {
        match self {
            Json::String(text) => Some(text.as_ref()),
            _ => None,
        }
    }

    /// The members of an object.
    pub fn as_object(&self) -> Option<&Object<S>> {
        match self {
            Json::Object(members) => Some(members),
            _ => None,
        }
    }

    /// The elements of an array.
    pub fn as_array(&self) -> Option<&[Json<S>]> {
        match self {
            Json::Array(items) => Some(items),
            _ => None,
        }
    }

    /// An integer that fits 64 bits.
    pub fn as_i64(&self) -> Option<i64> {
        match self {
            Json::Number(text) => text.as_ref().parse().ok(),
            _ => None,
        }
    }

    /// A number, to the nearest double.
    pub fn as_f64(&self) -> Option<f64> {
        match self {
            Json::Number(text) => text.as_ref().parse().ok(),
            _ => None,
        }
    }

    /// `true` or `false`.
    pub fn as_bool(&self) -> Option<bool> {
        match self {
            Json::Bool(value) => Some(*value),
            _ => None,
        }
    }

    /// The member of an object; `None` for anything else.
    pub fn get(&self, key: &str) -> Option<&Json<S>> {
        self.as_object()?.get(key)
    }

    /// The same value with its strings kept in something else, which orders them alike.
    pub fn map<T: Text>(self, keep: &impl Fn(S) -> T) -> Json<T> {
        match self {
            Json::Null => Json::Null,
            Json::Bool(value) => Json::Bool(value),
            Json::Number(text) => Json::Number(keep(text)),
            Json::String(text) => Json::String(keep(text)),
            Json::Array(items) => {
                Json::Array(items.into_iter().map(|item| item.map(keep)).collect())
            }
            Json::Object(members) => {
                let member = |(key, item): (S, Json<S>)| (keep(key), item.map(keep));
                Json::Object(members.into_iter().map(member).collect())
            }
        }
    }

    /// Whether this is `null`.
    pub fn is_null(&self) -> bool {
        matches!(self, Json::Null)
    }

    /// The path, below this value, of the first number that has a fraction or an exponent.
    pub fn first_non_integer(&self) -> Option<String> {
        match self {
            Json::Number(text) => text.as_ref().contains(['.', 'e', 'E']).then(String::new),
            Json::Array(items) => items.iter().enumerate().find_map(|(index, item)| {
                let below = item.first_non_integer()?;
                Some(format!("[{index}]{below}"))
            }),
            Json::Object(members) => members.iter().find_map(|(key, item)| {
                let below = item.first_non_integer()?;
                Some(member_path("", key.as_ref()) + &below)
            }),
            Json::Null | Json::Bool(_) | Json::String(_) => None,
        }
    }
}

/// Whether one of the bytes is such. There is no way out of the loop, so several are looked at at a time.
fn has(bytes: &[u8], is_such: impl Fn(u8) -> bool) -> bool {
    bytes.iter().fold(false, |found, byte| found | is_such(*byte))
}

/// The path of a member: `$.a.b`, or `$.a["odd key"]` when the key is not a plain word.
pub fn member_path(parent: &str, key: &str) -> String {
    let plain = !key.is_empty()
        && !key.starts_with(|c: char| c.is_ascii_digit())
        && key.chars().all(|c| c.is_ascii_alphanumeric() || c == '_' || c == '-');
    if plain {
        [parent, ".", key].concat()
    } else {
        let mut quoted = String::new();
        ascii_string(key, &mut quoted);
        format!("{parent}[{quoted}]")
    }
}

impl From<&str> for Json {
    fn from(text: &str) -> Json {
        Json::String(text.to_owned())
    }
}

impl From<String> for Json {
    fn from(text: String) -> Json {
        Json::String(text)
    }
}

impl From<i64> for Json {
    fn from(number: i64) -> Json {
        Json::Number(number.to_string())
    }
}

impl From<bool> for Json {
    fn from(value: bool) -> Json {
        Json::Bool(value)
    }
}

impl From<Option<String>> for Json {
    fn from(text: Option<String>) -> Json {
        text.map_or(Json::Null, Json::String)
    }
}

impl From<Vec<Json>> for Json {
    fn from(items: Vec<Json>) -> Json {
        Json::Array(items)
    }
}

impl From<Object> for Json {
    fn from(members: Object) -> Json {
        Json::Object(members)
    }
}
