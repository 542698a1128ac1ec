//! Makes captures: packets of all link layers, in both formats.

#![allow(dead_code)]

pub mod hosts;
pub mod stories;
pub mod talks;
pub mod wraps;

use std::io::Cursor;

use replay::{FlowRecord, Input, Settings, Summary};

/// Client and server of the conversations.
pub const CLIENT: ([u8; 4], u16) = ([192, 0, 2, 1], 40_000);
/// An unusual port.
pub const SERVER: ([u8; 4], u16) = ([198, 51, 100, 7], 9999);

pub const FIN: u8 = 1;
pub const SYN: u8 = 2;
pub const ACK: u8 = 16;

/// A TCP segment with its header.
pub fn tcp(from: u16, to: u16, sequence: u32, flags: u8, payload: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::new();
    bytes.extend(from.to_be_bytes());
    bytes.extend(to.to_be_bytes());
    bytes.extend(sequence.to_be_bytes());
    bytes.extend([0, 0, 0, 0, 0x50, flags, 0xff, 0xff, 0, 0, 0, 0]);
    bytes.extend(payload);
    bytes
}

/// A UDP datagram with its header.
pub fn udp(from: u16, to: u16, payload: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::new();
    bytes.extend(from.to_be_bytes());
    bytes.extend(to.to_be_bytes());
    bytes.extend((payload.len() as u16 + 8).to_be_bytes());
    bytes.extend([0, 0]);
    bytes.extend(payload);
    bytes
}

/// An IPv4 packet; `place` is the field of flags and fragment offset.
pub fn ipv4(
    from: [u8; 4],
    to: [u8; 4],
    protocol: u8,
    id: u16,
    place: u16,
    payload: &[u8],
) -> Vec<u8> {
    let mut bytes = vec![0x45, 0];
    bytes.extend((payload.len() as u16 + 20).to_be_bytes());
    bytes.extend(id.to_be_bytes());
    bytes.extend(place.to_be_bytes());
    bytes.extend([64, protocol, 0, 0]);
    bytes.extend(from);
    bytes.extend(to);
    bytes.extend(payload);
    bytes
}

/// An IPv6 packet with a hop-by-hop header before what it carries.
pub fn ipv6(from: u8, to: u8, protocol: u8, payload: &[u8]) -> Vec<u8> {
    let mut bytes = vec![0x60, 0, 0, 0];
    bytes.extend((payload.len() as u16 + 8).to_be_bytes());
    bytes.extend([0, 64]);
    for last in [from, to] {
        bytes.extend([0x20, 1, 0xd, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, last]);
    }
    bytes.extend([protocol, 0, 1, 4, 0, 0, 0, 0]);
    bytes.extend(payload);
    bytes
}

/// A conversation as IPv4 packets: connection, then these words in turn, then the end.
pub fn conversation(words: &[(bool, &str)]) -> Vec<Vec<u8>> {
    let mut sequences = [u32::MAX - 5, 1000];
    let mut packets = Vec::new();
    let mut send = |from_client: bool, flags: u8, payload: &[u8]| {
        let (from, to) = if from_client {
            (CLIENT, SERVER)
        } else {
            (SERVER, CLIENT)
        };
        let sequence = &mut sequences[usize::from(!from_client)];
        let segment = tcp(from.1, to.1, *sequence, flags, payload);
        let step = payload.len() as u32 + u32::from(flags & (SYN | FIN) != 0);
        *sequence = sequence.wrapping_add(step);
        packets.push(ipv4(from.0, to.0, 6, 0, 0, &segment));
    };
    send(true, SYN, b"");
    send(false, SYN | ACK, b"");
    send(true, ACK, b"");
    for (from_client, text) in words {
        send(*from_client, ACK, text.as_bytes());
    }
    send(true, FIN | ACK, b"");
    send(false, FIN | ACK, b"");
    packets
}

/// A short IRC conversation.
pub fn irc() -> Vec<Vec<u8>> {
    conversation(&[
        (true, "NICK bot4711\r\nUSER bot 0 * :bot\r\n"),
        (false, ":irc.example 001 bot4711 :Welcome\r\n"),
        (true, "JOIN #x key\r\n"),
        (false, ":bot4711!bot@192.0.2.1 JOIN :#x\r\n"),
    ])
}

/// A file of the older format, of this link type.
pub fn pcap(link: u32, swapped: bool, ns: bool, packets: &[Vec<u8>]) -> Vec<u8> {
    let put = |number: u32| {
        if swapped {
            number.to_be_bytes()
        } else {
            number.to_le_bytes()
        }
    };
    let magic = if ns { 0xa1b2_3c4d } else { 0xa1b2_c3d4 };
    let mut bytes = Vec::new();
    bytes.extend(put(magic));
    bytes.extend(if swapped { [0, 2, 0, 4] } else { [2, 0, 4, 0] });
    for number in [0, 0, 65_535, link] {
        bytes.extend(put(number));
    }
    for (at, packet) in packets.iter().enumerate() {
        for number in [
            1_795_000_000,
            at as u32,
            packet.len() as u32,
            packet.len() as u32,
        ] {
            bytes.extend(put(number));
        }
        bytes.extend(packet);
    }
    bytes
}

/// A file of the newer format with two interfaces: packets of the second, in nanoseconds.
pub fn pcapng(link: u16, swapped: bool, packets: &[Vec<u8>]) -> Vec<u8> {
    let put = |number: u32| {
        if swapped {
            number.to_be_bytes()
        } else {
            number.to_le_bytes()
        }
    };
    let put16 = |number: u16| {
        if swapped {
            number.to_be_bytes()
        } else {
            number.to_le_bytes()
        }
    };
    let block = |kind: u32, body: &[u8]| {
        let mut bytes = put(kind).to_vec();
        let length = put(body.len().next_multiple_of(4) as u32 + 12);
        bytes.extend(length);
        bytes.extend(body);
        bytes.resize(bytes.len().next_multiple_of(4), 0);
        bytes.extend(length);
        bytes
    };
    let mut section = put(0x1a2b_3c4d).to_vec();
    section.extend([put16(1), put16(0)].concat());
    section.extend([0xff; 8]);
    let mut bytes = block(0x0a0d_0d0a, &section);
    bytes.extend(block(1, &[&put16(147)[..], &put16(0), &put(0)].concat()));
    let resolution = [&put16(9)[..], &put16(1), &[9, 0, 0, 0]].concat();
    bytes.extend(block(
        1,
        &[&put16(link)[..], &put16(0), &put(0), &resolution].concat(),
    ));
    // A block of a kind that nobody knows.
    bytes.extend(block(0x0bad, b"whatever"));
    for packet in packets {
        let time: u64 = 1_795_000_000_000_000_000;
        let mut body = Vec::new();
        for number in [
            1,
            (time >> 32) as u32,
            time as u32,
            packet.len() as u32,
            packet.len() as u32,
        ] {
            body.extend(put(number));
        }
        body.extend(packet);
        bytes.extend(block(6, &body));
    }
    bytes
}

/// Replays a file in memory.
pub fn replay_bytes(bytes: Vec<u8>) -> (Vec<FlowRecord>, Summary) {
    let mut flows = Vec::new();
    let settings = Settings::default();
    let summary = replay::replay(Input::new(Cursor::new(bytes)), &settings, |flow| {
        flows.push(flow)
    });
    (flows, summary.expect("a capture"))
}

/// Replays raw IP packets.
pub fn replay_packets(packets: &[Vec<u8>]) -> (Vec<FlowRecord>, Summary) {
    replay_bytes(pcap(101, false, false, packets))
}
