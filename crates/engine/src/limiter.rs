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

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use proptest::prelude::*;

    use super::*;

    const PERIOD_NS: u64 = 60;

    #[test]
    fn the_first_goes_out_and_the_rest_waits() {
        let mut limiter = Limiter::new(PERIOD_NS, 8);
        let first = limiter.offer("a", FindingKind::IllegalSend, 1, Timestamp(0));
        assert_eq!(
            first,
            Some(Report {
                value: 1,
                suppressed: 0,
                of_others: false
            })
        );
        assert_eq!(limiter.next_deadline(), None);
        for value in 2..5 {
            assert_eq!(
                limiter.offer("a", FindingKind::IllegalSend, value, Timestamp(10)),
                None
            );
        }
        assert_eq!(limiter.next_deadline(), Some(Timestamp(60)));
        assert_eq!(limiter.expire(Timestamp(59)), []);
        let held = Report {
            value: 4,
            suppressed: 2,
            of_others: false,
        };
        assert_eq!(limiter.expire(Timestamp(60)), [held]);
        assert_eq!(limiter.open_windows(), 1);
        assert_eq!(limiter.expire(Timestamp(120)), []);
        assert_eq!(limiter.open_windows(), 0);
    }

    #[test]
    fn the_gravest_of_those_held_goes_out() {
        let mut limiter = Limiter::new(PERIOD_NS, 8);
        let kinds = [
            FindingKind::IllegalSend,
            FindingKind::BotSuspected,
            FindingKind::IllegalSend,
        ];
        for (value, kind) in kinds.into_iter().enumerate() {
            let _ = limiter.offer("a", kind, value, Timestamp(0));
        }
        let reports = limiter.expire(Timestamp(60));
        assert_eq!((reports[0].value, reports[0].suppressed), (1, 1));
    }

    proptest! {
        /// Reported plus suppressed plus held is what came in, no key is reported twice
        /// within a period, and the state stays within its bounds.
        #[test]
        fn nothing_is_lost_and_nobody_is_reported_too_often(
            steps in prop::collection::vec((0u8..12, 0u64..40, any::<bool>()), 1..300),
        ) {
            let mut limiter = Limiter::new(PERIOD_NS, 5);
            let mut now = Timestamp(1000);
            let (mut came, mut told) = (0u64, 0u64);
            let mut last: HashMap<Option<u8>, Timestamp> = HashMap::new();
            for (key, wait, offers) in steps {
                now = now.plus_ns(wait);
                let mut reports = limiter.expire(now);
                if offers {
                    came += 1;
                    reports.extend(limiter.offer(key, FindingKind::IllegalSend, key, now));
                }
                for report in reports {
                    told += 1 + report.suppressed;
                    let who = (!report.of_others).then_some(report.value);
                    if let Some(before) = last.insert(who, now) {
                        prop_assert!(now.since_ns(before) >= PERIOD_NS);
                    }
                }
                prop_assert!(limiter.open_windows() <= 6);
                prop_assert_eq!(came, told + limiter.held());
                prop_assert_eq!(limiter.next_deadline().is_some(), limiter.held() > 0);
            }
            now = now.plus_ns(PERIOD_NS);
            told += limiter.expire(now).iter().map(|report| 1 + report.suppressed).sum::<u64>();
            prop_assert_eq!(came, told);
        }
    }
}
