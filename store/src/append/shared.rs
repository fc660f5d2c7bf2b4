//! Events that are taken to be new, of one tenant or of several in one transaction: one statement and no
//! look-up. The keys of the log, its checks and its trigger hold the rules.
//!
//! Invariants:
//! - of each tenant all events go in, or none;
//! - no head is waited for: a tenant whose head has moved or is held by somebody is left out, and the
//!   others go in without it. What is sent behind a transaction waits for the end of that one. A head that is not
//!   there yet is made; one that somebody else is making meanwhile is as a key that is held;
//! - one event that is not to be inserted undoes the statement for all of them, and so does a key that
//!   somebody holds for longer than a moment. Each by itself then tells who it was.

use std::collections::HashSet;

use deadpool_postgres::ClientWrapper;
use dg_projections::Code;
use dg_projections::admission::Admission;
use dg_projections::event::Line;

use super::insert::Rows;
use super::{Answer, Appended};
use crate::failpoint::{self, Point};
use crate::{Store, StoreError};

/// A tenant's events, and where its log is taken to end.
#[derive(Debug)]
pub struct Part<'a> {
    /// The tenant; each has one part at most.
    pub tenant: &'a str,
    /// The last number of its log.
    pub head: i64,
    /// Its events, in order. Numbers to be kept are not looked at.
    pub lines: Vec<&'a Line>,
}

/// What became of a part.
#[derive(Debug)]
pub enum Fate {
    /// It is in, or that is not known.
    Sent(Appended),
    /// It is not in: its log does not end there, its head is held by somebody, or, if it was the only
    /// part, one of its events is not to be inserted. [`Store::append_once`] tells which, and why.
    LeftOut,
    /// It is not in, since something of all the parts was refused.
    Undone,
}

/// How the heads of the tenants are taken to be.
#[derive(Debug, Clone, Copy)]
pub(super) enum Heads {
    /// Whose is not is left out.
    Free,
    /// By the transaction before, for whose end the statement waits.
    Held,
}

impl Store {
    /// Appends events that are taken to be new. Of a single part it is told when the statement has `begun`, and others
    /// may be sent behind it.
    ///
    /// # Errors
    /// When the transaction failed: none of the events is in.
    pub async fn append_shared(
        &self,
        parts: &[Part<'_>],
        begun: &(dyn Fn() + Sync),
    ) -> Result<Vec<Fate>, StoreError> {
        self.append_parts(parts, Heads::Free, begun).await
    }

    pub(super) async fn append_parts(
        &self,
        parts: &[Part<'_>],
        heads: Heads,
        begun: &(dyn Fn() + Sync),
    ) -> Result<Vec<Fate>, StoreError> {
        let mut rows = Rows::default();
        let mut decided: Vec<Vec<Answer>> = Vec::with_capacity(parts.len());
        for part in parts {
            let mut answers = Vec::with_capacity(part.lines.len());
            for (log_seq, line) in (part.head + 1..).zip(&part.lines) {
                rows.push(&line.event, log_seq);
                answers.push(Ok(Admission::Insert { log_seq }));
            }
            decided.push(answers);
        }
        let client = self.client().await?;
        for part in parts {
            failpoint::pass_on(&***client, Point::AppendNewBefore, part.tenant).await?;
        }
        let fates = match insert_new(&client, &rows, parts, heads, begun).await {
            Ok(ready) => {
                let fate = |(part, decided): (&Part<'_>, _)| match ready.contains(part.tenant) {
                    true => Fate::Sent(Appended::Done(decided)),
                    false => Fate::LeftOut,
                };
                parts.iter().zip(decided).map(fate).collect()
            }
            // Only silence leaves it open what became of the statement.
            Err(error) if error.is_outage && error.sqlstate.is_none() => {
                let unknown = |decided| Appended::Unknown { decided, error: error.clone() };
                decided.into_iter().map(unknown).map(Fate::Sent).collect()
            }
            Err(error) if error.is_outage => return Err(error),
            Err(_) if parts.len() > 1 => parts.iter().map(|_| Fate::Undone).collect(),
            Err(error) if is_refusal(&error) => vec![Fate::LeftOut],
            Err(error) => return Err(error),
        };
        Ok(fates)
    }
}

/// The tenants whose events went in.
async fn insert_new<'a>(
    client: &ClientWrapper,
    rows: &Rows<'_>,
    parts: &[Part<'a>],
    heads: Heads,
    begun: &(dyn Fn() + Sync),
) -> Result<HashSet<&'a str>, StoreError> {
    let tenants: Vec<&str> = parts.iter().map(|part| part.tenant).collect();
    let ends: Vec<i64> = parts.iter().map(|part| part.head).collect();
    let ready = match (heads, parts) {
        (Heads::Held, [part]) => {
            rows.insert_behind(client, part.tenant, part.head, begun).await?;
            HashSet::from([part.tenant])
        }
        _ => rows.insert_at(client, &tenants, &ends, begun).await?,
    };
    for part in parts {
        failpoint::pass(Point::AppendNewAfter, part.tenant).await?;
    }
    Ok(ready)
}

/// Whether it was the events that were refused, or a key of theirs that could not be had.
fn is_refusal(error: &StoreError) -> bool {
    (error.sqlstate.is_some() && error.code != Code::Storage) || is_held(error)
}

/// Whether somebody held a lock for longer than we may wait.
pub(super) fn is_held(error: &StoreError) -> bool {
    const LOCK_NOT_AVAILABLE: &str = "55P03";
    error.sqlstate.as_deref() == Some(LOCK_NOT_AVAILABLE)
}
