//! Tunnels over UDP. A datagram is a tunnel's only when its whole header says so.

use super::{Content, Inside, esp, gre, l2tp};
use crate::layers::{Layer, guess};
use crate::network::{Unread, at, be16, be32};
use crate::transport::Udp;
use crate::unread::What;

/// What a datagram on a port of a tunnel is.
#[derive(Clone, Copy, Debug)]
pub enum Carried<'a> {
    /// A packet of the tunnel, or why it cannot be opened.
    Packet(Result<Inside<'a>, Unread>),
    /// Ordinary UDP whose payload hides conversations: a virtual private network.
    Hidden(What),
}

/// Could it be? This is asked of every datagram, so it looks at ports and one byte alone.
#[inline]
pub fn may_carry(udp: &Udp<'_>) -> bool {
    let port = |port: u16| {
        matches!(
            port,
            1701 | 2152
                | 2268
                | 3386
                | 3544
                | 4341
                | 4500
                | 4754
                | 4789
                | 4790
                | 5247
                | 6080
                | 6081
                | 6635
                | 8472
                | 37008
                | 48879
                | 51820
        )
    };
    // VXLAN and Teredo also use other ports; WireGuard has none of its own.
    matches!(udp.payload.first(), Some(1 | 2 | 8 | 0x60..=0x6f))
        || port(udp.destination_port)
        || port(udp.source_port)
}

/// Opens a datagram; none when it is ordinary UDP.
pub fn udp<'a>(udp: &Udp<'a>, missing: usize) -> Option<Carried<'a>> {
    let bytes = udp.payload;
    let to = udp.destination_port;
    let either = |port| to == port || udp.source_port == port;
    let opened = match to {
        4789 | 8472 | 48879 => vxlan(bytes, missing, false),
        4790 => vxlan_gpe(bytes, missing),
        6081 => geneve(bytes, missing),
        4341 => lisp(bytes, missing),
        6635 => mpls(bytes, missing),
        6080 => gue(bytes, missing),
        4754 => gre_in_udp(bytes, missing),
        37008 => tzsp(bytes),
        2268 => multicast(bytes, missing),
        _ if either(2152) || either(3386) => gtp(bytes, udp.wire_bytes, missing),
        _ if either(1701) => l2tp::over_udp(bytes, udp.wire_bytes, missing),
        _ if either(5247) => capwap(bytes),
        _ if either(4500) => return in_nat(bytes, udp.wire_bytes),
        _ => None,
    };
    // On any port, what has no other explanation.
    opened
        .or_else(|| teredo(bytes, udp.wire_bytes, either(3544)))
        .or_else(|| vxlan(bytes, missing, true))
        .map(Carried::Packet)
        .or_else(|| wireguard(bytes, udp.wire_bytes, either(51820)))
}

/// A frame that looks like one, in this network.
fn frame(bytes: &[u8], missing: usize, network: u32) -> Option<Result<Inside<'_>, Unread>> {
    (guess::ethernet(bytes, missing) != guess::Likeness::None).then_some(Ok(Inside {
        layer: Layer::Ethernet,
        bytes,
        network,
    }))
}

/// A datagram that looks like one.
fn ip(bytes: &[u8], missing: usize) -> Option<Result<Inside<'_>, Unread>> {
    guess::ip(bytes, missing).then_some(Ok(Inside::new(Layer::Ip, bytes)))
}

/// RFC 7348, with the policy of groups, and OTV, which has the same header. On a port of its own
/// choice it must hold IP, and all that is reserved must be zero.
fn vxlan(bytes: &[u8], missing: usize, any_port: bool) -> Option<Result<Inside<'_>, Unread>> {
    let head: &[u8; 8] = bytes.first_chunk()?;
    let network = u32::from_be_bytes([0, head[4], head[5], head[6]]);
    let rest = &bytes[8..];
    if any_port {
        let plain = head[..4] == [8, 0, 0, 0] && head[7] == 0;
        return (plain && guess::ethernet(rest, missing) == guess::Likeness::Ip)
            .then(|| frame(rest, missing, network))?;
    }
    if head[0] & 0x08 == 0 {
        return None;
    }
    if head[0] & 0x04 != 0
        && let Some(opened) = vxlan_gpe(bytes, missing)
    {
        return Some(opened);
    }
    frame(rest, missing, network)
}

/// VXLAN with other protocols (draft-ietf-nvo3-vxlan-gpe).
fn vxlan_gpe(bytes: &[u8], missing: usize) -> Option<Result<Inside<'_>, Unread>> {
    let head: &[u8; 8] = bytes.first_chunk()?;
    if head[0] & 0xc8 != 0x08 || head[1..3] != [0, 0] {
        return None;
    }
    let network = u32::from_be_bytes([0, head[4], head[5], head[6]]);
    let rest = &bytes[8..];
    // Without the bit for other protocols it is VXLAN.
    let next = if head[0] & 4 == 0 { 3 } else { head[3] };
    match next {
        1 | 2 => ip(rest, missing),
        3 => frame(rest, missing, network),
        4 if rest.len() >= 8 => Some(Ok(Inside {
            layer: Layer::Nsh,
            bytes: rest,
            network,
        })),
        5 => mpls(rest, missing),
        _ => None,
    }
}

