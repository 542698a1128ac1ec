//! How many different ones? Exact up to a limit, in four bytes each.

use std::hash::{DefaultHasher, Hash, Hasher};

/// A set that only counts. Two in four thousand million are taken for one.
#[derive(Debug, Default)]
pub(super) struct Distinct<const MAX: usize> {
    seen: Vec<u32>,
    more: bool,
}

impl<const MAX: usize> Distinct<MAX> {
    /// Was it new, as far as is known?
    pub(super) fn add(&mut self, value: impl Hash) -> bool {
        let mut hasher = DefaultHasher::new();
        value.hash(&mut hasher);
        let short = hasher.finish() as u32;
        if self.seen.contains(&short) {
            return false;
        }
        if self.seen.len() < MAX {
            self.seen.push(short);
        } else {
            self.more = true;
        }
        true
    }

    /// How many, at most `MAX`.
    pub(super) fn count(&self) -> usize {
        self.seen.len()
    }

    /// The number and what is counted, in words.
    pub(super) fn words(&self, word: &str) -> String {
        let more = if self.more { "more than " } else { "" };
        format!("{more}{}", super::counted(self.seen.len(), word))
    }

    pub(super) fn clear(&mut self) {
        self.seen.clear();
        self.more = false;
    }

    pub(super) fn held_bytes(&self) -> usize {
        self.seen.capacity() * size_of::<u32>()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_up_to_its_limit() {
        let mut distinct = Distinct::<4>::default();
        assert!(distinct.add("a") && !distinct.add("a"));
        assert_eq!(distinct.words("server"), "1 server");
        for number in 0..100 {
            distinct.add(number);
        }
        assert_eq!(distinct.words("server"), "more than 4 servers");
    }
}
