//! The subjects that are known: bounded in number and in bytes. The longest idle of the user who
//! has most leaves first, so no user pushes out what is known of another's programs.

use std::collections::HashMap;

use super::state::State;
use crate::observation::Subject;

const NONE: u32 = u32::MAX;

#[derive(Debug)]
struct Slot {
    subject: Subject,
    state: State,
    /// What the state held when it was last looked at.
    bytes: usize,
    /// Neighbours in the order of last activity.
    older: u32,
    newer: u32,
}

/// The table.
#[derive(Debug)]
pub(super) struct Table {
    places: HashMap<Subject, u32>,
    slots: Vec<Slot>,
    oldest: u32,
    newest: u32,
    subjects_max: usize,
    detail_max_bytes: usize,
    held_bytes: usize,
    /// How many subjects each user has. A user without any has no entry.
    shares: HashMap<u32, usize>,
    forgotten: u64,
}

impl Table {
    pub(super) fn new(subjects_max: usize, detail_max_bytes: usize) -> Self {
        Self {
            places: HashMap::new(),
            slots: Vec::new(),
            oldest: NONE,
            newest: NONE,
            subjects_max: subjects_max.clamp(1, NONE as usize),
            detail_max_bytes,
            held_bytes: 0,
            shares: HashMap::new(),
            forgotten: 0,
        }
    }

    pub(super) fn len(&self) -> usize {
        self.slots.len()
    }

    pub(super) const fn forgotten(&self) -> u64 {
        self.forgotten
    }

    pub(super) fn get(&self, subject: &Subject) -> Option<&State> {
        let place = self.places.get(subject)?;
        self.slots.get(*place as usize).map(|slot| &slot.state)
    }

    pub(super) fn get_mut(&mut self, subject: &Subject) -> Option<&mut State> {
        let place = self.places.get(subject)?;
        self.slots
            .get_mut(*place as usize)
            .map(|slot| &mut slot.state)
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (&Subject, &State)> {
        self.slots.iter().map(|slot| (&slot.subject, &slot.state))
    }

    /// Changes the state of a subject, which becomes the most recently active one. The
    /// longest idle leave when the changed state needs their room.
    pub(super) fn with<T>(&mut self, subject: &Subject, change: impl FnOnce(&mut State) -> T) -> T {
        let place = match self.places.get(subject) {
            Some(place) => *place,
            None => self.insert(subject),
        };
        if self.newest != place {
            self.unlink(place);
            self.link(place);
        }
        let slot = &mut self.slots[place as usize];
        let result = change(&mut slot.state);
        let bytes = slot.state.held_bytes();
        let before = std::mem::replace(&mut slot.bytes, bytes);
        self.held_bytes = (self.held_bytes + bytes).saturating_sub(before);
        while self.held_bytes > self.detail_max_bytes && self.slots.len() > 1 {
            self.forget_one();
        }
        result
    }

    fn insert(&mut self, subject: &Subject) -> u32 {
        while self.slots.len() >= self.subjects_max {
            self.forget_one();
        }
        let place = self.slots.len() as u32;
        self.slots.push(Slot {
            subject: subject.clone(),
            state: State::default(),
            bytes: 0,
            older: NONE,
            newer: NONE,
        });
        self.places.insert(subject.clone(), place);
        *self.shares.entry(subject.uid()).or_default() += 1;
        self.link(place);
        place
    }

    /// The longest idle of the user who has most; where several have as many, the longest idle of
    /// them all. Whoever has most was mostly the last to come, but rarely far behind the oldest.
    fn next_to_leave(&self) -> u32 {
        let most = self.shares.values().max().copied().unwrap_or(0);
        let mut place = self.oldest;
        while let Some(slot) = self.slots.get(place as usize) {
            // The one that is being looked at just now stays.
            let has_most = self.shares.get(&slot.subject.uid()) == Some(&most);
            if has_most && place != self.newest {
                return place;
            }
            place = slot.newer;
        }
        self.oldest
    }

    /// The last slot moves to where the one that leaves was, so the slots stay without holes.
    fn forget_one(&mut self) {
        let place = self.next_to_leave();
        if place == NONE {
            return;
        }
        self.unlink(place);
        let gone = self.slots.swap_remove(place as usize);
        self.places.remove(&gone.subject);
        let uid = gone.subject.uid();
        if let Some(share) = self.shares.get_mut(&uid) {
            *share -= 1;
            if *share == 0 {
                self.shares.remove(&uid);
            }
        }
        self.held_bytes = self.held_bytes.saturating_sub(gone.bytes);
        self.forgotten += 1;
        let Some(moved) = self.slots.get(place as usize) else {
            return;
        };
        let (older, newer) = (moved.older, moved.newer);
        if let Some(known) = self.places.get_mut(&moved.subject) {
            *known = place;
        }
        match self.slots.get_mut(older as usize) {
            Some(slot) => slot.newer = place,
            None => self.oldest = place,
        }
        match self.slots.get_mut(newer as usize) {
            Some(slot) => slot.older = place,
            None => self.newest = place,
        }
    }

    fn link(&mut self, place: u32) {
        let before = std::mem::replace(&mut self.newest, place);
        let slot = &mut self.slots[place as usize];
        slot.older = before;
        slot.newer = NONE;
        match self.slots.get_mut(before as usize) {
            Some(slot) => slot.newer = place,
            None => self.oldest = place,
        }
    }

    fn unlink(&mut self, place: u32) {
        let Slot { older, newer, .. } = self.slots[place as usize];
        match self.slots.get_mut(older as usize) {
            Some(slot) => slot.newer = newer,
            None => self.oldest = newer,
        }
        match self.slots.get_mut(newer as usize) {
            Some(slot) => slot.older = older,
            None => self.newest = older,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::net::IpAddr;

    use proptest::prelude::*;

    use super::*;
    use crate::event::Timestamp;

    fn host(number: u8) -> Subject {
        Subject::Host(IpAddr::from([192, 0, 2, number]))
    }

    #[test]
    fn one_user_does_not_push_out_what_is_known_of_another() {
        let lineage = |uid, pid| Subject::Lineage {
            uid,
            program: "/opt/x".into(),
            pid,
        };
        let mut table = Table::new(6, usize::MAX);
        for pid in 0..2 {
            table.with(&lineage(1001, pid), |state| state.last = Timestamp(7));
        }
        for pid in 0..100 {
            table.with(&lineage(1000, pid), |_| ());
        }
        for pid in 0..2 {
            let state = table.get(&lineage(1001, pid));
            assert_eq!(state.map(|state| state.last), Some(Timestamp(7)));
        }
        assert_eq!((table.len(), table.forgotten()), (6, 96));
    }

    proptest! {
        #[test]
        fn the_idlest_leaves_first(uses in prop::collection::vec(0u8..12, 0..200)) {
            let mut table = Table::new(5, usize::MAX);
            let mut order: Vec<u8> = Vec::new();
            for (at, number) in uses.iter().enumerate() {
                table.with(&host(*number), |state| state.last = Timestamp(at as u64));
                order.retain(|other| other != number);
                order.push(*number);
                if order.len() > 5 {
                    order.remove(0);
                }
                prop_assert_eq!(table.len(), order.len());
                for number in &order {
                    prop_assert!(table.get(&host(*number)).is_some());
                }
                let newest = table.get(&host(*number)).map(|state| state.last);
                prop_assert_eq!(newest, Some(Timestamp(at as u64)));
            }
        }
    }
}
