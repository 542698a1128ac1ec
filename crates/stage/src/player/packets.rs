//! Packets made by hand: an IP packet through a raw socket, and a frame past the whole
//! network stack. Both carry a SYN with data, which a server with Fast Open takes in one go,
//! and then a segment with the same data. Both need CAP_NET_RAW.

use std::io;
use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4};

use rustix::net::{
    AddressFamily, Protocol, SendFlags, SocketFlags, SocketType, ipproto, sendto, socket_with,
};

use super::calls;
use super::mailer::Report;
use super::sockets::FIRST_LINE;
use crate::smtp::client::SmtpFailure;

const ETHERTYPE_IPV4: u16 = 0x0800;
const SYN: u8 = 0x02;
const PUSH_ACK: u8 = 0x18;

/// By a raw IPv4 socket whose headers the program writes itself.
pub(super) fn raw(server: SocketAddr) -> Report {
    let send = || -> io::Result<usize> {
        let server = ipv4(server)?;
        let socket = socket_with(
            AddressFamily::INET,
            SocketType::RAW,
            SocketFlags::CLOEXEC,
            Some(ipproto::RAW),
        )?;
        let mut sent = 0;
        for packet in packets(server) {
            sendto(&socket, &packet, SendFlags::empty(), &server)?;
            sent += FIRST_LINE.len();
        }
        Ok(sent)
    };
    report("raw", send())
}

/// By a packet socket on the loopback interface.
pub(super) fn link_layer(server: SocketAddr) -> Report {
    let send = || -> io::Result<usize> {
        let server = ipv4(server)?;
        // Protocol 0: nothing is received, only sent.
        let none: Option<Protocol> = None;
        let socket = socket_with(
            AddressFamily::PACKET,
            SocketType::RAW,
            SocketFlags::CLOEXEC,
            none,
        )?;
        let mut sent = 0;
        for packet in packets(server) {
            let mut frame = vec![0; 12];
            frame.extend(ETHERTYPE_IPV4.to_be_bytes());
            frame.extend(packet);
            calls::send_frame(&socket, ETHERTYPE_IPV4, &frame)?;
            sent += FIRST_LINE.len();
        }
        Ok(sent)
    };
    report("packet", send())
}

fn report(name: &str, result: io::Result<usize>) -> Report {
    match result {
        Ok(sent) => Report::new(name, "sent", sent as u64),
        Err(error) => Report::failed(name, &SmtpFailure::System("send a packet", error), 0),
    }
}

fn ipv4(server: SocketAddr) -> io::Result<SocketAddrV4> {
    match server {
        SocketAddr::V4(server) => Ok(server),
        SocketAddr::V6(_) => Err(io::Error::from_raw_os_error(libc::EAFNOSUPPORT)),
    }
}

/// A SYN with data and a later segment of the same connection.
fn packets(server: SocketAddrV4) -> [Vec<u8>; 2] {
    // The port differs from process to process, so that repeated runs are new connections.
    let port = 20_000 + (std::process::id() % 40_000) as u16;
    let source = SocketAddrV4::new(
        if server.ip().is_loopback() {
            Ipv4Addr::LOCALHOST
        } else {
            *server.ip()
        },
        port,
    );
    let first = segment(source, server, 1000, 0, SYN, FIRST_LINE);
    let second = segment(source, server, 1001, 1, PUSH_ACK, FIRST_LINE);
    [first, second]
}

/// An IPv4 packet with a TCP segment.
fn segment(
    source: SocketAddrV4,
    server: SocketAddrV4,
    sequence: u32,
    acknowledged: u32,
    flags: u8,
    data: &[u8],
) -> Vec<u8> {
    let mut tcp = Vec::with_capacity(20 + data.len());
    tcp.extend(source.port().to_be_bytes());
    tcp.extend(server.port().to_be_bytes());
    tcp.extend(sequence.to_be_bytes());
    tcp.extend(acknowledged.to_be_bytes());
    tcp.extend([5 << 4, flags]);
    tcp.extend(65_000u16.to_be_bytes());
    tcp.extend([0; 4]);
    tcp.extend(data);

    let mut pseudo_header = Vec::new();
    pseudo_header.extend(source.ip().octets());
    pseudo_header.extend(server.ip().octets());
    pseudo_header.extend([0, libc::IPPROTO_TCP as u8]);
    pseudo_header.extend((tcp.len() as u16).to_be_bytes());
    pseudo_header.extend(&tcp);
    let sum = checksum(&pseudo_header).to_be_bytes();
    tcp[16..18].copy_from_slice(&sum);

    let mut packet = vec![0x45, 0];
    packet.extend((20 + tcp.len() as u16).to_be_bytes());
    packet.extend([0, 0, 0x40, 0, 64, libc::IPPROTO_TCP as u8, 0, 0]);
    packet.extend(source.ip().octets());
    packet.extend(server.ip().octets());
    let sum = checksum(&packet).to_be_bytes();
    packet[10..12].copy_from_slice(&sum);
    packet.extend(tcp);
    packet
}

/// The Internet checksum (RFC 1071).
fn checksum(bytes: &[u8]) -> u16 {
    let words = bytes
        .chunks(2)
        .map(|pair| u32::from(pair[0]) << 8 | u32::from(*pair.get(1).unwrap_or(&0)));
    let mut sum: u32 = words.sum();
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    !(sum as u16)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn checksum_of_the_example_in_rfc_1071() {
        assert_eq!(
            checksum(&[0x00, 0x01, 0xf2, 0x03, 0xf4, 0xf5, 0xf6, 0xf7]),
            !0xddf2
        );
    }

    #[test]
    fn a_packet_sums_up_to_zero() {
        let server = "127.0.0.1:25".parse().unwrap();
        let [packet, _] = packets(server);
        assert_eq!(checksum(&packet[..20]), 0);
        assert_eq!(packet.len(), 40 + FIRST_LINE.len());
    }
}
