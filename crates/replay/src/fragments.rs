//! Puts IP fragments together (RFC 791, 3.2; RFC 8200, 4.5), within bounds.

use crate::network::{Address, Datagram, Fragment};

/// Datagrams that are put together at the same time.
const PENDING_MAX: usize = 64;
/// Longest datagram, in bytes.
const WHOLE_MAX_BYTES: usize = 65_535;
/// Parts of one datagram.
const PARTS_MAX: usize = 128;
/// How long parts wait for the others (RFC 8200 says 60 s).
const WAIT_NS: u64 = 60_000_000_000;

#[derive(Debug)]
struct Pending {
    source: Address,
    destination: Address,
    protocol: u8,
    id: u32,
    since_ns: u64,
    bytes: Vec<u8>,
    /// Ranges that are there.
    parts: Vec<(usize, usize)>,
    /// Known when the last part is there.
    whole: Option<usize>,
}

/// Datagrams of which parts are missing.
#[derive(Debug, Default)]
pub struct Fragments {
    pending: Vec<Pending>,
    given_up: u64,
}

/// A datagram that was put together.
#[derive(Debug)]
pub struct Whole {
    source: Address,
    destination: Address,
    protocol: u8,
    bytes: Vec<u8>,
}

impl Whole {
    /// It, as if it had come in one piece.
    pub fn datagram(&self) -> Datagram<'_> {
        Datagram {
            source: self.source,
            destination: self.destination,
            protocol: self.protocol,
            payload: &self.bytes,
            wire_bytes: self.bytes.len(),
            fragment: None,
        }
    }
}

impl Fragments {
    /// Datagrams whose parts did not all come in time.
    pub const fn given_up(&self) -> u64 {
        self.given_up
    }

    /// Takes a part; gives the whole when it was the last one that was missing.
    pub fn add(&mut self, part: &Datagram<'_>, fragment: Fragment, now_ns: u64) -> Option<Whole> {
        let before = self.pending.len();
        self.pending
            .retain(|pending| now_ns.saturating_sub(pending.since_ns) <= WAIT_NS);
        self.given_up += (before - self.pending.len()) as u64;
        let end = fragment.offset + part.payload.len();
        // A part that the snap length cut cannot be put together.
        if end > WHOLE_MAX_BYTES || part.payload.len() < part.wire_bytes {
            return None;
        }
        let at = match self.pending.iter().position(|pending| {
            pending.id == fragment.id
                && pending.source == part.source
                && pending.destination == part.destination
                && pending.protocol == part.protocol
        }) {
            Some(at) => at,
            None => {
                if self.pending.len() >= PENDING_MAX {
                    self.pending.remove(0);
                    self.given_up += 1;
                }
                self.pending.push(Pending {
                    source: part.source,
                    destination: part.destination,
                    protocol: part.protocol,
                    id: fragment.id,
                    since_ns: now_ns,
                    bytes: Vec::new(),
                    parts: Vec::new(),
                    whole: None,
                });
                self.pending.len() - 1
            }
        };
        let pending = &mut self.pending[at];
        if pending.parts.len() >= PARTS_MAX {
            return None;
        }
        if pending.bytes.len() < end {
            pending.bytes.resize(end, 0);
        }
        pending.bytes[fragment.offset..end].copy_from_slice(part.payload);
        pending.parts.push((fragment.offset, end));
        if !fragment.more {
            pending.whole = Some(end);
        }
        if !pending.is_whole() {
            return None;
        }
        let mut pending = self.pending.remove(at);
        pending.bytes.truncate(pending.whole.unwrap_or_default());
        Some(Whole {
            source: pending.source,
            destination: pending.destination,
            protocol: pending.protocol,
            bytes: pending.bytes,
        })
    }
}

impl Pending {
    fn is_whole(&mut self) -> bool {
        let Some(whole) = self.whole else {
            return false;
        };
        self.parts.sort_unstable();
        let mut reached = 0;
        for (start, end) in &self.parts {
            if *start > reached {
                return false;
            }
            reached = reached.max(*end);
        }
        reached >= whole
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn part(payload: &[u8]) -> Datagram<'_> {
        Datagram {
            source: 1,
            destination: 2,
            protocol: 17,
            payload,
            wire_bytes: payload.len(),
            fragment: None,
        }
    }

    #[test]
    fn parts_in_any_order() {
        let mut fragments = Fragments::default();
        let place = |offset, more| Fragment {
            id: 7,
            offset,
            more,
        };
        assert!(fragments.add(&part(b"cccc"), place(16, false), 0).is_none());
        assert!(
            fragments
                .add(&part(b"aaaaaaaa"), place(0, true), 0)
                .is_none()
        );
        let whole = fragments
            .add(&part(b"bbbbbbbb"), place(8, true), 0)
            .unwrap();
        assert_eq!(whole.datagram().payload, b"aaaaaaaabbbbbbbbcccc");
    }

    #[test]
    fn what_does_not_come_is_given_up() {
        let mut fragments = Fragments::default();
        for id in 0..1000 {
            let place = Fragment {
                id,
                offset: 0,
                more: true,
            };
            assert!(fragments.add(&part(b"aaaaaaaa"), place, 0).is_none());
            assert!(fragments.pending.len() <= PENDING_MAX);
        }
        assert_eq!(fragments.given_up(), 1000 - PENDING_MAX as u64);
    }
}
