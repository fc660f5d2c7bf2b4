//! Who gets a connection: places by user, so that nobody's connections keep another user out.
//!
//! Invariants:
//! - root and the daemon's own user have places that no other user can take;
//! - every other user has a share, and strangers have none: what is beyond is told so at once, as far
//!   as there is room for telling, and never waits in front of others.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::caller::{Caller, Role};
use super::peer::Crowd;
use super::room::Room;

/// Those of root and of the daemon's own user together.
const OWN: usize = 256;
/// Those of all other users that the configuration names.
const OTHERS: usize = 256;
/// The bounds of each such user's share.
const LEAST_SHARE: usize = 8;
const MOST_SHARE: usize = 128;
/// Those of peers that are only told no.
const REFUSED: usize = 16;

/// Whose places a connection counts among.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Lane {
    Own,
    User(u32),
    Refused,
}

impl Lane {
    /// The lane of a caller, where `own` is the daemon's user.
    fn of(caller: Caller, own: u32) -> Lane {
        match (caller.role, caller.uid) {
            (Role::Admin, Some(uid)) if uid == 0 || uid == own => Lane::Own,
            (Role::Admin | Role::Observer, Some(uid)) => Lane::User(uid),
            _ => Lane::Refused,
        }
    }
}

/// The places of a daemon, and who has them. Clones share them.
#[derive(Debug, Clone)]
pub(super) struct Places {
    lanes: Arc<Mutex<BTreeMap<Lane, Taken>>>,
    own: u32,
    own_room: Arc<Room>,
    room_of_others: Arc<Room>,
}

#[derive(Debug)]
struct Taken {
    count: usize,
    crowd: Crowd,
}

/// A place, until it is dropped.
#[derive(Debug)]
pub(super) struct Place {
    places: Places,
    lane: Lane,
    /// Whether others wait for places of the same lane.
    pub(super) crowd: Crowd,
}

impl Places {
    /// The places for the daemon's user `own` and for others.
    pub(super) fn new(own: u32) -> Places {
        let (own_room, room_of_others) = (Arc::new(Room::own()), Arc::new(Room::of_others()));
        Places { lanes: Arc::default(), own, own_room, room_of_others }
    }

    /// Whether root and the daemon's user have one left. They wait to be accepted until there is one.
    pub(super) fn has_own(&self) -> bool {
        let mut lanes = self.lanes();
        let taken = self.taken(&mut lanes, Lane::Own);
        let is_full = taken.count >= OWN;
        if is_full {
            taken.crowd.is_full_now();
        }
        !is_full
    }

    /// A place for a caller, where the configuration names so many `others`; for one who has enough it
    /// is a place to be told so. None if there is not even that.
    pub(super) fn admit(&self, caller: Caller, others: usize) -> Option<(Caller, Place)> {
        let lane = Lane::of(caller, self.own);
        let most = match lane {
            Lane::Own => OWN,
            Lane::User(_) => share(others),
            Lane::Refused => REFUSED,
        };
        let excess = Caller { role: Role::Excess, ..caller };
        match self.take(lane, most) {
            Some(place) => Some((caller, place)),
            None => self.take(Lane::Refused, REFUSED).map(|place| (excess, place)),
        }
    }

    fn take(&self, lane: Lane, most: usize) -> Option<Place> {
        let mut lanes = self.lanes();
        let taken = self.taken(&mut lanes, lane);
        if taken.count >= most {
            taken.crowd.is_full_now();
            return None;
        }
        taken.count += 1;
        Some(Place { places: self.clone(), lane, crowd: taken.crowd.clone() })
    }

    fn taken<'a>(&self, lanes: &'a mut BTreeMap<Lane, Taken>, lane: Lane) -> &'a mut Taken {
        let room = if lane == Lane::Own { &self.own_room } else { &self.room_of_others };
        lanes.entry(lane).or_insert_with(|| Taken { count: 0, crowd: Crowd::new(room.clone()) })
    }

    fn lanes(&self) -> MutexGuard<'_, BTreeMap<Lane, Taken>> {
        self.lanes.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What each of so many users may have.
fn share(others: usize) -> usize {
    (OTHERS / others.max(1)).clamp(LEAST_SHARE, MOST_SHARE)
}

impl Drop for Place {
    fn drop(&mut self) {
        if let Some(taken) = self.places.lanes().get_mut(&self.lane) {
            taken.count -= 1;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn caller(uid: u32, role: Role) -> Caller {
        Caller { uid: Some(uid), pid: None, role }
    }

    /// Takes all that there is for a caller.
    fn all(places: &Places, caller: Caller, others: usize) -> Vec<(Caller, Place)> {
        std::iter::from_fn(|| places.admit(caller, others)).take(1000).collect()
    }

    #[test]
    fn nobody_takes_the_places_of_root_and_of_the_daemons_user() {
        let places = Places::new(5);
        let taken: Vec<_> = [(7, Role::Admin), (8, Role::Observer), (9, Role::Stranger)]
            .into_iter()
            .flat_map(|(uid, role)| all(&places, caller(uid, role), 2))
            .collect();
        assert_eq!(taken.len(), 2 * MOST_SHARE + REFUSED);
        assert!(places.has_own());
        let own: Vec<_> = (0..OWN).map(|at| caller([0, 5][at % 2], Role::Admin)).collect();
        let own: Vec<_> = own.into_iter().map(|one| places.admit(one, 2).unwrap()).collect();
        assert!(own.iter().all(|(caller, _)| caller.role == Role::Admin));
        assert!(!places.has_own());
        drop(own);
        assert!(places.has_own());
    }

    #[test]
    fn one_user_leaves_anothers_share_alone_and_is_told_what_is_too_much() {
        let places = Places::new(5);
        let taken = all(&places, caller(7, Role::Admin), 4);
        let (served, told): (Vec<_>, Vec<_>) =
            taken.iter().partition(|(caller, _)| caller.role == Role::Admin);
        assert_eq!((served.len(), told.len()), (OTHERS / 4, REFUSED));
        assert!(told.iter().all(|(caller, _)| caller.role == Role::Excess));
        let (other, place) = places.admit(caller(8, Role::Observer), 4).unwrap();
        assert_eq!(other.role, Role::Observer);
        assert!(taken[0].1.crowd.somebody_waits() && !place.crowd.somebody_waits());
        drop(taken);
        assert_eq!(places.admit(caller(7, Role::Admin), 4).unwrap().0.role, Role::Admin);
    }

    #[test]
    fn a_share_is_never_nothing() {
        assert_eq!(share(0), MOST_SHARE);
        assert_eq!(share(10_000), LEAST_SHARE);
    }
}
