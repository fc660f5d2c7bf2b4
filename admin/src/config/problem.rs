//! Where a value came from, and what is wrong with one.
//!
//! A problem is one line, whatever was written: what it quotes is escaped and cut.

use std::fmt;
use std::path::PathBuf;

use serde::{Serialize, Serializer};

/// Where a value came from. Displayed as `default`, `credential:name`, `file:/path`, `env:NAME` or `flag:--name`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Source {
    /// The table of keys.
    Default,
    /// A credential that systemd passed, by name.
    Credential(&'static str),
    /// The configuration file.
    File(PathBuf),
    /// An environment variable.
    Env(String),
    /// A flag, with its dashes.
    Flag(String),
}

impl Source {
    /// Where the source ranks: a higher one wins.
    pub(super) fn rank(&self) -> u8 {
        match self {
            Self::Default | Self::Credential(_) => 0,
            Self::File(_) => 1,
            Self::Env(_) => 2,
            Self::Flag(_) => 3,
        }
    }
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Default => f.write_str("default"),
            Self::Credential(name) => write!(f, "credential:{name}"),
            Self::File(path) => write!(f, "file:{}", path.display()),
            Self::Env(name) => write!(f, "env:{name}"),
            Self::Flag(name) => write!(f, "flag:{name}"),
        }
    }
}

impl Serialize for Source {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

/// A place in the configuration file; both count from 1, columns in characters.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct Position {
    /// The line.
    pub line: usize,
    /// The column.
    pub column: usize,
}

impl Position {
    /// The place of a byte offset in `text`; an offset beyond the end is the end.
    pub(super) fn of(text: &str, offset: usize) -> Self {
        let before = &text.as_bytes()[..offset.min(text.len())];
        let line_start = before.iter().rposition(|byte| *byte == b'\n').map_or(0, |at| at + 1);
        let line = 1 + before.iter().filter(|byte| **byte == b'\n').count();
        let column = 1 + String::from_utf8_lossy(&before[line_start..]).chars().count();
        Self { line, column }
    }
}

/// One thing that is wrong with the configuration.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Problem {
    /// The key, as written where it is unknown; `config` for the file as a whole.
    pub key: String,
    /// Where the value came from.
    pub source: Source,
    /// The place in the file, when it came from there.
    pub position: Option<Position>,
    /// What is wrong.
    pub message: String,
    /// The name that was probably meant, when one is near.
    pub suggestion: Option<String>,
    /// What would be accepted.
    pub accepted: String,
}

impl Problem {
    /// A problem without position and suggestion.
    pub(super) fn new(
        key: impl Into<String>,
        source: Source,
        message: impl Into<String>,
        accepted: impl Into<String>,
    ) -> Self {
        let (key, message, accepted) = (key.into(), message.into(), accepted.into());
        Self { key, source, position: None, message, suggestion: None, accepted }
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let source = self.source.to_string();
        write!(f, "{} ({}", self.key.escape_debug(), source.escape_debug())?;
        if let Some(Position { line, column }) = self.position {
            write!(f, ", line {line}, column {column}")?;
        }
        write!(f, "): {}", self.message)?;
        if let Some(name) = &self.suggestion {
            write!(f, "; did you mean `{name}`?")?;
        }
        write!(f, "; accepted: {}", self.accepted)
    }
}

/// Everything that is wrong with the configuration; at least one problem, lowest source first.
/// Displayed as one line a problem.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub struct ConfigError {
    /// The problems.
    pub problems: Vec<Problem>,
}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (at, problem) in self.problems.iter().enumerate() {
            if at > 0 {
                f.write_str("\n")?;
            }
            problem.fmt(f)?;
        }
        Ok(())
    }
}

/// Text from outside as a problem quotes it: in quotes, escaped, at most 60 characters of it.
pub(super) fn quote(text: &str) -> String {
    const MOST: usize = 60;
    let start: String = text.chars().take(MOST).collect();
    let cut = if start.len() < text.len() { "..." } else { "" };
    format!("{start:?}{cut}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn positions_count_lines_and_characters() {
        let text = "a = 1\nü = 2\n";
        for (offset, line, column) in [(0, 1, 1), (4, 1, 5), (6, 2, 1), (8, 2, 2), (99, 3, 1)] {
            assert_eq!(Position::of(text, offset), Position { line, column }, "{offset}");
        }
    }

    #[test]
    fn a_problem_is_one_line() {
        let source = Source::File("/etc/x.toml".into());
        let mut problem = Problem::new("pool\nsize", source, quote("a\nb"), "2 to 500");
        problem.position = Some(Position { line: 3, column: 1 });
        problem.suggestion = Some("pool_size".to_owned());
        let expected = r#"pool\nsize (file:/etc/x.toml, line 3, column 1): "a\nb"; did you mean `pool_size`?; accepted: 2 to 500"#;
        assert_eq!(problem.to_string(), expected);
        assert_eq!(quote(&"x".repeat(61)), format!("\"{}\"...", "x".repeat(60)));
    }
}
