//! Ethernet, its tags, and what else has an ethertype: PPPoE, MPLS, MACsec, service headers.

use super::guess;
use super::{Layer, Step};
use crate::network::{MALFORMED, Unread, at, be16};
use crate::unread::What;

/// Most labels of MPLS.
const LABELS_MAX: usize = 16;

/// Ethernet.
pub fn frame(bytes: &[u8]) -> Step<'_> {
    let kind = be16(bytes, 12)?;
    // Cisco's ISL puts a whole frame behind 26 bytes that look like a frame of IEEE 802.3.
    if kind < 1536
        && matches!(bytes, [0x01 | 0x0c, 0, 0x0c, 0, 0, ..])
        && bytes.get(14..17) == Some(&[0xaa, 0xaa, 3])
    {
        return Ok((Layer::Ethernet, at(bytes, 26)?));
    }
    Ok((Layer::EtherType(kind), at(bytes, 14)?))
}

/// What follows an ethertype.
pub fn by_type(kind: u16, bytes: &[u8]) -> Step<'_> {
    // The type after a tag of so many bytes.
    let tag = |length: usize| {
        let kind = be16(bytes, length)?;
        Ok((Layer::EtherType(kind), at(bytes, length + 2)?))
    };
    match kind {
        0x0800 | 0x86dd => Ok((Layer::Ip, bytes)),
        // Virtual networks: IEEE 802.1Q and 802.1ad, and types from before there was a standard.
        0x8100 | 0x88a8 | 0x9100..=0x9103 | 0x9200 | 0x9300 => tag(2),
        // Cisco's VN-tag, IEEE 802.1BR, Cisco's security groups.
        0x8926 => tag(4),
        0x893f | 0x8909 => tag(6),
        0x8847 | 0x8848 => Ok((Layer::Mpls, bytes)),
        0x8864 => pppoe(bytes),
        0x880b => Ok((Layer::Ppp, bytes)),
        0x88e5 => macsec(bytes),
        // Backbone bridges (IEEE 802.1ah): the tag holds a whole frame. So does Cisco's FabricPath.
        0x88e7 => Ok((Layer::Ethernet, at(bytes, 4)?)),
        0x8903 => Ok((Layer::Ethernet, at(bytes, 2)?)),
        0x894f => Ok((Layer::Nsh, bytes)),
        // Transparent Ethernet bridging.
        0x6558 => Ok((Layer::Ethernet, bytes)),
        // TRILL (RFC 6325, 3): the length of the options is in words of 32 bits.
        0x22f3 => {
            let words = usize::from((be16(bytes, 0)? >> 6) & 0x1f);
            Ok((Layer::Ethernet, at(bytes, 6 + words * 4)?))
        }
        // A length (IEEE 802.3); short frames are filled up.
        0..=1535 => Ok((Layer::Llc, &bytes[..bytes.len().min(kind.into())])),
        0x8870 => Ok((Layer::Llc, bytes)),
        other => Err(Unread::For(What::EtherType(other))),
    }
}

fn pppoe(bytes: &[u8]) -> Step<'_> {
    let length = usize::from(be16(bytes, 4)?);
    let rest = at(bytes, 6)?;
    if bytes[0] != 0x11 || bytes[1] != 0 {
        return Err(MALFORMED);
    }
    Ok((Layer::Ppp, &rest[..rest.len().min(length)]))
}

/// IEEE 802.1AE: integrity alone leaves the frame as it was.
fn macsec(bytes: &[u8]) -> Step<'_> {
    let control = *bytes.first().ok_or(Unread::Short)?;
    if control & 0x0c != 0 {
        return Err(Unread::For(What::Encrypted("MACsec")));
    }
    let length = if control & 0x20 != 0 { 14 } else { 6 };
    let kind = be16(bytes, length)?;
    Ok((Layer::EtherType(kind), at(bytes, length + 2)?))
}

