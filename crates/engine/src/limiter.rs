//! At most one report in a period for each key, and no report lost from the count.
//!
//! The first report of a key goes out at once and opens its window. What comes while the
//! window is open is held: counted, and the gravest kept. When the window ends, what was
//! held goes out as one report and opens the next window; if nothing was held, the key is
//! forgotten. So the number of reports that went out, plus the numbers they carry, plus
//! what is held, is always the number that came in.

use std::collections::{HashMap, VecDeque};
use std::hash::Hash;

use crate::entry::FindingKind;
use crate::event::Timestamp;

/// What goes out.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Report<V> {
    pub(crate) value: V,
    /// Reports held back since the last one of this key, this one not counted.
    pub(crate) suppressed: u64,
    /// It stands for many keys, because too many windows were open at once.
    pub(crate) of_others: bool,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
enum Slot<K> {
    Own(K),
    /// All keys that came while every window was taken.
    Others,
}

#[derive(Debug)]
struct Held<V> {
    count: u64,
    gravest: Option<(FindingKind, V)>,
}

#[derive(Debug)]
pub(crate) struct Limiter<K, V> {
    period_ns: u64,
    capacity: usize,
    windows: HashMap<Slot<K>, Held<V>>,
    /// One end for each window, soonest first: all windows have the same length.
    ends: VecDeque<(Timestamp, Slot<K>)>,
    holding: usize,
}

impl<K: Clone + Eq + Hash, V> Limiter<K, V> {
    /// At most one report for a key in `period_ns`, and windows for `capacity` keys.
    pub(crate) fn new(period_ns: u64, capacity: usize) -> Self {
        Self {
            period_ns,
            capacity,
            windows: HashMap::new(),
            ends: VecDeque::new(),
            holding: 0,
        }
    }

    /// Lets a report through or holds it. Call [`Limiter::expire`] with the same time first.
    pub(crate) fn offer(
        &mut self,
        key: K,
        gravity: FindingKind,
        value: V,
        now: Timestamp,
    ) -> Option<Report<V>> {
        let mut slot = Slot::Own(key);
        if !self.windows.contains_key(&slot) && self.windows.len() >= self.capacity {
            slot = Slot::Others;
        }
        if let Some(held) = self.windows.get_mut(&slot) {
            self.holding += usize::from(held.count == 0);
            held.count += 1;
            if held
                .gravest
                .as_ref()
                .is_none_or(|(kept, _)| gravity >= *kept)
            {
                held.gravest = Some((gravity, value));
            }
            return None;
        }
        let of_others = slot == Slot::Others;
        self.open(slot, now);
        Some(Report {
            value,
            suppressed: 0,
            of_others,
        })
    }

    /// Ends the windows whose time is over and reports what they held.
    pub(crate) fn expire(&mut self, now: Timestamp) -> Vec<Report<V>> {
        let mut reports = Vec::new();
        while self.ends.front().is_some_and(|(end, _)| *end <= now) {
            let Some((_, slot)) = self.ends.pop_front() else {
                break;
            };
            let Some(held) = self.windows.remove(&slot) else {
                continue;
            };
            if let Some((_, value)) = held.gravest {
                self.holding -= 1;
                let of_others = slot == Slot::Others;
                reports.push(Report {
                    value,
                    suppressed: held.count - 1,
                    of_others,
                });
                self.open(slot, now);
            }
        }
        reports
    }

    /// When [`Limiter::expire`] may have something to report; none while nothing is held.
    pub(crate) fn next_deadline(&self) -> Option<Timestamp> {
        if self.holding == 0 {
            return None;
        }
        self.ends.front().map(|(end, _)| *end)
    }

    /// The clock was set back: windows keep their remaining length.
    pub(crate) fn set_back(&mut self, nanoseconds: u64) {
        for (end, _) in &mut self.ends {
            end.0 = end.0.saturating_sub(nanoseconds);
        }
    }

    fn open(&mut self, slot: Slot<K>, now: Timestamp) {
        self.ends
            .push_back((now.plus_ns(self.period_ns), slot.clone()));
        self.windows.insert(
            slot,
            Held {
                count: 0,
                gravest: None,
            },
        );
    }

    #[cfg(test)]
    pub(crate) fn open_windows(&self) -> usize {
        assert_eq!(self.windows.len(), self.ends.len());
        self.windows.len()
    }

    #[cfg(test)]
    pub(crate) fn held(&self) -> u64 {
        self.windows.values().map(|held| held.count).sum()
    }
}
