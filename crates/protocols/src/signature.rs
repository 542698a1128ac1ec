//! Protocols that their first bytes give away.

use crate::app::App;
use crate::facts::{Facts, Side, Tunnel};
use crate::{dns, http, shape, tls};

/// What the first bytes of one side are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Look {
    /// Too few to tell.
    More,
    /// Text of which lines have to be read.
    Text,
    /// Neither text nor known.
    Binary,
    /// This protocol, sent by this side as its own.
    Is {
        /// The protocol.
        app: App,
        /// Who sends such bytes; `None` when both do.
        side: Option<Side>,
        /// What was learned.
        facts: Facts,
    },
    /// The beginning of a way through a proxy.
    Through(Tunnel, Side),
}

impl Look {
    fn is(app: App, side: impl Into<Option<Side>>) -> Self {
        Self::Is {
            app,
            side: side.into(),
            facts: Facts::None,
        }
    }
}

/// Looks at the first bytes that one side sent in a TCP connection.
pub fn look(bytes: &[u8]) -> Look {
    match bytes {
        [] => Look::More,
        [b'\t' | b'\r' | b'\n' | b' '..=b'~', ..] => text(bytes),
        _ => binary(bytes),
    }
}

fn text(bytes: &[u8]) -> Look {
    match http::first_line(bytes) {
        http::FirstLine::Request {
            method: b"CONNECT", ..
        } => {
            return Look::Through(Tunnel::HttpConnect, Side::Client);
        }
        http::FirstLine::Request { .. } => {
            return Look::Is {
                app: App::Http,
                side: Some(Side::Client),
                facts: Facts::Http(Box::new(http::facts(bytes))),
            };
        }
        http::FirstLine::Response(_) => return Look::is(App::Http, Side::Server),
        http::FirstLine::Other => {}
    }
    let starts = |start: &[u8]| bytes.starts_with(start);
    let line_end = bytes.iter().position(|byte| *byte == b'\n');
    let line = bytes[..line_end.unwrap_or(bytes.len())].trim_ascii_end();
    if starts(b"SSH-2") || starts(b"SSH-1") {
        return Look::is(App::Ssh, None);
    }
    if line.ends_with(b" SIP/2.0") {
        return Look::is(App::Sip, Side::Client);
    }
    if starts(b"SIP/2.0 ") {
        return Look::is(App::Sip, Side::Server);
    }
    if line.ends_with(b" RTSP/1.0") {
        return Look::is(App::Rtsp, Side::Client);
    }
    if starts(b"RTSP/1.0 ") {
        return Look::is(App::Rtsp, Side::Server);
    }
    if starts(b"PRI * HTTP/2.0") {
        return Look::is(App::Http, Side::Client);
    }
    if starts(b"RFB 00") && line.len() <= 12 {
        return Look::is(App::Vnc, None);
    }
    if starts(b"@RSYNCD: ") {
        return Look::is(App::Rsync, None);
    }
    if starts(b"GNUTELLA") {
        return Look::is(App::Gnutella, None);
    }
    if starts(b"<?xml") || starts(b"<stream:stream") {
        let head = &bytes[..bytes.len().min(512)];
        let has = |part: &[u8]| head.windows(part.len()).any(|text| text == part);
        if has(b"<stream:stream") || has(b"jabber:") {
            return Look::is(App::Xmpp, None);
        }
        return if bytes.len() < 256 {
            Look::More
        } else {
            Look::Binary
        };
    }
    // NATS: "INFO {…}" of the server comes first.
    if starts(b"INFO {") {
        return Look::is(App::Nats, Side::Server);
    }
    if starts(b"CONNECT {") {
        return Look::is(App::Nats, Side::Client);
    }
    if let Some(look) = redis(bytes) {
        return look;
    }
    // In binary protocols a length or a tag can look like a letter.
    if !shape::is_text(bytes) {
        return binary(bytes);
    }
    if line_end.is_none() && bytes.len() < 4 {
        return Look::More;
    }
    Look::Text
}

