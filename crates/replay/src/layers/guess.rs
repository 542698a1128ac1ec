//! What do bytes begin with when no field says so? A pseudowire over MPLS has nothing that
//! tells Ethernet from IP (RFC 4928), and L2TPv3 leaves the length of its header to the two ends.

use crate::network::be16;

/// Most tags before the type of a frame that is guessed.
const TAGS_MAX: usize = 8;

/// What bytes look like.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Likeness {
    /// Nothing known.
    None,
    /// A frame without IP: ARP, for one.
    Frame,
    /// IP, or a frame with it.
    Ip,
}

/// Is it an IP datagram whose header agrees with itself? `missing` bytes were cut off.
pub fn ip(bytes: &[u8], missing: usize) -> bool {
    let there = bytes.len() + missing;
    match bytes.first().map(|first| first >> 4) {
        Some(4) => {
            let Some(header) = bytes.get(..usize::from(bytes[0] & 15) * 4) else {
                return false;
            };
            let total = usize::from(be16(bytes, 2).unwrap_or(0));
            header.len() >= 20
                && (total == 0 || (total >= header.len() && total <= there))
                && checksum_holds(header)
        }
        Some(6) => {
            let length = usize::from(be16(bytes, 4).unwrap_or(u16::MAX));
            bytes.len() >= 40 && length + 40 <= there
        }
        _ => false,
    }
}

/// Does the checksum hold, or is there none?
fn checksum_holds(header: &[u8]) -> bool {
    let mut sum: u32 = header
        .chunks_exact(2)
        .map(|two| u32::from(u16::from_be_bytes([two[0], two[1]])))
        .sum();
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    sum == 0xffff || header[10..12] == [0, 0]
}

/// How much like an Ethernet frame is it?
pub fn ethernet(bytes: &[u8], missing: usize) -> Likeness {
    // The sender of a frame is never a group.
    if bytes.len() < 14 || bytes[6] & 1 == 1 {
        return Likeness::None;
    }
    let mut at = 12;
    for _ in 0..TAGS_MAX {
        let Ok(kind) = be16(bytes, at) else {
            return Likeness::None;
        };
        let rest = &bytes[at + 2..];
        match kind {
            0x0800 | 0x86dd => {
                let version = if kind == 0x0800 { 4 } else { 6 };
                let right = rest.first().is_some_and(|first| first >> 4 == version);
                return match right && ip(rest, missing) {
                    true => Likeness::Ip,
                    false => Likeness::None,
                };
            }
            0x8100 | 0x88a8 | 0x9100 | 0x9200 => at += 4,
            0x0806 => {
                return match rest.starts_with(&[0, 1, 8, 0, 6, 4]) {
                    true => Likeness::Frame,
                    false => Likeness::None,
                };
            }
            0x8847 | 0x8848 | 0x8863 | 0x8864 | 0x88cc | 0x888e | 0x8809 | 0x88e5 | 0x88e7
            | 0x8902 | 0x9000 | 0x894f | 0x8926 | 0x893f => return Likeness::Frame,
            0..=1500 if usize::from(kind) <= rest.len() + missing => {
                let known = [
                    &[0xaa, 0xaa, 3][..],
                    &[0x42, 0x42, 3],
                    &[0xfe, 0xfe, 3],
                    &[0xe0, 0xe0, 3],
                    &[0xf0, 0xf0],
                ];
                return match known.iter().any(|start| rest.starts_with(start)) {
                    true => Likeness::Frame,
                    false => Likeness::None,
                };
            }
            _ => return Likeness::None,
        }
    }
    Likeness::None
}

/// At which of these places does an Ethernet frame begin most likely?
pub fn ethernet_at(bytes: &[u8], missing: usize, places: &[usize]) -> Option<usize> {
    let likeness = |at: &usize| {
        bytes
            .get(*at..)
            .map_or(Likeness::None, |rest| ethernet(rest, missing))
    };
    let most = places.iter().map(likeness).max()?;
    if most == Likeness::None {
        return None;
    }
    places.iter().copied().find(|at| likeness(at) == most)
}
