//! The hash of a log, that anybody can compute again from an export with `sed` and `sha256sum`.
//!
//! It is SHA-256 over the lines of the export (see [`RecordedEvent::to_json`]), each with its end of
//! line and without its member `recorded_at`: when a store received an event is no part of what
//! happened, and an import elsewhere receives it anew. Nothing else is left out, so no field of an
//! event can be changed in silence, also none that no projection reads.
//!
//! Every prefix of a log has a hash of its own. Two logs whose marks are kept can be compared
//! without the events: they are the same up to the last mark at which their hashes are.

use std::collections::BTreeSet;

use sha2::{Digest as _, Sha256};

use crate::event::RecordedEvent;
use crate::hash::Hash;

/// Marks that a log gets at most, whatever its length: as many as fit a file to be mailed.
const MOST_MARKS: u64 = 1_000;

/// The hash of the first events of a log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Mark {
    /// How many.
    pub events: u64,
    /// The number of the last of them; 0 before the first.
    pub log_seq: i64,
    /// Their hash.
    pub hash: Hash,
}

/// After how many events a log of this many gets another mark: a short one after each.
pub fn spacing(events: u64) -> u64 {
    events.div_ceil(MOST_MARKS).max(1)
}

/// The hash of a log that is being read.
#[derive(Debug, Clone)]
pub struct LogHash {
    hasher: Sha256,
    events: u64,
    log_seq: i64,
    every: u64,
    also: BTreeSet<u64>,
    marks: Vec<Mark>,
}

impl LogHash {
    /// Before the first event; with a mark after each `every` events, and `also` after these many.
    pub fn new(every: u64, also: BTreeSet<u64>) -> LogHash {
        let (hasher, marks) = (Sha256::new(), Vec::new());
        LogHash { hasher, events: 0, log_seq: 0, every: every.max(1), also, marks }
    }

    /// The next event.
    pub fn event(&mut self, event: &RecordedEvent) {
        self.line(event.log_seq, &event.to_timeless_json());
    }

    /// The next line of an export; false for one that is none.
    pub fn exported(&mut self, log_seq: i64, line: &str) -> bool {
        let Some(line) = timeless(line) else { return false };
        self.line(log_seq, &line);
        true
    }

    fn line(&mut self, log_seq: i64, line: &str) {
        self.hasher.update(line);
        self.hasher.update(b"\n");
        self.events += 1;
        self.log_seq = log_seq;
        if self.events.is_multiple_of(self.every) || self.also.contains(&self.events) {
            self.marks.push(self.end());
        }
    }

    /// The hash of what was read.
    pub fn end(&self) -> Mark {
        let hash = Hash(self.hasher.clone().finalize().into());
        Mark { events: self.events, log_seq: self.log_seq, hash }
    }

    /// All marks, the end's last.
    pub fn finish(mut self) -> Vec<Mark> {
        if self.marks.last().is_none_or(|last| last.events < self.events) {
            self.marks.push(self.end());
        }
        self.marks
    }
}

/// A line of an export without its `recorded_at`, which is the last there: no value after it can
/// hold a quotation mark that is not escaped.
fn timeless(line: &str) -> Option<String> {
    const MEMBER: &str = ",\"recorded_at\":\"";
    let (before, rest) = line.rsplit_once(MEMBER)?;
    let (_, after) = rest.split_once('"')?;
    Some(format!("{before}{after}"))
}

#[cfg(test)]
mod tests {
    use time::OffsetDateTime;

    use super::*;

