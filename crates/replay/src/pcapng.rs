//! The format pcapng (draft-ietf-opsawg-pcapng): sections of either byte order, several
//! interfaces with their own link types and clocks.

use crate::capture::{PACKET_MAX_BYTES, Packet, at_end, cut_off, u16_at, u32_at};
use crate::error::Damage;
use crate::source::{PIECE_MAX_BYTES, Window};

const SECTION: u32 = 0x0a0d_0d0a;
const INTERFACE: u32 = 1;
const OLD_PACKET: u32 = 2;
const SIMPLE_PACKET: u32 = 3;
const PACKET: u32 = 6;
/// More interfaces than any machine has.
const INTERFACES_MAX: usize = 4096;

/// A clock: how many nanoseconds its units have.
#[derive(Clone, Copy, Debug)]
enum Unit {
    /// So many nanoseconds each.
    Nanoseconds(u64),
    /// So many in a nanosecond.
    PerNanosecond(u64),
    /// 2 to the power of this many in a second.
    PowerOfTwo(u32),
}

#[derive(Clone, Copy, Debug)]
struct Interface {
    link: u32,
    snap_bytes: u32,
    unit: Unit,
    offset_ns: u64,
}

impl Interface {
    fn time_ns(&self, time: u64) -> u64 {
        let ns = match self.unit {
            Unit::Nanoseconds(each) => time.wrapping_mul(each),
            Unit::PerNanosecond(units) => time / units,
            Unit::PowerOfTwo(power) => {
                u64::try_from((u128::from(time) * 1_000_000_000) >> power).unwrap_or(u64::MAX)
            }
        };
        ns.wrapping_add(self.offset_ns)
    }
}

/// How the current section is written.
#[derive(Debug)]
pub struct Pcapng {
    swapped: bool,
    interfaces: Vec<Interface>,
}

impl Pcapng {
    /// Looks at the first block; `None` when it is none of this format.
    pub fn open(window: &mut Window) -> Option<Self> {
        let start = window.peek(12);
        if u32_at(start, 0, false) != SECTION || start.len() < 12 {
            return None;
        }
        byte_order(start).map(|swapped| Self {
            swapped,
            interfaces: Vec::new(),
        })
    }

