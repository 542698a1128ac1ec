//! Headers of TCP (RFC 9293) and UDP (RFC 768).

/// The part of a TCP header that following a connection needs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Tcp<'a> {
    pub source_port: u16,
    pub destination_port: u16,
    pub sequence: u32,
    pub acknowledgement: u32,
    pub syn: bool,
    pub ack: bool,
    pub fin: bool,
    pub rst: bool,
    /// What was captured of the payload.
    pub payload: &'a [u8],
    /// How long the payload was on the wire.
    pub wire_bytes: usize,
}

impl<'a> Tcp<'a> {
    /// `wire_bytes` is the length of header and payload on the wire.
    #[inline]
    pub fn parse(bytes: &'a [u8], wire_bytes: usize) -> Option<Self> {
        let header: &[u8; 20] = bytes.first_chunk()?;
        let header_bytes = usize::from(header[12] >> 4) * 4;
        if header_bytes < 20 || header_bytes > wire_bytes {
            return None;
        }
        let flags = header[13];
        Some(Self {
            source_port: u16::from_be_bytes([header[0], header[1]]),
            destination_port: u16::from_be_bytes([header[2], header[3]]),
            sequence: u32::from_be_bytes([header[4], header[5], header[6], header[7]]),
            acknowledgement: u32::from_be_bytes([header[8], header[9], header[10], header[11]]),
            fin: flags & 1 != 0,
            syn: flags & 2 != 0,
            rst: flags & 4 != 0,
            ack: flags & 16 != 0,
            payload: bytes.get(header_bytes..).unwrap_or_default(),
            wire_bytes: wire_bytes - header_bytes,
        })
    }
}

/// A UDP datagram.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Udp<'a> {
    pub source_port: u16,
    pub destination_port: u16,
    /// What was captured of the payload.
    pub payload: &'a [u8],
    /// How long the payload was on the wire.
    pub wire_bytes: usize,
}

impl<'a> Udp<'a> {
    /// `wire_bytes` is the length of header and payload on the wire.
    #[inline]
    pub fn parse(bytes: &'a [u8], wire_bytes: usize) -> Option<Self> {
        let header: &[u8; 8] = bytes.first_chunk()?;
        let length = usize::from(u16::from_be_bytes([header[4], header[5]]));
        let length = match length {
            // A jumbogram (RFC 2675).
            0 => wire_bytes,
            length => length.min(wire_bytes),
        };
        let wire_bytes = length.checked_sub(8)?;
        let payload = &bytes[8..];
        Some(Self {
            source_port: u16::from_be_bytes([header[0], header[1]]),
            destination_port: u16::from_be_bytes([header[2], header[3]]),
            payload: &payload[..payload.len().min(wire_bytes)],
            wire_bytes,
        })
    }
}
