//! Conversations at times of their own, packet by packet.

use super::{ACK, CLIENT, SYN, ipv4, tcp, udp};

const SYN_ACK: u8 = SYN | ACK;
const RST: u8 = 4;

/// A capture of raw IP packets, each with its time in seconds.
pub fn timed_pcap(packets: &[(f64, Vec<u8>)]) -> Vec<u8> {
    let mut bytes = Vec::new();
    for word in [0xa1b2_c3d4u32, 0x0004_0002, 0, 0, 65_535, 101] {
        bytes.extend(word.to_le_bytes());
    }
    for (seconds, packet) in packets {
        let length = packet.len() as u32;
        let micros = (seconds.fract() * 1e6) as u32;
        for word in [1_795_000_000 + *seconds as u32, micros, length, length] {
            bytes.extend(word.to_le_bytes());
        }
        bytes.extend(packet);
    }
    bytes
}

/// A DNS query.
pub fn query(name: &str, record_type: u8) -> Vec<u8> {
    let mut bytes = b"\x12\x34\x01\x00\x00\x01\x00\x00\x00\x00\x00\x00".to_vec();
    for label in name.split('.') {
        bytes.push(label.len() as u8);
        bytes.extend(label.as_bytes());
    }
    bytes.extend([0, 0, record_type, 0, 1]);
    bytes
}

/// A connection that goes on: who says what at which second.
pub struct Talk {
    server: ([u8; 4], u16),
    port: u16,
    sequences: [u32; 2],
    pub packets: Vec<(f64, Vec<u8>)>,
}

impl Talk {
    pub fn new(seconds: f64, port: u16, server: ([u8; 4], u16)) -> Self {
        let mut talk = Self {
            server,
            port,
            sequences: [100, 900],
            packets: Vec::new(),
        };
        talk.packet(seconds, true, SYN, b"");
        talk.packet(seconds, false, SYN_ACK, b"");
        talk.sequences = [101, 901];
        talk
    }

    pub fn packet(&mut self, seconds: f64, client: bool, flags: u8, payload: &[u8]) {
        let (address, there) = self.server;
        let sequence = self.sequences[usize::from(!client)];
        let packet = if client {
            ipv4(
                CLIENT.0,
                address,
                6,
                0,
                0,
                &tcp(self.port, there, sequence, flags, payload),
            )
        } else {
            ipv4(
                address,
                CLIENT.0,
                6,
                0,
                0,
                &tcp(there, self.port, sequence, flags, payload),
            )
        };
        self.packets.push((seconds, packet));
    }

    pub fn say(&mut self, seconds: f64, client: bool, words: &str) {
        self.packet(seconds, client, ACK, words.as_bytes());
        self.sequences[usize::from(!client)] += words.len() as u32;
    }
}

/// A connection that is tried.
pub fn syn(seconds: f64, port: u16, server: ([u8; 4], u16)) -> (f64, Vec<u8>) {
    let packet = tcp(port, server.1, 100, SYN, b"");
    (seconds, ipv4(CLIENT.0, server.0, 6, 0, 0, &packet))
}

/// A connection that is rejected.
pub fn reset(seconds: f64, port: u16, server: ([u8; 4], u16)) -> (f64, Vec<u8>) {
    let packet = tcp(server.1, port, 0, RST | ACK, b"");
    (seconds, ipv4(server.0, CLIENT.0, 6, 0, 0, &packet))
}

/// A question to the resolver.
pub fn lookup(seconds: f64, port: u16, name: &str, record_type: u8) -> (f64, Vec<u8>) {
    let packet = udp(port, 53, &query(name, record_type));
    (seconds, ipv4(CLIENT.0, [192, 0, 2, 53], 17, 0, 0, &packet))
}
