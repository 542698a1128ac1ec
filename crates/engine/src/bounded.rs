//! A table that cannot grow without limit, and that no user can fill for the others. What a
//! hostile program can make many of is kept in these.
//!
//! When the table is full, an entry of the user who has most leaves: the one that was idle
//! longest. So a user who has no more than a fair share of the room loses nothing, whatever
//! the others do.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::hash::Hash;

/// A table of at most `capacity` entries, in the order of their last use.
#[derive(Debug)]
pub(crate) struct Bounded<K, V> {
    capacity: usize,
    /// Counts uses; entries are ordered by it, oldest first.
    uses: u64,
    places: HashMap<K, u64>,
    entries: BTreeMap<u64, Entry<K, V>>,
    /// The places of each user's entries.
    shares: HashMap<u32, BTreeSet<u64>>,
}

#[derive(Debug)]
struct Entry<K, V> {
    owner: u32,
    key: K,
    value: V,
}

impl<K: Clone + Eq + Hash, V> Bounded<K, V> {
    pub(crate) fn new(capacity: usize) -> Self {
        Self {
            capacity: capacity.max(1),
            uses: 0,
            places: HashMap::new(),
            entries: BTreeMap::new(),
            shares: HashMap::new(),
        }
    }

    /// Puts a value of the user `owner` in and makes it the newest. Returns the entry that had to
    /// leave.
    pub(crate) fn put(&mut self, owner: u32, key: K, value: V) -> Option<(K, V)> {
        self.take(&key);
        let left = if self.entries.len() >= self.capacity {
            self.idlest_of_largest().and_then(|place| {
                let entry = self.remove(place)?;
                self.places.remove(&entry.key);
                Some((entry.key, entry.value))
            })
        } else {
            None
        };
        self.uses += 1;
        self.places.insert(key.clone(), self.uses);
        self.shares.entry(owner).or_default().insert(self.uses);
        self.entries.insert(self.uses, Entry { owner, key, value });
        left
    }

    /// Takes a value out.
    pub(crate) fn take(&mut self, key: &K) -> Option<V> {
        let place = self.places.remove(key)?;
        self.remove(place).map(|entry| entry.value)
    }

    pub(crate) fn get(&self, key: &K) -> Option<&V> {
        let place = self.places.get(key)?;
        self.entries.get(place).map(|entry| &entry.value)
    }

    /// Least recently put first.
    pub(crate) fn values(&self) -> impl DoubleEndedIterator<Item = &V> {
        self.entries.values().map(|entry| &entry.value)
    }

    pub(crate) fn contains(&self, key: &K) -> bool {
        self.places.contains_key(key)
    }

    /// The idlest entry of the user who has most. Of several with as many, the idlest of all.
    fn idlest_of_largest(&self) -> Option<u64> {
        let largest = self.shares.values().map(BTreeSet::len).max()?;
        self.shares
            .values()
            .filter(|share| share.len() == largest)
            .filter_map(|share| share.first().copied())
            .min()
    }

    fn remove(&mut self, place: u64) -> Option<Entry<K, V>> {
        let entry = self.entries.remove(&place)?;
        if let Some(share) = self.shares.get_mut(&entry.owner) {
            share.remove(&place);
            if share.is_empty() {
                self.shares.remove(&entry.owner);
            }
        }
        Some(entry)
    }

    #[cfg(test)]
    pub(crate) fn len(&self) -> usize {
        assert_eq!(self.places.len(), self.entries.len());
        let shared: usize = self.shares.values().map(BTreeSet::len).sum();
        assert_eq!(shared, self.entries.len());
        self.entries.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_idlest_leaves_first() {
        let mut table = Bounded::new(2);
        assert_eq!(table.put(1000, "a", 1), None);
        assert_eq!(table.put(1000, "b", 2), None);
        assert_eq!(table.put(1000, "a", 3), None);
        assert_eq!(table.put(1000, "c", 4), Some(("b", 2)));
        assert_eq!(
            (table.get(&"a"), table.get(&"b"), table.len()),
            (Some(&3), None, 2)
        );
        assert_eq!(table.take(&"a"), Some(3));
        assert_eq!(table.values().collect::<Vec<_>>(), [&4]);
    }

    #[test]
    fn one_user_does_not_push_out_what_another_has() {
        let mut table = Bounded::new(8);
        table.put(1001, 0, "the other's");
        table.put(1001, 1, "the other's");
        for key in 2..1000 {
            table.put(1000, key, "a flood");
        }
        assert_eq!(table.get(&0), Some(&"the other's"));
        assert_eq!(table.get(&1), Some(&"the other's"));
        assert_eq!(table.len(), 8);
        // Who comes later gets a share too.
        for key in 2000..2004 {
            table.put(1002, key, "a third");
        }
        assert!((2000..2004).all(|key| table.contains(&key)));
        assert_eq!(table.len(), 8);
    }
}
