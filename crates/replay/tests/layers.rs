//! What is around IP: every link layer and tunnel, tunnels in tunnels, fragments, and the count
//! of what was not read.

mod common;

use common::wraps::{self, Wrap};
use common::*;
use proptest::prelude::*;
use protocols::App;
use replay::{FlowRecord, Summary, What};

fn wrapped(wrap: Wrap) -> Vec<Vec<u8>> {
    irc().iter().map(|packet| wrap(packet)).collect()
}

fn replayed(link: u32, packets: &[Vec<u8>]) -> (Vec<FlowRecord>, Summary) {
    replay_bytes(pcap(link, false, false, packets))
}

/// A file whose packets were cut at this length; with `honest`, it says how long they were.
fn cut(link: u32, packets: &[Vec<u8>], length: usize, honest: bool) -> (Vec<FlowRecord>, Summary) {
    let mut bytes = pcap(link, false, false, &[]);
    for packet in packets {
        let kept = &packet[..packet.len().min(length)];
        let on_wire = if honest { packet.len() } else { kept.len() };
        for number in [1_795_000_000, 0, kept.len() as u32, on_wire as u32] {
            bytes.extend(number.to_le_bytes());
        }
        bytes.extend(kept);
    }
    replay_bytes(bytes)
}

#[test]
fn irc_is_found_in_everything() {
    for (name, link, wrap) in wraps::ALL {
        let (flows, summary) = replayed(*link, &wrapped(*wrap));
        let found: Vec<_> = flows.iter().map(|flow| flow.outcome.app).collect();
        assert_eq!(found, [App::Irc], "{name}: {:?}", summary.not_read);
        // Neither the tunnel's own bytes nor any byte twice.
        assert_eq!((flows[0].bytes_up, flows[0].bytes_down), (46, 68), "{name}");
        assert!(flows[0].server.to_string().ends_with(":9999"), "{name}");
        assert!(summary.is_complete(), "{name}: {:?}", summary.not_read);
    }
}

#[test]
fn irc_over_ipv6_is_found_in_tunnels() {
    let six: Vec<Vec<u8>> = irc()
        .iter()
        .map(|packet| match packet[15] {
            1 => ipv6(1, 2, 6, &packet[20..]),
            _ => ipv6(2, 1, 6, &packet[20..]),
        })
        .collect();
    for (name, link, wrap) in wraps::ALL {
        // These say IPv4 themselves.
        let version_4 = [
            "minimal", "gre", "security", "4in6", "cooked", "cisco", "frame", "pppoe", "null",
        ];
        let others = [
            "pptp",
            "l2tpv2",
            "ppp",
            "erf with hdlc",
            "a switch",
            "authenticated",
            "esp",
        ];
        if version_4
            .iter()
            .chain(&others)
            .any(|start| name.contains(start))
            || *name == "ip in ip"
        {
            continue;
        }
        let packets: Vec<_> = six.iter().map(|packet| wrap(packet)).collect();
        let (flows, _) = replayed(*link, &packets);
        assert_eq!(flows.len(), 1, "{name}");
        assert_eq!(flows[0].outcome.app, App::Irc, "{name}");
    }
}

/// A tunnel in each other one: as many as there are pairs of those that begin with Ethernet.
#[test]
fn tunnels_in_tunnels() {
    let tunnels = || wraps::ALL.iter().filter(|(_, link, _)| *link == 1);
    for (outer_name, _, outer) in tunnels() {
        for (name, _, inner) in tunnels() {
            let packets: Vec<_> = irc()
                .iter()
                .map(|packet| {
                    let frame = inner(packet);
                    // What begins with IPv4 is an IP packet behind its frame.
                    match frame[12..14] {
                        [8, 0] => outer(&frame[14..]),
                        _ => outer(packet),
                    }
                })
                .collect();
            let (flows, _) = replayed(1, &packets);
            // A header kept short keeps the length of a datagram in no place.
            assert_eq!(flows.len(), 1, "{name} in {outer_name}");
            assert_eq!(flows[0].outcome.app, App::Irc, "{name} in {outer_name}");
        }
    }
}

