//! Names of link types, ethertypes and protocols, and which of them can hold a conversation
//! of TCP or UDP.

/// The name of a link type that is not read (tcpdump.org/linktypes.html).
pub fn link_type(number: u32) -> Option<&'static str> {
    Some(match number {
        3 => "AX.25",
        7 | 129 => "ARCNET",
        114 => "LocalTalk",
        130..=137 | 180 | 182..=186 | 200 => "Juniper",
        139..=142 => "SS7",
        143 => "DOCSIS",
        144 => "Linux IrDA",
        147..=162 => "for private use",
        165 => "BACnet MS/TP",
        169 => "GPRS LLC",
        170 | 171 => "GPF",
        177 | 203 => "LAPD",
        187 | 201 => "Bluetooth HCI",
        188 | 193 => "WiMAX",
        189 | 220 => "USB on Linux",
        190 | 227 => "CAN",
        195 | 215 | 230 | 283 => "IEEE 802.15.4",
        196 => "SITA",
        199 | 209 => "IPMB",
        202 => "KISS",
        207 => "LAPB",
        210 => "FlexRay",
        211 => "MOST",
        212 => "LIN",
        224 | 225 => "Fibre Channel",
        231 => "D-Bus",
        235 => "DVB-CI",
        236 => "MUX27010",
        237 => "STANAG 5066",
        242 => "IP over InfiniBand",
        243 => "MPEG-2 TS",
        244 => "NG40",
        245 => "NFC LLCP",
        247 => "InfiniBand",
        248 => "SCTP",
        249 | 288 | 293..=295 => "USB",
        250 => "RTAC serial",
        251 | 256 | 272 => "Bluetooth LE",
        252 => "exported PDUs of Wireshark",
        253 => "Linux netlink",
        254 => "Bluetooth on Linux",
        255 => "Bluetooth BR/EDR",
        257 => "PROFIBUS",
        260 => "IPMI",
        261 | 262 | 287 => "Z-Wave",
        264 => "ISO 14443",
        265 => "RDS",
        266 => "USB on macOS",
        268 => "SDLC",
        270 => "LoRaTap",
        271 => "vsock",
        273 => "DOCSIS 3.1",
        274 => "Ethernet mPackets",
        275 => "DisplayPort",
        277 => "Sercos",
        279 => "EBHSCR",
        280 => "VPP",
        286 => "ELEE",
        289 => "ATSC",
        290 => "ETW",
        292 => "ZBOSS",
        _ => return None,
    })
}

/// The name of an ethertype that is not read, and whether it can hold a conversation. One
/// without a name can.
pub fn ether_type(number: u16) -> Option<(&'static str, bool)> {
    Some(match number {
        0x0600 => ("XNS", false),
        0x0805 => ("X.25", false),
        0x0806 => ("ARP", false),
        0x0842 => ("Wake-on-LAN", false),
        0x0bad | 0x0baf => ("VINES", false),
        0x2000..=0x2004 => ("Cisco's protocols of switches", false),
        0x22ea | 0x22f0 => ("audio and video bridging", false),
        0x22f4 => ("IS-IS", false),
        0x6000..=0x6009 => ("DECnet", false),
        0x8035 => ("RARP or SLARP", false),
        0x809b | 0x80f3 => ("AppleTalk", false),
        0x8137 | 0x8138 => ("IPX", false),
        0x8204 => ("QNX", false),
        0x8808 => ("Ethernet flow control", false),
        0x8809 => ("LACP and others of its kind", false),
        0x8819 => ("CobraNet", false),
        0x8863 => ("PPPoE discovery", false),
        0x886d => ("Intel teaming", false),
        0x886f => ("Microsoft NLB", false),
        0x8874 | 0x8899 => ("loop detection", false),
        0x887b | 0x88e1 | 0x8912 => ("HomePlug", false),
        0x888e => ("EAPOL", false),
        0x8892 => ("PROFINET", false),
        0x88a2 => ("ATA over Ethernet", false),
        0x88a4 => ("EtherCAT", false),
        0x88ab => ("Powerlink", false),
        0x88b8..=0x88ba => ("IEC 61850", false),
        0x88c7 => ("Wi-Fi preauthentication", false),
        0x88ca => ("TIPC", false),
        0x88cc => ("LLDP", false),
        0x88cd => ("Sercos", false),
        0x88d9 => ("LLTD", false),
        0x88e3 => ("MRP", false),
        0x88f5..=0x88f7 => ("MVRP, MMRP or PTP", false),
        0x88f8 => ("NC-SI", false),
        0x88fb => ("PRP", false),
        0x8902 => ("CFM", false),
        0x8906 | 0x8914 => ("Fibre Channel over Ethernet", false),
        0x8915 => ("RoCE", false),
        0x891d => ("TTEthernet", false),
        0x8929 => ("MSRP", false),
        0x892d => ("Ethernet ring protection", false),
        0x892f => ("HSR", false),
        0x893a => ("IEEE 1905", false),
        0x8940 => ("ECP", false),
        0x9000 => ("Ethernet loopback", false),
        0x00fe => ("IS-IS", false),
        0x876b => ("compressed TCP", true),
        0x88bb => ("LWAPP", true),
        0x88be => ("ERSPAN", true),
        0xdada => ("a tag of a switch chip", true),
        _ => return None,
    })
}

