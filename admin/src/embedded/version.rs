//! Postgres version numbers: `9.6.24` (major 9.6), `15.18` (major 15), `18beta1` (major 18).
//!
//! Only clusters and programs of the same major version fit together. Order is numeric, so
//! 9.6 < 15 < 18. Pre-releases count as the release they lead to.

use std::cmp::Ordering;
use std::fmt;

/// The part of a version that decides whether programs can open a cluster.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Major(u32, u32);

impl Major {
    /// Reads the content of a `PG_VERSION` file.
    pub(super) fn parse(text: &str) -> Option<Self> {
        let text = text.trim();
        starts_with_digit(text).then(|| Version::parse(text).map(|version| version.major))?
    }
}

impl fmt::Display for Major {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self(first, second) if *first < 10 => write!(f, "{first}.{second}"),
            Self(first, _) => write!(f, "{first}"),
        }
    }
}

/// A full version as `postgres --version` prints it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Version {
    major: Major,
    minor: u32,
    text: String,
}

impl Version {
    /// Reads `postgres (PostgreSQL) 15.18 (Debian ...)` or a bare number.
    pub(super) fn parse(text: &str) -> Option<Self> {
        let word = text.split_whitespace().find(|word| starts_with_digit(word))?;
        let mut numbers = word.split('.').map(leading_number);
        let first = numbers.next()??;
        let mut next = || numbers.next().flatten().unwrap_or(0);
        // Before 10 the first two numbers made the major version.
        let major = if first < 10 { Major(first, next()) } else { Major(first, 0) };
        Some(Self { major, minor: next(), text: word.to_owned() })
    }

    /// The major version.
    pub(super) fn major(&self) -> Major {
        self.major
    }

    /// The number as printed, `15.18`.
    pub(super) fn as_str(&self) -> &str {
        &self.text
    }
}

impl PartialOrd for Version {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Version {
    fn cmp(&self, other: &Self) -> Ordering {
        (self.major, self.minor, &self.text).cmp(&(other.major, other.minor, &other.text))
    }
}

fn starts_with_digit(text: &str) -> bool {
    text.starts_with(|c: char| c.is_ascii_digit())
}

fn leading_number(text: &str) -> Option<u32> {
    let end = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    text[..end].parse().ok()
}

#[cfg(test)]
mod tests {
    use super::{Major, Version};

    fn version(text: &str) -> Version {
        Version::parse(text).expect(text)
    }

    #[test]
    fn order_is_numeric() {
        let sorted = ["9.5.25", "9.6.2", "9.6.24", "10.1", "15.2", "15.18", "18beta1", "18.4"];
        for pair in sorted.windows(2) {
            assert!(version(pair[0]) < version(pair[1]), "{pair:?}");
        }
    }

    #[test]
    fn reads_what_postgres_prints() {
        let found = version("postgres (PostgreSQL) 15.18 (Debian 15.18-0+deb12u1)");
        assert_eq!(found.as_str(), "15.18");
        assert_eq!(found.major().to_string(), "15");
        assert_eq!(version("postgres (PostgreSQL) 9.6.24").major().to_string(), "9.6");
        assert_eq!(version("postgres (PostgreSQL) 19devel").major().to_string(), "19");
        assert_eq!(Version::parse("postgres: not found"), None);
    }

    #[test]
    fn a_cluster_fits_programs_of_its_major() {
        assert_eq!(Major::parse("15\n"), Some(version("15.18").major()));
        assert_eq!(Major::parse("9.6\n"), Some(version("9.6.24").major()));
        assert_ne!(Major::parse("9.5\n"), Some(version("9.6.24").major()));
        assert_eq!(Major::parse(""), None);
        assert_eq!(Major::parse("broken 15"), None);
    }
}
