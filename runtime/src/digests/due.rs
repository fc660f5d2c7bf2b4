//! Which tenants are due when: a table without a clock of its own.
//!
//! A tenant stands in it once; it is as large as the number of tenants that have moved and not been
//! refreshed since.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Instant;

/// Tenants and when they are due.
#[derive(Debug, Default)]
pub(super) struct Due {
    times: BTreeMap<String, Instant>,
    order: BTreeSet<(Instant, String)>,
    paused_until: Option<Instant>,
}

impl Due {
    /// The tenant is due then, and no longer when it was before.
    pub(super) fn put(&mut self, tenant: String, at: Instant) {
        if let Some(before) = self.times.insert(tenant.clone(), at) {
            self.order.remove(&(before, tenant.clone()));
        }
        self.order.insert((at, tenant));
    }

    /// The tenant is due then, unless it is in the table.
    pub(super) fn put_if_absent(&mut self, tenant: String, at: Instant) {
        if !self.times.contains_key(&tenant) {
            self.put(tenant, at);
        }
    }

    /// Nobody is due before.
    pub(super) fn pause(&mut self, until: Instant) {
        self.paused_until = Some(until);
    }

    pub(super) fn is_paused(&self, now: Instant) -> bool {
        self.paused_until.is_some_and(|until| now < until)
    }

    /// Takes out whoever has been due longest.
    pub(super) fn take(&mut self, now: Instant) -> Option<String> {
        if self.is_paused(now) || self.order.first().is_none_or(|(at, _)| *at > now) {
            return None;
        }
        let (_, tenant) = self.order.pop_first()?;
        self.times.remove(&tenant);
        Some(tenant)
    }

    /// When to come back: for whoever is next, or after the pause if that is all that is waited for.
    pub(super) fn next(&self, only_for_tenants: bool) -> Option<Instant> {
        match self.order.first() {
            Some((at, _)) => Some(self.paused_until.map_or(*at, |until| until.max(*at))),
            None if only_for_tenants => None,
            None => self.paused_until,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn tenants_come_out_once_and_in_the_order_in_which_they_are_due() {
        let (mut due, now) = (Due::default(), Instant::now());
        due.put("late".to_owned(), now + 2 * SECOND);
        due.put("early".to_owned(), now + SECOND);
        assert_eq!(due.next(true), Some(now + SECOND));
        assert_eq!(due.take(now), None);
        let later = now + 3 * SECOND;
        assert_eq!(due.take(later).as_deref(), Some("early"));
        assert_eq!(due.take(later).as_deref(), Some("late"));
        assert_eq!((due.take(later), due.next(true)), (None, None));
        assert!(due.times.is_empty() && due.order.is_empty());
    }

    #[test]
    fn whoever_moves_again_is_put_off() {
        let (mut due, now) = (Due::default(), Instant::now());
        due.put("a".to_owned(), now + SECOND);
        due.put("a".to_owned(), now + 3 * SECOND);
        due.put_if_absent("a".to_owned(), now);
        assert_eq!(due.take(now + 2 * SECOND), None);
        assert_eq!(due.take(now + 3 * SECOND).as_deref(), Some("a"));
        assert_eq!(due.take(now + 9 * SECOND), None);
    }

    #[test]
    fn in_a_pause_nobody_is_due_and_afterwards_all_who_were() {
        let (mut due, now) = (Due::default(), Instant::now());
        due.pause(now + 5 * SECOND);
        assert_eq!((due.next(true), due.next(false)), (None, Some(now + 5 * SECOND)));
        due.put("a".to_owned(), now + SECOND);
        assert_eq!(due.take(now + 4 * SECOND), None);
        assert_eq!(due.next(true), Some(now + 5 * SECOND));
        assert_eq!(due.take(now + 5 * SECOND).as_deref(), Some("a"));
    }
}