#[test]
fn tunnels_beyond_the_bound_are_counted() {
    let packets: Vec<_> = irc()
        .into_iter()
        .map(|mut packet| {
            for _ in 0..9 {
                packet = ipv4([203, 0, 113, 1], [203, 0, 113, 2], 4, 0, 0, &packet);
            }
            packet
        })
        .collect();
    let (flows, summary) = replayed(101, &packets);
    assert!(flows.is_empty());
    assert_eq!(
        summary.not_read.amount(What::Nested).packets,
        summary.packets
    );
    assert!(!summary.is_complete());
    let eight = packets
        .iter()
        .map(|packet| packet[20..].to_vec())
        .collect::<Vec<_>>();
    assert_eq!(replayed(101, &eight).0[0].outcome.app, App::Irc);
}

#[test]
fn fragments_inside_and_outside_of_tunnels() {
    let halves = |packet: &[u8], id: u16| {
        let (from, to) = (
            [packet[12], packet[13], packet[14], packet[15]],
            [packet[16], packet[17], packet[18], packet[19]],
        );
        let payload = &packet[20..];
        let middle = (payload.len() / 2).next_multiple_of(8).min(payload.len());
        [
            ipv4(from, to, packet[9], id, 0x2000, &payload[..middle]),
            ipv4(
                from,
                to,
                packet[9],
                id,
                (middle / 8) as u16,
                &payload[middle..],
            ),
        ]
    };
    // The tunnel's packets are in parts.
    let outside: Vec<_> = wrapped(|packet| wraps::vxlan(7, packet))
        .iter()
        .zip(1..)
        .flat_map(|(frame, id)| halves(&frame[14..], id))
        .collect();
    // The tunnel carries parts.
    let inside: Vec<_> = irc()
        .iter()
        .zip(1..)
        .flat_map(|(packet, id)| halves(packet, id))
        .map(|part| wraps::vxlan(7, &part)[14..].to_vec())
        .collect();
    for packets in [outside, inside] {
        let (flows, summary) = replayed(101, &packets);
        assert_eq!(flows.len(), 1);
        assert_eq!((flows[0].bytes_up, flows[0].bytes_down), (46, 68));
        assert!(summary.is_complete(), "{:?}", summary.not_read);
        // Without its last parts, it is not complete.
        let first: Vec<_> = packets.iter().step_by(2).cloned().collect();
        let (_, summary) = replayed(101, &first);
        assert!(summary.not_read.amount(What::Fragments).packets >= 1);
        assert!(!summary.is_complete());
    }
}

/// IPv6 with options for the destination behind the header of fragments: they belong to the whole.
#[test]
fn options_within_a_fragmented_datagram() {
    let payload = [&[6, 0, 1, 4, 0, 0, 0, 0][..], &tcp(40_000, 9999, 1, 2, b"")].concat();
    let part = |offset: u16, more: u16, bytes: &[u8]| {
        let mut header = vec![60, 0];
        header.extend((offset | more).to_be_bytes());
        header.extend([0, 0, 0, 9]);
        ipv6(1, 2, 44, &[&header[..], bytes].concat())
    };
    let packets = [part(0, 1, &payload[..16]), part(16, 0, &payload[16..])];
    let (flows, summary) = replayed(101, &packets);
    assert_eq!(flows.len(), 1);
    assert!(summary.is_complete());
}

