//! Puts IP fragments together (RFC 791, 3.2; RFC 8200, 4.5), within bounds.

use std::collections::{BTreeMap, VecDeque};

use crate::network::{Address, Datagram};
use crate::unread::Amount;

/// Datagrams that are put together at the same time.
const PENDING_MAX: usize = 64;
/// Longest datagram, in bytes.
const WHOLE_MAX_BYTES: usize = 65_535;
/// Parts of one datagram.
const PARTS_MAX: usize = 128;
/// How long parts wait for the others (RFC 8200 says 60 s).
const WAIT_NS: u64 = 60_000_000_000;
/// Within this time a part of a whole datagram is a copy. Later, the number is used again.
const REPEATED_NS: u64 = 1_000_000_000;

/// What tells datagrams apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Name {
    source: Address,
    destination: Address,
    protocol_and_id: (u8, u32),
    network: u32,
}

#[derive(Debug)]
struct Pending {
    name: Name,
    protocol: u8,
    since_ns: u64,
    bytes: Vec<u8>,
    /// Ranges that are there.
    parts: Vec<(usize, usize)>,
    /// Known when the last part is there.
    whole: Option<usize>,
    /// Parts beyond the bounds.
    passed_over: u64,
}

/// Datagrams of which parts are missing.
#[derive(Debug, Default)]
pub struct Fragments {
    /// The oldest first.
    pending: Vec<Pending>,
    /// Datagrams that were put together lately.
    done: VecDeque<(Name, u64)>,
    given_up: BTreeMap<u8, Amount>,
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
            open_ended: false,
            fragment: None,
        }
    }
}

/// What became of a part.
#[derive(Debug)]
pub enum Added {
    /// It waits for the others, or had come before.
    Waits,
    /// It was the last one that was missing.
    Whole(Whole),
    /// The capture cut it off, so it cannot be put together.
    Cut,
}

impl Fragments {
    /// Parts whose others did not come in time, by protocol, with those that still wait.
    pub fn given_up(&mut self) -> Vec<(u8, Amount)> {
        for pending in std::mem::take(&mut self.pending) {
            self.give_up(&pending);
        }
        self.given_up
            .iter()
            .map(|(protocol, amount)| (*protocol, *amount))
            .collect()
    }

    fn give_up(&mut self, pending: &Pending) {
        let amount = self.given_up.entry(pending.protocol).or_default();
        amount.packets += pending.parts.len() as u64 + pending.passed_over;
        amount.bytes += pending.bytes.len() as u64;
    }

    fn expire(&mut self, now_ns: u64) {
        while self
            .pending
            .first()
            .is_some_and(|pending| now_ns.saturating_sub(pending.since_ns) > WAIT_NS)
            || self.pending.len() > PENDING_MAX
        {
            let pending = self.pending.remove(0);
            self.give_up(&pending);
        }
    }

    /// Takes a part of a datagram of this network.
    pub fn add(&mut self, part: &Datagram<'_>, network: u32, now_ns: u64) -> Added {
        self.expire(now_ns);
        let Some(fragment) = part.fragment else {
            return Added::Waits;
        };
        let name = Name {
            source: part.source,
            destination: part.destination,
            protocol_and_id: (part.protocol, fragment.id),
            network,
        };
        // On captures of several interfaces each part is there more than once.
        if self
            .done
            .iter()
            .any(|(done, at)| *done == name && now_ns.saturating_sub(*at) < REPEATED_NS)
        {
            return Added::Waits;
        }
        let end = fragment.offset + part.payload.len();
        if part.payload.len() < part.wire_bytes {
            return Added::Cut;
        }
        let at = match self.pending.iter().position(|pending| pending.name == name) {
            Some(at) => at,
            None => {
                self.pending.push(Pending::new(name, part.protocol, now_ns));
                self.expire(now_ns);
                self.pending.len() - 1
            }
        };
        let pending = &mut self.pending[at];
        if pending.parts.len() >= PARTS_MAX || end > WHOLE_MAX_BYTES {
            pending.passed_over += 1;
            return Added::Waits;
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
            return Added::Waits;
        }
        let mut pending = self.pending.remove(at);
        pending.bytes.truncate(pending.whole.unwrap_or_default());
        if self.done.len() >= PENDING_MAX {
            self.done.pop_front();
        }
        self.done.push_back((name, now_ns));
        Added::Whole(Whole {
            source: part.source,
            destination: part.destination,
            protocol: part.protocol,
            bytes: pending.bytes,
        })
    }
}

impl Pending {
    const fn new(name: Name, protocol: u8, now_ns: u64) -> Self {
        Self {
            name,
            protocol,
            since_ns: now_ns,
            bytes: Vec::new(),
            parts: Vec::new(),
            whole: None,
            passed_over: 0,
        }
    }

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

    use crate::network::Fragment;

    fn part(payload: &[u8], id: u32, offset: usize, more: bool) -> Datagram<'_> {
        Datagram {
            source: 1,
            destination: 2,
            protocol: 17,
            payload,
            wire_bytes: payload.len(),
            open_ended: false,
            fragment: Some(Fragment { id, offset, more }),
        }
    }

    fn whole(added: Added) -> Option<Vec<u8>> {
        match added {
            Added::Whole(whole) => Some(whole.datagram().payload.to_vec()),
            _ => None,
        }
    }

    #[test]
    fn parts_in_any_order() {
        let mut fragments = Fragments::default();
        let mut add =
            |payload, offset, more| whole(fragments.add(&part(payload, 7, offset, more), 0, 0));
        assert_eq!(add(b"cccc", 16, false), None);
        assert_eq!(add(b"aaaaaaaa", 0, true), None);
        let all = b"aaaaaaaabbbbbbbbcccc".to_vec();
        assert_eq!(add(b"bbbbbbbb", 8, true), Some(all));
    }

    /// A capture of all interfaces has each part several times.
    #[test]
    fn a_copy_of_a_part_waits_for_nothing() {
        let mut fragments = Fragments::default();
        for _ in 0..2 {
            fragments.add(&part(b"aaaaaaaa", 7, 0, true), 0, 0);
        }
        let last = part(b"bbbb", 7, 8, false);
        assert!(whole(fragments.add(&last, 0, 0)).is_some());
        assert!(whole(fragments.add(&last, 0, 1_000_000)).is_none());
        assert!(fragments.given_up().is_empty());
    }

    #[test]
    fn networks_are_told_apart() {
        let mut fragments = Fragments::default();
        fragments.add(&part(b"aaaaaaaa", 7, 0, true), 1, 0);
        let last = part(b"bbbb", 7, 8, false);
        assert!(whole(fragments.add(&last, 2, 0)).is_none());
        assert!(whole(fragments.add(&last, 1, 0)).is_some());
    }

    #[test]
    fn what_does_not_come_is_given_up() {
        let mut fragments = Fragments::default();
        for id in 0..1000 {
            fragments.add(&part(b"aaaaaaaa", id, 0, true), 0, 0);
            assert!(fragments.pending.len() <= PENDING_MAX);
        }
        assert_eq!(fragments.given_up()[0].1.packets, 1000);
    }
}
