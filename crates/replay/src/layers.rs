//! From a packet down to IP, whatever is in between: link layers, tags, labels, headers of
//! radio. One step for each header, and so many at most.

mod ether;
pub mod guess;
mod link;
mod serial;
mod wifi;

use crate::network::{self, Datagram, Unread};
use crate::unread::What;

pub use wifi::Subframes;

/// Most headers before IP. Tags can be stacked without end.
const HEADERS_MAX: usize = 32;

/// What comes next in a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Layer {
    /// What packets of this link type begin with (tcpdump.org/linktypes.html).
    Link(u32),
    /// An Ethernet frame.
    Ethernet,
    /// What this ethertype announces.
    EtherType(u16),
    /// A header of IEEE 802.2.
    Llc,
    /// A PPP frame, with or without its address and control field.
    Ppp,
    /// Cisco HDLC, or PPP in frames like those of HDLC.
    Hdlc,
    /// A frame of a frame relay.
    FrameRelay,
    /// Labels of MPLS.
    Mpls,
    /// A service header (RFC 8300).
    Nsh,
    /// A Wi-Fi frame.
    Wifi,
    /// A Wi-Fi frame after a radiotap header.
    Radiotap,
    /// Several Ethernet-like frames in one of Wi-Fi.
    Subframes,
    /// IPv4 or IPv6.
    Ip,
}

/// What is next, and its bytes.
pub type Step<'a> = Result<(Layer, &'a [u8]), Unread>;

/// What was found in a packet.
#[derive(Clone, Copy, Debug)]
pub enum Found<'a> {
    /// A datagram, or a part of one.
    Datagram(Datagram<'a>),
    /// Several frames.
    Several(Subframes<'a>),
}

/// Goes down to IP. `missing` bytes were cut off at the end.
pub fn descend(layer: Layer, bytes: &[u8], missing: usize) -> Result<Found<'_>, Unread> {
    let (mut layer, mut bytes) = (layer, bytes);
    for _ in 0..HEADERS_MAX {
        if bytes.is_empty() && missing == 0 {
            return Err(Unread::Nothing);
        }
        (layer, bytes) = match layer {
            Layer::Ip => return network::ip(bytes).map(Found::Datagram),
            Layer::Subframes => return Ok(Found::Several(Subframes::new(bytes))),
            Layer::Link(number) => link::link(number, bytes),
            Layer::Ethernet => ether::frame(bytes),
            Layer::EtherType(kind) => ether::by_type(kind, bytes),
            Layer::Llc => ether::llc(bytes, missing),
            Layer::Mpls => ether::mpls(bytes, missing),
            Layer::Nsh => ether::nsh(bytes),
            Layer::Ppp => serial::ppp(bytes),
            Layer::Hdlc => serial::hdlc(bytes),
            Layer::FrameRelay => serial::frame_relay(bytes),
            Layer::Wifi => wifi::frame(bytes),
            Layer::Radiotap => wifi::radiotap(bytes),
        }?;
    }
    Err(Unread::For(What::Nested))
}
