//! Packets made by hand: an IP packet through a raw socket, and a frame past the whole
//! network stack. Both carry a SYN with data, which a server with Fast Open takes in one go,
//! and then a segment with the same data. Both need CAP_NET_RAW.

use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV4, SocketAddrV6};

use rustix::net::{
    AddressFamily, Protocol, SendFlags, SocketFlags, SocketType, ipproto, sendto, socket_with,
};

use super::calls;
use super::mailer::Report;
use super::sockets::FIRST_LINE;
use crate::smtp::client::SmtpFailure;

const ETHERTYPE_IPV4: u16 = 0x0800;
const SYN: u8 = 0x02;
const RESET: u8 = 0x04;
const ACK: u8 = 0x10;
const PUSH_ACK: u8 = 0x18;
const DO_NOT_FRAGMENT: u16 = 0x4000;
const MORE_FRAGMENTS: u16 = 0x2000;
/// Any number but zero.
const FRAGMENTED: u16 = 0x2525;
/// Four options of IPv4 that do nothing.
const NO_OPERATIONS: [u8; 4] = [1; 4];
/// A header of options for an IPv6 destination: TCP comes next, eight bytes in all, padding.
const DESTINATION_OPTIONS: [u8; 8] = [libc::IPPROTO_TCP as u8, 0, 1, 4, 0, 0, 0, 0];

/// By a raw socket. The program writes all headers itself: plain IPv4, IPv4 with options, in fragments,
/// plain IPv6, or IPv6 with a header between that of IP and that of TCP. Or that of TCP alone.
pub(super) fn raw(name: &str, server: SocketAddr) -> Report {
    let send = || -> io::Result<usize> {
        let (family, to, packets) = match name {
            "raw-tcp" => {
                let to = SocketAddr::V4(ipv4(server)?);
                (AddressFamily::INET, to, segments(to).to_vec())
            }
            "raw-tcp-ipv6" => {
                let server = SocketAddrV6::new(Ipv6Addr::LOCALHOST, server.port(), 0, 0);
                let to = SocketAddr::V6(SocketAddrV6::new(*server.ip(), 0, 0, 0));
                (AddressFamily::INET6, to, segments(server.into()).to_vec())
            }
            "raw-ipv6" | "raw-ipv6-options" => {
                // The same port on the loopback address; a raw socket's own port is its protocol.
                let server = SocketAddrV6::new(Ipv6Addr::LOCALHOST, server.port(), 0, 0);
                let to = SocketAddr::V6(SocketAddrV6::new(*server.ip(), 0, 0, 0));
                let options = name == "raw-ipv6-options";
                let packets = segments(SocketAddr::V6(server))
                    .map(|segment| ipv6_packet(server, &segment, options));
                (AddressFamily::INET6, to, packets.to_vec())
            }
            _ => {
                let server = ipv4(server)?;
                let packets = match name {
                    "raw-answer" => answers(SocketAddr::V4(server)),
                    _ => segments(SocketAddr::V4(server)),
                };
                let packets = packets.iter().flat_map(|segment| match name {
                    "raw-options" => vec![ipv4_packet(server, segment, &NO_OPERATIONS, 0)],
                    // As little as a fragment may carry: both ports, and four bytes more.
                    "raw-fragments" => fragments(server, segment, 8),
                    // The flags too, so that it seems to be a whole segment without payload.
                    "raw-fragments-16" => fragments(server, segment, 16),
                    _ => vec![ipv4_packet(server, segment, &[], 0)],
                });
                let to = SocketAddr::V4(server);
                (AddressFamily::INET, to, packets.collect())
            }
        };
        let protocol = if name.starts_with("raw-tcp") {
            ipproto::TCP
        } else {
            ipproto::RAW
        };
        send_raw(family, protocol, to, &packets)?;
        Ok(2 * FIRST_LINE.len())
    };
    report(name, send())
}