/// Arrays of strings, as Redis takes commands: `*2\r\n$4\r\nPING\r\n`.
fn redis(bytes: &[u8]) -> Option<Look> {
    let rest = bytes.strip_prefix(b"*")?;
    let digits = rest.iter().take_while(|byte| byte.is_ascii_digit()).count();
    if digits == 0 || digits > 7 {
        return None;
    }
    match &rest[digits..] {
        [b'\r', b'\n', b'$', b'0'..=b'9', ..] => Some(Look::is(App::Redis, Side::Client)),
        [b'\r', b'\n', b':' | b'*' | b'+', ..] => Some(Look::is(App::Redis, Side::Server)),
        [] | [b'\r'] | [b'\r', b'\n'] | [b'\r', b'\n', b'$'] => Some(Look::More),
        _ => None,
    }
}

fn binary(bytes: &[u8]) -> Look {
    match tls::start(bytes) {
        tls::Start::More => return Look::More,
        tls::Start::Client(hello) => {
            return Look::Is {
                app: App::Tls,
                side: Some(Side::Client),
                facts: Facts::Tls(Box::new(hello)),
            };
        }
        tls::Start::Server => return Look::is(App::Tls, Side::Server),
        tls::Start::Record => return Look::is(App::Tls, None),
        tls::Start::Other => {}
    }
    match bytes {
        [19, rest @ ..] if rest.starts_with(b"BitTorrent protocol") => {
            return Look::is(App::BitTorrent, None);
        }
        // A proposal of Telnet: interpret as command; will, won't, do, don't or a suboption.
        [0xff, 0xfa..=0xfe, 0..=0x31 | 0xff, ..] => return Look::is(App::Telnet, None),
        [
            0xff,
            0xff,
            0xff,
            0xff,
            0xff,
            0xff,
            0xff,
            0xff,
            0xff,
            0xff,
            0xff,
            0xff,
            0xff,
            0xff,
            0xff,
            0xff,
            ..,
        ] => {
            return Look::is(App::Bgp, None);
        }
        [0, _, _, _, 0xff | 0xfe, b'S', b'M', b'B', ..] => return Look::is(App::Smb, None),
        // TPKT and a connection request or confirmation of X.224.
        [3, 0, 0, length, tail, 0xe0, ..] if usize::from(*tail) + 5 == usize::from(*length) => {
            return Look::is(App::Rdp, Side::Client);
        }
        [3, 0, 0, length, tail, 0xd0, ..] if usize::from(*tail) + 5 == usize::from(*length) => {
            return Look::is(App::Rdp, Side::Server);
        }
        [0x10, _, 0, 4, b'M', b'Q', b'T', b'T', ..] => return Look::is(App::Mqtt, Side::Client),
        // Its length, 3.0 as the version, and "user"; or the request for TLS.
        [0, 0, _, _, 0, 3, 0, 0, b'u', b's', ..] | [0, 0, 0, 8, 4, 0xd2, 0x16, 0x2f, ..] => {
            return Look::is(App::Postgres, Side::Client);
        }
        // The length, number 0, protocol 10, and a version.
        [_, _, 0, 0, 10, b'3'..=b'9', b'.', ..] | [_, _, 0, 0, 10, b'1', b'0'..=b'9', b'.', ..] => {
            return Look::is(App::Mysql, Side::Server);
        }
        // A sequence with a message number and a bind request or its answer.
        [0x30, _, 2, 1, _, 0x60, _, 2, 1, 2 | 3, ..] => return Look::is(App::Ldap, Side::Client),
        [0x30, _, 2, 1, _, 0x61, _, 10, 1, ..] => return Look::is(App::Ldap, Side::Server),
        [5, count @ 1..=16, methods @ ..]
            if methods.len() >= usize::from(*count)
                && methods[..usize::from(*count)]
                    .iter()
                    .all(|method| *method < 10 || *method >= 0x80) =>
        {
            return Look::Through(Tunnel::Socks5, Side::Client);
        }
        [5] => return Look::More,
        [4, 1 | 2, _, _, _, _, _, _, rest @ ..] if rest.iter().take(256).any(|byte| *byte == 0) => {
            return Look::Through(Tunnel::Socks4, Side::Client);
        }
        _ => {}
    }
    match dns::parse_tcp(bytes) {
        Err(()) if bytes.len() < 64 && bytes.first() == Some(&0) => Look::More,
        Ok(Some(message)) => {
            let side = if message.response {
                Side::Server
            } else {
                Side::Client
            };
            Look::Is {
                app: App::Dns,
                side: Some(side),
                facts: Facts::Dns(Box::new(message)),
            }
        }
        _ if shape::is_text(bytes) => Look::Text,
        _ if bytes.len() < 2 => Look::More,
        _ => Look::Binary,
    }
}

