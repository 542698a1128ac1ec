//! IPv4 and IPv6 with their extension headers, and the shortest way to them from Ethernet.

use crate::unread::What;

/// An address: IPv6, or IPv4 mapped into it (RFC 4291, 2.5.5.2).
pub type Address = u128;

const MAPPED: Address = 0xffff << 32;
/// Most extension headers of IPv6. RFC 8200 has seven, each once.
const EXTENSIONS_MAX: usize = 16;

/// What IP carries. It borrows the packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Datagram<'a> {
    /// From whom.
    pub source: Address,
    /// To whom.
    pub destination: Address,
    /// Number of the transport protocol: 6 TCP, 17 UDP.
    pub protocol: u8,
    /// What was captured of the payload.
    pub payload: &'a [u8],
    /// How long the payload was on the wire; more than was captured with a short snap length.
    pub wire_bytes: usize,
    /// The header has no length: the datagram ends with its packet.
    pub open_ended: bool,
    /// Set when it is only a part.
    pub fragment: Option<Fragment>,
}

/// Which part of a datagram.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fragment {
    /// Number of the whole.
    pub id: u32,
    /// Where it begins, in bytes.
    pub offset: usize,
    /// More parts follow.
    pub more: bool,
}

/// Why a packet is not followed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unread {
    /// It ends before its headers do.
    Short,
    /// There is nothing in it, as in what keeps a tunnel alive.
    Nothing,
    /// For this reason.
    For(What),
}

/// Headers that make no sense.
pub const MALFORMED: Unread = Unread::For(What::Malformed);

/// The datagram of an Ethernet frame, when nothing is in between: most packets of most
/// captures. What this does not read, [`crate::layers`] does, or says why not.
#[inline]
pub fn plain(bytes: &[u8]) -> Option<Datagram<'_>> {
    match (bytes.get(12..14)?, bytes.get(14..)?) {
        ([0x08, 0x00], rest) if rest.first()? >> 4 == 4 => ipv4(rest).ok(),
        ([0x86, 0xdd], rest) if rest.first()? >> 4 == 6 => ipv6(rest).ok(),
        _ => None,
    }
}

/// An IP datagram of either version.
pub fn ip(bytes: &[u8]) -> Result<Datagram<'_>, Unread> {
    match bytes.first().map(|byte| byte >> 4) {
        Some(4) => ipv4(bytes),
        Some(6) => ipv6(bytes),
        Some(_) => Err(MALFORMED),
        None => Err(Unread::Short),
    }
}

#[inline]
fn ipv4(bytes: &[u8]) -> Result<Datagram<'_>, Unread> {
    let header: &[u8; 20] = bytes.first_chunk().ok_or(Unread::Short)?;
    let header_bytes = usize::from(header[0] & 15) * 4;
    let total = usize::from(u16::from_be_bytes([header[2], header[3]]));
    // With segmentation offload the length is not filled in yet.
    let open_ended = total == 0;
    let total = if open_ended { bytes.len() } else { total };
    if header_bytes < 20 || total < header_bytes {
        return Err(MALFORMED);
    }
    let payload = at(bytes, header_bytes)?;
    let wire_bytes = total - header_bytes;
    let place = u16::from_be_bytes([header[6], header[7]]);
    let (more, offset) = (place & 0x2000 != 0, usize::from(place & 0x1fff) * 8);
    let address = |at: usize| v4_address(header, at);
    Ok(Datagram {
        source: address(12),
        destination: address(16),
        protocol: header[9],
        // Short frames are filled up.
        payload: &payload[..payload.len().min(wire_bytes)],
        wire_bytes,
        open_ended,
        fragment: (more || offset > 0).then(|| Fragment {
            id: u16::from_be_bytes([header[4], header[5]]).into(),
            offset,
            more,
        }),
    })
}

