//! Was it seen before? A filter that may say yes of what is new, and hardly says no of what is
//! not: whoever is in doubt counts as honest.

/// Bits: enough for some hundred different ones, at the price of a hash each.
const BITS: u64 = 8192;
/// When so many are set, it begins anew.
const FULL: u32 = 6144;

/// What was seen. Takes no room before it is needed.
#[derive(Debug, Default)]
pub(super) struct Seen {
    words: Vec<u64>,
    set: u32,
}

impl Seen {
    /// Was it new? `hash` must be spread well.
    pub(super) fn add(&mut self, hash: u64) -> bool {
        if self.words.is_empty() || self.set >= FULL {
            self.words.clear();
            self.words.resize((BITS / 64) as usize, 0);
            self.set = 0;
        }
        let bit = hash % BITS;
        let word = &mut self.words[(bit / 64) as usize];
        let mask = 1 << (bit % 64);
        let new = *word & mask == 0;
        *word |= mask;
        self.set += u32::from(new);
        new
    }

    pub(super) fn held_bytes(&self) -> usize {
        self.words.capacity() * size_of::<u64>()
    }
}

#[cfg(test)]
mod tests {
    use super::super::hash;
    use super::*;

    #[test]
    fn what_comes_again_is_not_new() {
        let mut seen = Seen::default();
        assert_eq!(seen.held_bytes(), 0);
        let first = (0..150).filter(|number: &u32| seen.add(hash(number)));
        assert!(first.count() > 140);
        assert_eq!(
            (0..150)
                .filter(|number: &u32| seen.add(hash(number)))
                .count(),
            0
        );
    }

    #[test]
    fn a_full_one_begins_anew() {
        let mut seen = Seen::default();
        for number in 0..200_000u32 {
            seen.add(hash(number));
            assert!(seen.set <= FULL);
        }
    }
}
