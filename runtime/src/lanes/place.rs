//! Places in a lane: how many events may wait in it, and that it ends when nobody is on the way to it.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use tokio::sync::OwnedSemaphorePermit;

/// Events that may wait in one lane.
const LANE_EVENTS: usize = 20_000;
/// Stands for the events of a lane that takes no more.
const ENDED: usize = usize::MAX / 2;

/// A request's place among those that wait: given back when the request is gone, whoever drops it.
#[derive(Debug)]
pub(super) struct Place {
    waiting: Arc<AtomicUsize>,
    events: usize,
    /// Its part of what all lanes together may hold.
    pub(super) room: Option<OwnedSemaphorePermit>,
}

/// What a request gets that asks for a place.
#[derive(Debug)]
pub(super) enum Taken {
    Place(Place),
    Full,
    /// The lane is ending: the next one has places.
    Ended,
}

impl Place {
    /// A request alone gets one whatever its size.
    pub(super) fn take(waiting: &Arc<AtomicUsize>, events: usize) -> Taken {
        let events = events.max(1);
        let before = waiting.fetch_add(events, Ordering::AcqRel);
        let place = Place { waiting: waiting.clone(), events, room: None };
        match before {
            0 => Taken::Place(place),
            _ if before >= ENDED => Taken::Ended,
            _ if before + events <= LANE_EVENTS => Taken::Place(place),
            _ => Taken::Full,
        }
    }

    /// Whether nobody has a place, and nobody gets one from now on: who has one is on the way, perhaps not in the
    /// mailbox yet.
    pub(super) fn end(waiting: &AtomicUsize) -> bool {
        waiting.compare_exchange(0, ENDED, Ordering::AcqRel, Ordering::Acquire).is_ok()
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.waiting.fetch_sub(self.events, Ordering::AcqRel);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lane_ends_when_nobody_has_a_place_and_nobody_gets_one_then() {
        let waiting = Arc::default();
        let Taken::Place(large) = Place::take(&waiting, LANE_EVENTS + 1) else { panic!("alone") };
        assert!(matches!(Place::take(&waiting, 1), Taken::Full));
        assert!(!Place::end(&waiting));
        drop(large);
        assert!(Place::end(&waiting));
        assert!(matches!(Place::take(&waiting, 1), Taken::Ended));
        assert!(matches!(Place::take(&waiting, LANE_EVENTS), Taken::Ended));
    }
}
