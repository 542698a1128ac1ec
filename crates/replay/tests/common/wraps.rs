//! Everything that can be around an IP packet: link layers, tags, tunnels.

use super::{ipv4, udp};

/// Puts an IP packet into something.
pub type Wrap = fn(&[u8]) -> Vec<u8>;

const OUTER: ([u8; 4], [u8; 4]) = ([203, 0, 113, 1], [203, 0, 113, 2]);
const ADDRESSES: &[u8] = b"\x02\0\0\0\0\x02\x02\0\0\0\0\x01";

fn join(before: &[u8], packet: &[u8]) -> Vec<u8> {
    [before, packet].concat()
}

/// The ethertype of an IP packet.
fn kind(packet: &[u8]) -> [u8; 2] {
    match packet.first().map(|first| first >> 4) {
        Some(6) => [0x86, 0xdd],
        _ => [8, 0],
    }
}

/// An Ethernet frame with this before its ethertype.
fn tagged(tags: &[u8], packet: &[u8]) -> Vec<u8> {
    [ADDRESSES, tags, &kind(packet), packet].concat()
}

/// An Ethernet frame.
pub fn ethernet(packet: &[u8]) -> Vec<u8> {
    tagged(b"", packet)
}

/// Ethernet, IPv4, and this protocol.
pub fn in_ip(protocol: u8, payload: &[u8]) -> Vec<u8> {
    ethernet(&ipv4(OUTER.0, OUTER.1, protocol, 0, 0, payload))
}

/// Ethernet, IPv4, UDP.
pub fn in_udp(port: u16, payload: &[u8]) -> Vec<u8> {
    in_ip(17, &udp(50_000, port, payload))
}

/// VXLAN of this network.
pub fn vxlan(network: u8, packet: &[u8]) -> Vec<u8> {
    in_udp(
        4789,
        &join(&[8, 0, 0, 0, 0, 0, network, 0], &ethernet(packet)),
    )
}

fn gre(header: &[u8], packet: &[u8]) -> Vec<u8> {
    in_ip(47, &join(header, packet))
}

fn gtp(header: &[u8], length_of_more: usize, packet: &[u8]) -> Vec<u8> {
    let length = ((packet.len() + length_of_more) as u16).to_be_bytes();
    let whole = [&header[..2], &length, &header[2..], packet].concat();
    in_udp(2152, &whole)
}

fn llc(packet: &[u8]) -> Vec<u8> {
    [&[0xaa, 0xaa, 3, 0, 0, 0], &kind(packet)[..], packet].concat()
}

fn wifi(start: &[u8], after: &[u8], packet: &[u8]) -> Vec<u8> {
    let addresses = b"\x02\0\0\0\0\x01\x02\0\0\0\0\x02\x02\0\0\0\0\x03\0\0";
    [start, &[0, 0], addresses, after, &llc(packet)].concat()
}

fn subframes(packet: &[u8]) -> Vec<u8> {
    let mut bytes = wifi(&[0x88, 1], &[0x80, 0], b"");
    bytes.truncate(26);
    let other = b"\xaa\xaa\x03\0\0\0\x08\x06arp";
    for frame in [&other[..], &llc(packet)] {
        bytes.extend(ADDRESSES);
        bytes.extend((frame.len() as u16).to_be_bytes());
        bytes.extend(frame);
        let from_here = bytes.len() - 26;
        bytes.resize(26 + from_here.next_multiple_of(4), 0);
    }
    bytes
}

fn erf(kind: u8, after: &[u8], packet: &[u8]) -> Vec<u8> {
    [&[0; 8][..], &[kind, 4, 0, 0, 0, 0, 0, 0], after, packet].concat()
}

fn esp_without_encryption(packet: &[u8]) -> Vec<u8> {
    let padding = (4 - (packet.len() + 2) % 4) % 4;
    let mut bytes = b"\0\0\x01\x01\0\0\0\x01".to_vec();
    bytes.extend(packet);
    bytes.extend((1..=padding).map(|at| at as u8));
    bytes.extend([padding as u8, 4]);
    bytes.extend([0x5a; 12]);
    in_ip(50, &bytes)
}

