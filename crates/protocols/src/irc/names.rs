//! A few names, to be compared with those that the other side mentions.

const KEPT: usize = 4;

/// The last names that were added, as hashes without regard to case.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Names {
    kept: [u32; KEPT],
}

impl Names {
    /// Adds a name; the oldest makes room.
    pub fn add(&mut self, name: &[u8]) {
        if name.is_empty() || name == b"*" {
            return;
        }
        let hash = hash(name);
        if !self.kept.contains(&hash) {
            self.kept.rotate_right(1);
            self.kept[0] = hash;
        }
    }

    /// Is one of these names among those?
    pub fn meets(&self, others: &Self) -> bool {
        self.kept
            .iter()
            .any(|name| *name != 0 && others.kept.contains(name))
    }
}

/// FNV-1a of the name in lower case; never zero.
fn hash(name: &[u8]) -> u32 {
    let hash = name.iter().fold(0x811c_9dc5_u32, |hash, byte| {
        (hash ^ u32::from(byte.to_ascii_lowercase())).wrapping_mul(0x0100_0193)
    });
    hash.max(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_meet_whatever_their_case() {
        let (mut own, mut others) = (Names::default(), Names::default());
        assert!(!own.meets(&others));
        own.add(b"Bob");
        others.add(b"*");
        assert!(!own.meets(&others));
        others.add(b"BOB");
        assert!(own.meets(&others));
        for name in [b"a", b"b", b"c", b"d"] {
            others.add(name);
        }
        assert!(!own.meets(&others));
    }
}
