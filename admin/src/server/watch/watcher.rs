//! One who watches: what it wants, the lines that it has not read yet, and what it missed.
//!
//! Invariant: telling never waits. Who does not read loses lines, and is told how many.

use bytes::Bytes;
use dg_projections::json::{Json, canonical};
use tokio::sync::mpsc::error::TrySendError;
use tokio::sync::mpsc::{Receiver, Sender, channel};

use super::picture::Change;
use crate::wire;

/// Lines that may wait to be read.
const MOST_UNREAD: usize = 1024;

/// What a watcher wants to be told.
#[derive(Debug, Default)]
pub(super) struct Wanted {
    /// Of this tenant alone.
    pub(super) tenant: Option<String>,
    /// Of these kinds; none: of all.
    pub(super) kinds: Vec<String>,
}

impl Wanted {
    fn has(&self, change: &Change) -> bool {
        let is_own = |tenant: &str| change.tenant().is_none_or(|other| other == tenant);
        self.tenant.as_deref().is_none_or(is_own)
            && (self.kinds.is_empty() || self.kinds.iter().any(|kind| kind == change.kind()))
    }
}

/// The lookout's end of a watcher.
#[derive(Debug)]
pub(super) struct Watcher {
    pub(super) wanted: Wanted,
    lines: Sender<Bytes>,
    missed: u64,
}

impl Watcher {
    /// One who wants this, and the lines that come for it.
    pub(super) fn new(wanted: Wanted) -> (Watcher, Receiver<Bytes>) {
        Watcher::with_room(wanted, MOST_UNREAD)
    }

    fn with_room(wanted: Wanted, most: usize) -> (Watcher, Receiver<Bytes>) {
        let (lines, unread) = channel(most);
        (Watcher { wanted, lines, missed: 0 }, unread)
    }

    /// Whether it went away.
    pub(super) fn is_gone(&self) -> bool {
        self.lines.is_closed()
    }

    /// Tells what it wants of the changes, each with its line; and, as soon as there is room, what it
    /// missed before.
    pub(super) fn tell(&mut self, changes: &[(Change, Bytes)], at: &str) {
        self.confess(at);
        for (change, line) in changes {
            if self.wanted.has(change) && !(self.missed == 0 && self.say(line.clone())) {
                self.missed += 1;
            }
        }
    }

    /// Tells of missed lines, if there are any and there is room. Nothing else is told before.
    fn confess(&mut self, at: &str) {
        if self.missed > 0 && self.say(line(&wire::missed(self.missed, at))) {
            self.missed = 0;
        }
    }

    /// Says a line if there is room for it.
    pub(super) fn say(&self, line: Bytes) -> bool {
        // Who is gone misses nothing.
        !matches!(self.lines.try_send(line), Err(TrySendError::Full(_)))
    }
}

/// A value as a line.
pub(super) fn line(value: &Json) -> Bytes {
    Bytes::from(canonical(value) + "\n")
}

#[cfg(test)]
mod tests {
    use dg_runtime::DatabaseState;

    use super::*;

    fn change(tenant: &str) -> (Change, Bytes) {
        let change = Change::Tenant { tenant: tenant.to_owned(), parked: None };
        (change, Bytes::from(format!("{tenant}\n")))
    }

    fn read(unread: &mut Receiver<Bytes>) -> Vec<String> {
        let mut lines = Vec::new();
        while let Ok(line) = unread.try_recv() {
            lines.push(String::from_utf8(line.to_vec()).unwrap().trim_end().to_owned());
        }
        lines
    }

    #[test]
    fn a_watcher_is_told_what_it_wants_and_what_concerns_everybody() {
        let up = Change::Database(DatabaseState::Up);
        let (own, _) = change("a");
        for (tenant, kinds, expected) in [
            (None, vec![], (true, true)),
            (Some("a"), vec![], (true, true)),
            (Some("b"), vec![], (false, true)),
            (None, vec!["database"], (false, true)),
            (Some("a"), vec!["tenant", "run"], (true, false)),
        ] {
            let kinds = kinds.into_iter().map(str::to_owned).collect();
            let wanted = Wanted { tenant: tenant.map(str::to_owned), kinds };
            assert_eq!((wanted.has(&own), wanted.has(&up)), expected, "{wanted:?}");
        }
    }

    #[test]
    fn who_does_not_read_is_told_how_much_it_missed() {
        let (mut watcher, mut unread) = Watcher::with_room(Wanted::default(), 2);
        watcher.tell(&["a", "b", "c", "d"].map(change), "now");
        watcher.tell(&["e"].map(change), "now");
        assert_eq!(read(&mut unread), ["a", "b"]);
        watcher.tell(&["f"].map(change), "now");
        assert_eq!(read(&mut unread), [r#"{"at":"now","count":3,"kind":"missed"}"#, "f"]);
        watcher.tell(&[], "now");
        assert_eq!(read(&mut unread), [""; 0]);
    }

    #[test]
    fn what_was_missed_is_told_also_when_nothing_else_happens() {
        let (mut watcher, mut unread) = Watcher::with_room(Wanted::default(), 1);
        watcher.tell(&["a", "b"].map(change), "now");
        assert_eq!(read(&mut unread), ["a"]);
        watcher.tell(&[], "now");
        assert_eq!(read(&mut unread), [r#"{"at":"now","count":1,"kind":"missed"}"#]);
    }
}
