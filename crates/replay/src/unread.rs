//! What of a capture was not read, by name and number. What could have held a conversation of
//! hosts is told apart from what could not: a capture is not less complete for its ARP.

use std::collections::BTreeMap;
use std::fmt;

use crate::names;

/// Most kinds that are told apart. A capture of nonsense could have 65,536 ethertypes.
const KINDS_MAX: usize = 64;

/// What was not read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum What {
    /// Packets of this link type (tcpdump.org/linktypes.html).
    LinkType(u32),
    /// Frames of this ethertype.
    EtherType(u16),
    /// IEEE 802.2 frames for this service access point.
    Llc(u8),
    /// Datagrams of this IP protocol.
    IpProtocol(u8),
    /// PPP frames of this protocol.
    PppProtocol(u16),
    /// Packets of a tunnel, named here, whose payload was not understood.
    Tunnel(&'static str),
    /// Encrypted packets of a tunnel or of a network, named here.
    Encrypted(&'static str),
    /// Fragments of Wi-Fi frames.
    WifiFragment,
    /// Packets with more headers or tunnels in each other than are followed.
    Nested,
    /// Datagrams of which a fragment is missing.
    Fragments,
    /// Packets that the capture cut off within their headers.
    CutHeaders,
    /// Packets of which the capture cut off payload.
    CutPayload,
    /// Packets with headers that make no sense.
    Malformed,
    /// More kinds than are told apart.
    Other,
}

impl What {
    /// One word for the kind.
    pub const fn kind(self) -> &'static str {
        match self {
            Self::LinkType(_) => "link-type",
            Self::EtherType(_) => "ethertype",
            Self::Llc(_) => "llc",
            Self::IpProtocol(_) => "ip-protocol",
            Self::PppProtocol(_) => "ppp-protocol",
            Self::Tunnel(_) => "tunnel",
            Self::Encrypted(_) => "encrypted",
            Self::WifiFragment => "wifi-fragment",
            Self::Nested => "nested",
            Self::Fragments => "fragment",
            Self::CutHeaders => "cut-headers",
            Self::CutPayload => "cut-payload",
            Self::Malformed => "malformed",
            Self::Other => "other",
        }
    }

    /// The number that the standard has for it.
    pub fn number(self) -> Option<u32> {
        match self {
            Self::LinkType(number) => Some(number),
            Self::EtherType(number) | Self::PppProtocol(number) => Some(number.into()),
            Self::Llc(number) | Self::IpProtocol(number) => Some(number.into()),
            _ => None,
        }
    }

    /// Its name, where it has one.
    pub fn name(self) -> Option<&'static str> {
        match self {
            Self::LinkType(number) => names::link_type(number),
            Self::EtherType(number) => names::ether_type(number).map(|(name, _)| name),
            Self::Llc(number) => names::llc(number),
            Self::IpProtocol(number) => names::ip_protocol(number),
            Self::PppProtocol(number) => names::ppp_protocol(number),
            Self::Tunnel(name) | Self::Encrypted(name) => Some(name),
            _ => None,
        }
    }

    /// Could a TCP or UDP conversation of hosts be in it? Then a capture with it was not read
    /// completely.
    pub fn may_hold_conversations(self) -> bool {
        match self {
            Self::EtherType(number) => names::ether_type(number).is_none_or(|(_, holds)| holds),
            Self::Llc(_) => false,
            Self::IpProtocol(number) => names::ip_protocol_holds(number),
            Self::PppProtocol(number) => names::ppp_protocol_holds(number),
            _ => true,
        }
    }
}

impl fmt::Display for What {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::LinkType(number) => write!(out, "link type {number}")?,
            Self::EtherType(number) => write!(out, "ethertype 0x{number:04x}")?,
            Self::Llc(number) => write!(out, "LLC service access point 0x{number:02x}")?,
            Self::IpProtocol(number) => write!(out, "IP protocol {number}")?,
            Self::PppProtocol(number) => write!(out, "PPP protocol 0x{number:04x}")?,
            Self::Tunnel(name) => return write!(out, "payload of {name} that is of no known form"),
            Self::Encrypted(name) => return write!(out, "{name}, which is encrypted"),
            Self::WifiFragment => return out.write_str("fragments of Wi-Fi frames"),
            Self::Nested => return out.write_str("too many headers or tunnels in each other"),
            Self::Fragments => return out.write_str("IP fragments without the others"),
            Self::CutHeaders => return out.write_str("cut off within the headers"),
            Self::CutPayload => return out.write_str("payload cut off"),
            Self::Malformed => return out.write_str("headers that make no sense"),
            Self::Other => return out.write_str("many other kinds"),
        }
        match self.name() {
            Some(name) => write!(out, " ({name})"),
            None => Ok(()),
        }
    }
}

/// How much of something there was.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Amount {
    /// Packets.
    pub packets: u64,
    /// Their bytes, as captured.
    pub bytes: u64,
}

/// What was not read, counted.
#[derive(Clone, Debug, Default)]
pub struct NotRead {
    kinds: BTreeMap<What, Amount>,
    /// Apart, because in some captures each packet is cut.
    cut_payload: Amount,
}

impl NotRead {
    pub(crate) fn add(&mut self, what: What, bytes: usize) {
        let bytes = bytes as u64;
        self.add_amount(what, Amount { packets: 1, bytes });
    }

    pub(crate) fn add_amount(&mut self, what: What, more: Amount) {
        let amount = match what {
            What::CutPayload => &mut self.cut_payload,
            _ if self.kinds.len() < KINDS_MAX || self.kinds.contains_key(&what) => {
                self.kinds.entry(what).or_default()
            }
            _ => self.kinds.entry(What::Other).or_default(),
        };
        amount.packets += more.packets;
        amount.bytes += more.bytes;
    }

    /// All kinds with their amounts, the largest first.
    pub fn kinds(&self) -> Vec<(What, Amount)> {
        let mut kinds: Vec<_> = self
            .kinds
            .iter()
            .map(|(what, amount)| (*what, *amount))
            .collect();
        if self.cut_payload.packets > 0 {
            kinds.push((What::CutPayload, self.cut_payload));
        }
        kinds.sort_by_key(|(what, amount)| (std::cmp::Reverse(amount.packets), *what));
        kinds
    }

    /// Those in which conversations of hosts could have been.
    pub fn telling(&self) -> Vec<(What, Amount)> {
        let mut kinds = self.kinds();
        kinds.retain(|(what, _)| what.may_hold_conversations());
        kinds
    }

    /// How much there was of one kind.
    pub fn amount(&self, what: What) -> Amount {
        match what {
            What::CutPayload => self.cut_payload,
            _ => self.kinds.get(&what).copied().unwrap_or_default(),
        }
    }
}
