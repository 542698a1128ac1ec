//! Link types (tcpdump.org/linktypes.html): what packets of each begin with.

use super::{Layer, Step, wifi};
use crate::network::{MALFORMED, Unread, at, be16, be32, le16};
use crate::unread::What;

/// The first layer of a packet.
pub fn link(number: u32, bytes: &[u8]) -> Step<'_> {
    let after = |layer, length| Ok((layer, at(bytes, length)?));
    match number {
        1 => after(Layer::Ethernet, 0),
        // BSD loopback: the number of the address family, in the order of that machine.
        0 | 108 => after(Layer::Ip, 4),
        // Raw IP, with the numbers that some systems wrote.
        12 | 14 | 101 | 228 | 229 => after(Layer::Ip, 0),
        6 => token_ring(bytes),
        // SLIP on BSD: direction, and the header as it was compressed.
        8 => after(Layer::Ip, 16),
        9 | 50 | 104 | 166 => after(Layer::Hdlc, 0),
        10 => after(Layer::Llc, 13),
        51 => after(Layer::EtherType(0x8864), 0),
        // ATM and IP over Fibre Channel: LLC, or what comes before it.
        100 | 106 => after(Layer::Llc, 0),
        122 => after(Layer::Llc, 16),
        123 => after(Layer::Llc, 4),
        105 => after(Layer::Wifi, 0),
        107 => after(Layer::FrameRelay, 0),
        // OpenBSD: what IPsec unwrapped, and what its packet filter logs.
        109 => after(Layer::Ip, 12),
        117 => {
            let length = usize::from(*bytes.first().ok_or(Unread::Short)?);
            after(Layer::Ip, length.next_multiple_of(4))
        }
        113 => cooked(be16(bytes, 2)?, be16(bytes, 14)?, at(bytes, 16)?),
        276 => cooked(be16(bytes, 8)?, be16(bytes, 0)?, at(bytes, 20)?),
        119 => wifi::prism(bytes),
        163 => wifi::avs(bytes),
        127 => after(Layer::Radiotap, 0),
        138 => after(Layer::EtherType(be16(bytes, 16)?), 18),
        178 | 179 | 181 => juniper(number, bytes),
        192 => ppi(bytes),
        197 => erf(bytes),
        // A byte for the direction before the frame.
        204 | 205 => after(Layer::Hdlc, 1),
        206 => after(Layer::FrameRelay, 1),
        226 => after(Layer::Ip, 24),
        239 => nflog(bytes),
        240 => after(Layer::Ethernet, 4),
        241 => after(Layer::Ethernet, 12),
        258 => pktap(bytes),
        259 => after(Layer::Ethernet, 8),
        // Tags of switch chips, behind the addresses or before them.
        281 | 284 => after(Layer::EtherType(be16(bytes, 16)?), 18),
        282 => after(Layer::Ethernet, 4),
        285 => after(Layer::EtherType(be16(bytes, 20)?), 22),
        other => Err(Unread::For(What::LinkType(other))),
    }
}

/// Linux "cooked": the kind of device says what the protocol means.
fn cooked(device: u16, protocol: u16, bytes: &[u8]) -> Step<'_> {
    let layer = match (device, protocol) {
        (801, _) => Layer::Wifi,
        (802, _) => return wifi::prism(bytes),
        (803, _) => Layer::Radiotap,
        // Frames of IEEE 802.3 without LLC are Novell's.
        (_, 1) => return Err(Unread::For(What::Llc(0xff))),
        (_, 4) => Layer::Llc,
        // CAN buses.
        (_, 0x0c..=0x0e) => return Err(Unread::Nothing),
        (512, 0x0021 | 0x0057) | (_, 0x0800 | 0x86dd) => Layer::Ip,
        (_, protocol) => Layer::EtherType(protocol),
    };
    Ok((layer, bytes))
}

/// IEEE 802.5: a route may follow the addresses.
fn token_ring(bytes: &[u8]) -> Step<'_> {
    let control = *bytes.get(1).ok_or(Unread::Short)?;
    // Frames of the ring itself.
    if control & 0xc0 != 0x40 {
        return Err(Unread::Nothing);
    }
    let routed = *bytes.get(8).ok_or(Unread::Short)? & 0x80 != 0;
    let route = match routed {
        true => usize::from(*bytes.get(14).ok_or(Unread::Short)? & 0x1f),
        false => 0,
    };
    Ok((Layer::Llc, at(bytes, 14 + route)?))
}