/// The name of a service access point of IEEE 802.2. None but those that are read has TCP or UDP.
pub fn llc(number: u8) -> Option<&'static str> {
    Some(match number & 0xfe {
        0x42 => "STP",
        0xaa => "protocols of switches",
        0xe0 => "IPX",
        0xf0 => "NetBIOS",
        0xfe if number == 0xfe => "ISO network layer",
        0xfe => "IPX",
        0x04 | 0x08 | 0x0c => "SNA",
        _ => return None,
    })
}

/// The name of an IP protocol that is not read.
pub fn ip_protocol(number: u8) -> Option<&'static str> {
    Some(match number {
        1 => "ICMP",
        2 => "IGMP",
        3 => "GGP",
        8 => "EGP",
        9 => "IGP",
        27 => "RDP",
        33 => "DCCP",
        46 => "RSVP",
        58 => "ICMPv6",
        59 => "no next header",
        88 => "EIGRP",
        89 => "OSPF",
        98 => "ENCAP",
        99 => "private encryption",
        103 => "PIM",
        108 => "IPComp",
        112 => "VRRP",
        113 => "PGM",
        132 => "SCTP",
        133 => "Fibre Channel",
        136 => "UDP-Lite",
        138 => "MANET",
        144 => "AGGFRAG",
        _ => return None,
    })
}

/// Can an IP protocol hold a conversation of TCP or UDP? Tunnels and compression can, and
/// numbers that nobody has assigned.
pub const fn ip_protocol_holds(number: u8) -> bool {
    matches!(number, 98 | 99 | 108 | 144 | 147..=252)
}

/// The name of a PPP protocol that is not read.
pub fn ppp_protocol(number: u16) -> Option<&'static str> {
    Some(match number {
        0x0001 => "padding",
        0x0023 => "OSI",
        0x0029 => "AppleTalk",
        0x002b => "IPX",
        0x002d | 0x002f => "compressed TCP headers",
        0x003d => "fragments of several links",
        0x003f => "NetBIOS",
        0x0053 | 0x0055 => "encrypted",
        0x00fb | 0x00fd => "compressed, or encrypted by MPPE",
        0x0201 => "STP",
        0xc021 => "LCP",
        0xc023 => "PAP",
        0xc025 => "LQR",
        0xc223 => "CHAP",
        0x8021 => "IPCP",
        0x8057 => "IPv6CP",
        0x80fd => "CCP",
        _ => return None,
    })
}

/// Can a PPP protocol hold a conversation? Those that set the link up cannot.
pub const fn ppp_protocol_holds(number: u16) -> bool {
    number < 0x4000
        && !matches!(
            number,
            1 | 0x23 | 0x25 | 0x27 | 0x29 | 0x2b | 0x35 | 0x3f | 0x0201..=0x0207
        )
}
