//! WebSocket (RFC 6455): what is inside the frames of one side. IRC over WebSocket has one
//! line in each message, without CR and LF.

use crate::http;

/// Longest header of a frame: two bytes, a length of eight, a mask of four.
const HEADER_MAX_BYTES: usize = 14;
/// Payload that is handed out at once.
const PIECE_BYTES: usize = 512;

/// The names of IRC among the protocols that a client offers and a server takes.
const IRC_PROTOCOLS: [&[u8]; 3] = [b"text.ircv3.net", b"binary.ircv3.net", b"irc"];

/// Does the head of a request or a response change to WebSocket?
pub fn upgrades(head: &[u8]) -> bool {
    values(head, b"upgrade").any(|value| value.eq_ignore_ascii_case(b"websocket"))
}

/// Does it name IRC as the protocol inside?
pub fn names_irc(head: &[u8]) -> bool {
    values(head, b"sec-websocket-protocol").any(|value| {
        IRC_PROTOCOLS
            .iter()
            .any(|name| value.eq_ignore_ascii_case(name))
    })
}

/// Where the head of HTTP ends: behind the first empty line.
pub fn head_end(bytes: &[u8]) -> Option<usize> {
    let mut line_start = 0;
    for at in memchr::memchr_iter(b'\n', bytes) {
        if bytes[line_start..at].trim_ascii().is_empty() {
            return Some(at + 1);
        }
        line_start = at + 1;
    }
    None
}

/// Is it the answer that changes the protocol?
pub fn is_switching(head: &[u8]) -> bool {
    http::first_line(head) == http::FirstLine::Response(101)
}

/// The values of a header, which may be a list, in each line that has it.
fn values<'a>(head: &'a [u8], name: &'a [u8]) -> impl Iterator<Item = &'a [u8]> {
    head.split(|byte| *byte == b'\n')
        .skip(1)
        .filter_map(move |line| {
            let (start, value) = line.split_at_checked(name.len())?;
            let value = value.strip_prefix(b":")?;
            start.eq_ignore_ascii_case(name).then_some(value)
        })
        .flat_map(|value| value.split(|byte| *byte == b','))
        .map(<[u8]>::trim_ascii)
}

/// The frames of one side. Holds part of a header and where it is, no payload.
#[derive(Clone, Debug, Default)]
pub struct Frames {
    header: [u8; HEADER_MAX_BYTES],
    header_bytes: usize,
    left: u64,
    mask: [u8; 4],
    mask_at: usize,
    /// What is inside is text or data, and not compressed.
    readable: bool,
    /// The last frame of its message.
    ends: bool,
    /// A message is compressed, and so are the frames that continue it.
    compressed: bool,
    /// Bytes are missing, or were no frames.
    lost: bool,
}

impl Frames {
    /// Hands out what is inside the next bytes, and a line feed at each message's end.
    pub fn feed(&mut self, mut bytes: &[u8], each: &mut impl FnMut(&[u8])) {
        while !bytes.is_empty() && !self.lost {
            if self.left == 0 {
                let taken = self.header(bytes);
                bytes = &bytes[taken..];
                if self.left == 0 && self.header_bytes == 0 && self.ends && self.readable {
                    each(b"\n");
                }
                continue;
            }
            let now = (self.left.min(bytes.len() as u64)) as usize;
            let (payload, rest) = bytes.split_at(now);
            self.payload(payload, each);
            self.left -= now as u64;
            if self.left == 0 && self.ends && self.readable {
                each(b"\n");
            }
            bytes = rest;
        }
    }

    /// Some bytes are missing: where the next frame begins is not known any more.
    pub fn gap(&mut self) {
        self.lost = true;
    }

    fn payload(&mut self, payload: &[u8], each: &mut impl FnMut(&[u8])) {
        if !self.readable {
            return;
        }
        let mut room = [0; PIECE_BYTES];
        for piece in payload.chunks(PIECE_BYTES) {
            let clear = &mut room[..piece.len()];
            for (to, from) in clear.iter_mut().zip(piece) {
                *to = from ^ self.mask[self.mask_at];
                self.mask_at = (self.mask_at + 1) % 4;
            }
            each(clear);
        }
    }

    /// Takes bytes for a header. Says how many.
    fn header(&mut self, bytes: &[u8]) -> usize {
        let mut taken = 0;
        loop {
            let wanted = match self.header_bytes {
                0 | 1 => 2,
                _ => self.header_length(),
            };
            if self.header_bytes >= 2 && self.header_bytes == wanted {
                self.begin();
                return taken;
            }
            let Some(byte) = bytes.get(taken) else {
                return taken;
            };
            self.header[self.header_bytes] = *byte;
            self.header_bytes += 1;
            taken += 1;
        }
    }

