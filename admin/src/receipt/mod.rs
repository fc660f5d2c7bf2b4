//! A receipt: what a proof has checked, written down for whoever was not there.
//!
//! A JSON object, keys sorted, a line for each member, so that two of them can be compared, hashed
//! and signed as any file. But for `checked_at`, the same state of the same database gives the same
//! bytes. It keeps the hash of the log after many of its events, not of the last one alone, so that
//! whoever compares another log with it learns where the two part.

mod compare;
mod file;

use std::collections::BTreeMap;

use dg_projections::compare::Difference;
use dg_projections::event::rfc3339;
use dg_projections::hash::Hash;
use dg_projections::json::{self, Json};
use dg_projections::log_hash::{Mark, spacing};
use dg_projections::{Code, SEMANTICS};
use dg_store::{Checked, Identity};
use time::OffsetDateTime;

use crate::failure::Failure;
use crate::wire::object;

pub(crate) use compare::{Parting, Sameness, compare};
pub(crate) use file::{read, refuse_existing, write_new};

/// What says that a file is one.
const FORMAT: &str = "decisiongraph-receipt";
/// The form of this release; an older one may be read, a newer one not.
const VERSION: i64 = 1;

/// A receipt of a proof that held, as it was read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Receipt {
    pub(crate) tenant_id: String,
    pub(crate) checked_at: String,
    /// What the rows and digests depend on besides the log.
    pub(crate) semantics: i64,
    /// The hash of the log: of its beginnings, and last of all of it. None for a log without events.
    pub(crate) marks: Vec<Mark>,
    /// By name, each with the cursor that it stands for.
    pub(crate) digests: BTreeMap<String, (Hash, i64)>,
    /// By table.
    pub(crate) rows: BTreeMap<String, u64>,
}

/// Where a proof was made.
pub(crate) struct Witness<'a> {
    pub(crate) tenant: &'a str,
    pub(crate) database: &'a Identity,
    pub(crate) schema_version: i32,
    pub(crate) at: OffsetDateTime,
}

impl Witness<'_> {
    /// The receipt of a proof that held.
    pub(crate) fn proven(&self, checked: &Checked) -> Json {
        let digest = |(name, hash, at): &(String, Hash, i64)| {
            let value = [("digest", hash.to_string().into()), ("log_seq", (*at).into())];
            (name.clone(), object(value))
        };
        let rows = |(table, rows): &(&str, u64)| ((*table).to_owned(), Json::from(*rows as i64));
        self.statement([
            ("outcome", "proven".into()),
            ("difference", Json::Null),
            ("log", log(checked)),
            ("digests", Json::Object(checked.computed.iter().map(digest).collect())),
            ("rows", Json::Object(checked.tables.iter().map(rows).collect())),
        ])
    }

    /// The receipt of one that did not: it states no more than that.
    pub(crate) fn different(&self, difference: &Difference) -> Json {
        self.statement([
            ("outcome", "different".into()),
            ("difference", difference.to_json()),
            ("log", Json::Null),
            ("digests", Json::Null),
            ("rows", Json::Null),
        ])
    }

    fn statement<const N: usize>(&self, found: [(&str, Json); N]) -> Json {
        let Identity { database, server_version, system_identifier, timeline, .. } = self.database;
        let timeline = timeline.map_or(Json::Null, |it| i64::from(it).into());
        let place = object([
            ("name", database.as_str().into()),
            ("system_identifier", Json::from(system_identifier.clone())),
            ("timeline", timeline),
        ]);
        let head = object([
            ("format", FORMAT.into()),
            ("version", VERSION.into()),
            ("tenant_id", self.tenant.into()),
            ("checked_at", rfc3339(self.at).into()),
            ("database", place),
            ("versions", versions(self.schema_version, server_version)),
        ]);
        let mut members = head.as_object().cloned().unwrap_or_default();
        members.extend(found.map(|(key, value)| (key.to_owned(), value)));
        Json::Object(members)
    }
}

/// What made the rows and their digests.
pub(crate) fn versions(schema_version: i32, server_version: &str) -> Json {
    object([
        ("runtime", env!("CARGO_PKG_VERSION").into()),
        ("schema", i64::from(schema_version).into()),
        ("semantics", i64::from(SEMANTICS).into()),
        ("postgres", server_version.into()),
    ])
}

fn log(checked: &Checked) -> Json {
    let every = spacing(checked.events);
    let is_own = |mark: &&Mark| mark.events.is_multiple_of(every) || mark.events == checked.events;
    let mark = |mark: &Mark| {
        object([
            ("events", (mark.events as i64).into()),
            ("log_seq", mark.log_seq.into()),
            ("hash", mark.hash.to_string().into()),
        ])
    };
    let hash = checked.marks.last().map(|end| end.hash.to_string());
    object([
        ("event_count", (checked.events as i64).into()),
        ("last_log_seq", checked.last_log_seq.into()),
        ("hash", Json::from(hash)),
        ("marks", Json::Array(checked.marks.iter().filter(is_own).map(mark).collect())),
    ])
}