/// Juniper's own header, and extensions.
fn juniper(number: u32, bytes: &[u8]) -> Step<'_> {
    let flags = match bytes {
        [0x4d, 0x47, 0x43, flags, ..] => *flags,
        [_, _, _, _, ..] => return Err(MALFORMED),
        _ => return Err(Unread::Short),
    };
    let extensions = match flags & 0x80 {
        0 => 0,
        _ => 2 + usize::from(be16(bytes, 4)?),
    };
    let rest = at(bytes, 4 + extensions)?;
    // Without a header of the link: the family of addresses.
    if flags & 2 != 0 {
        return Ok((Layer::Ip, at(rest, 4)?));
    }
    let layer = if number == 178 {
        Layer::Ethernet
    } else {
        Layer::Hdlc
    };
    Ok((layer, rest))
}

/// Per-packet information: fields, and the link type of what follows.
fn ppi(bytes: &[u8]) -> Step<'_> {
    let length = usize::from(le16(bytes, 2)?);
    let link = be32(bytes, 4)?.swap_bytes();
    if length < 8 {
        return Err(MALFORMED);
    }
    nested(link, at(bytes, length)?)
}

/// Apple's header: the link type of what follows is in it.
fn pktap(bytes: &[u8]) -> Step<'_> {
    let length = be32(bytes, 0)?.swap_bytes() as usize;
    let link = be32(bytes, 8)?.swap_bytes();
    if length < 12 {
        return Err(MALFORMED);
    }
    nested(link, at(bytes, length)?)
}

/// A link type within a packet.
fn nested(link: u32, bytes: &[u8]) -> Step<'_> {
    Ok((Layer::Link(link), bytes))
}

/// Endace: time, kind, flags, lengths, and extensions of eight bytes each.
fn erf(bytes: &[u8]) -> Step<'_> {
    let kind = *bytes.get(8).ok_or(Unread::Short)?;
    let mut length = 16;
    let mut more = kind & 0x80 != 0;
    while more {
        more = *bytes.get(length).ok_or(Unread::Short)? & 0x80 != 0;
        length += 8;
    }
    let rest = at(bytes, length)?;
    match kind & 0x7f {
        1 | 10 => Ok((Layer::Hdlc, rest)),
        2 | 11 | 16 => Ok((Layer::Ethernet, at(rest, 2)?)),
        // Cells of ATM put together.
        4 | 18 => Ok((Layer::Llc, at(rest, 4)?)),
        5 | 17 => Ok((Layer::Hdlc, at(rest, 4)?)),
        22 | 23 => Ok((Layer::Ip, rest)),
        // What the card says of itself, and padding.
        27 | 48 => Err(Unread::Nothing),
        _ => Err(Unread::For(What::Tunnel("ERF"))),
    }
}

/// Linux' netfilter log: a family, then values with their lengths, in the order of the machine
/// that wrote them. Nearly all machines put the lower byte first.
fn nflog(bytes: &[u8]) -> Step<'_> {
    let mut protocol = None;
    let mut rest = at(bytes, 4)?;
    let swapped = matches!(rest, [0, length, 0 | 0x80, _, ..] if *length >= 4);
    while !rest.is_empty() {
        let number = |at| {
            if swapped {
                be16(rest, at)
            } else {
                le16(rest, at)
            }
        };
        let (length, kind) = (usize::from(number(0)?), number(2)? & 0x7fff);
        if length < 4 {
            return Err(MALFORMED);
        }
        let value = &rest[4..rest.len().min(length).max(4)];
        match kind {
            1 => protocol = be16(value, 0).ok(),
            9 => {
                return Ok(match (bytes[0], protocol) {
                    // Of a bridge, without the header of the frame.
                    (7, Some(kind)) => (Layer::EtherType(kind), value),
                    _ => (Layer::Ip, value),
                });
            }
            _ => {}
        }
        rest = rest.get(length.next_multiple_of(4)..).unwrap_or_default();
    }
    // A line of the log without its packet.
    Err(Unread::Nothing)
}