/// IEEE 802.2, and SNAP behind it.
pub fn llc(bytes: &[u8], missing: usize) -> Step<'_> {
    match bytes {
        [0xaa, 0xaa, 3, rest @ ..] => snap(rest, missing),
        [6, 6, 3, rest @ ..] => Ok((Layer::Ip, rest)),
        [0xfe, 0xfe, 3, rest @ ..] => network_layer(rest, missing),
        [service, _, ..] => Err(Unread::For(What::Llc(*service))),
        _ => Err(Unread::Short),
    }
}

/// An organisation and what it calls the rest.
pub fn snap(bytes: &[u8], missing: usize) -> Step<'_> {
    let kind = be16(bytes, 3)?;
    let rest = at(bytes, 5)?;
    match bytes[..3] {
        // Ethertypes, also as Apple bridges them.
        [0, 0, 0] | [0, 0, 0xf8] => Ok((Layer::EtherType(kind), rest)),
        // Bridged frames (RFC 2684, 5.2): two bytes in between on ATM.
        [0, 0x80, 0xc2] if matches!(kind, 1 | 7) => {
            let place = guess::ethernet_at(rest, missing, &[2, 0]).unwrap_or(0);
            Ok((Layer::Ethernet, &rest[place..]))
        }
        // Others use it for their switches.
        _ => Err(Unread::For(What::Llc(0xaa))),
    }
}

/// By the identifier of ISO/IEC TR 9577.
pub fn network_layer(bytes: &[u8], missing: usize) -> Step<'_> {
    match bytes {
        [0xcc | 0x8e, rest @ ..] => Ok((Layer::Ip, rest)),
        [0x80, rest @ ..] => snap(rest, missing),
        [0xcf, rest @ ..] => Ok((Layer::Ppp, rest)),
        [0xb1, ..] => Err(Unread::For(What::Tunnel("fragments of frame relay"))),
        [_, ..] => Err(Unread::For(What::Llc(0xfe))),
        [] => Err(Unread::Short),
    }
}

/// MPLS: nothing says what follows the last label.
pub fn mpls(bytes: &[u8], missing: usize) -> Step<'_> {
    let mut rest = bytes;
    for _ in 0..LABELS_MAX {
        let last = *rest.get(2).ok_or(Unread::Short)? & 1 == 1;
        rest = at(rest, 4)?;
        if last {
            return after_labels(rest, missing);
        }
    }
    Err(Unread::For(What::Nested))
}

fn after_labels(bytes: &[u8], missing: usize) -> Step<'_> {
    if guess::ip(bytes, missing) {
        return Ok((Layer::Ip, bytes));
    }
    // A pseudowire, with its control word (RFC 4385) or without.
    let first = *bytes.first().ok_or(Unread::Short)? >> 4;
    let places: &[usize] = if first == 0 { &[4, 0] } else { &[0] };
    if let Some(place) = guess::ethernet_at(bytes, missing, places) {
        return Ok((Layer::Ethernet, &bytes[place..]));
    }
    for place in places {
        match bytes.get(*place..).unwrap_or_default() {
            rest @ ([0xff, 3, ..] | [0x0f | 0x8f, 0, ..]) => return Ok((Layer::Hdlc, rest)),
            rest @ ([0, 0x21 | 0x57, ..] | [0x21 | 0x57, ..]) => return Ok((Layer::Ppp, rest)),
            rest if guess::ip(rest, missing) => return Ok((Layer::Ip, rest)),
            _ => {}
        }
    }
    match first {
        4 | 6 => Ok((Layer::Ip, bytes)),
        // The channel of those who look after the path (RFC 5586).
        1 => Err(Unread::Nothing),
        _ => Err(Unread::For(What::Tunnel("MPLS"))),
    }
}

/// RFC 8300.
pub fn nsh(bytes: &[u8]) -> Step<'_> {
    let length = usize::from(be16(bytes, 0)? & 0x3f) * 4;
    let next = *bytes.get(3).ok_or(Unread::Short)?;
    let rest = at(bytes, length.max(8))?;
    match next {
        1 | 2 => Ok((Layer::Ip, rest)),
        3 => Ok((Layer::Ethernet, rest)),
        4 => Ok((Layer::Nsh, rest)),
        5 => Ok((Layer::Mpls, rest)),
        _ => Err(Unread::For(What::Tunnel("NSH"))),
    }
}