impl Receipt {
    /// The receipt that a text is.
    ///
    /// # Errors
    /// `invalid_argument` for what is none, is damaged, of a newer release, or of a proof that failed.
    pub(crate) fn parse(text: &str) -> Result<Receipt, Failure> {
        let damaged = |what: String| {
            refused(format!("this is no whole receipt: {what}"))
                .help("take it again from where it was made, or make it anew with `verify --receipt FILE`")
        };
        let value = json::parse(text).map_err(|error| damaged(error.to_string()))?;
        if value.get("format").and_then(Json::as_str) != Some(FORMAT) {
            return Err(damaged(format!("\"format\" is not \"{FORMAT}\"")));
        }
        let version = value.get("version").and_then(Json::as_i64);
        let version = version.ok_or_else(|| damaged("\"version\" is missing".to_owned()))?;
        if !(1..=VERSION).contains(&version) {
            let message =
                format!("this receipt has version {version}; this release reads {VERSION}");
            return Err(
                refused(message).help("compare it with the release that wrote it, or a later one")
            );
        }
        if value.get("outcome").and_then(Json::as_str) == Some("different") {
            let message =
                "this receipt is of a proof that failed: there is nothing to compare with";
            return Err(refused(message).help("mend what it names, and make it anew"));
        }
        let receipt =
            Receipt::proven(&value).map_err(|member| damaged(format!("{member} is wrong")))?;
        let ascends = receipt
            .marks
            .is_sorted_by(|one, next| one.events < next.events && one.log_seq < next.log_seq);
        if !ascends || receipt.marks.is_empty() {
            return Err(damaged("log.marks are out of order".to_owned()));
        }
        Ok(receipt)
    }

    /// Its members, or the name of the first that is not what it should be.
    fn proven(value: &Json) -> Result<Receipt, &'static str> {
        let text =
            |key: &'static str| value.get(key).and_then(Json::as_str).map(str::to_owned).ok_or(key);
        let log = value.get("log").ok_or("log")?;
        let marks = log.get("marks").and_then(Json::as_array).ok_or("log.marks")?;
        let marks: Vec<Mark> = marks.iter().map(mark).collect::<Option<_>>().ok_or("log.marks")?;
        let end = marks.last().map(|end| (end.events as i64, end.log_seq, end.hash.to_string()));
        let number = |key: &str| log.get(key).and_then(Json::as_i64);
        let said = (|| {
            let hash = log.get("hash")?.as_str()?.to_owned();
            Some((number("event_count")?, number("last_log_seq")?, hash))
        })();
        if end.is_none() || end != said {
            return Err("log");
        }
        let members = |key: &'static str| value.get(key).and_then(Json::as_object).ok_or(key);
        let digest = |(name, one): (&String, &Json)| {
            Some((name.clone(), (hash(one, "digest")?, one.get("log_seq")?.as_i64()?)))
        };
        let rows = |(table, one): (&String, &Json)| {
            Some((table.clone(), u64::try_from(one.as_i64()?).ok()?))
        };
        Ok(Receipt {
            tenant_id: text("tenant_id")?,
            checked_at: text("checked_at")?,
            semantics: value
                .get("versions")
                .and_then(|versions| versions.get("semantics")?.as_i64())
                .ok_or("versions.semantics")?,
            digests: members("digests")?
                .iter()
                .map(digest)
                .collect::<Option<_>>()
                .ok_or("digests")?,
            rows: members("rows")?.iter().map(rows).collect::<Option<_>>().ok_or("rows")?,
            marks,
        })
    }

    /// The end of its log.
    pub(crate) fn end(&self) -> Mark {
        let none = Mark { events: 0, log_seq: 0, hash: Hash::of(b"") };
        self.marks.last().copied().unwrap_or(none)
    }
}

fn mark(value: &Json) -> Option<Mark> {
    let events = u64::try_from(value.get("events")?.as_i64()?).ok()?;
    Some(Mark { events, log_seq: value.get("log_seq")?.as_i64()?, hash: hash(value, "hash")? })
}

fn hash(value: &Json, key: &str) -> Option<Hash> {
    Hash::from_text(value.get(key)?.as_str()?)
}

fn refused(message: impl Into<String>) -> Failure {
    Failure::new(Code::InvalidArgument, message)
}

#[cfg(test)]
mod tests;
