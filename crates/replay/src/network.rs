//! From a packet to what IP carries: link layers, VLAN, IPv4 and IPv6 with their extension
//! headers.

/// An address: IPv6, or IPv4 mapped into it (RFC 4291, 2.5.5.2).
pub type Address = u128;

const MAPPED: Address = 0xffff << 32;

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
    /// A link type that is not known.
    Link,
    /// No IP: ARP, for one.
    OtherNetwork,
    /// A header that is cut off or makes no sense.
    Malformed,
}

/// Finds the IP datagram in a packet of this link type (tcpdump.org/linktypes.html).
#[inline]
pub fn datagram(link: u32, bytes: &[u8]) -> Result<Datagram<'_>, Unread> {
    match link {
        1 => {
            let kind = be16(bytes, 12)?;
            by_ether_type(kind, at(bytes, 14)?)
        }
        // BSD loopback: the number of the address family, in the order of that machine.
        0 | 108 => ip(at(bytes, 4)?),
        // Raw IP, with the numbers that some systems wrote.
        12 | 14 | 101 | 228 | 229 => ip(bytes),
        // Linux cooked, version 1 and 2.
        113 => by_ether_type(be16(bytes, 14)?, at(bytes, 16)?),
        276 => by_ether_type(be16(bytes, 0)?, at(bytes, 20)?),
        // PPP, with or without its address and control field.
        9 | 50 => {
            let rest = bytes.strip_prefix(&[0xff, 3]).unwrap_or(bytes);
            ppp(rest)
        }
        _ => Err(Unread::Link),
    }
}

fn by_ether_type(kind: u16, bytes: &[u8]) -> Result<Datagram<'_>, Unread> {
    let (mut kind, mut bytes) = (kind, bytes);
    // Tags of virtual networks, one in another.
    for _ in 0..4 {
        match kind {
            0x0800 | 0x86dd => return ip(bytes),
            0x8100 | 0x88a8 | 0x9100 | 0x9200 => {
                kind = be16(bytes, 2)?;
                bytes = at(bytes, 4)?;
            }
            // PPPoE, a session.
            0x8864 => return ppp(at(bytes, 6)?),
            // MPLS: down to the last label.
            0x8847 | 0x8848 => {
                for _ in 0..8 {
                    let last = *bytes.get(2).ok_or(Unread::Malformed)? & 1 == 1;
                    bytes = at(bytes, 4)?;
                    if last {
                        return ip(bytes);
                    }
                }
                return Err(Unread::Malformed);
            }
            // A length (IEEE 802.3): LLC and SNAP may follow.
            0..=1535 => {
                let rest = bytes
                    .strip_prefix(&[0xaa, 0xaa, 3, 0, 0, 0])
                    .ok_or(Unread::OtherNetwork)?;
                kind = be16(rest, 0)?;
                bytes = at(rest, 2)?;
            }
            _ => return Err(Unread::OtherNetwork),
        }
    }
    Err(Unread::OtherNetwork)
}

fn ppp(bytes: &[u8]) -> Result<Datagram<'_>, Unread> {
    match bytes {
        [0, 0x21 | 0x57, rest @ ..] | [0x21 | 0x57, rest @ ..] => ip(rest),
        _ => Err(Unread::OtherNetwork),
    }
}

/// An IP datagram of either version.
#[inline]
fn ip(bytes: &[u8]) -> Result<Datagram<'_>, Unread> {
    ip_inside(bytes, 0)
}

fn ip_inside(bytes: &[u8], depth: u8) -> Result<Datagram<'_>, Unread> {
    let datagram = match bytes.first().map(|byte| byte >> 4) {
        Some(4) => ipv4(bytes)?,
        Some(6) => ipv6(bytes)?,
        Some(_) => return Err(Unread::OtherNetwork),
        None => return Err(Unread::Malformed),
    };
    // IP in IP (RFC 2003) and IPv6 in IPv4 (RFC 4213).
    if matches!(datagram.protocol, 4 | 41) && depth < 2 && datagram.fragment.is_none() {
        return ip_inside(datagram.payload, depth + 1);
    }
    Ok(datagram)
}

