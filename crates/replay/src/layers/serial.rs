//! Serial lines: PPP, Cisco HDLC, frame relay.

use super::{Layer, Step, ether};
use crate::network::{Unread, at, be16};
use crate::unread::What;

/// PPP (RFC 1661), also with its fields compressed.
pub fn ppp(bytes: &[u8]) -> Step<'_> {
    let bytes = bytes.strip_prefix(&[0xff, 3]).unwrap_or(bytes);
    let first = *bytes.first().ok_or(Unread::Short)?;
    // A protocol of one byte is odd; the first of two is even.
    let (protocol, rest) = match first & 1 {
        1 => (first.into(), &bytes[1..]),
        _ => (be16(bytes, 0)?, at(bytes, 2)?),
    };
    match protocol {
        0x0021 | 0x0057 => Ok((Layer::Ip, rest)),
        0x0281 | 0x0283 => Ok((Layer::Mpls, rest)),
        // Bridged (RFC 3518): flags, the kind of network, the frame.
        0x0031 if rest.get(1) == Some(&1) => Ok((Layer::Ethernet, at(rest, 2)?)),
        // Several links (RFC 1990): a frame in one piece.
        0x003d if rest.first().is_some_and(|flags| flags & 0xc0 == 0xc0) => {
            Ok((Layer::Ppp, at(rest, 4)?))
        }
        other => Err(Unread::For(What::PppProtocol(other))),
    }
}

/// Cisco HDLC, or PPP in frames like those of HDLC (RFC 1662).
pub fn hdlc(bytes: &[u8]) -> Step<'_> {
    match bytes {
        [0x0f | 0x8f, _, ..] => Ok((Layer::EtherType(be16(bytes, 2)?), at(bytes, 4)?)),
        _ => Ok((Layer::Ppp, bytes)),
    }
}

/// Frame relay with the headers of RFC 2427, or with Cisco's ethertype.
pub fn frame_relay(bytes: &[u8]) -> Step<'_> {
    // The last byte of the address is odd; there are two to four.
    let last = bytes
        .iter()
        .take(4)
        .position(|byte| byte & 1 == 1)
        .ok_or(Unread::Short)?;
    match at(bytes, last + 1)? {
        [3, 0, rest @ ..] | [3, rest @ ..] => ether::network_layer(rest, 0),
        rest => Ok((Layer::EtherType(be16(rest, 0)?), at(rest, 2)?)),
    }
}
