//! Wi-Fi (IEEE 802.11), and the headers that capture programs put before its frames.

use super::{Layer, Step};
use crate::network::{MALFORMED, Unread, at, be16, be32, le16};
use crate::unread::What;

/// Most frames in one.
const SUBFRAMES_MAX: usize = 64;

/// A frame of IEEE 802.11.
pub fn frame(bytes: &[u8]) -> Step<'_> {
    data(bytes, false)
}

/// The data of a frame. Some radios fill its header up to a multiple of four.
fn data(bytes: &[u8], filled: bool) -> Step<'_> {
    let (kind, flags) = match bytes {
        [kind, flags, ..] => (*kind, *flags),
        _ => return Err(Unread::Short),
    };
    // Management and control frames, and data frames without data.
    if kind & 0x0c != 0x08 || kind & 0x40 != 0 {
        return Err(Unread::Nothing);
    }
    let mut length = 24;
    let all_addresses = flags & 3 == 3;
    length += if all_addresses { 6 } else { 0 };
    let sequence = le16(bytes, 22)?;
    let mut service = 0;
    if kind & 0x80 != 0 {
        service = le16(bytes, length)?;
        length += 2;
        length += if flags & 0x80 != 0 { 4 } else { 0 };
    }
    if flags & 0x40 != 0 {
        return Err(Unread::For(What::Encrypted("Wi-Fi")));
    }
    // More fragments follow, or some went before.
    if flags & 4 != 0 || sequence & 15 != 0 {
        return Err(Unread::For(What::WifiFragment));
    }
    if filled {
        length = length.next_multiple_of(4);
    }
    let mut rest = at(bytes, length)?;
    if service & 0x80 != 0 {
        return Ok((Layer::Subframes, rest));
    }
    // A mesh puts its own header before, with up to two more addresses. Its bit means something
    // else outside of a mesh, so LLC decides.
    if !is_llc(rest)
        && let Some(mesh) = rest.first()
    {
        rest = at(rest, 6 + usize::from(mesh & 3) * 6)?;
    }
    Ok((Layer::Llc, rest))
}

fn is_llc(bytes: &[u8]) -> bool {
    matches!(
        bytes,
        [0xaa, 0xaa, 3, ..] | [0x42, 0x42, 3, ..] | [0xfe, 0xfe, 3, ..] | [6, 6, 3, ..]
    )
}

/// The frames in a frame (A-MSDU): each has two addresses, a length, and LLC.
#[derive(Clone, Copy, Debug)]
pub struct Subframes<'a> {
    bytes: &'a [u8],
    left: usize,
}

impl<'a> Subframes<'a> {
    pub(super) const fn new(bytes: &'a [u8]) -> Self {
        Self {
            bytes,
            left: SUBFRAMES_MAX,
        }
    }
}

impl<'a> Iterator for Subframes<'a> {
    type Item = &'a [u8];

    /// What follows the header of the next one, which begins with LLC.
    fn next(&mut self) -> Option<&'a [u8]> {
        self.left = self.left.checked_sub(1)?;
        let length = usize::from(be16(self.bytes, 12).ok()?);
        let rest = self.bytes.get(14..)?;
        let frame = &rest[..rest.len().min(length)];
        // Each but the last is filled up to a multiple of four.
        self.bytes = self
            .bytes
            .get((14 + length).next_multiple_of(4)..)
            .unwrap_or_default();
        Some(frame)
    }
}

/// A radiotap header (radiotap.org).
pub fn radiotap(bytes: &[u8]) -> Step<'_> {
    let length = usize::from(le16(bytes, 2)?);
    let frame = at(bytes, length)?;
    if bytes[0] != 0 || length < 8 {
        return Err(MALFORMED);
    }
    let flags = radiotap_flags(&bytes[..length]).unwrap_or(0);
    // The radio heard it wrong: nobody took it in.
    if flags & 0x40 != 0 {
        return Err(Unread::Nothing);
    }
    match flags & 0x20 {
        0 => Ok((Layer::Wifi, frame)),
        _ => data(frame, true),
    }
}

/// The field of flags, which follows a time of eight bytes when there is one.
fn radiotap_flags(header: &[u8]) -> Option<u8> {
    let first = u32::from_le_bytes(*header.get(4..)?.first_chunk()?);
    if first & 2 == 0 {
        return None;
    }
    let mut place = 4;
    while u32::from_le_bytes(*header.get(place..)?.first_chunk()?) & 0x8000_0000 != 0 {
        place += 4;
    }
    place += 4;
    if first & 1 != 0 {
        place = place.next_multiple_of(8) + 8;
    }
    header.get(place).copied()
}

/// The header of Prism cards, or of AVS, which took its place.
pub fn prism(bytes: &[u8]) -> Step<'_> {
    if be32(bytes, 0)? & 0xffff_f000 == 0x8021_1000 {
        return avs(bytes);
    }
    let length = u32::swap_bytes(be32(bytes, 4)?);
    let length = if length <= 4096 { length as usize } else { 144 };
    Ok((Layer::Wifi, at(bytes, length)?))
}

/// AVS: its length is in it.
pub fn avs(bytes: &[u8]) -> Step<'_> {
    let length = be32(bytes, 4)? as usize;
    Ok((Layer::Wifi, at(bytes, length)?))
}
