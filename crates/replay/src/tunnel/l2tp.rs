//! L2TP: version 2 with PPP (RFC 2661), version 3 with any link layer (RFC 3931), whose two
//! ends agreed beforehand how long the header is.

use super::Inside;
use crate::layers::{Layer, guess};
use crate::network::{Unread, at, be16, be32};
use crate::unread::What;

/// A cookie of 0, 4 or 8 bytes, then a sublayer of 0 or 4.
const HEADERS: [usize; 4] = [0, 4, 8, 12];

/// Version 3 over IP.
pub fn over_ip(bytes: &[u8], missing: usize) -> Result<Inside<'_>, Unread> {
    match be32(bytes, 0)? {
        // Control messages.
        0 => Err(Unread::Nothing),
        session => version_3(session, &bytes[4..], missing),
    }
}

/// A message over UDP; none when it is no data, or no L2TP.
pub fn over_udp(
    bytes: &[u8],
    wire_bytes: usize,
    missing: usize,
) -> Option<Result<Inside<'_>, Unread>> {
    let flags = be16(bytes, 0).ok()?;
    match flags & 0x800f {
        2 if flags & 0x34f0 == 0 => version_2(flags, bytes, wire_bytes),
        3 if flags == 3 && be16(bytes, 2) == Ok(0) => {
            let session = be32(bytes, 4).ok().filter(|session| *session != 0)?;
            let inside = version_3(session, bytes.get(8..)?, missing);
            // Bytes that nothing vouches for may just as well be something else.
            inside.is_ok().then_some(inside)
        }
        _ => None,
    }
}

fn version_2(flags: u16, bytes: &[u8], wire_bytes: usize) -> Option<Result<Inside<'_>, Unread>> {
    let mut place = 2;
    if flags & 0x4000 != 0 {
        if usize::from(be16(bytes, place).ok()?) != wire_bytes {
            return None;
        }
        place += 2;
    }
    let (tunnel, session) = (be16(bytes, place).ok()?, be16(bytes, place + 2).ok()?);
    if tunnel == 0 || session == 0 {
        return None;
    }
    place += 4;
    if flags & 0x0800 != 0 {
        place += 4;
    }
    if flags & 0x0200 != 0 {
        place += 2 + usize::from(be16(bytes, place).ok()?);
    }
    let rest = bytes.get(place..)?;
    // A frame of PPP begins with its address, or with a protocol that is in use.
    let known = matches!(
        rest,
        [0xff, 3, ..]
            | [0, 0x21 | 0x57 | 0x3d | 0xfd | 0x2d | 0x2f, ..]
            | [0x80 | 0xc0 | 0xc2, _, ..]
            | [0x21 | 0x57 | 0x3d | 0xfd, ..]
    );
    known.then(|| Ok(Inside::new(Layer::Ppp, rest)))
}

fn version_3(session: u32, bytes: &[u8], missing: usize) -> Result<Inside<'_>, Unread> {
    let inside = |layer, bytes| Inside {
        layer,
        bytes,
        network: session,
    };
    if let Some(place) = guess::ethernet_at(bytes, missing, &HEADERS) {
        return Ok(inside(Layer::Ethernet, at(bytes, place)?));
    }
    for place in HEADERS {
        let rest = bytes.get(place..).unwrap_or_default();
        let (layer, header) = match rest {
            [0xff, 3, 0, 0x21 | 0x57, ..] | [0x0f | 0x8f, 0, 8 | 0x86, _, ..] => (Layer::Hdlc, 4),
            [_, _, 3, 0xcc | 0x8e, ..] => (Layer::FrameRelay, 4),
            _ => (Layer::Ip, 0),
        };
        if guess::ip(rest.get(header..).unwrap_or_default(), missing) {
            return Ok(inside(layer, rest));
        }
    }
    Err(Unread::For(What::Tunnel("L2TPv3")))
}
