//! The flows that are going on: found by their ends, bounded, the longest idle leave first.

use std::collections::VecDeque;
use std::hash::BuildHasher;

use foldhash::fast::RandomState;
use hashbrown::HashTable;

use crate::flow::{Flow, Key, Transport};

/// How long an ended connection waits for stragglers.
const LINGER_NS: u64 = 5_000_000_000;
/// How long a flow may be silent: TCP connections of IRC and such often are for minutes.
const IDLE_NS: [u64; 2] = [3600 * 1_000_000_000, 120 * 1_000_000_000];
const NONE: u32 = u32::MAX;

#[derive(Debug)]
struct Slot {
    flow: Option<Flow>,
    hash: u64,
    /// Neighbours in the order of last activity.
    older: u32,
    newer: u32,
    /// Counts the flows that were in this slot.
    generation: u32,
}

#[derive(Clone, Copy, Debug)]
struct Ends {
    oldest: u32,
    newest: u32,
}

/// The table.
#[derive(Debug)]
pub struct Table {
    hasher: RandomState,
    places: HashTable<u32>,
    slots: Vec<Slot>,
    free: Vec<u32>,
    /// One order for TCP and one for UDP: they may be idle for different times.
    orders: [Ends; 2],
    closing: VecDeque<(u64, u32, u32)>,
    flows_max: usize,
    held_max_bytes: usize,
    held_bytes: usize,
    evicted: u64,
}

impl Table {
    pub fn new(flows_max: usize, held_max_bytes: usize) -> Self {
        let none = Ends {
            oldest: NONE,
            newest: NONE,
        };
        Self {
            hasher: RandomState::default(),
            places: HashTable::new(),
            slots: Vec::new(),
            free: Vec::new(),
            orders: [none; 2],
            closing: VecDeque::new(),
            flows_max: flows_max.max(1),
            held_max_bytes,
            held_bytes: 0,
            evicted: 0,
        }
    }

    /// Flows that had to leave because there were too many, or too many bytes held.
    pub const fn evicted(&self) -> u64 {
        self.evicted
    }

    /// Where the flow with these ends is.
    #[inline]
    pub fn find(&self, key: &Key) -> Option<u32> {
        let hash = self.hasher.hash_one(key);
        self.places
            .find(hash, |place| {
                self.slots[*place as usize]
                    .flow
                    .as_ref()
                    .is_some_and(|flow| flow.key == *key)
            })
            .copied()
    }

    /// The flow there; it becomes the most recently active one.
    #[inline]
    pub fn touch(&mut self, place: u32, now_ns: u64) -> Option<&mut Flow> {
        let order = order(self.slots[place as usize].flow.as_ref()?.key.transport());
        if self.orders[order].newest != place {
            self.unlink(place, order);
            self.link(place, order);
        }
        let flow = self.slots[place as usize].flow.as_mut()?;
        flow.last_ns = flow.last_ns.max(now_ns);
        flow.packets += 1;
        Some(flow)
    }

    /// The flow there.
    #[inline]
    pub fn peek(&self, place: u32) -> Option<&Flow> {
        self.slots.get(place as usize)?.flow.as_ref()
    }

    /// What tells the flow there from later ones at the same place.
    pub fn generation(&self, place: u32) -> u32 {
        self.slots[place as usize].generation
    }

    /// The flow that was there when its generation was this one, if it still is.
    pub fn same(&mut self, place: u32, generation: u32) -> Option<&mut Flow> {
        let slot = self.slots.get_mut(place as usize)?;
        slot.flow.as_mut().filter(|_| slot.generation == generation)
    }

    /// Puts a new flow in; hands those that have to leave for it to `leave`.
    pub fn insert(&mut self, flow: Flow, leave: &mut impl FnMut(Flow)) -> u32 {
        if self.places.len() >= self.flows_max {
            self.evict_oldest(leave);
        }
        let hash = self.hasher.hash_one(flow.key);
        let order = order(flow.key.transport());
        let place = match self.free.pop() {
            Some(place) => place,
            None => {
                self.slots.push(Slot {
                    flow: None,
                    hash: 0,
                    older: NONE,
                    newer: NONE,
                    generation: 0,
                });
                (self.slots.len() - 1) as u32
            }
        };
        let slot = &mut self.slots[place as usize];
        slot.flow = Some(flow);
        slot.hash = hash;
        slot.generation = slot.generation.wrapping_add(1);
        let slots = &self.slots;
        self.places
            .insert_unique(hash, place, |place| slots[*place as usize].hash);
        self.link(place, order);
        place
    }

