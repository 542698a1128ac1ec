//! Formats, link layers, and damage.

mod common;

use std::io::{Cursor, Write as _};

use common::*;
use proptest::prelude::*;
use protocols::App;
use replay::{Damage, Error, FlowRecord, Input, Settings, What};

fn assert_irc(flows: &[FlowRecord]) {
    assert_eq!(flows.len(), 1);
    let flow = &flows[0];
    assert_eq!(flow.outcome.app, App::Irc);
    assert!(flow.server.to_string().ends_with(":9999"));
    assert_eq!(flow.first_ns / 1_000_000_000, 1_795_000_000);
    assert_eq!((flow.bytes_up, flow.bytes_down), (46, 68));
}

#[test]
fn both_formats_in_both_byte_orders() {
    for swapped in [false, true] {
        for ns in [false, true] {
            assert_irc(&replay_bytes(pcap(101, swapped, ns, &irc())).0);
        }
        assert_irc(&replay_bytes(pcapng(101, swapped, &irc())).0);
    }
}

#[test]
fn compressed() {
    let plain = pcap(101, false, false, &irc());
    let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    gzip.write_all(&plain).unwrap();
    assert_irc(&replay_bytes(gzip.finish().unwrap()).0);
    assert_irc(&replay_bytes(zstd::encode_all(Cursor::new(&plain), 3).unwrap()).0);
}

fn xz(plain: &[u8], preset: u32) -> Vec<u8> {
    let options = lzma_rust2::XzOptions::with_preset(preset);
    let mut xz = lzma_rust2::XzWriter::new(Vec::new(), options).unwrap();
    xz.write_all(plain).unwrap();
    xz.finish().unwrap()
}

fn bzip2(plain: &[u8]) -> Vec<u8> {
    let mut bzip2 = bzip2::write::BzEncoder::new(Vec::new(), bzip2::Compression::fast());
    bzip2.write_all(plain).unwrap();
    bzip2.finish().unwrap()
}

fn lz4(plain: &[u8]) -> Vec<u8> {
    let mut lz4 = lz4_flex::frame::FrameEncoder::new(Vec::new());
    lz4.write_all(plain).unwrap();
    lz4.finish().unwrap()
}

#[test]
fn compressed_by_others() {
    let plain = pcap(101, false, false, &irc());
    let (first, second) = plain.split_at(200);
    for packed in [
        xz(&plain, 6),
        bzip2(&plain),
        lz4(&plain),
        // In two pieces one after the other, as compressors on several processors make them.
        [xz(first, 1), xz(second, 1)].concat(),
        [bzip2(first), bzip2(second)].concat(),
        [lz4(first), lz4(second)].concat(),
    ] {
        assert_irc(&replay_bytes(packed.clone()).0);
        let cut = Input::new(Cursor::new(packed[..packed.len() * 3 / 4].to_vec()));
        let replayed = replay::replay(cut, &Settings::default(), |_| {});
        assert!(replayed.map_or(true, |summary| summary.damage.is_some()));
    }
}

/// The dictionary would take more memory than replay may.
#[test]
fn a_dictionary_beyond_the_bound_is_named() {
    let packed = xz(&pcap(101, false, false, &irc()), 9);
    let replayed = replay::replay(
        Input::new(Cursor::new(packed)),
        &Settings::default(),
        |_| {},
    );
    let error = replayed.unwrap_err().to_string();
    assert!(error.contains("xz -9"), "{error}");
}

#[test]
fn other_compressions_are_named() {
    for (first, name) in [
        (&b"PK\x03\x04 and so on"[..], "zip"),
        (b"7z\xbc\xaf\x27\x1c and so on", "7-Zip"),
        (b"LZIP\x01 and so on", "lzip"),
    ] {
        let replayed = replay::replay(Input::new(Cursor::new(first)), &Settings::default(), |_| {});
        let error = replayed.unwrap_err().to_string();
        assert!(
            error.contains(name) && error.contains("not read"),
            "{error}"
        );
    }
}

