//! A proof made here, held against a receipt made elsewhere or earlier: the first difference.
//!
//! The log comes first: where it is another, rows and digests must be others. A log that has grown
//! since is the same, as long as it begins with the same events: nothing is ever taken from a log.

use std::fmt;

use dg_projections::SEMANTICS;
use dg_projections::hash::Hash;
use dg_projections::json::Json;
use dg_projections::log_hash::Mark;
use dg_store::Checked;

use super::Receipt;
use crate::output::grouped;
use crate::wire::object;

/// What is the same.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Sameness {
    /// The events of the receipt, which all are here.
    pub(crate) events: u64,
    /// How many there are here after those.
    pub(crate) since: u64,
    /// Digests of the receipt that have none here to be compared with.
    pub(crate) not_compared: Vec<String>,
}

/// Where the two part.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Parting {
    /// `tenant`, `log`, `digest` or `rows`.
    pub(crate) what: &'static str,
    /// The event or events, the digest or the table.
    pub(crate) key: String,
    /// What the receipt says.
    pub(crate) expected: String,
    /// What is here.
    pub(crate) found: String,
    /// For the log: the numbers after which and up to which they part.
    pub(crate) between: Option<(i64, i64)>,
    /// How many of the first events are known to be the same; not asked for when the tenant is another.
    pub(crate) same_events: Option<u64>,
}

impl Parting {
    pub(crate) fn to_json(&self) -> Json {
        let end =
            |pick: fn((i64, i64)) -> i64| self.between.map_or(Json::Null, |it| pick(it).into());
        object([
            ("what", self.what.into()),
            ("key", self.key.as_str().into()),
            ("expected", self.expected.as_str().into()),
            ("found", self.found.as_str().into()),
            ("since_log_seq", end(|(since, _)| since)),
            ("until_log_seq", end(|(_, until)| until)),
            ("same_events", self.same_events.map_or(Json::Null, |it| (it as i64).into())),
        ])
    }
}

impl fmt::Display for Parting {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Parting { what, key, expected, found, .. } = self;
        write!(f, "{what} {key}: the receipt has {expected}, here is {found}")?;
        match self.same_events {
            Some(same) if self.what == "log" => {
                write!(f, "; the first {} events are the same", grouped(same as i64))
            }
            _ => Ok(()),
        }
    }
}

/// Holds what was checked here against a receipt of the same tenant.
pub(crate) fn compare(receipt: &Receipt, here: &Checked) -> Result<Sameness, Box<Parting>> {
    same_log(receipt, here)?;
    let mut sameness = Sameness {
        events: receipt.end().events,
        since: here.events - receipt.end().events,
        not_compared: Vec::new(),
    };
    if receipt.semantics != i64::from(SEMANTICS) {
        sameness.not_compared = receipt.digests.keys().cloned().collect();
        return Ok(sameness);
    }
    for (name, (expected, at)) in &receipt.digests {
        match digest_here(here, receipt.end().log_seq, name, *at) {
            Some(found) if found == *expected => {}
            Some(found) => {
                return Err(parting(
                    receipt,
                    "digest",
                    format!("{name} at {at}"),
                    expected,
                    &found,
                ));
            }
            None => sameness.not_compared.push(name.clone()),
        }
    }
    same_rows(receipt, here)?;
    Ok(sameness)
}

/// The hashes of two logs are the same up to the event that differs, and never again after it.
fn same_log(receipt: &Receipt, here: &Checked) -> Result<(), Box<Parting>> {
    let mut same = Mark { events: 0, log_seq: 0, hash: Hash::of(b"") };
    for theirs in &receipt.marks {
        if theirs.events > here.events {
            let found = format!("{} events", grouped(here.events as i64));
            let expected = format!("{} events", grouped(receipt.end().events as i64));
            let between = (same.log_seq, receipt.end().log_seq);
            return Err(log_parting("is shorter".to_owned(), (expected, found), between, same));
        }
        let ours = here.marks.iter().find(|mark| mark.events == theirs.events);
        let found = ours.map(|mark| mark.hash);
        if found != Some(theirs.hash) {
            let until = ours.map_or(theirs.log_seq, |mark| mark.log_seq.max(theirs.log_seq));
            let key = events(same.events + 1, theirs.events);
            let found = found.map_or("nothing".to_owned(), |hash| hash.to_string());
            let values = (theirs.hash.to_string(), found);
            return Err(log_parting(key, values, (same.log_seq, until), same));
        }
        same = *theirs;
    }
    Ok(())
}

fn events(first: u64, last: u64) -> String {
    match first == last {
        true => format!("event {}", grouped(first as i64)),
        false => format!("events {} to {}", grouped(first as i64), grouped(last as i64)),
    }
}

fn log_parting(
    key: String,
    (expected, found): (String, String),
    between: (i64, i64),
    same: Mark,
) -> Box<Parting> {
    let (between, same_events) = (Some(between), Some(same.events));
    Box::new(Parting { what: "log", key, expected, found, between, same_events })
}

fn parting(
    receipt: &Receipt,
    what: &'static str,
    key: String,
    expected: &impl ToString,
    found: &impl ToString,
) -> Box<Parting> {
    let (expected, found) = (expected.to_string(), found.to_string());
    let same_events = Some(receipt.end().events);
    Box::new(Parting { what, key, expected, found, between: None, same_events })
}

/// The digest that the log here gives at that place: of its end, or on the way at the receipt's.
fn digest_here(here: &Checked, receipt_end: i64, name: &str, at: i64) -> Option<Hash> {
    let at_end = here.computed.iter().find(|(own, _, place)| own == name && *place == at);
    let on_the_way = || here.then.iter().find(|(own, _)| at == receipt_end && own == name);
    at_end.map(|(_, hash, _)| *hash).or_else(|| on_the_way().map(|(_, hash)| *hash))
}

/// The rows of the one table that no digest is over, and of all others: of the same log, where all of
/// it is projected on both sides.
fn same_rows(receipt: &Receipt, here: &Checked) -> Result<(), Box<Parting>> {
    let end = receipt.end().log_seq;
    let is_whole =
        |mut places: std::vec::IntoIter<i64>| places.len() == 4 && places.all(|it| it == end);
    let theirs: Vec<i64> = receipt.digests.values().map(|(_, at)| *at).collect();
    let ours: Vec<i64> = here.computed.iter().map(|(_, _, at)| *at).collect();
    if !is_whole(theirs.into_iter()) || !is_whole(ours.into_iter()) {
        return Ok(());
    }
    for (table, found) in &here.tables {
        let expected = receipt.rows.get(*table).copied().unwrap_or(0);
        if expected != *found {
            return Err(parting(receipt, "rows", (*table).to_owned(), &expected, found));
        }
    }
    Ok(())
}