fn minimal(packet: &[u8]) -> Vec<u8> {
    let mut payload = vec![packet[9], 0x80, 0, 0];
    payload.extend(&packet[16..20]);
    payload.extend(&packet[12..16]);
    payload.extend(&packet[20..]);
    in_ip(55, &payload)
}

fn isl(packet: &[u8]) -> Vec<u8> {
    let frame = ethernet(packet);
    let length = (frame.len() as u16 + 12).to_be_bytes();
    [
        b"\x01\0\x0c\0\0\0\x02\0\0\0\0\x01",
        &length[..],
        b"\xaa\xaa\x03\0\0\x0c\0\x0a\0\0\0\0",
        &frame,
    ]
    .concat()
}

/// All of them: a name, the link type, and how.
pub const ALL: &[(&str, u32, Wrap)] = &[
    ("ethernet", 1, ethernet),
    ("vlan", 1, |p| tagged(b"\x81\0\0\x05", p)),
    ("qinq", 1, |p| tagged(b"\x88\xa8\0\x05\x81\0\0\x06", p)),
    ("12 vlans", 1, |p| {
        tagged(
            &b"\x81\0\0\x05\x91\0\0\x06\x92\0\0\x07\x88\xa8\0\x08".repeat(3),
            p,
        )
    }),
    ("vn-tag", 1, |p| tagged(b"\x89\x26\x80\x01\0\x02", p)),
    ("e-tag", 1, |p| tagged(b"\x89\x3f\0\0\0\x01\0\0", p)),
    ("security group tag", 1, |p| {
        tagged(b"\x89\x09\x01\x01\0\x01\0\x07", p)
    }),
    ("macsec without encryption", 1, |p| {
        tagged(b"\x88\xe5\x20\0\0\0\0\x01\x02\0\0\0\0\x01\0\x01", p)
    }),
    ("provider backbone", 1, |p| {
        tagged(b"\x88\xe7\0\0\0\x07", b"")
            .into_iter()
            .take(18)
            .chain(ethernet(p))
            .collect()
    }),
    ("nsh", 1, |p| {
        join(
            &[ADDRESSES, b"\x89\x4f\x0f\xc2\x02\x03\0\0\x01\xff"].concat(),
            &ethernet(p),
        )
    }),
    ("trill", 1, |p| {
        join(
            &[ADDRESSES, b"\x22\xf3\0\x05\0\x01\0\x02"].concat(),
            &ethernet(p),
        )
    }),
    ("isl", 1, isl),
    ("snap", 1, |p| {
        [ADDRESSES, &(llc(p).len() as u16).to_be_bytes(), &llc(p)].concat()
    }),
    ("pppoe", 1, |p| {
        [
            ADDRESSES,
            b"\x88\x64\x11\0\0\x01",
            &(p.len() as u16 + 2).to_be_bytes(),
            &[0, 0x21],
            p,
        ]
        .concat()
    }),
    ("mpls", 1, |p| {
        join(
            &[ADDRESSES, b"\x88\x47\0\x01\0\x40\0\x02\x01\x40"].concat(),
            p,
        )
    }),
    ("mpls pseudowire", 1, |p| {
        join(
            &[ADDRESSES, b"\x88\x47\0\x01\x11\xff"].concat(),
            &ethernet(p),
        )
    }),
    ("mpls pseudowire with a control word", 1, |p| {
        join(
            &[ADDRESSES, b"\x88\x47\0\x01\x11\xff\0\0\0\0"].concat(),
            &ethernet(p),
        )
    }),
    ("mpls pseudowire to an address like ipv4", 1, |p| {
        let mut frame = ethernet(p);
        frame[0] = 0x46;
        join(&[ADDRESSES, b"\x88\x47\0\x01\x11\xff"].concat(), &frame)
    }),
    ("ip in ip", 1, |p| in_ip(4, p)),
    ("authenticated", 1, |p| {
        in_ip(
            51,
            &join(
                &[
                    4, 4, 0, 0, 0, 0, 1, 1, 0, 0, 0, 1, 9, 9, 9, 9, 9, 9, 9, 9, 9, 9, 9, 9,
                ],
                p,
            ),
        )
    }),
    ("esp without encryption", 1, esp_without_encryption),
    ("minimal encapsulation", 1, minimal),
    ("etherip", 1, |p| in_ip(97, &join(&[0x30, 0], &ethernet(p)))),
    ("ethernet in ip", 1, |p| in_ip(143, &ethernet(p))),
    ("mpls in ip", 1, |p| in_ip(137, &join(b"\0\x01\x11\xff", p))),
    ("gre", 1, |p| gre(&[0, 0, 8, 0], p)),
    ("gre with all fields", 1, |p| {
        gre(b"\xb0\0\x08\0\0\0\0\0\0\0\0\x07\0\0\0\x01", p)
    }),
    ("gre with a route", 1, |p| {
        gre(
            b"\x40\0\x08\0\0\0\0\0\x08\0\0\x04\x01\x02\x03\x04\0\0\0\0",
            p,
        )
    }),
    ("gre with a vlan", 1, |p| gre(b"\0\0\x81\0\0\x05\x08\0", p)),
    ("nvgre", 1, |p| {
        gre(b"\x20\0\x65\x58\0\0\x05\x01", &ethernet(p))
    }),
    ("erspan 1", 1, |p| gre(b"\0\0\x88\xbe", &ethernet(p))),
    ("erspan 2", 1, |p| {
        gre(
            b"\x10\0\x88\xbe\0\0\0\x01\x10\x01\x10\0\0\0\0\0",
            &ethernet(p),
        )
    }),
    ("erspan 3", 1, |p| {
        gre(
            b"\x10\0\x22\xeb\0\0\0\x01\x20\x01\x10\0\0\0\0\0\0\0\0\0",
            &ethernet(p),
        )
    }),
    ("erspan 3 with its platform", 1, |p| {
        gre(
            b"\x10\0\x22\xeb\0\0\0\x01\x20\x01\x10\0\0\0\0\0\0\0\0\x01\0\0\0\0\0\0\0\0",
            &ethernet(p),
        )
    }),
    ("pptp", 1, |p| {
        gre(
            &[
                &b"\x30\x81\x88\x0b"[..],
                &(p.len() as u16 + 4).to_be_bytes(),
                b"\0\x01\0\0\0\x01\0\0\0\x01\xff\x03\0\x21",
            ]
            .concat(),
            p,
        )
    }),
    ("eoip", 1, |p| {
        gre(
            &[
                &b"\x20\x01\x64\0"[..],
                &(ethernet(p).len() as u16).to_be_bytes(),
                &[7, 0],
            ]
            .concat(),
            &ethernet(p),
        )
    }),
    ("wccp", 1, |p| gre(b"\0\0\x88\x3e\0\0\0\0", p)),
    ("l2tpv3 in ip", 1, |p| {
        in_ip(115, &join(b"\0\0\0\x07", &ethernet(p)))
    }),
    ("l2tpv3 in ip with a cookie", 1, |p| {
        in_ip(115, &join(b"\0\0\0\x07cookie..\x40\0\0\x01", &ethernet(p)))
    }),
    ("l2tpv3 in udp", 1, |p| {
        in_udp(1701, &join(b"\0\x03\0\0\0\0\0\x07\0\0\0\0", &ethernet(p)))
    }),
    ("l2tpv2", 1, |p| {
        in_udp(1701, &join(b"\0\x02\0\x07\0\x09\xff\x03\0\x21", p))
    }),
    ("l2tpv2 with all fields", 1, |p| {
        let length = (p.len() as u16 + 20).to_be_bytes();
        in_udp(
            1701,
            &[
                &b"\x4a\x02"[..],
                &length,
                b"\0\x07\0\x09\0\x01\0\x02\0\x02\0\0\xff\x03\0\x21",
                p,
            ]
            .concat(),
        )
    }),
    ("vxlan", 1, |p| vxlan(7, p)),
    ("vxlan on its older port", 1, |p| {
        in_udp(8472, &join(b"\x08\0\0\0\0\0\x07\0", &ethernet(p)))
    }),
    ("vxlan on a port of its own", 1, |p| {
        in_udp(14_789, &join(b"\x08\0\0\0\0\0\x07\0", &ethernet(p)))
    }),
    ("vxlan with a policy", 1, |p| {
        in_udp(4789, &join(b"\x88\0\0\x05\0\0\x07\0", &ethernet(p)))
    }),
    ("vxlan-gpe", 1, |p| {
        in_udp(4790, &join(b"\x0c\0\0\x01\0\0\x07\0", p))
    }),
    ("geneve", 1, |p| {
        in_udp(6081, &join(b"\0\0\x65\x58\0\0\x07\0", &ethernet(p)))
    }),
    ("geneve with options", 1, |p| {
        in_udp(
            6081,
            &join(
                b"\x03\0\x65\x58\0\0\x07\0\x01\x02\x80\x01aaaa\x01\x02\x80\0",
                &ethernet(p),
            ),
        )
    }),
    ("gtp-u", 1, |p| gtp(b"\x30\xff\0\0\0\x09", 0, p)),
    ("gtp-u with extensions", 1, |p| {
        gtp(
            b"\x36\xff\0\0\0\x09\0\x01\0\x85\x01\x10\0\xc0\x01\0\0\0",
            12,
            p,
        )
    }),
    ("6in4 or 4in6 and teredo", 1, |p| {
        let mut six = vec![0x60, 0, 0, 0];
        six.extend((p.len() as u16).to_be_bytes());
        six.extend([4, 64]);
        six.extend(b"\x20\x01\0\0aaaaaaaaaaaa\x20\x01\x0d\xb8aaaaaaaaaaaa");
        six.extend(p);
        in_udp(
            3544,
            &join(b"\0\x01\0\0nonce123\0\0\0\xc0\0\x02\x01\x9c\x40", &six),
        )
    }),
    ("mpls in udp", 1, |p| {
        in_udp(6635, &join(b"\0\x01\x11\xff", p))
    }),
    ("gue", 1, |p| {
        in_udp(6080, &join(&[1, 4, 0, 0, 0, 0, 0, 0], p))
    }),
    ("gre in udp", 1, |p| in_udp(4754, &join(&[0, 0, 8, 0], p))),
    ("lisp", 1, |p| {
        in_udp(4341, &join(&[0x80, 0, 0, 1, 0, 0, 0, 1], p))
    }),
    ("tzsp", 1, |p| {
        in_udp(37_008, &join(b"\x01\0\0\x01\x0a\x01\x20\x01", &ethernet(p)))
    }),
    ("tzsp with wi-fi", 1, |p| {
        in_udp(37_008, &join(b"\x01\0\0\x12\x01", &wifi(&[8, 1], b"", p)))
    }),
    ("capwap with ethernet", 1, |p| {
        in_udp(5247, &join(&[0, 0x10, 0, 0, 0, 0, 0, 0], &ethernet(p)))
    }),
    ("capwap with wi-fi", 1, |p| {
        in_udp(
            5247,
            &join(&[0, 0x10, 3, 0, 0, 0, 0, 0], &wifi(&[8, 1], b"", p)),
        )
    }),
    ("null", 0, |p| join(b"\x02\0\0\0", p)),
    ("loop", 108, |p| join(b"\0\0\0\x02", p)),
    ("raw", 101, <[u8]>::to_vec),
    ("token ring with a route", 6, |p| {
        join(
            b"\x10\x40\x02\0\0\0\0\x02\x82\0\0\0\0\x01\x06\x30\0\x11\0\x21",
            &llc(p),
        )
    }),
    ("fddi", 10, |p| {
        join(b"\x50\x02\0\0\0\0\x02\x02\0\0\0\0\x01", &llc(p))
    }),
    ("ppp", 9, |p| join(b"\xff\x03\0\x21", p)),
    ("ppp with its fields compressed", 9, |p| join(b"\x21", p)),
    ("cisco hdlc", 104, |p| join(b"\x0f\0\x08\0", p)),
    ("cisco hdlc with a direction", 205, |p| {
        join(b"\0\x0f\0\x08\0", p)
    }),
    ("frame relay", 107, |p| join(b"\x18\x41\x03\xcc", p)),
    ("frame relay with snap", 107, |p| {
        join(b"\x18\x41\x03\0\x80\0\0\0\x08\0", p)
    }),
    ("frame relay of cisco", 107, |p| join(b"\x18\x41\x08\0", p)),
    ("cooked", 113, |p| {
        join(b"\0\0\0\x01\0\x06aaaaaaaa\x08\0", p)
    }),
    ("cooked 2", 276, |p| {
        join(b"\x08\0\0\0\0\0\0\x01\0\x01\0\x06aaaaaaaa", p)
    }),
    ("cooked with a vlan", 113, |p| {
        join(b"\0\0\0\x01\0\x06aaaaaaaa\x81\0\0\x05\x08\0", p)
    }),
    ("pppoe alone", 51, |p| {
        [
            &b"\x11\0\0\x01"[..],
            &(p.len() as u16 + 2).to_be_bytes(),
            &[0, 0x21],
            p,
        ]
        .concat()
    }),
    ("wi-fi", 105, |p| wifi(&[8, 1], b"", p)),
    ("wi-fi between access points", 105, |p| {
        wifi(&[8, 3], b"\x02\0\0\0\0\x04", p)
    }),
    ("wi-fi of a mesh", 105, |p| {
        wifi(&[0x88, 3], b"\x02\0\0\0\0\x04\0\x01\0\x1f\0\0\0\x01", p)
    }),
    ("several frames in one of wi-fi", 105, subframes),
    ("radiotap", 127, |p| {
        join(&[0, 0, 8, 0, 0, 0, 0, 0], &wifi(&[0x88, 1], &[0, 0], p))
    }),
    ("radiotap with padding", 127, |p| {
        let header = b"\0\0\x19\0\x03\0\0\x80\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\x20";
        join(header, &wifi(&[0x88, 1], &[0, 0, 0, 0], p))
    }),
    ("prism", 119, |p| {
        join(
            &[&b"\x44\0\0\0\x90\0\0\0"[..], &[0; 136]].concat(),
            &wifi(&[8, 1], b"", p),
        )
    }),
    ("avs", 163, |p| {
        join(
            &[&b"\x80\x21\x10\x01\0\0\0\x40"[..], &[0; 56]].concat(),
            &wifi(&[8, 1], b"", p),
        )
    }),
    ("ppi with ethernet", 192, |p| {
        join(b"\0\0\x08\0\x01\0\0\0", &ethernet(p))
    }),
    ("ppi with wi-fi", 192, |p| {
        join(b"\0\0\x0c\0\x69\0\0\0\x02\0\0\0", &wifi(&[8, 1], b"", p))
    }),
    ("erf with ethernet", 197, |p| erf(2, &[0, 0], &ethernet(p))),
    ("erf with extensions", 197, |p| {
        erf(
            0x82,
            &[0x80, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0],
            &ethernet(p),
        )
    }),
    ("erf with hdlc", 197, |p| erf(1, b"\x0f\0\x08\0", p)),
    ("nflog", 239, |p| {
        [
            &b"\x02\0\0\0\x08\0\x01\0\x08\0\x03\0"[..],
            &(p.len() as u16 + 4).to_le_bytes(),
            &[9, 0],
            p,
        ]
        .concat()
    }),
    ("nflog of the other byte order", 239, |p| {
        [
            &b"\x02\0\0\0\0\x08\0\x01\x08\0\x03\0"[..],
            &(p.len() as u16 + 4).to_be_bytes(),
            &[0, 9],
            p,
        ]
        .concat()
    }),
    ("pflog", 117, |p| {
        join(&[&[61, 2][..], &[0; 62]].concat(), p)
    }),
    ("enc", 109, |p| join(&[0; 12], p)),
    ("pktap", 258, |p| {
        join(
            &[&b"\x6c\0\0\0\x01\0\0\0\x01\0\0\0"[..], &[0; 96]].concat(),
            &ethernet(p),
        )
    }),
    ("atm", 100, llc),
    ("a switch's tag", 285, |p| {
        join(&[ADDRESSES, b"\xda\xda\0\0\xc0\0\0\0\x08\0"].concat(), p)
    }),
];