#[test]
fn compressed_and_cut_off() {
    let packets: Vec<_> = (0..3000).flat_map(|_| irc()).collect();
    let plain = pcap(101, false, false, &packets);
    let mut packed = zstd::encode_all(Cursor::new(&plain), 1).unwrap();
    packed.truncate(packed.len() - 20);
    let (_, summary) = replay_bytes(packed);
    assert!(summary.damage.is_some());
}

#[test]
fn all_link_layers() {
    let before: [(u32, &[u8]); 9] = [
        (1, b"aaaaaabbbbbb\x08\x00"),
        (1, b"aaaaaabbbbbb\x81\x00\x00\x05\x08\x00"),
        (1, b"aaaaaabbbbbb\x88\xa8\x00\x05\x81\x00\x00\x06\x08\x00"),
        (0, b"\x02\x00\x00\x00"),
        (108, b"\x00\x00\x00\x02"),
        (113, b"\x00\x00\x00\x01\x00\x06aaaaaaaa\x08\x00"),
        (
            276,
            b"\x08\x00\x00\x00\x00\x00\x00\x01\x00\x01\x00\x06aaaaaaaa",
        ),
        (101, b""),
        (228, b""),
    ];
    for (link, header) in before {
        let packets: Vec<_> = irc()
            .iter()
            .map(|packet| [header, packet].concat())
            .collect();
        assert_irc(&replay_bytes(pcap(link, false, false, &packets)).0);
    }
}

#[test]
fn a_link_type_that_is_not_known_is_counted() {
    let (flows, summary) = replay_bytes(pcap(147, false, false, &irc()));
    assert!(flows.is_empty());
    let amount = summary.not_read.amount(What::LinkType(147));
    assert_eq!(amount.packets, summary.packets);
    assert!(!summary.is_complete());
}

#[test]
fn a_file_is_read_up_to_the_damage() {
    let whole = pcap(101, false, false, &irc());
    let (_, summary) = replay_bytes(whole[..whole.len() - 3].to_vec());
    assert_eq!(summary.packets, 8);
    assert!(matches!(
        summary.damage,
        Some(Damage::Truncated { missing: 3, .. })
    ));

    let mut bad = whole;
    let at = bad.len();
    bad.extend([0; 8]);
    bad.extend([0xff; 8]);
    let (flows, summary) = replay_bytes(bad);
    assert_irc(&flows);
    assert!(matches!(summary.damage, Some(Damage::Length { offset, .. }) if offset == at as u64));
}

#[test]
fn what_is_no_capture_is_said() {
    let replayed = |bytes: &'static [u8]| {
        replay::replay(Input::new(Cursor::new(bytes)), &Settings::default(), |_| {})
    };
    assert!(matches!(
        replayed(b"\x7fELF and more of it that is long enough"),
        Err(Error::NoCapture)
    ));
    assert!(matches!(replayed(b""), Err(Error::Empty)));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn never_panics(at in prop::collection::vec((0usize..2000, any::<u8>()), 1..20), cut in 0usize..1500, newer in any::<bool>()) {
        let mut bytes = if newer { pcapng(101, false, &irc()) } else { pcap(101, true, true, &irc()) };
        for (at, byte) in at {
            let at = at % bytes.len();
            bytes[at] = byte;
        }
        bytes.truncate(bytes.len().saturating_sub(cut));
        let _ = replay::replay(Input::new(Cursor::new(bytes)), &Settings::default(), |_| {});
    }

    #[test]
    fn never_panics_on_any_packet(packets in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..120), 1..30), link in 0u32..300) {
        let _ = replay_bytes(pcap(link, false, false, &packets));
        let with_ip: Vec<_> = packets.iter().map(|rest| [&[0x45, 0, 0, 0, 0, 0, 0, 0, 64, 6][..], rest].concat()).collect();
        let _ = replay_bytes(pcap(101, false, false, &with_ip));
    }
}