/// The same ends, the same first numbers, another network: two conversations.
#[test]
fn the_same_addresses_in_several_networks() {
    let mail = conversation(&[
        (false, "220 mx.example ESMTP\r\n"),
        (true, "EHLO a.example\r\n"),
        (false, "250 mx.example\r\n"),
        (true, "MAIL FROM:<a@a.example>\r\n"),
        (false, "250 ok\r\n"),
    ]);
    let in_turn = |one: Vec<Vec<u8>>, other: Vec<Vec<u8>>| {
        let mut packets = Vec::new();
        for at in 0..one.len().max(other.len()) {
            packets.extend(one.get(at).cloned());
            packets.extend(other.get(at).cloned());
        }
        packets
    };
    let all = |wrap: Wrap, packets: &[Vec<u8>]| {
        packets
            .iter()
            .map(|packet| wrap(packet))
            .collect::<Vec<_>>()
    };
    let outside = all(wraps::ethernet, &mail);
    let first = all(|packet| wraps::vxlan(1, packet), &irc());
    let second = all(|packet| wraps::vxlan(2, packet), &mail);
    for packets in [
        in_turn(outside.clone(), first.clone()),
        in_turn(first.clone(), outside.clone()),
        in_turn(first.clone(), second),
        [first, outside].concat(),
    ] {
        let (flows, _) = replayed(1, &packets);
        let mut apps: Vec<_> = flows.iter().map(|flow| flow.outcome.app.word()).collect();
        apps.sort_unstable();
        assert_eq!(apps, ["irc", "smtp"]);
        let bytes: u64 = flows
            .iter()
            .map(|flow| flow.bytes_up + flow.bytes_down)
            .sum();
        assert_eq!(bytes, 46 + 68 + 41 + 46);
    }
}

/// GTP and L2TP number each direction by itself, and VXLAN can do so too.
#[test]
fn two_directions_in_tunnels_with_different_numbers() {
    let packets: Vec<_> = irc()
        .iter()
        .map(|packet| wraps::vxlan(packet[15], packet))
        .collect();
    let (flows, _) = replayed(1, &packets);
    assert_eq!(flows.len(), 1);
    assert_eq!((flows[0].bytes_up, flows[0].bytes_down), (46, 68));
}

/// Other programs use these ports too: they are no tunnels, and all of them was read.
#[test]
fn ordinary_udp_on_ports_of_tunnels() {
    let ports = [
        1701, 2152, 2268, 3386, 3544, 4341, 4500, 4754, 4789, 4790, 5247, 6080, 6081, 6635, 8472,
        37_008, 48_879, 51_820,
    ];
    let texts: [&[u8]; 8] = [
        b"",
        b"\x01",
        b"hello there, this is some text of a game or a telephone",
        &[0; 64],
        &[0xff; 64],
        b"\x08\x00\x00\x00\x00\x00\x07\x00and what follows is no frame at all",
        b"\x12\x34\x01\x00\x00\x01\x00\x00\x00\x00\x00\x00\x03www\x07example\x00\x00\x01\x00\x01",
        b"\x60\x00\x00\x00 looks like version six, but is none of it at all ......",
    ];
    for port in ports {
        for text in texts {
            // The port for IPsec means what is not marked otherwise.
            if port == 4500
                && text.len().is_multiple_of(4)
                && text.len() >= 24
                && text[..4] != [0; 4]
            {
                continue;
            }
            let (flows, summary) = replayed(1, &[wraps::in_udp(port, text)]);
            assert_eq!(flows.len(), 1, "{port} {text:?}");
            assert_eq!(flows[0].bytes_up, text.len() as u64, "{port} {text:?}");
            assert!(
                summary.is_complete(),
                "{port} {text:?}: {:?}",
                summary.not_read
            );
        }
    }
}

