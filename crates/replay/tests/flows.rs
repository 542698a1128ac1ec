//! Following flows: order, repetition, gaps, sides, fragments, bounds.

mod common;

use std::io::Cursor;

use common::*;
use protocols::{App, Facts};
use replay::{Input, Settings, Transport};

#[test]
fn order_and_repetition_do_not_matter() {
    let mut packets = irc();
    packets.swap(5, 3);
    packets.insert(5, packets[4].clone());
    let (flows, _) = replay_packets(&packets);
    assert_eq!(flows.len(), 1);
    let Facts::Irc(facts) = &flows[0].outcome.facts else {
        panic!("no IRC")
    };
    assert_eq!(facts.nick.as_deref(), Some("bot4711"));
    assert!(facts.channels[0].with_key);
    assert_eq!((flows[0].bytes_up, flows[0].bytes_down), (46, 68));
}

#[test]
fn from_the_middle_the_sides_are_found() {
    // Neither port tells; the first that is seen is the server's.
    let mut packets = irc();
    packets.drain(..4);
    let (flows, _) = replay_packets(&packets);
    assert_eq!(flows[0].outcome.app, App::Irc);
    assert!(flows[0].server.to_string().ends_with(":9999"));
}

#[test]
fn a_gap_does_not_hide_it() {
    let mut packets = irc();
    packets.remove(3);
    let (flows, _) = replay_packets(&packets);
    assert_eq!(flows[0].outcome.app, App::Irc);
}

#[test]
fn the_same_ends_again_are_another_connection() {
    let packets = [irc(), irc()].concat();
    let (flows, _) = replay_packets(&packets);
    let counts: Vec<_> = flows.iter().map(|flow| flow.packets).collect();
    assert_eq!(counts, [irc().len() as u64; 2]);
}

#[test]
fn a_port_scan_is_one_flow_each() {
    let packets: Vec<_> = (1..100)
        .map(|port| ipv4(CLIENT.0, SERVER.0, 6, 0, 0, &tcp(50_000, port, 7, SYN, b"")))
        .collect();
    let (flows, _) = replay_packets(&packets);
    assert_eq!(flows.len(), 99);
    assert!(
        flows
            .iter()
            .all(|flow| flow.client.port() == 50_000 && flow.outcome.app == App::Unknown)
    );
}

#[test]
fn ipv6_and_its_extension_headers() {
    let segments = [
        tcp(40_000, 25, 1, SYN, b""),
        tcp(
            40_000,
            25,
            2,
            ACK,
            b"EHLO a.example\r\nMAIL FROM:<a@a.example>\r\n",
        ),
    ];
    let mut packets: Vec<_> = segments
        .iter()
        .map(|segment| ipv6(1, 2, 6, segment))
        .collect();
    packets.push(ipv6(
        2,
        1,
        6,
        &tcp(25, 40_000, 9, ACK, b"220 mx ESMTP\r\n250 mx\r\n"),
    ));
    let (flows, _) = replay_packets(&packets);
    assert_eq!(flows[0].outcome.app, App::Smtp);
    assert_eq!(flows[0].server.to_string(), "[2001:db8::2]:25");
}

/// A query for the mail exchangers of example.org.
const MX_QUERY: &[u8] =
    b"\x12\x34\x01\x00\x00\x01\x00\x00\x00\x00\x00\x00\x07example\x03org\x00\x00\x0f\x00\x01";

#[test]
fn names_that_are_asked_for() {
    let query = ipv4(CLIENT.0, SERVER.0, 17, 0, 0, &udp(5000, 53, MX_QUERY));
    let (flows, _) = replay_packets(&[query]);
    assert_eq!(
        (flows[0].transport, flows[0].outcome.app),
        (Transport::Udp, App::Dns)
    );
    let Facts::Dns(message) = &flows[0].outcome.facts else {
        panic!("no DNS")
    };
    assert!(message.questions[0].is_mx());
}

#[test]
fn fragments_are_put_together() {
    let whole = udp(5000, 5300, MX_QUERY);
    let (first, last) = whole.split_at(24);
    let packets = [
        ipv4(CLIENT.0, SERVER.0, 17, 7, 3, last),
        ipv4(CLIENT.0, SERVER.0, 17, 7, 0x2000, first),
    ];
    let (flows, _) = replay_packets(&packets);
    assert_eq!(flows.len(), 1);
    assert_eq!(flows[0].outcome.app, App::Dns);
}

#[test]
fn too_many_flows_leave_early_and_are_counted() {
    let packets: Vec<_> = (0..1000u16)
        .map(|port| {
            ipv4(
                CLIENT.0,
                SERVER.0,
                6,
                0,
                0,
                &tcp(10_000 + port, 80, 7, SYN, b""),
            )
        })
        .collect();
    let settings = Settings {
        flows_max: 100,
        ..Settings::default()
    };
    let mut told = 0;
    let input = Input::new(Cursor::new(pcap(101, false, false, &packets)));
    let summary = replay::replay(input, &settings, |_| told += 1).unwrap();
    assert_eq!((told, summary.flows, summary.evicted), (1000, 1000, 900));
}

#[test]
fn bytes_that_are_held_back_are_bounded() {
    // Lines without an end on many connections.
    let packets: Vec<_> = (0..2000u16)
        .map(|port| {
            ipv4(
                CLIENT.0,
                SERVER.0,
                6,
                0,
                0,
                &tcp(10_000 + port, 80, 7, ACK, &[b'x'; 900]),
            )
        })
        .collect();
    let settings = Settings {
        held_max_bytes: 100_000,
        ..Settings::default()
    };
    let input = Input::new(Cursor::new(pcap(101, false, false, &packets)));
    let summary = replay::replay(input, &settings, |_| {}).unwrap();
    assert_eq!(summary.flows, 2000);
    assert!(summary.evicted > 1800);
}
