//! Packets of a capture, whichever of the two formats it has.

use crate::error::{Damage, Error};
use crate::pcap::Pcap;
use crate::pcapng::Pcapng;
use crate::source::Window;

/// Longest packet that is believed, in bytes.
pub const PACKET_MAX_BYTES: u32 = 262_144 + 4096;

/// One packet. It borrows what was read.
#[derive(Clone, Copy, Debug)]
pub struct Packet<'a> {
    /// When it was captured, nanoseconds since 1970.
    pub time_ns: u64,
    /// The link type (see `layers::Layer::Link`).
    pub link: u32,
    /// What was captured of it.
    pub bytes: &'a [u8],
    /// How many more bytes it had on the wire, which a short snap length cut off.
    pub missing: usize,
}

/// A capture that is read.
pub enum Capture {
    /// The older format.
    Pcap(Pcap),
    /// The newer one.
    Pcapng(Box<Pcapng>),
}

impl Capture {
    /// Looks at the first bytes.
    ///
    /// # Errors
    ///
    /// When they are of neither format.
    pub fn open(window: &mut Window) -> Result<Self, Error> {
        if let Some(pcap) = Pcap::open(window) {
            return Ok(Self::Pcap(pcap));
        }
        if let Some(pcapng) = Pcapng::open(window) {
            return Ok(Self::Pcapng(Box::new(pcapng)));
        }
        match window.take_failure() {
            Some(error) => Err(Error::Read(error)),
            None => Err(Error::NoCapture),
        }
    }

    /// The next packet; `None` at the end.
    ///
    /// # Errors
    ///
    /// Where the capture is damaged. Nothing follows it.
    #[inline]
    pub fn next<'w>(&mut self, window: &'w mut Window) -> Result<Option<Packet<'w>>, Damage> {
        match self {
            Self::Pcap(pcap) => pcap.next(window),
            Self::Pcapng(pcapng) => pcapng.next(window),
        }
    }
}

/// Four bytes as a number, in the order of the machine that wrote them.
#[inline]
pub fn u32_at(bytes: &[u8], at: usize, swapped: bool) -> u32 {
    let number = match bytes.get(at..at + 4) {
        Some(&[a, b, c, d]) => u32::from_le_bytes([a, b, c, d]),
        _ => 0,
    };
    if swapped { number.swap_bytes() } else { number }
}

/// Two bytes as a number, in the order of the machine that wrote them.
#[inline]
pub fn u16_at(bytes: &[u8], at: usize, swapped: bool) -> u16 {
    let number = match bytes.get(at..at + 2) {
        Some(&[a, b]) => u16::from_le_bytes([a, b]),
        _ => 0,
    };
    if swapped { number.swap_bytes() } else { number }
}

/// The end came where `length` bytes should have been.
pub fn cut_off(window: &mut Window, offset: u64, length: usize, there: usize) -> Damage {
    match window.take_failure() {
        Some(source) => Damage::Read { offset, source },
        None => Damage::Truncated {
            offset,
            missing: length.saturating_sub(there),
        },
    }
}

/// The end came where a packet could have begun: proper, unless reading failed.
pub fn at_end(window: &mut Window) -> Result<(), Damage> {
    let offset = window.offset();
    match window.take_failure() {
        Some(source) => Err(Damage::Read { offset, source }),
        None => Ok(()),
    }
}