    /// The bytes held for flows have grown by so many. Beyond the limit, the longest idle
    /// flows are decided with what was seen of them.
    pub fn held(&mut self, grown: isize, leave: &mut impl FnMut(Flow)) {
        self.held_bytes = self.held_bytes.saturating_add_signed(grown);
        while self.held_bytes > self.held_max_bytes && self.places.len() > 1 {
            self.evict_oldest(leave);
        }
    }

    /// The flow there has ended: it leaves when no straggler can come any more.
    pub fn close(&mut self, place: u32, now_ns: u64) {
        let slot = &self.slots[place as usize];
        self.closing.push_back((now_ns, place, slot.generation));
    }

    /// Lets flows leave that ended or were silent for long enough.
    #[inline]
    pub fn expire(&mut self, now_ns: u64, leave: &mut impl FnMut(Flow)) {
        while let Some((since, place, generation)) = self.closing.front().copied() {
            if now_ns.saturating_sub(since) < LINGER_NS {
                break;
            }
            self.closing.pop_front();
            if self.slots[place as usize].generation == generation {
                self.remove(place, leave);
            }
        }
        for order in [0, 1] {
            while let Some(flow) = self.oldest(order) {
                if now_ns.saturating_sub(flow.last_ns) < IDLE_NS[order] {
                    break;
                }
                self.remove(self.orders[order].oldest, leave);
            }
        }
    }

    /// Lets all leave, the longest idle first.
    pub fn drain(&mut self, leave: &mut impl FnMut(Flow)) {
        self.closing.clear();
        while !self.places.is_empty() {
            self.remove_oldest(leave);
        }
    }

    /// Lets the flow there leave.
    pub fn remove(&mut self, place: u32, leave: &mut impl FnMut(Flow)) {
        let slot = &mut self.slots[place as usize];
        let hash = slot.hash;
        let Some(flow) = slot.flow.take() else {
            return;
        };
        slot.generation = slot.generation.wrapping_add(1);
        if let Ok(entry) = self.places.find_entry(hash, |other| *other == place) {
            entry.remove();
        }
        self.unlink(place, order(flow.key.transport()));
        self.free.push(place);
        self.held_bytes = self.held_bytes.saturating_sub(flow.held_bytes());
        leave(flow);
    }

    fn evict_oldest(&mut self, leave: &mut impl FnMut(Flow)) {
        self.evicted += 1;
        self.remove_oldest(leave);
    }

    fn remove_oldest(&mut self, leave: &mut impl FnMut(Flow)) {
        // One that has ended is no loss.
        let ended = self
            .closing
            .pop_front()
            .filter(|(_, place, generation)| self.slots[*place as usize].generation == *generation);
        let idle = |order: usize| {
            self.oldest(order)
                .map(|flow| (flow.last_ns, self.orders[order].oldest))
        };
        let oldest = [idle(0), idle(1)].into_iter().flatten().min();
        if let Some(place) = ended
            .map(|(_, place, _)| place)
            .or(oldest.map(|(_, place)| place))
        {
            self.remove(place, leave);
        }
    }

    fn oldest(&self, order: usize) -> Option<&Flow> {
        self.slots
            .get(self.orders[order].oldest as usize)?
            .flow
            .as_ref()
    }

    fn link(&mut self, place: u32, order: usize) {
        let newest = std::mem::replace(&mut self.orders[order].newest, place);
        let slot = &mut self.slots[place as usize];
        slot.older = newest;
        slot.newer = NONE;
        match self.slots.get_mut(newest as usize) {
            Some(before) => before.newer = place,
            None => self.orders[order].oldest = place,
        }
    }

    fn unlink(&mut self, place: u32, order: usize) {
        let Slot { older, newer, .. } = self.slots[place as usize];
        match self.slots.get_mut(older as usize) {
            Some(slot) => slot.newer = newer,
            None => self.orders[order].oldest = newer,
        }
        match self.slots.get_mut(newer as usize) {
            Some(slot) => slot.older = older,
            None => self.orders[order].newest = older,
        }
    }
}

const fn order(transport: Transport) -> usize {
    transport as usize
}
