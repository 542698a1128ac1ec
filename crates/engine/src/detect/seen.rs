//! Was it seen before? A few are remembered exactly, many in a filter (B. Bloom, 1970) that may
//! take something new for known, and seldom the other way round: in doubt a subject counts as
//! honest.

/// So many are remembered exactly; most subjects need no more.
const EXACT_MAX: usize = 48;
/// Bits of the filter: enough for some hundred different ones, at the price of a hash each.
const BITS: u32 = 8192;
/// When so many are set, it begins anew.
const FULL: u32 = 6144;

/// What was seen. Takes no room before it is needed.
#[derive(Debug, Default)]
pub(super) struct Seen {
    exact: Vec<u32>,
    words: Vec<u64>,
    set: u32,
}

impl Seen {
    /// Was it new? `hash` must be spread well.
    pub(super) fn add(&mut self, hash: u64) -> bool {
        let short = hash as u32;
        if !self.words.is_empty() {
            if self.set >= FULL {
                self.words.fill(0);
                self.set = 0;
            }
            return self.mark(short);
        }
        if self.exact.contains(&short) {
            return false;
        }
        if self.exact.len() < EXACT_MAX {
            self.exact.push(short);
            return true;
        }
        self.words.resize((BITS / 64) as usize, 0);
        for known in std::mem::take(&mut self.exact) {
            self.mark(known);
        }
        self.mark(short)
    }

    fn mark(&mut self, short: u32) -> bool {
        let bit = short % BITS;
        let word = &mut self.words[(bit / 64) as usize];
        let mask = 1 << (bit % 64);
        let new = *word & mask == 0;
        *word |= mask;
        self.set += u32::from(new);
        new
    }

    pub(super) fn held_bytes(&self) -> usize {
        self.words.capacity() * size_of::<u64>() + self.exact.capacity() * size_of::<u32>()
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
