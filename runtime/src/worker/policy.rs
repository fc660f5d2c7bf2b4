//! What a failure means and what follows from it: the table, and the back-off.

use std::time::Duration;

use dg_projections::Code;
use dg_projections::hash::Hash;
use dg_projections::projection::Poison;
use dg_store::StoreError;

/// What kind of failure it is; the kinds differ in what helps.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FailureClass {
    /// The database is away, slow, full or in the way: waiting helps.
    Storage,
    /// An event that cannot be applied: mending the log or the code helps.
    Poison,
    /// A broken invariant: only a developer helps.
    Defect,
}

/// A failure of a worker, in full.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Failure {
    /// Its class.
    pub class: FailureClass,
    /// The stable code.
    pub code: Code,
    /// What is wrong.
    pub message: String,
    /// The event to blame: (`log_seq`, `trace_id`, `event_id`).
    pub event: Option<(i64, String, String)>,
    /// Events of the batch that failed as a whole, one of which is to blame; 0 when that is known,
    /// or none is.
    pub suspects: i64,
}

impl From<&StoreError> for Failure {
    fn from(error: &StoreError) -> Failure {
        let class = match error.code {
            Code::Storage => FailureClass::Storage,
            _ => FailureClass::Defect,
        };
        let code = if class == FailureClass::Storage { Code::Storage } else { Code::Internal };
        Failure { class, code, message: error.message.clone(), event: None, suspects: 0 }
    }
}

impl From<&Poison> for Failure {
    fn from(poison: &Poison) -> Failure {
        Failure {
            class: FailureClass::Poison,
            code: poison.reason.code,
            message: poison.reason.message.clone(),
            event: Some((poison.log_seq, poison.trace_id.clone(), poison.event_id.clone())),
            suspects: 0,
        }
    }
}

/// How to try again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RetryPolicy {
    /// The wait before the first retry, before jitter.
    pub base: Duration,
    /// No wait is longer.
    pub max: Duration,
    /// After so many retries a worker counts as degraded; it goes on at the longest wait.
    pub max_retries: u32,
}

/// What to do about a failure.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// Wait, then start again from the cursor.
    Retry {
        /// How long.
        after: Duration,
        /// Whether retries have gone on for longer than they should.
        degraded: bool,
    },
    /// Try a part of the batch, until the event to blame is alone.
    Narrow,
    /// Write a dead letter and wait for an operator.
    Fail,
}

/// The table: what follows from a failure, `attempt` retries having been made before it.
///
/// `who` spreads the waits of different workers; the same worker always waits alike.
pub fn decide(failure: &Failure, attempt: u32, policy: &RetryPolicy, who: &str) -> Verdict {
    match failure.class {
        FailureClass::Storage => Verdict::Retry {
            after: backoff(attempt, policy, who),
            degraded: attempt >= policy.max_retries,
        },
        FailureClass::Defect if failure.suspects > 1 => Verdict::Narrow,
        FailureClass::Poison | FailureClass::Defect => Verdict::Fail,
    }
}

/// `base * 2^attempt`, at most `max`; of that, between a half and the whole.
fn backoff(attempt: u32, policy: &RetryPolicy, who: &str) -> Duration {
    let whole = policy.base.saturating_mul(1 << attempt.min(20)).min(policy.max);
    let Hash(bytes) = Hash::of(format!("{who}/{attempt}").as_bytes());
    let share = f64::from(u16::from_be_bytes([bytes[0], bytes[1]])) / f64::from(u16::MAX);
    whole.mul_f64(0.5 + share / 2.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    const POLICY: RetryPolicy = RetryPolicy {
        base: Duration::from_millis(250),
        max: Duration::from_secs(30),
        max_retries: 5,
    };

    fn failure(class: FailureClass) -> Failure {
        Failure { class, code: Code::Storage, message: String::new(), event: None, suspects: 0 }
    }

    #[test]
    fn storage_retries_for_ever_within_the_cap_and_is_degraded_from_the_limit() {
        for attempt in [0, 1, 4, 5, 6, 7, 20, 1000, u32::MAX] {
            let verdict = decide(&failure(FailureClass::Storage), attempt, &POLICY, "w");
            let Verdict::Retry { after, degraded } = verdict else { panic!("{verdict:?}") };
            let whole = POLICY.base.saturating_mul(1 << attempt.min(20)).min(POLICY.max);
            assert!(after >= whole / 2 && after <= whole, "{attempt}: {after:?}");
            assert_eq!(degraded, attempt >= 5);
        }
    }

    #[test]
    fn poison_and_defects_fail_at_once() {
        for class in [FailureClass::Poison, FailureClass::Defect] {
            assert_eq!(decide(&failure(class), 0, &POLICY, "w"), Verdict::Fail);
        }
    }

    #[test]
    fn a_batch_that_fails_as_a_whole_is_narrowed_to_its_event() {
        for (class, suspects, verdict) in [
            (FailureClass::Defect, 1_000, Verdict::Narrow),
            (FailureClass::Defect, 2, Verdict::Narrow),
            (FailureClass::Defect, 1, Verdict::Fail),
            (FailureClass::Poison, 1_000, Verdict::Fail),
        ] {
            let failure = Failure { suspects, ..failure(class) };
            assert_eq!(decide(&failure, 0, &POLICY, "w"), verdict, "{failure:?}");
        }
    }

    #[test]
    fn workers_wait_differently_and_each_always_alike() {
        let of = |who| decide(&failure(FailureClass::Storage), 3, &POLICY, who);
        assert_eq!(of("a"), of("a"));
        assert_ne!(of("a"), of("b"));
    }
}
