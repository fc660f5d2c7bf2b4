//! What the log is told of peers that are turned away: a line for each user now and then, so that
//! they cannot fill it.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use super::caller::{Caller, Role};

/// How long a user is not told of again.
const QUIET: Duration = Duration::from_secs(60);

/// Who was told of, and when.
#[derive(Debug, Default)]
pub(super) struct Refusals(BTreeMap<Option<u32>, Instant>);

impl Refusals {
    /// Takes note of a caller, and tells of one who is turned away.
    pub(super) fn note(&mut self, caller: Caller) {
        match caller.role {
            Role::Admin | Role::Observer => {}
            Role::Stranger if self.is_news(caller.uid, Instant::now()) => {
                tracing::warn!(uid = ?caller.uid, pid = ?caller.pid, "a peer was refused");
            }
            Role::Excess if self.is_news(caller.uid, Instant::now()) => {
                tracing::warn!(
                    uid = ?caller.uid,
                    pid = ?caller.pid,
                    "a user has as many connections as it may have; more are refused"
                );
            }
            Role::Stranger | Role::Excess => {}
        }
    }

    fn is_news(&mut self, uid: Option<u32>, now: Instant) -> bool {
        self.0.retain(|_, told| now.duration_since(*told) < QUIET);
        let is_news = !self.0.contains_key(&uid);
        self.0.entry(uid).or_insert(now);
        is_news
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_user_is_told_of_once_in_a_while() {
        let (mut refusals, now) = (Refusals::default(), Instant::now());
        assert!(refusals.is_news(Some(7), now));
        assert!(!refusals.is_news(Some(7), now + QUIET / 2));
        assert!(refusals.is_news(Some(8), now));
        assert!(refusals.is_news(Some(7), now + QUIET));
        assert_eq!(refusals.0.len(), 1);
    }
}
