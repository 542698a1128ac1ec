//! At most one report in a period for each key, and no report lost from the count. Each user has
//! windows of his own, so no user can use up those of another.
//!
//! The first report of a key goes out at once and opens its window. What comes while the
//! window is open is held: counted, and the gravest kept. When the window ends, what was
//! held goes out as one report and opens the next window; if nothing was held, the key is
//! forgotten. So the number of reports that went out, plus the numbers they carry, plus
//! what is held, is always the number that came in.
//!
//! A user has a fixed number of windows, and one more for all keys beyond that. The number of
//! users is bounded too: those who come while every place is taken share the place of the crowd.

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

/// Whose windows these are.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Place {
    User(u32),
    /// Users who came while all places were taken.
    Crowd,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
enum Slot<K> {
    Own(Place, K),
    /// All keys that came while every window of this place was taken.
    Others(Place),
}

impl<K> Slot<K> {
    const fn place(&self) -> Place {
        match self {
            Self::Own(place, _) | Self::Others(place) => *place,
        }
    }
}

#[derive(Debug)]
struct Held<V> {
    count: u64,
    gravest: Option<(FindingKind, V)>,
}

#[derive(Debug)]
pub(crate) struct Limiter<K, V> {
    period_ns: u64,
    /// Windows of each place.
    capacity: usize,
    users_max: usize,
    windows: HashMap<Slot<K>, Held<V>>,
    /// Open windows of each place; the one for other keys is not among them.
    used: HashMap<Place, usize>,
    /// One end for each window, soonest first: all windows have the same length.
    ends: VecDeque<(Timestamp, Slot<K>)>,
    holding: usize,
}

impl<K: Clone + Eq + Hash, V> Limiter<K, V> {
    /// At most one report for a key in `period_ns`, and windows for `capacity` keys of each of
    /// `users_max` users.
    pub(crate) fn new(period_ns: u64, capacity: usize, users_max: usize) -> Self {
        Self {
            period_ns,
            capacity,
            users_max,
            windows: HashMap::new(),
            used: HashMap::new(),
            ends: VecDeque::new(),
            holding: 0,
        }
    }

    /// Lets a report about a user through or holds it. The key names the user too, because a
    /// window of the crowd belongs to one user. Call [`Limiter::expire`] with the same time first.
    pub(crate) fn offer(
        &mut self,
        user: u32,
        key: K,
        gravity: FindingKind,
        value: V,
        now: Timestamp,
    ) -> Option<Report<V>> {
        let slot = self.slot(user, key);
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
        let of_others = matches!(slot, Slot::Others(_));
        self.open(slot, now);
        Some(Report {
            value,
            suppressed: 0,
            of_others,
        })
    }

    /// The same for `count` reports that are alike.
    pub(crate) fn offer_alike(
        &mut self,
        user: u32,
        key: K,
        gravity: FindingKind,
        (value, count): (V, u64),
        now: Timestamp,
    ) -> Option<Report<V>>
    where
        V: Copy,
    {
        let first = self.offer(user, key.clone(), gravity, value, now);
        if count > 1 {
            // The window is open now, and holds the second.
            let _ = self.offer(user, key.clone(), gravity, value, now);
            let slot = self.slot(user, key);
            if let Some(held) = self.windows.get_mut(&slot) {
                held.count += count - 2;
            }
        }
        first
    }

    /// The window that a key belongs to.
    fn slot(&self, user: u32, key: K) -> Slot<K> {
        // A window that was opened in the crowd is used up before a place that became free.
        let [own, crowd] =
            [Place::User(user), Place::Crowd].map(|place| Slot::Own(place, key.clone()));
        for slot in [&own, &crowd] {
            if self.windows.contains_key(slot) {
                return slot.clone();
            }
        }
        let users = self.used.len() - usize::from(self.used.contains_key(&Place::Crowd));
        let slot = if self.used.contains_key(&own.place()) || users < self.users_max {
            own
        } else {
            crowd
        };
        let used = self.used.get(&slot.place()).copied().unwrap_or(0);
        if used >= self.capacity {
            return Slot::Others(slot.place());
        }
        slot
    }

