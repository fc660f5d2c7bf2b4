//! Which trace moves next: tenants take turns at random, and each keeps a window of open traces.
//!
//! A trace gets its number when it starts, so of two traces of a tenant the lower number started
//! first. Memory is one window a tenant, whatever the length of the log.

use super::Plan;
use super::rng::{Rng, key};

/// Traces a tenant has open at a time.
const WINDOW: u64 = 16;
const PURPOSE: u64 = 0x5C4E_D01E;

/// One event's place in the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Place {
    /// The tenant, from 0.
    pub(super) tenant: u32,
    /// The number of the tenant's first trace.
    pub(super) first_trace: u64,
    /// The trace, numbered over all tenants.
    pub(super) trace: u64,
    /// The event within its trace.
    pub(super) seq: u32,
}

impl Place {
    /// The number of event `seq` of this trace, over the whole log: no two events share one.
    pub(super) fn event(&self, plan: &Plan, seq: u32) -> u64 {
        self.trace * u64::from(plan.events_per_trace) + u64::from(seq)
    }
}

#[derive(Debug)]
struct Tenant {
    number: u32,
    first: u64,
    next: u64,
    end: u64,
    open: Vec<(u64, u32)>,
}

impl Tenant {
    /// Tenant `number` of the plan, with its share of the traces: the first ones have one more when
    /// they do not divide.
    fn new(plan: &Plan, number: u32) -> Self {
        let (each, rest) =
            (plan.traces / u64::from(plan.tenants), plan.traces % u64::from(plan.tenants));
        let first_of = |number: u64| number * each + number.min(rest);
        let (first, end) = (first_of(number.into()), first_of(u64::from(number) + 1));
        Self { number, first, next: first, end, open: Vec::with_capacity(WINDOW as usize) }
    }

    fn is_done(&self) -> bool {
        self.open.is_empty() && self.next == self.end
    }

    /// One event of an open trace, or the start of another while the window has room.
    fn advance(&mut self, rng: &mut Rng, events_per_trace: u32) -> Place {
        let choices = (self.open.len() as u64 + self.end - self.next).min(WINDOW);
        let mut slot = rng.below(choices) as usize;
        if slot >= self.open.len() {
            slot = self.open.len();
            self.open.push((self.next, 0));
            self.next += 1;
        }
        let (trace, seq) = self.open[slot];
        self.open[slot].1 += 1;
        if seq + 1 == events_per_trace {
            self.open.swap_remove(slot);
        }
        Place { tenant: self.number, first_trace: self.first, trace, seq }
    }
}

/// The places of a valid plan, in log order.
#[derive(Debug)]
pub(super) struct Schedule {
    rng: Rng,
    events_per_trace: u32,
    tenants: Vec<Tenant>,
}

impl Schedule {
    /// The schedule of a plan that was found valid.
    pub(super) fn new(plan: &Plan) -> Self {
        Self {
            rng: Rng::new(key(plan.seed, PURPOSE)),
            events_per_trace: plan.events_per_trace,
            tenants: (0..plan.tenants).map(|number| Tenant::new(plan, number)).collect(),
        }
    }
}

impl Iterator for Schedule {
    type Item = Place;

    fn next(&mut self) -> Option<Place> {
        let turn = self.rng.below(self.tenants.len() as u64) as usize;
        let tenant = self.tenants.get_mut(turn)?;
        let place = tenant.advance(&mut self.rng, self.events_per_trace);
        if tenant.is_done() {
            self.tenants.swap_remove(turn);
        }
        Some(place)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::{BTreeMap, BTreeSet};

    fn schedule(traces: u64, events_per_trace: u32, tenants: u32) -> Vec<Place> {
        let plan = Plan { traces, events_per_trace, tenants, seed: 3, ..Plan::default() };
        Schedule::new(&plan).collect()
    }

    #[test]
    fn tenants_share_the_traces_evenly() {
        let mut shares = BTreeMap::<u32, BTreeSet<u64>>::new();
        for place in schedule(11, 3, 4) {
            shares.entry(place.tenant).or_default().insert(place.trace);
        }
        let sizes: Vec<usize> = shares.values().map(BTreeSet::len).collect();
        assert_eq!(sizes, [3, 3, 3, 2]);
        assert_eq!(shares.values().flatten().count(), 11);
    }

    #[test]
    fn traces_interleave_within_the_window_and_start_in_order() {
        let mut open = BTreeSet::new();
        let (mut widest, mut started) = (0, 0);
        for place in schedule(200, 8, 1) {
            if place.seq == 0 {
                assert_eq!(place.trace, started);
                started += 1;
            }
            open.insert(place.trace);
            widest = widest.max(open.len());
            if place.seq == 7 {
                open.remove(&place.trace);
            }
        }
        assert_eq!((widest, started, open.len()), (WINDOW as usize, 200, 0));
    }
}