fn send_raw(
    family: AddressFamily,
    protocol: Protocol,
    to: SocketAddr,
    packets: &[Vec<u8>],
) -> io::Result<()> {
    let flags = SocketFlags::CLOEXEC;
    let socket = socket_with(family, SocketType::RAW, flags, Some(protocol))?;
    for packet in packets {
        sendto(&socket, packet, SendFlags::empty(), &to)?;
    }
    Ok(())
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
        for segment in segments(SocketAddr::V4(server)) {
            let packet = ipv4_packet(server, &segment, &[], 0);
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

/// Sends what somebody could who knows of a connection and is no part of it: a segment between these
/// addresses whose numbers are wrong, so that nobody takes it. Needs CAP_NET_RAW.
///
/// # Errors
///
/// When the raw socket cannot be had or refuses to send.
pub fn forge(from: SocketAddrV4, to: SocketAddrV4, data: &[u8]) -> io::Result<()> {
    let to_any = SocketAddr::V4(to);
    let segment = segment(from.port(), to_any, 0x2525_2525, 1, PUSH_ACK, data);
    let packet = ipv4_packet(to, &segment, &[], 0);
    send_raw(AddressFamily::INET, ipproto::RAW, to_any, &[packet])
}

/// A SYN with data and a later segment of the same connection.
fn segments(server: SocketAddr) -> [Vec<u8>; 2] {
    // The port differs from process to process, so that repeated runs are new connections.
    let port = 20_000 + (std::process::id() % 40_000) as u16;
    let first = segment(port, server, 1000, 0, SYN, FIRST_LINE);
    let second = segment(port, server, 1001, 1, PUSH_ACK, FIRST_LINE);
    [first, second]
}

/// What the kernel answers for a connection that it does not know: an acknowledgement and a
/// reset, in which nothing is said.
fn answers(server: SocketAddr) -> [Vec<u8>; 2] {
    [ACK, RESET].map(|flags| segment(20_000, server, 1000, 1, flags, b""))
}

/// A segment in two fragments, the first of so many bytes: a multiple of eight.
fn fragments(server: SocketAddrV4, segment: &[u8], bytes: usize) -> Vec<Vec<u8>> {
    let (first, rest) = segment.split_at(bytes);
    vec![
        ipv4_packet(server, first, &[], MORE_FRAGMENTS),
        ipv4_packet(server, rest, &[], (bytes / 8) as u16),
    ]
}

/// The loopback address for a server there, and for another of this machine its own.
fn source(server: SocketAddrV4) -> Ipv4Addr {
    if server.ip().is_loopback() {
        Ipv4Addr::LOCALHOST
    } else {
        *server.ip()
    }
}

/// A TCP segment.
fn segment(
    port: u16,
    server: SocketAddr,
    sequence: u32,
    acknowledged: u32,
    flags: u8,
    data: &[u8],
) -> Vec<u8> {
    let mut tcp = Vec::with_capacity(20 + data.len());
    tcp.extend(port.to_be_bytes());
    tcp.extend(server.port().to_be_bytes());
    tcp.extend(sequence.to_be_bytes());
    tcp.extend(acknowledged.to_be_bytes());
    tcp.extend([5 << 4, flags]);
    tcp.extend(65_000u16.to_be_bytes());
    tcp.extend([0; 4]);
    tcp.extend(data);

    let mut pseudo_header = Vec::new();
    match server {
        SocketAddr::V4(server) => {
            pseudo_header.extend(source(server).octets());
            pseudo_header.extend(server.ip().octets());
        }
        SocketAddr::V6(server) => {
            pseudo_header.extend(Ipv6Addr::LOCALHOST.octets());
            pseudo_header.extend(server.ip().octets());
        }
    }
    // Zero, protocol and length, whose order makes no difference to the sum.
    pseudo_header.extend([0, libc::IPPROTO_TCP as u8]);
    pseudo_header.extend((tcp.len() as u16).to_be_bytes());
    pseudo_header.extend(&tcp);
    let sum = checksum(&pseudo_header).to_be_bytes();
    tcp[16..18].copy_from_slice(&sum);
    tcp
}

/// An IPv4 packet with options and a place among fragments: a flag, or the offset in units of
/// eight bytes.
fn ipv4_packet(server: SocketAddrV4, payload: &[u8], options: &[u8], fragment: u16) -> Vec<u8> {
    let header = 20 + options.len();
    let mut packet = vec![0x40 | (header / 4) as u8, 0];
    packet.extend(((header + payload.len()) as u16).to_be_bytes());
    // Fragments of one packet have its number; whole packets may not be cut.
    let number: u16 = if fragment == 0 { 0 } else { FRAGMENTED };
    packet.extend(number.to_be_bytes());
    let place = if fragment == 0 {
        DO_NOT_FRAGMENT
    } else {
        fragment
    };
    packet.extend(place.to_be_bytes());
    packet.extend([64, libc::IPPROTO_TCP as u8, 0, 0]);
    packet.extend(source(server).octets());
    packet.extend(server.ip().octets());
    packet.extend(options);
    let sum = checksum(&packet).to_be_bytes();
    packet[10..12].copy_from_slice(&sum);
    packet.extend(payload);
    packet
}

/// An IPv6 packet from the loopback address, with options for the destination when asked for.
fn ipv6_packet(server: SocketAddrV6, payload: &[u8], options: bool) -> Vec<u8> {
    let between: &[u8] = if options { &DESTINATION_OPTIONS } else { &[] };
    let mut packet = vec![0x60, 0, 0, 0];
    packet.extend(((between.len() + payload.len()) as u16).to_be_bytes());
    let next = if options {
        libc::IPPROTO_DSTOPTS
    } else {
        libc::IPPROTO_TCP
    };
    packet.extend([next as u8, 64]);
    packet.extend(Ipv6Addr::LOCALHOST.octets());
    packet.extend(server.ip().octets());
    packet.extend(between);
    packet.extend(payload);
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
        let server: SocketAddrV4 = "127.0.0.1:25".parse().unwrap();
        let [segment, _] = segments(SocketAddr::V4(server));
        for options in [&[][..], &NO_OPERATIONS] {
            let packet = ipv4_packet(server, &segment, options, 0);
            let header = 20 + options.len();
            assert_eq!(checksum(&packet[..header]), 0);
            assert_eq!(packet.len(), header + 20 + FIRST_LINE.len());
        }
    }
}
