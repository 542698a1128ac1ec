//! Tunnels: what IP or UDP carries that is a packet of its own. What only looks like a tunnel
//! by its port is told from one by every field that can be checked, because ordinary UDP uses
//! these ports too.

mod gre;
mod l2tp;
mod udp;

use crate::layers::Layer;
use crate::network::{Address, Datagram, MALFORMED, Unread, at, be32, v4_address};
use crate::unread::What;

pub use udp::{Carried, may_carry, udp};

/// A packet in a tunnel.
#[derive(Clone, Copy, Debug)]
pub struct Inside<'a> {
    /// How it begins.
    pub layer: Layer,
    /// Its bytes.
    pub bytes: &'a [u8],
    /// The network that the tunnel says it belongs to: the same addresses can be used in two.
    pub network: u32,
}

impl<'a> Inside<'a> {
    const fn new(layer: Layer, bytes: &'a [u8]) -> Self {
        Self {
            layer,
            bytes,
            network: 0,
        }
    }
}

/// What is in a datagram of another protocol than TCP and UDP.
#[derive(Clone, Copy, Debug)]
pub enum Content<'a> {
    /// A packet.
    Packet(Inside<'a>),
    /// A datagram whose header was kept short.
    Datagram(Datagram<'a>),
}

/// Opens a datagram of another protocol than TCP and UDP.
pub fn open<'a>(datagram: &Datagram<'a>, missing: usize) -> Result<Content<'a>, Unread> {
    let payload = datagram.payload;
    // Scanners send empty datagrams of every protocol.
    if datagram.wire_bytes == 0 {
        return Err(Unread::Nothing);
    }
    let inside = match datagram.protocol {
        // IP in IP (RFC 2003), IPv6 in IP (RFC 4213), an older IP in IP.
        4 | 41 | 94 => Inside::new(Layer::Ip, payload),
        47 => return gre::open(payload, missing).map(Content::Packet),
        50 => return esp(payload),
        55 => return minimal(datagram).map(Content::Datagram),
        // RFC 3378.
        97 => match payload.first().ok_or(Unread::Short)? >> 4 {
            3 => Inside::new(Layer::Ethernet, at(payload, 2)?),
            _ => return Err(MALFORMED),
        },
        115 => return l2tp::over_ip(payload, missing).map(Content::Packet),
        137 => Inside::new(Layer::Mpls, payload),
        // Segment routing (RFC 8986, 4.9).
        143 => Inside::new(Layer::Ethernet, payload),
        145 => Inside::new(Layer::Nsh, payload),
        other => return Err(Unread::For(What::IpProtocol(other))),
    };
    Ok(Content::Packet(inside))
}

/// RFC 4303. Without encryption (RFC 2410) it can be read: what it is shows at the end, before a
/// check value that mostly has 12 or 16 bytes.
pub fn esp(payload: &[u8]) -> Result<Content<'_>, Unread> {
    let encrypted = Err(Unread::For(What::Encrypted("ESP")));
    let Some(body) = payload.get(8..) else {
        return encrypted;
    };
    for check_bytes in [12, 16, 0] {
        let Some(end) = body.len().checked_sub(check_bytes + 2) else {
            continue;
        };
        let (padding, next) = (usize::from(body[end]), body[end + 1]);
        let Some(length) = end.checked_sub(padding) else {
            continue;
        };
        // The padding counts from one.
        let counts = body[length..end]
            .iter()
            .zip(1..)
            .all(|(byte, at)| *byte == at);
        let inside = &body[..length];
        if counts && matches!(next, 4 | 41) && crate::layers::guess::ip(inside, 0) {
            return Ok(Content::Packet(Inside::new(Layer::Ip, inside)));
        }
    }
    encrypted
}

/// Minimal encapsulation (RFC 2004): what the outer header changed is put before the payload.
fn minimal<'a>(datagram: &Datagram<'a>) -> Result<Datagram<'a>, Unread> {
    let payload = datagram.payload;
    let destination: Address = match be32(payload, 4) {
        Ok(_) => v4_address(payload, 4),
        Err(short) => return Err(short),
    };
    let from_other = payload[1] & 0x80 != 0;
    let length = if from_other { 12 } else { 8 };
    let rest = at(payload, length)?;
    Ok(Datagram {
        source: match from_other {
            true => v4_address(payload, 8),
            false => datagram.source,
        },
        destination,
        protocol: payload[0],
        payload: rest,
        wire_bytes: datagram.wire_bytes.saturating_sub(length),
        ..*datagram
    })
}
