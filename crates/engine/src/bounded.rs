//! A table that cannot grow without limit: when it is full, the entry that has been idle
//! longest leaves. What a hostile program can make many of is kept in these.

use std::collections::{BTreeMap, HashMap};
use std::hash::Hash;

/// A table of at most `capacity` entries, in the order of their last use.
#[derive(Debug)]
pub(crate) struct Bounded<K, V> {
    capacity: usize,
    /// Counts uses; entries are ordered by it, oldest first.
    uses: u64,
    places: HashMap<K, u64>,
    entries: BTreeMap<u64, (K, V)>,
}

impl<K: Clone + Eq + Hash, V> Bounded<K, V> {
    pub(crate) fn new(capacity: usize) -> Self {
        Self {
            capacity: capacity.max(1),
            uses: 0,
            places: HashMap::new(),
            entries: BTreeMap::new(),
        }
    }

    /// Puts a value in and makes it the newest. Returns the idle entry that had to leave.
    pub(crate) fn put(&mut self, key: K, value: V) -> Option<(K, V)> {
        self.take(&key);
        let left = if self.entries.len() >= self.capacity {
            self.entries.pop_first()
        } else {
            None
        };
        if let Some((_, (key, _))) = &left {
            self.places.remove(key);
        }
        self.uses += 1;
        self.places.insert(key.clone(), self.uses);
        self.entries.insert(self.uses, (key, value));
        left.map(|(_, entry)| entry)
    }

    /// Takes a value out.
    pub(crate) fn take(&mut self, key: &K) -> Option<V> {
        let place = self.places.remove(key)?;
        self.entries.remove(&place).map(|(_, value)| value)
    }

    pub(crate) fn get(&self, key: &K) -> Option<&V> {
        let place = self.places.get(key)?;
        self.entries.get(place).map(|(_, value)| value)
    }

    /// Least recently put first.
    pub(crate) fn values(&self) -> impl DoubleEndedIterator<Item = &V> {
        self.entries.values().map(|(_, value)| value)
    }

    pub(crate) fn contains(&self, key: &K) -> bool {
        self.places.contains_key(key)
    }

    #[cfg(test)]
    pub(crate) fn len(&self) -> usize {
        assert_eq!(self.places.len(), self.entries.len());
        self.entries.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_idlest_leaves_first() {
        let mut table = Bounded::new(2);
        assert_eq!(table.put("a", 1), None);
        assert_eq!(table.put("b", 2), None);
        assert_eq!(table.put("a", 3), None);
        assert_eq!(table.put("c", 4), Some(("b", 2)));
        assert_eq!(
            (table.get(&"a"), table.get(&"b"), table.len()),
            (Some(&3), None, 2)
        );
        assert_eq!(table.take(&"a"), Some(3));
        assert_eq!(table.values().collect::<Vec<_>>(), [&4]);
    }
}