    /// Ends the windows whose time is over and reports what they held.
    pub(crate) fn expire(&mut self, now: Timestamp) -> Vec<Report<V>> {
        let mut reports = Vec::new();
        while self.ends.front().is_some_and(|(end, _)| *end <= now) {
            let Some((_, slot)) = self.ends.pop_front() else {
                break;
            };
            let Some(held) = self.close(&slot) else {
                continue;
            };
            if let Some((_, value)) = held.gravest {
                self.holding -= 1;
                let of_others = matches!(slot, Slot::Others(_));
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

    fn close(&mut self, slot: &Slot<K>) -> Option<Held<V>> {
        let held = self.windows.remove(slot)?;
        if let (Slot::Own(place, _), Some(used)) = (slot, self.used.get_mut(&slot.place())) {
            *used -= 1;
            // Who has only the window for other keys open left has no need of his place: that
            // window stays his.
            if *used == 0 {
                self.used.remove(place);
            }
        }
        Some(held)
    }

    fn open(&mut self, slot: Slot<K>, now: Timestamp) {
        if let Slot::Own(place, _) = &slot {
            *self.used.entry(*place).or_default() += 1;
        }
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
        let mut limiter = Limiter::new(PERIOD_NS, 8, 4);
        let first = limiter.offer(1000, "a", FindingKind::IllegalSend, 1, Timestamp(0));
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
                limiter.offer(1000, "a", FindingKind::IllegalSend, value, Timestamp(10)),
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
        let mut limiter = Limiter::new(PERIOD_NS, 8, 4);
        let kinds = [
            FindingKind::IllegalSend,
            FindingKind::BotSuspected,
            FindingKind::IllegalSend,
        ];
        for (value, kind) in kinds.into_iter().enumerate() {
            let _ = limiter.offer(1000, "a", kind, value, Timestamp(0));
        }
        let reports = limiter.expire(Timestamp(60));
        assert_eq!((reports[0].value, reports[0].suppressed), (1, 1));
    }

    #[test]
    fn a_user_with_many_keys_holds_back_only_his_own() {
        let mut limiter = Limiter::new(PERIOD_NS, 8, 4);
        for key in 0..1000 {
            let _ = limiter.offer(1000, key, FindingKind::BotSuspected, key, Timestamp(0));
        }
        // The other's first reports go out at once, under their own names.
        for key in 5000..5008 {
            let report = limiter.offer(1001, key, FindingKind::IllegalSend, key, Timestamp(1));
            let report = report.expect("a window");
            assert_eq!((report.value, report.of_others), (key, false));
        }
        // What goes out for other keys of one user is never a report of the other.
        let _ = limiter.offer(1001, 5009, FindingKind::IllegalSend, 5009, Timestamp(1));
        let held: Vec<_> = limiter.expire(Timestamp(PERIOD_NS)).into_iter().collect();
        assert!(held.iter().all(|report| report.value < 1000), "{held:?}");
        assert_eq!(held[0].suppressed, 990);
    }

    #[test]
    fn users_beyond_the_bound_share_one_place() {
        let mut limiter = Limiter::new(PERIOD_NS, 2, 3);
        for user in 0..100 {
            let _ = limiter.offer(user, user, FindingKind::IllegalSend, user, Timestamp(0));
        }
        // Three users, two windows of the crowd, and one for everybody else.
        assert_eq!(limiter.open_windows(), 6);
        let out = limiter.expire(Timestamp(PERIOD_NS));
        assert_eq!(out.len(), 1);
        assert_eq!((out[0].suppressed, out[0].of_others), (93, true));
        // All places are free again.
        let report = limiter.offer(99, 99, FindingKind::IllegalSend, 99, Timestamp(PERIOD_NS));
        assert!(report.is_some_and(|report| !report.of_others));
    }

    proptest! {
        /// Reported plus suppressed plus held is what came in, no key is reported twice
        /// within a period, and the state stays within its bounds.
        #[test]
        fn nothing_is_lost_and_nobody_is_reported_too_often(
            steps in prop::collection::vec((0u8..24, 0u64..40, any::<bool>()), 1..300),
        ) {
            let mut limiter = Limiter::new(PERIOD_NS, 2, 2);
            let mut now = Timestamp(1000);
            let (mut came, mut told) = (0u64, 0u64);
            let mut last: HashMap<u8, Timestamp> = HashMap::new();
            for (key, wait, offers) in steps {
                now = now.plus_ns(wait);
                let mut reports = limiter.expire(now);
                if offers {
                    came += 1;
                    reports.extend(limiter.offer(u32::from(key % 4), key, FindingKind::IllegalSend, key, now));
                }
                for report in reports {
                    told += 1 + report.suppressed;
                    if report.of_others {
                        continue;
                    }
                    if let Some(before) = last.insert(report.value, now) {
                        prop_assert!(now.since_ns(before) >= PERIOD_NS);
                    }
                }
                prop_assert!(limiter.open_windows() <= 4 * 3);
                prop_assert_eq!(came, told + limiter.held());
                prop_assert_eq!(limiter.next_deadline().is_some(), limiter.held() > 0);
            }
            now = now.plus_ns(PERIOD_NS);
            told += limiter.expire(now).iter().map(|report| 1 + report.suppressed).sum::<u64>();
            prop_assert_eq!(came, told);
        }
    }

    #[test]
    fn reports_that_are_alike_count_as_if_each_had_come() {
        for count in 1..=5 {
            let gravity = FindingKind::IllegalSend;
            let (mut one, mut many) = (Limiter::new(10, 1, 1), Limiter::new(10, 1, 1));
            let each: Vec<_> = (0..count)
                .filter_map(|_| one.offer(0, (), gravity, 'x', Timestamp(1)))
                .collect();
            let alike = many.offer_alike(0, (), gravity, ('x', count), Timestamp(1));
            assert_eq!(each, Vec::from_iter(alike), "{count}");
            assert_eq!(
                one.expire(Timestamp(20)),
                many.expire(Timestamp(20)),
                "{count}"
            );
        }
    }
}
