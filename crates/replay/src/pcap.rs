//! The format pcap (draft-ietf-opsawg-pcap): both byte orders, micro- and nanoseconds, and
//! the longer packet headers of Alexey Kuznetzov's variant.

use crate::capture::{PACKET_MAX_BYTES, Packet, at_end, cut_off, u32_at};
use crate::error::Damage;
use crate::source::Window;

const HEADER_BYTES: usize = 24;

/// How a file is written.
#[derive(Debug)]
pub struct Pcap {
    swapped: bool,
    /// Nanoseconds in a unit of the second half of a time.
    unit_ns: u64,
    record_bytes: usize,
    link: u32,
}

impl Pcap {
    /// Reads the header; `None` when it is none of this format.
    pub fn open(window: &mut Window) -> Option<Self> {
        let header = window.peek(HEADER_BYTES);
        if header.len() < HEADER_BYTES {
            return None;
        }
        let (swapped, unit_ns, record_bytes) = match u32_at(header, 0, false) {
            0xa1b2_c3d4 => (false, 1000, 16),
            0xd4c3_b2a1 => (true, 1000, 16),
            0xa1b2_3c4d => (false, 1, 16),
            0x4d3c_b2a1 => (true, 1, 16),
            0xa1b2_cd34 => (false, 1000, 24),
            0x34cd_b2a1 => (true, 1000, 24),
            _ => return None,
        };
        // The upper bits tell of a frame check sequence.
        let link = u32_at(header, 20, swapped) & 0x03ff_ffff;
        window.advance(HEADER_BYTES);
        Some(Self {
            swapped,
            unit_ns,
            record_bytes,
            link,
        })
    }

    /// The next packet; `None` at the end.
    ///
    /// # Errors
    ///
    /// Where the file is damaged.
    #[inline]
    pub fn next<'w>(&mut self, window: &'w mut Window) -> Result<Option<Packet<'w>>, Damage> {
        let offset = window.offset();
        let header = window.peek(self.record_bytes);
        if header.is_empty() {
            return at_end(window).map(|()| None);
        }
        if header.len() < self.record_bytes {
            let there = header.len();
            return Err(cut_off(window, offset, self.record_bytes, there));
        }
        let seconds = u32_at(header, 0, self.swapped);
        let fraction = u32_at(header, 4, self.swapped);
        let captured = u32_at(header, 8, self.swapped);
        let on_wire = u32_at(header, 12, self.swapped);
        if captured > PACKET_MAX_BYTES {
            return Err(Damage::Length {
                offset,
                length: captured.into(),
            });
        }
        let whole = self.record_bytes + captured as usize;
        let there = window.peek(whole).len();
        if there < whole {
            return Err(cut_off(window, offset, whole, there));
        }
        window.advance(self.record_bytes);
        let time_ns = u64::from(seconds) * 1_000_000_000 + u64::from(fraction) * self.unit_ns;
        let link = self.link;
        Ok(Some(Packet {
            time_ns,
            link,
            bytes: window.take(captured as usize),
            missing: on_wire.saturating_sub(captured) as usize,
        }))
    }
}
