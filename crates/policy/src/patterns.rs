//! Tables of the beginnings of strings, in a form that the kernel searches with one comparison.

use crate::hashed;

/// The beginning of a string: its first eight bytes, and those bits of the next eight that
/// `mask` has. Eight bytes are one register, which is what the kernel can compare cheaply.
#[derive(Clone, Copy)]
pub struct Pattern {
    first: u64,
    second: u64,
    mask: u64,
    /// What people read, filled up with zero bytes.
    text: [u8; 16],
}

impl Pattern {
    /// Eight bytes, where they are enough to tell it from everything usual.
    pub const fn first(first: &[u8; 8]) -> Self {
        Self {
            mask: 0,
            ..Self::both(first, &[0; 8])
        }
    }

    /// Sixteen bytes.
    pub const fn both(first: &[u8; 8], second: &[u8; 8]) -> Self {
        let mut text = [0; 16];
        let mut index = 0;
        while index < first.len() {
            text[index] = first[index];
            text[index + 8] = second[index];
            index += 1;
        }
        Self {
            first: u64::from_ne_bytes(*first),
            second: u64::from_ne_bytes(*second),
            mask: u64::MAX,
            text,
        }
    }

    /// The first eight bytes, and of the next eight those that are not zero here.
    pub const fn prefix(first: &[u8; 8], second: &[u8; 8]) -> Self {
        let mut mask = [0; 8];
        let mut index = 0;
        while index < mask.len() {
            if second[index] != 0 {
                mask[index] = 0xff;
            }
            index += 1;
        }
        Self {
            mask: u64::from_ne_bytes(mask),
            ..Self::both(first, second)
        }
    }

    /// The same pattern for the program of this name alone; see [`key`].
    pub const fn of(self, name: &[u8; 8]) -> Self {
        Self {
            first: self.first ^ key(*name),
            ..self
        }
    }

    /// How the argument begins.
    pub fn text(&self) -> &str {
        let end = self.text.iter().position(|byte| *byte == 0);
        let text = &self.text[..end.unwrap_or(self.text.len())];
        core::str::from_utf8(text).unwrap_or_default()
    }

    /// The number by which a record keeps the argument.
    pub const fn number(&self) -> u16 {
        hashed::short(hashed::of(hashed::EMPTY, &self.text))
    }
}

/// What the name of a program turns the first eight bytes of its arguments into, so that one table
/// holds the arguments of many programs, and each argument is still one comparison. An odd factor
/// spreads the name, so that no argument of one program looks like one of another.
#[inline(always)]
pub const fn key(name: [u8; 8]) -> u64 {
    u64::from_ne_bytes(name).wrapping_mul(0xff51_afd7_ed55_8ccd)
}

/// Patterns, each found by a slot of its own (no two may begin with the same eight bytes), so that the kernel needs one comparison for each
/// string, and its verifier one branch.
pub struct Table<const SLOTS: usize> {
    multiplier: u64,
    /// Index of a pattern plus one; 0 is none.
    slots: [u8; SLOTS],
    patterns: [Kept; PATTERNS_MAX],
    numbers: [u16; PATTERNS_MAX],
}

/// What the kernel needs of a pattern.
#[derive(Clone, Copy)]
struct Kept {
    first: u64,
    second: u64,
    mask: u64,
}

/// A power of two.
const PATTERNS_MAX: usize = 128;

impl<const SLOTS: usize> Table<SLOTS> {
    pub const fn of(listed: &[Pattern]) -> Self {
        let none = Kept {
            first: 0,
            second: 0,
            mask: 0,
        };
        let mut patterns = [none; PATTERNS_MAX];
        let mut numbers = [0; PATTERNS_MAX];
        let mut index = 0;
        while index < listed.len() {
            patterns[index + 1] = Kept {
                first: listed[index].first,
                second: listed[index].second,
                mask: listed[index].mask,
            };
            numbers[index + 1] = listed[index].number();
            index += 1;
        }
        // Any odd number with its bits well spread; the golden ratio is the usual one.
        let mut multiplier = 0x9e37_79b9_7f4a_7c15_u64;
        loop {
            if let Some(slots) = Self::slots(listed, multiplier) {
                return Self {
                    multiplier,
                    slots,
                    patterns,
                    numbers,
                };
            }
            multiplier = multiplier
                .wrapping_mul(0x9e37_79b9_7f4a_7c15)
                .wrapping_add(2)
                | 1;
        }
    }

    /// None when two patterns fall into one slot.
    const fn slots(listed: &[Pattern], multiplier: u64) -> Option<[u8; SLOTS]> {
        let mut slots = [0; SLOTS];
        let mut index = 0;
        while index < listed.len() {
            let slot = Self::slot(listed[index].first, multiplier);
            if slots[slot] != 0 {
                return None;
            }
            slots[slot] = index as u8 + 1;
            index += 1;
        }
        Some(slots)
    }

    #[inline(always)]
    const fn slot(word: u64, multiplier: u64) -> usize {
        (word.wrapping_mul(multiplier) >> (64 - SLOTS.trailing_zeros())) as usize
    }

    /// The number of the pattern that a string begins with; 0 when there is none.
    #[inline(always)]
    pub fn number(&self, first: [u8; 8], second: [u8; 8]) -> u16 {
        let (first, second) = (u64::from_ne_bytes(first), u64::from_ne_bytes(second));
        let index = self.slots[Self::slot(first, self.multiplier)] as usize & (PATTERNS_MAX - 1);
        let pattern = &self.patterns[index];
        let differs = (first ^ pattern.first) | ((second ^ pattern.second) & pattern.mask);
        if differs == 0 && first != 0 {
            self.numbers[index]
        } else {
            0
        }
    }
}
