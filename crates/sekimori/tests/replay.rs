//! `replay` through the real command line.

use std::io::Write as _;
use std::process::{Command, Output, Stdio};

use serde_json::Value;

/// A capture of raw IP packets with one mail session, on a port of its own.
fn capture() -> Vec<u8> {
    let mut bytes = Vec::new();
    for number in [0xa1b2_c3d4_u32, 0x0004_0002, 0, 0, 65_535, 101] {
        bytes.extend(number.to_le_bytes());
    }
    let mut packet = |from_client: bool, sequence: u32, flags: u8, payload: &[u8]| {
        let (from, to): ([u8; 4], [u8; 4]) = ([192, 0, 2, 1], [198, 51, 100, 7]);
        let (from, to, ports) = if from_client {
            (from, to, [40_000_u16, 12_525])
        } else {
            (to, from, [12_525, 40_000])
        };
        let length = 40 + payload.len();
        for number in [1_795_000_000, 500_000, length as u32, length as u32] {
            bytes.extend(number.to_le_bytes());
        }
        bytes.extend([
            0x45,
            0,
            (length >> 8) as u8,
            length as u8,
            0,
            0,
            0,
            0,
            64,
            6,
            0,
            0,
        ]);
        bytes.extend([from, to].concat());
        bytes.extend(ports[0].to_be_bytes());
        bytes.extend(ports[1].to_be_bytes());
        bytes.extend(sequence.to_be_bytes());
        bytes.extend([0, 0, 0, 0, 0x50, flags, 255, 255, 0, 0, 0, 0]);
        bytes.extend(payload);
    };
    packet(true, 10, 2, b"");
    packet(false, 20, 18, b"");
    packet(false, 21, 16, b"220 mx.example ESMTP\r\n");
    packet(true, 11, 16, b"EHLO a.example\r\n");
    packet(false, 43, 16, b"250 mx.example\r\n");
    packet(true, 27, 16, b"MAIL FROM:<a@a.example>\r\n");
    bytes
}

fn replay(arguments: &[&str], input: &[u8]) -> Output {
    let mut child = Command::new(env!("CARGO_BIN_EXE_sekimori"))
        .arg("replay")
        .args(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    // It need not read all of it.
    let _ = child.stdin.take().unwrap().write_all(input);
    child.wait_with_output().unwrap()
}

#[test]
fn json_from_standard_input() {
    let output = replay(&["-", "--json"], &capture());
    assert_eq!(output.status.code(), Some(0));
    let flow: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(flow["type"], "flow");
    assert_eq!(flow["file"], "-");
    assert_eq!(flow["proto"], "tcp");
    assert_eq!(flow["src"], "192.0.2.1:40000");
    assert_eq!(flow["dst"], "198.51.100.7:12525");
    assert_eq!(flow["app"], "smtp");
    assert!(flow["confidence"].as_f64().unwrap() > 0.9);
    assert_eq!(flow["first"], 1_795_000_000.5);
    assert_eq!(
        (&flow["bytes_up"], &flow["bytes_down"]),
        (&41.into(), &38.into())
    );
}

#[test]
fn a_table_for_people() {
    let output = replay(&["-"], &capture());
    let text = String::from_utf8(output.stdout).unwrap();
    assert!(text.contains("a.example from <a@a.example>"), "{text}");
    assert!(
        text.ends_with("1 flows in 6 packets: 0 IRC, 1 mail, 0 not recognised.\n"),
        "{text}"
    );
}

#[test]
fn damage_is_said_and_the_rest_told() {
    let mut bytes = capture();
    bytes.truncate(bytes.len() - 5);
    let output = replay(&["-", "--json"], &bytes);
    assert_eq!(output.status.code(), Some(1));
    assert_eq!(String::from_utf8_lossy(&output.stdout).lines().count(), 1);
    let said = String::from_utf8(output.stderr).unwrap();
    assert_eq!(said.lines().count(), 1);
    assert!(
        said.contains("5 bytes are missing; the 5 packets before it were read"),
        "{said}"
    );
}

#[test]
fn what_cannot_be_read_is_named() {
    let output = replay(&["/nowhere/at-all.pcap"], b"");
    assert_eq!(output.status.code(), Some(1));
    let said = String::from_utf8(output.stderr).unwrap();
    assert!(
        said.contains("/nowhere/at-all.pcap cannot be read"),
        "{said}"
    );
    assert_eq!(replay(&[], b"").status.code(), Some(2));
    let output = replay(&["-"], b"this is a letter to somebody, no capture\n");
    assert_eq!(output.status.code(), Some(1));
}