/// Four bytes as an address; they must be there.
#[inline]
pub fn v4_address(bytes: &[u8], at: usize) -> Address {
    let four = [bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]];
    MAPPED | Address::from(u32::from_be_bytes(four))
}

fn ipv6(bytes: &[u8]) -> Result<Datagram<'_>, Unread> {
    let header: &[u8; 40] = bytes.first_chunk().ok_or(Unread::Short)?;
    let length = usize::from(u16::from_be_bytes([header[4], header[5]]));
    let payload = &bytes[40..];
    // A jumbogram (RFC 2675), or segmentation offload.
    let open_ended = length == 0;
    let wire_bytes = if open_ended { payload.len() } else { length };
    let address = |at: usize| {
        header[at..at + 16]
            .iter()
            .fold(0, |address: Address, byte| {
                address << 8 | Address::from(*byte)
            })
    };
    extensions(Datagram {
        source: address(8),
        destination: address(24),
        protocol: header[6],
        payload: &payload[..payload.len().min(wire_bytes)],
        wire_bytes,
        open_ended,
        fragment: None,
    })
}

/// Is this the number of an extension header?
#[inline]
pub const fn is_extension(protocol: u8) -> bool {
    matches!(protocol, 0 | 43 | 44 | 51 | 60 | 135 | 139 | 140)
}

/// Goes over the extension headers of a datagram, to the first that says it is a part. What
/// follows that one belongs to the whole.
#[inline]
pub fn extensions(mut datagram: Datagram<'_>) -> Result<Datagram<'_>, Unread> {
    for _ in 0..EXTENSIONS_MAX {
        if !is_extension(datagram.protocol) {
            return Ok(datagram);
        }
        let payload = datagram.payload;
        let units = usize::from(*payload.get(1).ok_or(Unread::Short)?);
        let header_bytes = match datagram.protocol {
            44 => {
                let part: &[u8; 8] = payload.first_chunk().ok_or(Unread::Short)?;
                let place = u16::from_be_bytes([part[2], part[3]]);
                let (offset, more) = (usize::from(place & 0xfff8), place & 1 == 1);
                // A whole datagram may come as one fragment (RFC 6946).
                if more || offset > 0 {
                    datagram.fragment = Some(Fragment {
                        id: u32::from_be_bytes([part[4], part[5], part[6], part[7]]),
                        offset,
                        more,
                    });
                }
                8
            }
            // Authentication (RFC 4302).
            51 => units * 4 + 8,
            // Hop by hop, routing, destination, mobility, host identity, shim (RFC 8200, 4).
            _ => units * 8 + 8,
        };
        datagram.protocol = payload[0];
        datagram.payload = at(payload, header_bytes)?;
        datagram.wire_bytes = datagram.wire_bytes.saturating_sub(header_bytes);
        if datagram.fragment.is_some() {
            return Ok(datagram);
        }
    }
    Err(Unread::For(What::Nested))
}

/// What follows so many bytes.
#[inline]
pub fn at(bytes: &[u8], offset: usize) -> Result<&[u8], Unread> {
    bytes.get(offset..).ok_or(Unread::Short)
}

/// Two bytes as a number.
#[inline]
pub fn be16(bytes: &[u8], offset: usize) -> Result<u16, Unread> {
    match bytes.get(offset..offset + 2) {
        Some(&[high, low]) => Ok(u16::from_be_bytes([high, low])),
        _ => Err(Unread::Short),
    }
}

/// Four bytes as a number.
#[inline]
pub fn be32(bytes: &[u8], offset: usize) -> Result<u32, Unread> {
    match bytes.get(offset..offset + 4) {
        Some(&[a, b, c, d]) => Ok(u32::from_be_bytes([a, b, c, d])),
        _ => Err(Unread::Short),
    }
}

/// Two bytes as a number, the lower first.
#[inline]
pub fn le16(bytes: &[u8], offset: usize) -> Result<u16, Unread> {
    be16(bytes, offset).map(u16::swap_bytes)
}