#[test]
fn what_is_not_read_has_a_name() {
    let arp = b"\x02\0\0\0\0\x02\x02\0\0\0\0\x01\x08\x06\0\x01\x08\0\x06\x04";
    let secret = |start: &[u8]| [start, &[0x5a; 60]].concat();
    let handshake = |kind: u8, length: usize| {
        let mut bytes = vec![0x5a; length];
        bytes[..4].copy_from_slice(&[kind, 0, 0, 0]);
        bytes
    };
    let stories: Vec<(u32, Vec<u8>, What, bool)> = vec![
        (147, irc()[0].clone(), What::LinkType(147), true),
        (195, irc()[0].clone(), What::LinkType(195), true),
        (1, arp.to_vec(), What::EtherType(0x0806), false),
        (
            1,
            secret(b"\x02\0\0\0\0\x02\x02\0\0\0\0\x01\x77\x77"),
            What::EtherType(0x7777),
            true,
        ),
        (
            1,
            secret(b"\x02\0\0\0\0\x02\x02\0\0\0\0\x01\x88\xe5\x2c\0"),
            What::Encrypted("MACsec"),
            true,
        ),
        (
            1,
            secret(b"\x01\x80\xc2\0\0\0\x02\0\0\0\0\x01\0\x26\x42\x42\x03"),
            What::Llc(0x42),
            false,
        ),
        (1, wraps::in_ip(89, &[2; 40]), What::IpProtocol(89), false),
        (1, wraps::in_ip(108, &[2; 40]), What::IpProtocol(108), true),
        (1, wraps::in_ip(200, &[2; 40]), What::IpProtocol(200), true),
        (
            1,
            wraps::in_ip(50, &secret(b"\0\0\x01\x01\0\0\0\x01")),
            What::Encrypted("ESP"),
            true,
        ),
        (
            1,
            wraps::in_udp(4500, &secret(b"\0\0\x01\x01\0\0\0\x01")),
            What::Encrypted("ESP in UDP"),
            true,
        ),
        (
            1,
            wraps::in_udp(999, &handshake(1, 148)),
            What::Encrypted("WireGuard"),
            true,
        ),
        (
            1,
            wraps::in_udp(51_820, &handshake(4, 96)),
            What::Encrypted("WireGuard"),
            true,
        ),
        (
            1,
            wraps::in_ip(47, &secret(b"\x30\x01\x88\x0b\0\x40\0\x01\0\0\0\x01\0\xfd")),
            What::PppProtocol(0xfd),
            true,
        ),
        (
            1,
            wraps::in_ip(
                47,
                b"\x30\x01\x88\x0b\0\x08\0\x01\0\0\0\x01\xc0\x21\x01\x01\0\x04",
            ),
            What::PppProtocol(0xc021),
            false,
        ),
        (
            105,
            secret(b"\x88\x41\0\0aaaaaabbbbbbcccccc\0\0\0\0"),
            What::Encrypted("Wi-Fi"),
            true,
        ),
        (
            105,
            secret(b"\x08\x05\0\0aaaaaabbbbbbcccccc\0\0"),
            What::WifiFragment,
            true,
        ),
        (101, secret(b"\x45\0\0\x05"), What::Malformed, true),
        (101, vec![0x45, 0, 0, 40], What::CutHeaders, true),
    ];
    for (link, packet, what, telling) in stories {
        let (_, summary) = replayed(link, &[packet]);
        let kinds: Vec<_> = summary
            .not_read
            .kinds()
            .iter()
            .map(|(what, _)| *what)
            .collect();
        assert_eq!(kinds, [what]);
        assert_eq!(summary.is_complete(), !telling, "{what}");
    }
}

/// These are in every capture and say nothing of conversations; empty datagrams come from
/// scanners of protocols, and frames without data from radios.
#[test]
fn what_holds_nothing_is_no_loss() {
    let keeps_alive = wraps::in_ip(47, &[0, 0, 0, 0]);
    let (_, summary) = replayed(1, &[keeps_alive]);
    assert!(summary.is_complete());
    let empty: Vec<_> = (0..=255)
        .filter(|protocol| ![6, 17, 0, 43, 44, 51, 60, 135, 139, 140].contains(protocol))
        .map(|protocol| wraps::in_ip(protocol, b""))
        .collect();
    let (_, summary) = replayed(1, &empty);
    assert!(summary.is_complete(), "{:?}", summary.not_read);
    let beacon = b"\x80\0\0\0aaaaaabbbbbbcccccc\0\0and so on".to_vec();
    let null = b"\x48\x01\0\0aaaaaabbbbbbcccccc\0\0".to_vec();
    let acknowledged = b"\xd4\0\0\0aaaaaa".to_vec();
    assert!(replayed(105, &[beacon, null, acknowledged]).1.is_complete());
}

