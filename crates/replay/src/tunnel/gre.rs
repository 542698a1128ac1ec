//! GRE (RFC 2784, 2890, 1701), and what it carries beside IP: NVGRE, ERSPAN, PPTP, EoIP, WCCP.

use super::Inside;
use crate::layers::{Layer, guess};
use crate::network::{MALFORMED, Unread, at, be16, be32};

/// Most steps of a source route (RFC 1701).
const ROUTE_MAX: usize = 16;

/// Opens a GRE packet.
pub fn open(bytes: &[u8], missing: usize) -> Result<Inside<'_>, Unread> {
    let flags = be16(bytes, 0)?;
    let kind = be16(bytes, 2)?;
    match flags & 7 {
        0 => plain(flags, kind, bytes, missing),
        1 if kind == 0x880b => pptp(flags, bytes),
        // Ethernet over IP, as MikroTik does it.
        1 if kind == 0x6400 => Ok(Inside {
            network: u32::from(be16(bytes, 6)?.swap_bytes()),
            ..Inside::new(Layer::Ethernet, at(bytes, 8)?)
        }),
        _ => Err(MALFORMED),
    }
}

fn plain(flags: u16, kind: u16, bytes: &[u8], missing: usize) -> Result<Inside<'_>, Unread> {
    let mut place = 4;
    let mut network = 0;
    // A checksum and the offset of the route come together.
    if flags & 0xc000 != 0 {
        place += 4;
    }
    if flags & 0x2000 != 0 {
        network = be32(bytes, place)?;
        place += 4;
    }
    let numbered = flags & 0x1000 != 0;
    if numbered {
        place += 4;
    }
    if flags & 0x4000 != 0 {
        place = after_route(bytes, place)?;
    }
    let rest = at(bytes, place)?;
    let inside = |layer, bytes| {
        Ok(Inside {
            layer,
            bytes,
            network,
        })
    };
    match kind {
        // Whether the other end is alive: an empty packet comes back.
        0 => Err(Unread::Nothing),
        0x88be => erspan(rest, numbered),
        0x22eb => erspan_3(rest),
        // In NVGRE (RFC 7637) the lower byte of the key tells flows apart, not networks.
        0x6558 => Ok(Inside {
            layer: Layer::Ethernet,
            bytes: rest,
            network: network >> 8,
        }),
        // Web caches: four bytes more in the newer version, which cannot be IP.
        0x883e if guess::ip(rest, missing) => inside(Layer::Ip, rest),
        0x883e => inside(Layer::Ip, at(rest, 4)?),
        kind => inside(Layer::EtherType(kind), rest),
    }
}

/// Goes over a source route, which ends with an entry of length 0.
fn after_route(bytes: &[u8], place: usize) -> Result<usize, Unread> {
    let mut place = place;
    for _ in 0..ROUTE_MAX {
        let family = be16(bytes, place)?;
        let length = usize::from(*bytes.get(place + 3).ok_or(Unread::Short)?);
        place += 4 + length;
        if family == 0 && length == 0 {
            return Ok(place);
        }
    }
    Err(MALFORMED)
}

/// What a switch mirrors: type I has no header of its own, type II has eight bytes. Some write
/// type III under the number of the others.
fn erspan(bytes: &[u8], numbered: bool) -> Result<Inside<'_>, Unread> {
    match bytes.first().ok_or(Unread::Short)? >> 4 {
        1 if numbered => Ok(Inside::new(Layer::Ethernet, at(bytes, 8)?)),
        2 if numbered => erspan_3(bytes),
        _ => Ok(Inside::new(Layer::Ethernet, bytes)),
    }
}

fn erspan_3(bytes: &[u8]) -> Result<Inside<'_>, Unread> {
    let last = be16(bytes, 10)?;
    let length = if last & 1 == 1 { 20 } else { 12 };
    let rest = at(bytes, length)?;
    // Five bits for the kind of frame.
    let layer = match (last >> 10) & 0x1f {
        2 => Layer::Ip,
        _ => Layer::Ethernet,
    };
    Ok(Inside::new(layer, rest))
}

/// PPTP (RFC 2637, 4.1).
fn pptp(flags: u16, bytes: &[u8]) -> Result<Inside<'_>, Unread> {
    let length = usize::from(be16(bytes, 4)?);
    let mut place = 8;
    for flag in [0x1000, 0x0080] {
        if flags & flag != 0 {
            place += 4;
        }
    }
    // It acknowledges, and no more.
    if length == 0 {
        return Err(Unread::Nothing);
    }
    let rest = at(bytes, place)?;
    Ok(Inside::new(Layer::Ppp, &rest[..rest.len().min(length)]))
}