    /// The next packet; `None` at the end.
    ///
    /// # Errors
    ///
    /// Where the file is damaged.
    #[inline]
    pub fn next<'w>(&mut self, window: &'w mut Window) -> Result<Option<Packet<'w>>, Damage> {
        loop {
            let offset = window.offset();
            let start = window.peek(12);
            if start.is_empty() {
                return at_end(window).map(|()| None);
            }
            if start.len() < 12 {
                let there = start.len();
                return Err(cut_off(window, offset, 12, there));
            }
            let mut kind = u32_at(start, 0, self.swapped);
            if u32_at(start, 0, false) == SECTION {
                kind = SECTION;
                self.swapped = byte_order(start).ok_or(Damage::Block {
                    offset,
                    what: "a section without a byte order",
                })?;
                self.interfaces.clear();
            }
            let length = u32_at(start, 4, self.swapped);
            if length < 12 || !length.is_multiple_of(4) {
                return Err(Damage::Block {
                    offset,
                    what: "the length of a block cannot be",
                });
            }
            let is_packet = matches!(kind, PACKET | OLD_PACKET | SIMPLE_PACKET);
            if length as usize > PIECE_MAX_BYTES {
                if is_packet || kind == INTERFACE {
                    return Err(Damage::Length {
                        offset,
                        length: length.into(),
                    });
                }
                // Other blocks hold names, keys or statistics.
                let there = window.skip(length.into());
                if there < u64::from(length) {
                    let there = usize::try_from(there).unwrap_or(usize::MAX);
                    return Err(cut_off(window, offset, length as usize, there));
                }
                continue;
            }
            let length = length as usize;
            let block = window.peek(length);
            if block.len() < length {
                let there = block.len();
                return Err(cut_off(window, offset, length, there));
            }
            let block = &block[..length];
            if u32_at(block, length - 4, self.swapped) as usize != length {
                return Err(Damage::Block {
                    offset,
                    what: "the two lengths of a block differ",
                });
            }
            if kind == INTERFACE {
                self.add_interface(block, offset)?;
            }
            if !is_packet {
                window.advance(length);
                continue;
            }
            let (header, captured, interface, time) = self.packet(kind, block, offset)?;
            let on_wire = u32_at(block, header - 4, self.swapped) as usize;
            if header + captured + 4 > length || captured > PACKET_MAX_BYTES as usize {
                return Err(Damage::Length {
                    offset,
                    length: captured as u64,
                });
            }
            let block = window.take(length);
            return Ok(Some(Packet {
                time_ns: interface.time_ns(time),
                link: interface.link,
                bytes: &block[header..header + captured],
                missing: on_wire.saturating_sub(captured),
            }));
        }
    }

    /// Where the packet begins in its block, its length, its interface and its time.
    fn packet(
        &self,
        kind: u32,
        block: &[u8],
        offset: u64,
    ) -> Result<(usize, usize, Interface, u64), Damage> {
        let least = if kind == SIMPLE_PACKET { 16 } else { 32 };
        if block.len() < least {
            return Err(Damage::Block {
                offset,
                what: "a packet's block is too short",
            });
        }
        let number = |at| u32_at(block, at, self.swapped);
        let index = match kind {
            PACKET => number(8) as usize,
            OLD_PACKET => u16_at(block, 8, self.swapped).into(),
            _ => 0,
        };
        let interface = *self.interfaces.get(index).ok_or(Damage::Block {
            offset,
            what: "a packet of an interface that was not described",
        })?;
        if kind == SIMPLE_PACKET {
            let snap_bytes = match interface.snap_bytes {
                0 => u32::MAX,
                bytes => bytes,
            };
            let captured = number(8).min(snap_bytes) as usize;
            return Ok((12, captured.min(block.len() - 16), interface, 0));
        }
        let time = u64::from(number(12)) << 32 | u64::from(number(16));
        Ok((28, number(20) as usize, interface, time))
    }

    fn add_interface(&mut self, block: &[u8], offset: u64) -> Result<(), Damage> {
        if block.len() < 20 || self.interfaces.len() >= INTERFACES_MAX {
            return Err(Damage::Block {
                offset,
                what: "the description of an interface cannot be",
            });
        }
        let mut interface = Interface {
            link: u16_at(block, 8, self.swapped).into(),
            snap_bytes: u32_at(block, 12, self.swapped),
            unit: Unit::Nanoseconds(1000),
            offset_ns: 0,
        };
        let mut options = &block[16..block.len() - 4];
        while let Some((head, rest)) = options.split_at_checked(4) {
            let code = u16_at(head, 0, self.swapped);
            let length = usize::from(u16_at(head, 2, self.swapped));
            let Some(value) = rest.get(..length) else {
                break;
            };
            match (code, value) {
                (0, _) => break,
                (9, [resolution]) => interface.unit = unit(*resolution),
                (14, [_, _, _, _, _, _, _, _]) => {
                    let (low, high) = if self.swapped { (4, 0) } else { (0, 4) };
                    let seconds = u64::from(u32_at(value, high, self.swapped)) << 32
                        | u64::from(u32_at(value, low, self.swapped));
                    interface.offset_ns = seconds.wrapping_mul(1_000_000_000);
                }
                _ => {}
            }
            options = rest.get(length.next_multiple_of(4)..).unwrap_or_default();
        }
        self.interfaces.push(interface);
        Ok(())
    }
}

/// Is the section of the other byte order?
fn byte_order(block: &[u8]) -> Option<bool> {
    match u32_at(block, 8, false) {
        0x1a2b_3c4d => Some(false),
        0x4d3c_2b1a => Some(true),
        _ => None,
    }
}

fn unit(resolution: u8) -> Unit {
    let power = u32::from(resolution & 0x7f);
    if resolution & 0x80 != 0 {
        return Unit::PowerOfTwo(power.min(127));
    }
    match power {
        0..=9 => Unit::Nanoseconds(10u64.pow(9 - power)),
        10..=28 => Unit::PerNanosecond(10u64.pow(power - 9)),
        _ => Unit::PerNanosecond(u64::MAX),
    }
}