/// RFC 8926.
fn geneve(bytes: &[u8], missing: usize) -> Option<Result<Inside<'_>, Unread>> {
    let head: &[u8; 8] = bytes.first_chunk()?;
    let length = usize::from(head[0] & 0x3f) * 4;
    // Version 0; what is reserved is zero. Messages of the tunnel itself have a bit.
    if head[0] >> 6 != 0 || head[1] & 0xbf != 0 || head[7] != 0 {
        return None;
    }
    let mut options = bytes.get(8..8 + length)?;
    while !options.is_empty() {
        let option = usize::from(options.get(3)? & 0x1f) * 4 + 4;
        options = options.get(option..)?;
    }
    let rest = bytes.get(8 + length..)?;
    let network = u32::from_be_bytes([0, head[4], head[5], head[6]]);
    match u16::from_be_bytes([head[2], head[3]]) {
        0x6558 => frame(rest, missing, network),
        0x0800 | 0x86dd => ip(rest, missing),
        kind @ (0x8847 | 0x894f | 0x880b) => Some(Ok(Inside {
            layer: Layer::EtherType(kind),
            bytes: rest,
            network,
        })),
        _ => None,
    }
}

/// GTP for what users send (3GPP TS 29.281), and its older version (GSM 09.60).
fn gtp(bytes: &[u8], wire_bytes: usize, missing: usize) -> Option<Result<Inside<'_>, Unread>> {
    let head: &[u8; 8] = bytes.first_chunk()?;
    let length = usize::from(u16::from_be_bytes([head[2], head[3]]));
    let (flags, kind) = (head[0], head[1]);
    // All other messages are about the tunnel.
    if kind != 0xff {
        return None;
    }
    if flags & 0xfe == 0x1e {
        let whole = length + 20 == wire_bytes;
        return whole.then(|| ip(bytes.get(20..)?, missing))?;
    }
    if flags & 0xf8 != 0x30 || length + 8 != wire_bytes {
        return None;
    }
    let mut place = 8;
    if flags & 7 != 0 {
        place += 4;
        let mut next = *bytes.get(11)?;
        while flags & 4 != 0 && next != 0 {
            let words = usize::from(*bytes.get(place)?);
            if words == 0 {
                return None;
            }
            place += words * 4;
            next = *bytes.get(place - 1)?;
        }
    }
    let rest = bytes.get(place..)?;
    ip(rest, missing)
        .or_else(|| frame(rest, missing, 0))
        .or(Some(Err(Unread::For(What::Tunnel("GTP-U")))))
}

/// RFC 9300, 5.1.
fn lisp(bytes: &[u8], missing: usize) -> Option<Result<Inside<'_>, Unread>> {
    ip(bytes.get(8..)?, missing)
}

/// RFC 7510.
fn mpls(bytes: &[u8], missing: usize) -> Option<Result<Inside<'_>, Unread>> {
    let last = (0..16).find(|at| bytes.get(at * 4 + 2).is_none_or(|byte| byte & 1 == 1))?;
    let rest = bytes.get(last * 4 + 4..)?;
    let known = guess::ip(rest, missing) || guess::ethernet_at(rest, missing, &[0, 4]).is_some();
    known.then_some(Ok(Inside::new(Layer::Mpls, bytes)))
}

/// Generic UDP encapsulation (draft-ietf-intarea-gue).
fn gue(bytes: &[u8], missing: usize) -> Option<Result<Inside<'_>, Unread>> {
    match bytes {
        // The second variant has no header.
        [first, ..] if first >> 6 == 1 => ip(bytes, missing),
        [first, 4 | 41, ..] if first >> 5 == 0 => {
            ip(bytes.get(4 + usize::from(first & 0x1f) * 4..)?, missing)
        }
        [first, 47, ..] if first >> 5 == 0 => {
            gre_in_udp(bytes.get(4 + usize::from(first & 0x1f) * 4..)?, missing)
        }
        _ => None,
    }
}

/// RFC 8086.
fn gre_in_udp(bytes: &[u8], missing: usize) -> Option<Result<Inside<'_>, Unread>> {
    let opened = gre::open(bytes, missing).ok()?;
    let known = match opened.layer {
        Layer::Ethernet => guess::ethernet(opened.bytes, missing) != guess::Likeness::None,
        Layer::Ip | Layer::EtherType(0x0800 | 0x86dd) => guess::ip(opened.bytes, missing),
        _ => false,
    };
    known.then_some(Ok(opened))
}

