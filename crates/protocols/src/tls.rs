//! The first message of a TLS handshake: which name and which protocols a client asks for.

use tls_parser::{
    SNIType, TlsExtension, TlsMessage, TlsMessageHandshake, parse_tls_extensions,
    parse_tls_message_handshake,
};

use crate::text;

/// Most bytes of a handshake message that are waited for. With post-quantum key shares a
/// ClientHello has some 1.8 KiB.
pub const HELLO_MAX_BYTES: usize = 6 * 1024;
/// Longest list of application protocols that is kept.
pub const ALPN_MAX: usize = 8;

/// A ClientHello or ServerHello.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Hello {
    /// The name that the client asks for (RFC 6066, 3), in lower case.
    pub server_name: Option<String>,
    /// The protocols that the client offers, or the one that the server takes (RFC 7301).
    pub alpn: Vec<String>,
}

impl Hello {
    /// Is IRC among the protocols? It is registered as `irc` nowhere, but used so.
    pub fn offers_irc(&self) -> bool {
        self.alpn
            .iter()
            .any(|name| name.eq_ignore_ascii_case("irc"))
    }
}

/// What the first bytes of one side are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Start {
    /// No TLS.
    Other,
    /// It begins like TLS; more bytes are needed.
    More,
    /// The client's side.
    Client(Hello),
    /// The server's side.
    Server,
    /// TLS from the middle, or another message than a greeting.
    Record,
}

/// Looks at the first bytes that one side sent.
pub fn start(bytes: &[u8]) -> Start {
    const HANDSHAKE: u8 = 22;
    let [kind, major, minor, high, low, rest @ ..] = bytes else {
        let so_far = [HANDSHAKE, 3];
        return match bytes.len() {
            0 => Start::More,
            length if bytes.iter().zip(so_far).take(length).all(|(a, b)| *a == b) => Start::More,
            _ => Start::Other,
        };
    };
    let length = usize::from(u16::from_be_bytes([*high, *low]));
    // 20 change cipher spec, 21 alert, 22 handshake, 23 data (RFC 8446, 5.1).
    if !(20..=23).contains(kind) || *major != 3 || *minor > 4 || length == 0 || length > 0x4800 {
        return sslv2(bytes);
    }
    if *kind != HANDSHAKE {
        let exact = rest.len() == length
            || (rest.len() > length && (20..=23).contains(&rest[length]))
            || length > 512;
        return if exact { Start::Record } else { Start::Other };
    }
    match rest {
        [] => Start::More,
        [2, ..] => Start::Server,
        [1, ..] => client(rest, length),
        // Before TLS 1.3 the rest of a handshake can be encrypted: any byte may come.
        _ => Start::Record,
    }
}

/// A ClientHello in the format of SSL 2 (RFC 5246, E.2).
fn sslv2(bytes: &[u8]) -> Start {
    match bytes {
        [high @ 0x80..=0x9f, low, 1, 3, 0..=3, ..] => {
            let length = usize::from(high & 0x7f) << 8 | usize::from(*low);
            if (9..=1024).contains(&length) && bytes.len() <= length + 2 {
                Start::Client(Hello::default())
            } else {
                Start::Other
            }
        }
        _ => Start::Other,
    }
}

/// `record` begins with the handshake message; the record has `length` bytes.
fn client(record: &[u8], length: usize) -> Start {
    let Some(message_bytes) = record.get(1..4) else {
        return Start::More;
    };
    let message_bytes = message_bytes
        .iter()
        .fold(0, |sum, byte| sum << 8 | usize::from(*byte))
        + 4;
    if message_bytes > length.max(HELLO_MAX_BYTES) || message_bytes < 38 {
        return Start::Record;
    }
    if record.len() < message_bytes {
        return if record.len() < HELLO_MAX_BYTES && message_bytes <= length {
            Start::More
        } else {
            // In several records, or too long: TLS it is, whatever it asks for.
            Start::Client(Hello::default())
        };
    }
    let parsed = parse_tls_message_handshake(&record[..message_bytes]);
    let Ok((_, TlsMessage::Handshake(TlsMessageHandshake::ClientHello(hello)))) = parsed else {
        return Start::Record;
    };
    Start::Client(hello.ext.map_or_else(Hello::default, extensions))
}

fn extensions(bytes: &[u8]) -> Hello {
    let mut hello = Hello::default();
    let Ok((_, extensions)) = parse_tls_extensions(bytes) else {
        return hello;
    };
    for extension in extensions {
        match extension {
            TlsExtension::SNI(names) => {
                let name = names.iter().find(|(kind, _)| *kind == SNIType::HostName);
                hello.server_name = name.map(|(_, name)| text(name, 255).to_ascii_lowercase());
            }
            TlsExtension::ALPN(names) => {
                hello.alpn = names
                    .iter()
                    .take(ALPN_MAX)
                    .map(|name| text(name, 32))
                    .collect();
            }
            _ => {}
        }
    }
    hello
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// A ClientHello that asks for `irc.example.net` with `irc`.
    pub(crate) fn client_hello() -> Vec<u8> {
        let name = b"irc.example.net";
        let mut extensions = vec![0, 0, 0, name.len() as u8 + 5, 0, name.len() as u8 + 3, 0, 0];
        extensions.push(name.len() as u8);
        extensions.extend_from_slice(name);
        extensions.extend_from_slice(b"\x00\x10\x00\x06\x00\x04\x03irc");
        let mut body = vec![3, 3];
        body.extend_from_slice(&[7; 32]);
        body.extend_from_slice(b"\x00\x00\x02\x13\x01\x01\x00\x00");
        body.push(extensions.len() as u8);
        body.extend_from_slice(&extensions);
        let mut record = vec![22, 3, 1, 0, body.len() as u8 + 4, 1, 0, 0, body.len() as u8];
        record.extend_from_slice(&body);
        record
    }

    #[test]
    fn name_and_protocols_of_a_client() {
        let Start::Client(hello) = start(&client_hello()) else {
            panic!("no client");
        };
        assert_eq!(hello.server_name.as_deref(), Some("irc.example.net"));
        assert!(hello.offers_irc());
    }

    #[test]
    fn a_part_of_it_needs_more() {
        let hello = client_hello();
        for length in 0..hello.len() {
            assert_eq!(start(&hello[..length]), Start::More, "{length}");
        }
        assert_eq!(start(b"NICK a\r\n"), Start::Other);
    }

    proptest! {
        #[test]
        fn never_panics(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
            let _ = start(&bytes);
        }

        #[test]
        fn never_panics_near_a_hello(at in 0usize..100, byte in any::<u8>(), cut in 0usize..120) {
            let mut bytes = client_hello();
            let at = at % bytes.len();
            bytes[at] = byte;
            bytes.truncate(cut);
            let _ = start(&bytes);
        }
    }
}
