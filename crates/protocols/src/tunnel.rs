//! Ways through a proxy: what has to be taken off each side before the protocol inside
//! begins.

use crate::facts::{Side, Tunnel};
use crate::http::{self, FirstLine};

/// Most bytes of a proxy's greeting that are waited for.
const GREETING_MAX_BYTES: usize = 4096;

/// What became of the first bytes of one side.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Strip {
    /// More bytes are needed.
    More,
    /// So many bytes belong to the proxy; what follows is inside.
    Inside(usize),
    /// The proxy refused, or it is none.
    Refused,
}

/// Looks for the end of the proxy's part in the first bytes of a side.
pub fn strip(tunnel: Tunnel, side: Side, bytes: &[u8]) -> Strip {
    let found = match (tunnel, side) {
        (Tunnel::HttpConnect, side) => connect(side, bytes),
        (Tunnel::Socks4, Side::Client) => socks4_request(bytes),
        (Tunnel::Socks4, Side::Server) => match bytes {
            [0, 90, _, _, _, _, _, _, ..] => Strip::Inside(8),
            [] | [0] => Strip::More,
            [0, 90, ..] => Strip::More,
            _ => Strip::Refused,
        },
        (Tunnel::Socks5, side) => socks5(side, bytes),
        // Its frames are taken off one by one.
        (Tunnel::WebSocket, _) => Strip::Inside(0),
    };
    if found == Strip::More && bytes.len() > GREETING_MAX_BYTES {
        return Strip::Refused;
    }
    found
}

fn connect(side: Side, bytes: &[u8]) -> Strip {
    if side == Side::Server
        && bytes.len() >= 12
        && !matches!(http::first_line(bytes), FirstLine::Response(200..=299))
    {
        return Strip::Refused;
    }
    let mut line_start = 0;
    for (at, byte) in bytes.iter().enumerate() {
        if *byte == b'\n' {
            if bytes[line_start..at].trim_ascii().is_empty() {
                return Strip::Inside(at + 1);
            }
            line_start = at + 1;
        }
    }
    Strip::More
}

/// Version, command, port, address, a name that NUL ends; with an address 0.0.0.x another.
fn socks4_request(bytes: &[u8]) -> Strip {
    let Some((head, rest)) = bytes.split_at_checked(8) else {
        return Strip::More;
    };
    let Some(user) = rest.iter().position(|byte| *byte == 0) else {
        return Strip::More;
    };
    let named = head[4..7] == [0, 0, 0] && head[7] != 0;
    if !named {
        return Strip::Inside(8 + user + 1);
    }
    match rest[user + 1..].iter().position(|byte| *byte == 0) {
        Some(name) => Strip::Inside(8 + user + 1 + name + 1),
        None => Strip::More,
    }
}

/// Greeting, perhaps a password (RFC 1929), request; each with its answer.
fn socks5(side: Side, bytes: &[u8]) -> Strip {
    let greeting = match (side, bytes) {
        (Side::Client, [5, count, ..]) => 2 + usize::from(*count),
        (Side::Server, [5, 0xff, ..]) => return Strip::Refused,
        (Side::Server, [5, _, ..]) => 2,
        (_, [] | [5]) => return Strip::More,
        _ => return Strip::Refused,
    };
    let Some(mut rest) = bytes.get(greeting..) else {
        return Strip::More;
    };
    let mut taken = greeting;
    if rest.first() == Some(&1) {
        let password = match side {
            Side::Server => 2,
            Side::Client => {
                let Some(user) = rest.get(1) else {
                    return Strip::More;
                };
                let Some(password) = rest.get(2 + usize::from(*user)) else {
                    return Strip::More;
                };
                3 + usize::from(*user) + usize::from(*password)
            }
        };
        let Some(after) = rest.get(password..) else {
            return Strip::More;
        };
        rest = after;
        taken += password;
    }
    let address = match rest {
        [5, 1..=255, _, ..] if side == Side::Server => return Strip::Refused,
        [5, _, _, 1, ..] => 4,
        [5, _, _, 3, length, ..] => 1 + usize::from(*length),
        [5, _, _, 4, ..] => 16,
        [5, _, _, 3] => return Strip::More,
        [] | [5] | [5, _] | [5, _, _] => return Strip::More,
        _ => return Strip::Refused,
    };
    let request = 4 + address + 2;
    if rest.len() < request {
        return Strip::More;
    }
    Strip::Inside(taken + request)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn each_ends_where_the_inside_begins() {
        let socks5 = b"\x05\x01\x00\x05\x01\x00\x03\x04mx.x\x00\x19EHLO";
        assert_eq!(
            strip(Tunnel::Socks5, Side::Client, socks5),
            Strip::Inside(14)
        );
        let password = b"\x05\x01\x02\x01\x01a\x01b\x05\x01\x00\x01\x01\x02\x03\x04\x00\x19EHLO";
        assert_eq!(
            strip(Tunnel::Socks5, Side::Client, password),
            Strip::Inside(18)
        );
        let answer = b"\x05\x00\x05\x00\x00\x01\x01\x02\x03\x04\x00\x19220 ";
        assert_eq!(
            strip(Tunnel::Socks5, Side::Server, answer),
            Strip::Inside(12)
        );
        let socks4 = b"\x04\x01\x00\x19\x00\x00\x00\x01me\0mx.x\0EHLO";
        assert_eq!(
            strip(Tunnel::Socks4, Side::Client, socks4),
            Strip::Inside(16)
        );
        let connect = b"HTTP/1.0 200 ok\r\nA: b\r\n\r\n220 ";
        assert_eq!(
            strip(Tunnel::HttpConnect, Side::Server, connect),
            Strip::Inside(25)
        );
        let refused = b"HTTP/1.0 403 no\r\n\r\n";
        assert_eq!(
            strip(Tunnel::HttpConnect, Side::Server, refused),
            Strip::Refused
        );
    }

    proptest! {
        #[test]
        fn never_panics_and_never_takes_too_much(bytes in prop::collection::vec(0u8..12, 0..40)) {
            for tunnel in [Tunnel::Socks4, Tunnel::Socks5, Tunnel::HttpConnect] {
                for side in [Side::Client, Side::Server] {
                    if let Strip::Inside(taken) = strip(tunnel, side, &bytes) {
                        prop_assert!(taken <= bytes.len());
                    }
                }
            }
        }
    }
}
