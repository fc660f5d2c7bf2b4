//! Whether a lane takes its next batch to be new: pure.
//!
//! A batch of new events costs one round trip when it is taken to be new, and one that is not costs
//! a statement in vain (and a line in Postgres' log). So a lane that was wrong looks first for a
//! while, twice as long each time, and one that meets repeats goes on looking until they end. One that knows nothing,
//! as at first and after a batch that failed, has its turn in company look for it, if its batch is small.

use dg_projections::admission::Admission;
use dg_store::Answer;

/// Batches that a lane looks first for, at most.
const LONGEST: u32 = 64;

/// What a lane knows of its log and its requests: nothing at first, and after a batch that failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Trust {
    /// Where the log ended after the last batch.
    head: Option<i64>,
    /// Batches that are looked up first.
    cautious: u32,
    /// How many that were, the last time.
    penalty: u32,
}

impl Trust {
    /// The end of the log, if the next batch may be taken to be new.
    pub(super) fn head(&self) -> Option<i64> {
        self.head.filter(|_| self.cautious == 0)
    }

    /// Whether nothing is known of the log or of what comes: a look tells whether the next batch is new.
    pub(super) fn is_blank(&self) -> bool {
        *self == Trust::default()
    }

    /// A batch was not what it was taken for.
    pub(super) fn disappointed(&mut self) {
        self.penalty = (self.penalty * 2).clamp(1, LONGEST);
        self.cautious = self.penalty;
    }

    /// A batch was answered, `looked` at first or not.
    pub(super) fn answered(&mut self, answers: &[Answer], looked: bool) {
        let inserted = answers.iter().filter_map(|answer| match answer {
            Ok(Admission::Insert { log_seq }) => Some(*log_seq),
            _ => None,
        });
        self.head = inserted.clone().max().or(self.head);
        match (looked, inserted.count() == answers.len()) {
            (false, _) => self.penalty = 0,
            (true, true) => self.cautious = self.cautious.saturating_sub(1),
            (true, false) => self.cautious = self.cautious.max(1),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn inserted(log_seq: i64) -> Answer {
        Ok(Admission::Insert { log_seq })
    }

    fn reused() -> Answer {
        Ok(Admission::Reused { log_seq: 1, event_id: "e".to_owned() })
    }

    #[test]
    fn a_lane_trusts_after_its_first_look_and_knows_the_end() {
        let mut trust = Trust::default();
        assert_eq!(trust.head(), None);
        trust.answered(&[inserted(7), inserted(8)], true);
        assert_eq!(trust.head(), Some(8));
        trust.answered(&[inserted(9)], false);
        assert_eq!(trust.head(), Some(9));
    }

    #[test]
    fn a_lane_knows_nothing_until_it_was_answered_or_wrong() {
        assert!(Trust::default().is_blank());
        let (mut answered, mut wrong) = (Trust::default(), Trust::default());
        answered.answered(&[inserted(7)], false);
        wrong.disappointed();
        assert_eq!((answered.is_blank(), answered.head()), (false, Some(7)));
        assert_eq!((wrong.is_blank(), wrong.head()), (false, None));
    }

    #[test]
    fn repeats_keep_it_looking_until_they_end() {
        let mut trust = Trust::default();
        trust.answered(&[inserted(1), reused()], true);
        assert_eq!(trust.head(), None);
        trust.answered(&[reused()], true);
        assert_eq!(trust.head(), None);
        trust.answered(&[inserted(2)], true);
        assert_eq!(trust.head(), Some(2));
    }

    #[test]
    fn being_wrong_again_and_again_costs_ever_less_often() {
        let mut trust = Trust::default();
        trust.answered(&[inserted(1)], true);
        let mut looks = Vec::new();
        for _ in 0..8 {
            trust.disappointed();
            let mut looked = 0;
            while trust.head().is_none() {
                trust.answered(&[inserted(2)], true);
                looked += 1;
            }
            looks.push(looked);
        }
        assert_eq!(looks, [1, 2, 4, 8, 16, 32, 64, 64]);
        trust.answered(&[inserted(3)], false);
        trust.disappointed();
        trust.answered(&[inserted(4)], true);
        assert_eq!(trust.head(), Some(4));
    }
}