    fn event(log_seq: i64) -> RecordedEvent {
        RecordedEvent {
            tenant_id: "a".to_owned(),
            log_seq,
            recorded_at: OffsetDateTime::UNIX_EPOCH,
            event_id: format!("e{log_seq}"),
            trace_id: "t".to_owned(),
            trace_seq: 1,
            event_type: "TraceFinished".to_owned(),
            occurred_at: "2026-01-01T00:00:00Z".to_owned(),
            producer_id: "p".to_owned(),
            source_system: "s".to_owned(),
            source_subsystem: None,
            actor_type: "agent".to_owned(),
            actor_id: "x".to_owned(),
            idempotency_key: "k".to_owned(),
            correlation_id: None,
            causation_event_id: None,
            schema_version: 1,
            tags: vec![",\"recorded_at\":\"x\"".to_owned()],
            payload: r#"{"a":{"b":1,"recorded_at":"y"}}"#.to_owned(),
            payload_hash: Hash([0; 32]),
        }
    }

    fn hashed(events: &[RecordedEvent], every: u64, also: &[u64]) -> Vec<Mark> {
        let mut hash = LogHash::new(every, also.iter().copied().collect());
        events.iter().for_each(|event| hash.event(event));
        hash.finish()
    }

    #[test]
    fn a_line_of_an_export_hashes_as_its_event_does() {
        let (mut of_lines, one) = (LogHash::new(1, BTreeSet::new()), event(7));
        assert!(of_lines.exported(7, &one.to_json()));
        assert_eq!(of_lines.finish(), hashed(&[one], 1, &[]));
        assert!(!LogHash::new(1, BTreeSet::new()).exported(1, "{}"));
    }

    #[test]
    fn when_it_was_recorded_is_no_part_of_it_and_every_other_field_is() {
        let later = RecordedEvent {
            recorded_at: OffsetDateTime::UNIX_EPOCH + time::Duration::DAY,
            ..event(1)
        };
        assert_eq!(hashed(&[event(1)], 1, &[]), hashed(&[later], 1, &[]));
        let text = || "other".to_owned();
        let changed = [
            RecordedEvent { tenant_id: text(), ..event(1) },
            RecordedEvent { log_seq: 2, ..event(1) },
            RecordedEvent { event_id: text(), ..event(1) },
            RecordedEvent { trace_id: text(), ..event(1) },
            RecordedEvent { trace_seq: 2, ..event(1) },
            RecordedEvent { event_type: text(), ..event(1) },
            RecordedEvent { occurred_at: text(), ..event(1) },
            RecordedEvent { producer_id: text(), ..event(1) },
            RecordedEvent { source_system: text(), ..event(1) },
            RecordedEvent { source_subsystem: Some(text()), ..event(1) },
            RecordedEvent { actor_type: text(), ..event(1) },
            RecordedEvent { actor_id: text(), ..event(1) },
            RecordedEvent { idempotency_key: text(), ..event(1) },
            RecordedEvent { correlation_id: Some(text()), ..event(1) },
            RecordedEvent { causation_event_id: Some(text()), ..event(1) },
            RecordedEvent { schema_version: 2, ..event(1) },
            RecordedEvent { tags: vec![], ..event(1) },
            RecordedEvent { payload: "{}".to_owned(), ..event(1) },
            RecordedEvent { payload_hash: Hash([1; 32]), ..event(1) },
        ];
        let hash = |event: &RecordedEvent| hashed(std::slice::from_ref(event), 1, &[])[0].hash;
        for one in changed {
            assert_ne!(hash(&one), hash(&event(1)), "{one:?}");
        }
    }

    #[test]
    fn a_mark_is_the_hash_of_the_log_that_ends_there() {
        let events: Vec<_> = (1..=7).map(event).collect();
        let marks = hashed(&events, 3, &[2, 6]);
        assert_eq!(marks.iter().map(|mark| mark.events).collect::<Vec<_>>(), [2, 3, 6, 7]);
        for mark in marks {
            let prefix = &events[..mark.events as usize];
            assert_eq!(hashed(prefix, 100, &[]), [mark]);
        }
        for (events, every) in [(0, 1), (1, 1), (1_000, 1), (1_001, 2), (1_000_000, 1_000)] {
            assert_eq!(spacing(events), every, "{events}");
        }
    }
}