/// What sensors for Wi-Fi send to an analyser.
fn tzsp(bytes: &[u8]) -> Option<Result<Inside<'_>, Unread>> {
    let head: &[u8; 4] = bytes.first_chunk()?;
    // Version 1; packets that were received, or are to be sent.
    if head[0] != 1 || head[1] > 1 {
        return None;
    }
    let layer = match u16::from_be_bytes([head[2], head[3]]) {
        1 => Layer::Ethernet,
        2 => Layer::Link(6),
        4 => Layer::Ppp,
        5 => Layer::Link(10),
        7 => Layer::Ip,
        18 => Layer::Wifi,
        119 => Layer::Link(119),
        127 => Layer::Link(163),
        _ => return None,
    };
    let mut place = 4;
    loop {
        match *bytes.get(place)? {
            0 => place += 1,
            1 => break,
            _ => place += 2 + usize::from(*bytes.get(place + 1)?),
        }
    }
    Some(Ok(Inside::new(layer, bytes.get(place + 1..)?)))
}

/// Multicast for those who have none (RFC 7450, 5.1.6).
fn multicast(bytes: &[u8], missing: usize) -> Option<Result<Inside<'_>, Unread>> {
    match bytes {
        [6, 0, rest @ ..] => ip(rest, missing),
        _ => None,
    }
}

/// What access points send to their controller (RFC 5415, 4.3).
fn capwap(bytes: &[u8]) -> Option<Result<Inside<'_>, Unread>> {
    match bytes.first()? {
        0 => {}
        // DTLS follows: its records begin with their kind and version.
        1 if matches!(bytes, [_, 0, 0, 0, 20..=23, 0xfe, ..]) => {
            return Some(Err(Unread::For(What::Encrypted("CAPWAP"))));
        }
        _ => return None,
    }
    let head = be32(bytes, 0).ok()?;
    let length = (head >> 19 & 0x1f) as usize * 4;
    if length < 8 {
        return None;
    }
    // It keeps the path alive.
    if head & 8 != 0 {
        return None;
    }
    if head & 0x80 != 0 {
        return Some(Err(Unread::For(What::Tunnel("CAPWAP"))));
    }
    let rest = bytes.get(length..)?;
    match (head & 0x100 != 0, head >> 9 & 0x1f) {
        (false, _) => frame(rest, 0, 0),
        // Some write the two bytes of the frame's control the other way round; a data frame has
        // no more than this in the first.
        (true, 1) if rest.first()? & 0x0f == 8 => Some(Ok(Inside::new(Layer::Wifi, rest))),
        (true, 1) if rest.get(1)? & 0x0f == 8 => Some(Err(Unread::For(What::Tunnel(
            "CAPWAP with turned Wi-Fi frames",
        )))),
        _ => None,
    }
}

/// IPsec behind address translation (RFC 3948): four zero bytes mark what is no ESP.
fn in_nat(bytes: &[u8], wire_bytes: usize) -> Option<Carried<'_>> {
    let index = be32(bytes, 0).ok()?;
    if index < 256 || wire_bytes < 24 || !wire_bytes.is_multiple_of(4) {
        return None;
    }
    Some(match esp(bytes) {
        Ok(Content::Packet(inside)) => Carried::Packet(Ok(inside)),
        _ => Carried::Hidden(What::Encrypted("ESP in UDP")),
    })
}

/// RFC 4380: IPv6 with a prefix of its own, or on its port, behind two small headers.
fn teredo(bytes: &[u8], wire_bytes: usize, own_port: bool) -> Option<Result<Inside<'_>, Unread>> {
    const PREFIX: [u8; 4] = [0x20, 1, 0, 0];
    let mut rest = bytes;
    if own_port {
        if let [0, 1, client, check, ..] = rest {
            rest = rest.get(13 + usize::from(*client) + usize::from(*check)..)?;
        }
        if rest.starts_with(&[0, 0]) {
            rest = rest.get(8..)?;
        }
    }
    let header: &[u8; 40] = rest.first_chunk()?;
    let whole = usize::from(u16::from_be_bytes([header[4], header[5]])) + 40;
    let exact = header[0] >> 4 == 6 && whole + (bytes.len() - rest.len()) == wire_bytes;
    let prefixed = header[8..12] == PREFIX || header[24..28] == PREFIX;
    (exact && (own_port || prefixed)).then_some(Ok(Inside::new(Layer::Ip, rest)))
}

/// WireGuard: its first two messages have one length each, what follows is in units of 16.
fn wireguard(bytes: &[u8], wire_bytes: usize, own_port: bool) -> Option<Carried<'_>> {
    let kind = match at(bytes, 0).ok()? {
        [kind, 0, 0, 0, ..] => *kind,
        _ => return None,
    };
    let fits = match kind {
        1 => wire_bytes == 148,
        2 => wire_bytes == 92,
        4 => own_port && wire_bytes >= 32 && wire_bytes.is_multiple_of(16),
        _ => false,
    };
    let hidden = fits && be16(bytes, 0).is_ok();
    hidden.then_some(Carried::Hidden(What::Encrypted("WireGuard")))
}
