//! Names that are known by a hash of all their bytes, in a form that the kernel searches with one
//! comparison.
//!
//! Two names with the same 64 bits do not happen by chance, and whoever looks for a second name wins
//! nothing: it would be taken for a sign, where the true one always is.

/// The hash of no bytes yet (FNV-1a).
pub const EMPTY: u64 = 0xcbf2_9ce4_8422_2325;

/// The hash with one more byte.
#[inline(always)]
pub const fn add(hash: u64, byte: u8) -> u64 {
    (hash ^ byte as u64).wrapping_mul(0x0000_0100_0000_01b3)
}

/// The hash of a name that follows what `hash` has seen.
pub const fn of(mut hash: u64, name: &[u8]) -> u64 {
    let mut index = 0;
    while index < name.len() {
        hash = add(hash, name[index]);
        index += 1;
    }
    hash
}

/// The number by which a record keeps a name. It depends on the name alone, so that it means the same
/// after an upgrade. Never 0.
#[inline(always)]
pub const fn short(hash: u64) -> u16 {
    let number = ((hash ^ hash >> 32).wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 48) as u16;
    if number == 0 { 1 } else { number }
}

/// A power of two.
const NAMES_MAX: usize = 256;

/// Names by their hashes, with a number for each. `SLOTS` is a power of two.
pub struct Hashed<const SLOTS: usize> {
    multiplier: u64,
    /// Index of a name plus one; 0 is none.
    slots: [u8; SLOTS],
    hashes: [u64; NAMES_MAX],
    numbers: [u32; NAMES_MAX],
}

impl<const SLOTS: usize> Hashed<SLOTS> {
    /// A table of the first `count` names and their numbers.
    pub const fn of(hashes: &[u64], numbers: &[u32], count: usize) -> Self {
        assert!(count < NAMES_MAX, "the slots are bytes");
        let mut table = Self {
            multiplier: 0x9e37_79b9_7f4a_7c15,
            slots: [0; SLOTS],
            hashes: [0; NAMES_MAX],
            numbers: [0; NAMES_MAX],
        };
        let mut index = 0;
        while index < count {
            table.hashes[index + 1] = hashes[index];
            table.numbers[index + 1] = numbers[index];
            index += 1;
        }
        // Until no two names have one slot.
        while !table.fill(count) {
            table.multiplier = table
                .multiplier
                .wrapping_mul(0x9e37_79b9_7f4a_7c15)
                .wrapping_add(2)
                | 1;
            table.slots = [0; SLOTS];
        }
        table
    }

    const fn fill(&mut self, count: usize) -> bool {
        let mut index = 1;
        while index <= count {
            let slot = self.slot(self.hashes[index]);
            if self.slots[slot] != 0 {
                return false;
            }
            self.slots[slot] = index as u8;
            index += 1;
        }
        true
    }

    #[inline(always)]
    const fn slot(&self, hash: u64) -> usize {
        (hash.wrapping_mul(self.multiplier) >> (64 - SLOTS.trailing_zeros())) as usize
    }

    /// The number of the name with this hash; 0 when there is none.
    #[inline(always)]
    pub fn number(&self, hash: u64) -> u32 {
        let index = self.slots[self.slot(hash)] as usize & (NAMES_MAX - 1);
        if self.hashes[index] == hash {
            self.numbers[index]
        } else {
            0
        }
    }
}

/// Which beginnings of names there are, by a bit for each: the cheap question before the exact one.
pub struct Heads {
    bits: [u64; HEAD_WORDS],
}

const HEAD_BITS: u32 = 16;
const HEAD_WORDS: usize = 1 << (HEAD_BITS - 6);

impl Heads {
    /// No beginnings.
    pub const NONE: Self = Self {
        bits: [0; HEAD_WORDS],
    };

    /// With the beginning of this name.
    pub const fn with(mut self, name: &[u8]) -> Self {
        let mut head = [0; 8];
        let mut index = 0;
        while index < 8 && index < name.len() {
            head[index] = name[index];
            index += 1;
        }
        let bit = Self::bit(u64::from_le_bytes(head));
        self.bits[bit / 64] |= 1 << (bit % 64);
        self
    }

    #[inline(always)]
    const fn bit(word: u64) -> usize {
        (word.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> (64 - HEAD_BITS)) as usize
    }

    /// Whether a name may be in the table, by the first eight bytes of `NAME=value`.
    #[inline(always)]
    pub const fn may_have(&self, first: [u8; 8]) -> bool {
        const ONES: u64 = 0x0101_0101_0101_0101;
        let word = u64::from_le_bytes(first);
        // Where a byte is `=`, a byte of this is 0x80, and no byte before it is.
        let equals = word ^ (b'=' as u64 * ONES);
        let found = equals.wrapping_sub(ONES) & !equals & (0x80 * ONES);
        let lowest = found & found.wrapping_neg();
        // What comes before the `=`; all of it when there is none.
        let name = word & (lowest >> 7).wrapping_sub(1);
        let bit = Self::bit(name);
        self.bits[(bit / 64) & (HEAD_WORDS - 1)] >> (bit % 64) & 1 != 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_beginning_ends_at_the_equals_sign() {
        let heads = Heads::NONE
            .with(b"PHPRC")
            .with(b"LD_AUDIT")
            .with(b"LD_PRELOAD");
        for text in [b"PHPRC=/e", b"PHPRC==a", b"LD_AUDIT", b"LD_PRELO"] {
            assert!(heads.may_have(*text), "{text:?}");
        }
        for text in [b"PHPRCX=/", b"=PHPRC=a", b"LD_AUDI=", b"\0\0\0\0\0\0\0\0"] {
            assert!(!heads.may_have(*text), "{text:?}");
        }
    }

    #[test]
    fn names_are_found_by_all_their_bytes() {
        let hashes = [of(EMPTY, b"one"), of(EMPTY, b"two")];
        let table = Hashed::<64>::of(&hashes, &[1, 2], 2);
        assert_eq!(table.number(of(EMPTY, b"two")), 2);
        assert_eq!(table.number(of(EMPTY, b"twos")), 0);
        assert_eq!(table.number(0), 0);
    }
}