    fn header_length(&self) -> usize {
        let length = match self.header[1] & 0x7f {
            126 => 2,
            127 => 8,
            _ => 0,
        };
        2 + length + if self.header[1] & 0x80 != 0 { 4 } else { 0 }
    }

    /// The header is whole.
    fn begin(&mut self) {
        let masked = self.header[1] & 0x80 != 0;
        let length_end = self.header_bytes - if masked { 4 } else { 0 };
        self.left = match self.header[1] & 0x7f {
            short @ 0..=125 => u64::from(short),
            _ => self.header[2..length_end]
                .iter()
                .fold(0, |sum: u64, byte| sum << 8 | u64::from(*byte)),
        };
        self.mask = [0; 4];
        if masked {
            self.mask
                .copy_from_slice(&self.header[length_end..length_end + 4]);
        }
        self.mask_at = 0;
        let opcode = self.header[0] & 0x0f;
        if matches!(opcode, 1 | 2) {
            self.compressed = self.header[0] & 0x40 != 0;
        }
        self.readable = matches!(opcode, 0..=2) && !self.compressed;
        self.ends = self.header[0] & 0x80 != 0;
        // Reserved bits and codes: these are no frames.
        self.lost = self.header[0] & 0x30 != 0 || !matches!(opcode, 0..=2 | 8..=10);
        self.header_bytes = 0;
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// A frame as a client sends it, or as a server does.
    fn frame(text: &[u8], mask: Option<[u8; 4]>) -> Vec<u8> {
        let mut bytes = vec![0x81];
        let bit = if mask.is_some() { 0x80 } else { 0 };
        match text.len() {
            short @ 0..=125 => bytes.push(bit | short as u8),
            long => {
                bytes.push(bit | 126);
                bytes.extend((long as u16).to_be_bytes());
            }
        }
        let mask = mask.inspect(|mask| bytes.extend(mask)).unwrap_or_default();
        bytes.extend(
            text.iter()
                .enumerate()
                .map(|(at, byte)| byte ^ mask[at % 4]),
        );
        bytes
    }

    fn inside(pieces: &[&[u8]]) -> Vec<u8> {
        let mut frames = Frames::default();
        let mut found = Vec::new();
        for piece in pieces {
            frames.feed(piece, &mut |bytes| found.extend_from_slice(bytes));
        }
        found
    }

    #[test]
    fn heads() {
        let head = b"GET / HTTP/1.1\r\nUpgrade: WebSocket\r\nSec-WebSocket-Protocol: chat, text.ircv3.net\r\n\r\nx";
        assert!(upgrades(head) && names_irc(head) && !is_switching(head));
        assert_eq!(head_end(head), Some(head.len() - 1));
        assert!(is_switching(b"HTTP/1.1 101 Switching Protocols\r\n"));
        assert!(!upgrades(b"GET / HTTP/1.1\r\nHost: websocket\r\n\r\n"));
    }

    #[test]
    fn messages_are_lines() {
        let long = [b'x'; 700];
        let bytes = [
            frame(b"NICK a", Some([1, 2, 3, 4])),
            vec![0x89, 2, b'h', b'i'],
            frame(&long, None),
            vec![0x01, 2, b'a', b'b', 0x80, 1, b'c'],
        ]
        .concat();
        let expected = [b"NICK a\n", &long[..], b"\nabc\n"].concat();
        assert_eq!(inside(&[&bytes]), expected);
    }

    #[test]
    fn what_is_compressed_or_no_frame_is_passed_over() {
        assert_eq!(inside(&[b"\xc1\x02ab\x81\x01c"]), b"c\n");
        assert_eq!(inside(&[b"HTTP/1.1 200"]), b"");
    }

    proptest! {
        #[test]
        fn pieces_do_not_matter(texts in prop::collection::vec("[a-z ]{0,200}", 1..5), cut in 1usize..20) {
            let bytes: Vec<u8> = texts.iter().flat_map(|text| frame(text.as_bytes(), Some([9, 8, 7, 6]))).collect();
            let pieces: Vec<_> = bytes.chunks(cut).collect();
            let expected: String = texts.iter().map(|text| format!("{text}\n")).collect();
            prop_assert_eq!(inside(&pieces), expected.as_bytes());
        }

        #[test]
        fn never_panics(pieces in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..80), 0..8)) {
            let mut frames = Frames::default();
            for piece in pieces {
                frames.feed(&piece, &mut |bytes| assert!(bytes.len() <= PIECE_BYTES));
            }
        }
    }
}