#[test]
fn cut_payload_is_counted_whatever_the_file_says() {
    for honest in [true, false] {
        let (_, summary) = cut(1, &wrapped(wraps::ethernet), 60, honest);
        assert_eq!(
            summary.not_read.amount(What::CutPayload).packets,
            4,
            "{honest}"
        );
        let (_, summary) = cut(1, &wrapped(|packet| wraps::vxlan(7, packet)), 110, honest);
        assert_eq!(
            summary.not_read.amount(What::CutPayload).packets,
            4,
            "{honest}"
        );
        let (flows, summary) = cut(1, &wrapped(wraps::ethernet), 40, honest);
        assert!(flows.is_empty());
        assert_eq!(
            summary.not_read.amount(What::CutHeaders).packets,
            9,
            "{honest}"
        );
        assert!(!summary.is_complete());
    }
    // Only the filling of short frames is missing.
    let filled: Vec<_> = wrapped(wraps::ethernet)
        .into_iter()
        .map(|mut frame| {
            frame.extend([0; 8]);
            frame
        })
        .collect();
    let short = filled.iter().map(Vec::len).min().unwrap() - 8;
    let (_, summary) = cut(1, &filled[..1], short, true);
    assert!(summary.is_complete());
}

/// With segmentation offload, the length of a datagram is zero.
#[test]
fn a_datagram_without_a_length_can_be_cut_too() {
    let packets: Vec<_> = wrapped(wraps::ethernet)
        .into_iter()
        .map(|mut frame| {
            frame[16..18].copy_from_slice(&[0, 0]);
            frame
        })
        .collect();
    let (flows, summary) = replayed(1, &packets);
    assert_eq!(flows[0].outcome.app, App::Irc);
    assert!(summary.is_complete());
    let (flows, summary) = cut(1, &packets, 60, true);
    assert_eq!((flows[0].bytes_up, flows[0].bytes_down), (46, 68));
    assert_eq!(summary.not_read.amount(What::CutPayload).packets, 4);
}

#[test]
fn kinds_without_end_are_counted_together() {
    let packets: Vec<_> = (0x7000..0x7100u16)
        .map(|kind| {
            [
                b"\x02\0\0\0\0\x02\x02\0\0\0\0\x01",
                &kind.to_be_bytes()[..],
                b"payload",
            ]
            .concat()
        })
        .collect();
    let (_, summary) = replayed(1, &packets);
    let kinds = summary.not_read.kinds();
    assert_eq!(
        kinds[0],
        (What::Other, summary.not_read.amount(What::Other))
    );
    let all: u64 = kinds.iter().map(|(_, amount)| amount.packets).sum();
    assert_eq!((all, kinds.len() <= 65), (256, true));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(500))]

    /// Cut off or changed anywhere, no packet of any kind brings replay down.
    #[test]
    fn never_panics(which in 0..wraps::ALL.len(), other in 0..wraps::ALL.len(), length in 0usize..200, honest in any::<bool>(),
        changes in prop::collection::vec((0usize..160, any::<u8>()), 0..6)) {
        let (_, link, wrap) = wraps::ALL[which];
        let mut packets = wrapped(wrap);
        packets.extend(wrapped(wraps::ALL[other].2));
        for packet in &mut packets {
            for (at, byte) in &changes {
                let at = at % packet.len();
                packet[at] = *byte;
            }
        }
        let _ = cut(link, &packets, length, honest);
    }
}
