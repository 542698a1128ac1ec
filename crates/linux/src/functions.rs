//! Functions of the kernel that programs call. They are no helpers with a number for ever: each kernel
//! numbers them for itself, by its type information, and the object holds a stand-in.

/// Opcode of a call, and where it says what its number means: 0 a helper, 2 a function of the kernel
/// (kernel `Documentation/bpf/standardization/instruction-set.rst`).
const CALL: u8 = 0x85;
const OF_THE_KERNEL: u8 = 2 << 4;

/// The object with this number of `bpf_dynptr_from_skb`.
pub fn resolve(object: &[u8], packet_reader: u32) -> Vec<u8> {
    let mut object = object.to_vec();
    let stand_in = call(0, abi::PACKET_READER);
    let resolved = call(OF_THE_KERNEL, packet_reader);
    // Instructions are eight bytes long and aligned, in the file too.
    for instruction in object.as_chunks_mut::<8>().0 {
        if *instruction == stand_in {
            *instruction = resolved;
        }
    }
    object
}

const fn call(of: u8, number: u32) -> [u8; 8] {
    let [a, b, c, d] = number.to_le_bytes();
    [CALL, of, 0, 0, a, b, c, d]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::load::OBJECT;

    #[test]
    fn the_object_has_the_stand_in_and_nothing_of_it_is_left() {
        let resolved = resolve(OBJECT, 77);
        let changed: Vec<_> = OBJECT
            .as_chunks::<8>()
            .0
            .iter()
            .zip(resolved.as_chunks::<8>().0)
            .filter(|(before, after)| before != after)
            .collect();
        assert!(!changed.is_empty());
        for (before, after) in changed {
            assert_eq!(*before, call(0, abi::PACKET_READER));
            assert_eq!(*after, [0x85, 0x20, 0, 0, 77, 0, 0, 0]);
        }
        assert_eq!(resolved.len(), OBJECT.len());
        let stand_in = call(0, abi::PACKET_READER);
        assert!(!resolved.windows(8).any(|bytes| bytes == stand_in));
    }
}