#[inline]
fn ipv4(bytes: &[u8]) -> Result<Datagram<'_>, Unread> {
    let header: &[u8; 20] = bytes.first_chunk().ok_or(Unread::Malformed)?;
    let header_bytes = usize::from(header[0] & 15) * 4;
    let total = usize::from(u16::from_be_bytes([header[2], header[3]]));
    // With segmentation offload the length is not filled in yet.
    let total = if total == 0 { bytes.len() } else { total };
    if header_bytes < 20 || total < header_bytes {
        return Err(Unread::Malformed);
    }
    let payload = at(bytes, header_bytes)?;
    let wire_bytes = total - header_bytes;
    let place = u16::from_be_bytes([header[6], header[7]]);
    let (more, offset) = (place & 0x2000 != 0, usize::from(place & 0x1fff) * 8);
    let address = |at: usize| {
        MAPPED
            | Address::from(u32::from_be_bytes([
                header[at],
                header[at + 1],
                header[at + 2],
                header[at + 3],
            ]))
    };
    Ok(Datagram {
        source: address(12),
        destination: address(16),
        protocol: header[9],
        // Short frames are filled up.
        payload: &payload[..payload.len().min(wire_bytes)],
        wire_bytes,
        fragment: (more || offset > 0).then(|| Fragment {
            id: u16::from_be_bytes([header[4], header[5]]).into(),
            offset,
            more,
        }),
    })
}

fn ipv6(bytes: &[u8]) -> Result<Datagram<'_>, Unread> {
    let header: &[u8; 40] = bytes.first_chunk().ok_or(Unread::Malformed)?;
    let length = usize::from(u16::from_be_bytes([header[4], header[5]]));
    let mut payload = at(bytes, 40)?;
    let mut wire_bytes = if length == 0 { payload.len() } else { length };
    payload = &payload[..payload.len().min(wire_bytes)];
    let address = |at: usize| {
        header[at..at + 16]
            .iter()
            .fold(0, |address: Address, byte| {
                address << 8 | Address::from(*byte)
            })
    };
    let mut protocol = header[6];
    let mut fragment = None;
    for _ in 0..8 {
        let header_bytes = match protocol {
            // Hop by hop, routing, destination, mobility, host identity, shim (RFC 8200, 4).
            0 | 43 | 60 | 135 | 139 | 140 => {
                usize::from(*payload.get(1).ok_or(Unread::Malformed)?) * 8 + 8
            }
            // Authentication (RFC 4302).
            51 => usize::from(*payload.get(1).ok_or(Unread::Malformed)?) * 4 + 8,
            44 => {
                let part: &[u8; 8] = payload.first_chunk().ok_or(Unread::Malformed)?;
                let place = u16::from_be_bytes([part[2], part[3]]);
                let (offset, more) = (usize::from(place & 0xfff8), place & 1 == 1);
                // A whole datagram may come as one fragment (RFC 6946).
                if more || offset > 0 {
                    fragment = Some(Fragment {
                        id: u32::from_be_bytes([part[4], part[5], part[6], part[7]]),
                        offset,
                        more,
                    });
                }
                8
            }
            _ => break,
        };
        protocol = *payload.first().ok_or(Unread::Malformed)?;
        payload = at(payload, header_bytes)?;
        wire_bytes = wire_bytes.saturating_sub(header_bytes);
        if fragment.is_some_and(|fragment| fragment.offset > 0) {
            break;
        }
    }
    Ok(Datagram {
        source: address(8),
        destination: address(24),
        protocol,
        payload,
        wire_bytes,
        fragment,
    })
}

#[inline]
fn at(bytes: &[u8], offset: usize) -> Result<&[u8], Unread> {
    bytes.get(offset..).ok_or(Unread::Malformed)
}

#[inline]
fn be16(bytes: &[u8], offset: usize) -> Result<u16, Unread> {
    match bytes.get(offset..offset + 2) {
        Some(&[high, low]) => Ok(u16::from_be_bytes([high, low])),
        _ => Err(Unread::Malformed),
    }
}
