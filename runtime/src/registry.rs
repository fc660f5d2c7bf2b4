//! Registries: a key has one live owner.
//!
//! Registering a taken key returns the present owner and changes nothing. The key is held by a
//! [`Lease`], which its owner keeps where it is dropped when the owner's task has ended (an actor's
//! handler) and in whatever works on the owner's behalf: so a key is free only when nobody acts for
//! its owner any more, and a supervisor, which waits for that, finds it free at the restart. An owner
//! that will not die keeps its keys.
//!
//! A table behind a lock and not an actor: the end of a task must free its keys at once, not when a
//! mailbox gets to it.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// Who owns what.
pub struct Registry<K, V> {
    owners: Arc<Mutex<BTreeMap<K, V>>>,
}

impl<K, V> Clone for Registry<K, V> {
    fn clone(&self) -> Registry<K, V> {
        Registry { owners: self.owners.clone() }
    }
}

impl<K, V> Default for Registry<K, V> {
    fn default() -> Registry<K, V> {
        Registry { owners: Arc::default() }
    }
}

impl<K, V> fmt::Debug for Registry<K, V> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Registry").field("keys", &lock(&self.owners).len()).finish()
    }
}

/// The map is whole whenever the lock is free, so a panic elsewhere does not poison it.
fn lock<K, V>(owners: &Mutex<BTreeMap<K, V>>) -> MutexGuard<'_, BTreeMap<K, V>> {
    owners.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The key has an owner: this one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AlreadyOwned<V>(pub V);

impl<K: Ord + Clone, V: Clone> Registry<K, V> {
    /// No key has an owner.
    pub fn new() -> Registry<K, V> {
        Registry::default()
    }

    /// Makes `owner` the owner of `key` for as long as the lease lives. Of two that race, one wins.
    ///
    /// # Errors
    /// The present owner.
    pub fn register(&self, key: K, owner: V) -> Result<Lease<K, V>, AlreadyOwned<V>> {
        let mut owners = lock(&self.owners);
        if let Some(present) = owners.get(&key) {
            return Err(AlreadyOwned(present.clone()));
        }
        owners.insert(key.clone(), owner);
        Ok(Lease(Arc::new(Held { key, owners: self.owners.clone() })))
    }

    /// The owner of a key.
    pub fn owner(&self, key: &K) -> Option<V> {
        lock(&self.owners).get(key).cloned()
    }

    /// How many keys have an owner.
    pub fn count(&self) -> usize {
        lock(&self.owners).len()
    }

    /// All owners, by key.
    pub fn owners(&self) -> Vec<(K, V)> {
        lock(&self.owners).iter().map(|(key, owner)| (key.clone(), owner.clone())).collect()
    }
}

/// A key that is held; clones hold it together.
#[derive(Debug)]
pub struct Lease<K: Ord, V>(Arc<Held<K, V>>);

impl<K: Ord, V> Clone for Lease<K, V> {
    fn clone(&self) -> Lease<K, V> {
        Lease(self.0.clone())
    }
}

struct Held<K: Ord, V> {
    key: K,
    owners: Arc<Mutex<BTreeMap<K, V>>>,
}

impl<K: Ord + fmt::Debug, V> fmt::Debug for Held<K, V> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.key.fmt(f)
    }
}

impl<K: Ord, V> Drop for Held<K, V> {
    fn drop(&mut self) {
        let owner = lock(&self.owners).remove(&self.key);
        drop(owner); // outside the lock: it may be anything
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_taken_key_returns_its_owner_and_is_free_when_the_last_lease_is_gone() {
        let registry = Registry::new();
        let lease = registry.register("key", 1).unwrap();
        assert_eq!(registry.register("key", 2).unwrap_err(), AlreadyOwned(1));
        let other = lease.clone();
        drop(lease);
        assert_eq!(registry.owner(&"key"), Some(1));
        drop(other);
        assert_eq!(registry.owner(&"key"), None);
        assert!(registry.register("key", 2).is_ok());
    }

    #[test]
    fn of_those_that_race_for_a_key_exactly_one_wins() {
        for _ in 0..200 {
            let registry = Registry::new();
            let race = |racer: usize| {
                let registry = registry.clone();
                std::thread::spawn(move || registry.register((), racer))
            };
            let racers: Vec<_> = (0..4).map(race).collect();
            let results: Vec<_> = racers.into_iter().map(|racer| racer.join().unwrap()).collect();
            let winner = registry.owner(&()).unwrap();
            for (racer, result) in results.iter().enumerate() {
                match result {
                    Ok(_) => assert_eq!(racer, winner),
                    Err(owner) => assert_eq!(owner, &AlreadyOwned(winner)),
                }
            }
            assert_eq!(results.iter().filter(|result| result.is_ok()).count(), 1);
        }
    }
}
