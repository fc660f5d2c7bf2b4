//! What a key's value may be, and how that is said to people.

/// The shape and the bounds of a key's value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// A whole number between two bounds, both included, in the key's unit.
    Count {
        /// The least accepted number.
        min: u64,
        /// The greatest accepted number.
        max: u64,
    },
    /// A path, relative ones to the working directory; not empty, without NUL, at most so many
    /// bytes.
    Path {
        /// The greatest accepted length in bytes.
        max_bytes: usize,
    },
    /// How to reach Postgres: a URL or a string of keywords and values; names a host.
    Postgres,
    /// An address with a port, or `off`.
    Listen,
    /// Directives of a tracing filter.
    Filter,
    /// One of these words.
    Choice(&'static [&'static str]),
    /// A list of at least one of these words, each at most once, or `none` alone.
    Choices(&'static [&'static str]),
    /// Whether or not.
    Switch,
    /// A list of user ids; may be empty.
    Uids,
}

/// How a list says that it is empty on purpose.
pub(super) const NONE: &str = "none";

/// The greatest user id: the one above means "no user" to the kernel.
pub(super) const MAX_UID: u32 = u32::MAX - 1;

impl Kind {
    /// The accepted range as people read it, in the key's `unit` (may be empty).
    #[must_use]
    pub fn accepted(&self, unit: &str) -> String {
        match self {
            Self::Count { min, max } => format!("{min} to {max} {unit}").trim_end().to_owned(),
            Self::Path { max_bytes } => format!("a path of 1 to {max_bytes} bytes"),
            Self::Postgres => "a URL `postgres://user:password@host:5432/database` or a string \
                `host=... user=... dbname=...`"
                .to_owned(),
            Self::Listen => "an address with port such as `127.0.0.1:9464`, or `off`".to_owned(),
            Self::Filter => "`off`, `error`, `warn`, `info`, `debug` or `trace`, or directives \
                `target=level` with commas between"
                .to_owned(),
            Self::Choice(words) => format!("one of {}", quoted(words)),
            Self::Choices(words) => format!("a list of {}, each once, or `{NONE}`", quoted(words)),
            Self::Switch => "`true` or `false`".to_owned(),
            Self::Uids => format!("a list of user ids, each 0 to {MAX_UID}"),
        }
    }

    /// What the TOML value or the text has to be, to complete "... is wanted".
    pub(super) fn wanted(&self) -> &'static str {
        match self {
            Self::Count { .. } => "a whole number",
            Self::Switch => "true or false",
            Self::Choices(_) => "a list of strings",
            Self::Uids => "a list of whole numbers",
            _ => "a string",
        }
    }

    /// The placeholder of the flag's value in `--help`.
    #[must_use]
    pub fn value_name(&self) -> &'static str {
        match self {
            Self::Count { .. } => "N",
            Self::Path { .. } => "PATH",
            Self::Postgres => "URL",
            Self::Listen => "ADDR:PORT",
            Self::Filter => "FILTER",
            Self::Choice(_) => "WORD",
            Self::Switch => "BOOL",
            Self::Choices(_) => "NAME,...",
            Self::Uids => "UID,...",
        }
    }

    /// Whether environment and flags give several values with commas between.
    pub(super) fn is_list(&self) -> bool {
        matches!(self, Self::Choices(_) | Self::Uids)
    }
}

fn quoted(words: &[&str]) -> String {
    words.iter().map(|word| format!("`{word}`")).collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_read_well() {
        let count = Kind::Count { min: 2, max: 500 };
        assert_eq!(count.accepted("connections"), "2 to 500 connections");
        assert_eq!(count.accepted(""), "2 to 500");
        assert_eq!(Kind::Choice(&["apply", "check"]).accepted(""), "one of `apply`, `check`");
        assert_eq!(
            Kind::Choices(&["a", "b"]).accepted(""),
            "a list of `a`, `b`, each once, or `none`"
        );
        assert_eq!(Kind::Uids.accepted(""), "a list of user ids, each 0 to 4294967294");
        assert_eq!(Kind::Path { max_bytes: 107 }.accepted(""), "a path of 1 to 107 bytes");
    }
}