/// Looks at a datagram of UDP.
pub fn look_at_datagram(bytes: &[u8]) -> Look {
    if let Some(message) = dns::parse(bytes) {
        let side = if message.response {
            Side::Server
        } else {
            Side::Client
        };
        return Look::Is {
            app: App::Dns,
            side: Some(side),
            facts: Facts::Dns(Box::new(message)),
        };
    }
    match bytes {
        [b'A'..=b'Z', ..] => match text(bytes) {
            found @ Look::Is {
                app: App::Sip | App::Http,
                ..
            } => found,
            _ => Look::Binary,
        },
        // A long header, the fixed bit, and version 1 or 2 (RFC 9000, RFC 9369).
        [0xc0..=0xff, 0, 0, 0, 1, 0..=20, ..]
        | [0xc0..=0xff, 0x6b, 0x33, 0x43, 0xcf, 0..=20, ..] => Look::is(App::Quic, None),
        [b'd', b'1', b':', b'a' | b'r' | b'e' | b'q', ..] => Look::is(App::BitTorrent, None),
        [kind @ 1..=2, 1, 6, ..] if bytes.get(236..240) == Some(&[0x63, 0x82, 0x53, 0x63]) => {
            Look::is(
                App::Dhcp,
                if *kind == 1 {
                    Side::Client
                } else {
                    Side::Server
                },
            )
        }
        _ => Look::Binary,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn app(bytes: &[u8]) -> App {
        match look(bytes) {
            Look::Is { app, .. } => app,
            _ => App::Unknown,
        }
    }

    #[test]
    fn what_first_bytes_give_away() {
        assert_eq!(app(b"SSH-2.0-OpenSSH_9\r\n"), App::Ssh);
        assert_eq!(app(b"INVITE sip:b@example SIP/2.0\r\n"), App::Sip);
        assert_eq!(app(b"*1\r\n$4\r\nPING\r\n"), App::Redis);
        assert_eq!(app(b"INFO {\"server_id\":\"x\"}\r\n"), App::Nats);
        assert_eq!(
            app(b"<?xml version='1.0'?><stream:stream to='a'>"),
            App::Xmpp
        );
        assert_eq!(app(b"\x13BitTorrent protocol\0\0"), App::BitTorrent);
        assert_eq!(app(b"\xff\xfd\x18\xff\xfd\x20"), App::Telnet);
        assert_eq!(look(b"NICK a\r\n"), Look::Text);
        assert_eq!(look(b"220 mx.example ESMTP\r\n"), Look::Text);
        assert_eq!(
            look(b"\x05\x01\x00"),
            Look::Through(Tunnel::Socks5, Side::Client)
        );
    }

    proptest! {
        #[test]
        fn never_panics(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
            let _ = look(&bytes);
            let _ = look_at_datagram(&bytes);
        }

        #[test]
        fn never_panics_on_text(text in "(\\*|GET |INFO |<|SSH-)?[ -~\r\n]{0,60}") {
            let _ = look(text.as_bytes());
            let _ = look_at_datagram(text.as_bytes());
        }
    }
}
