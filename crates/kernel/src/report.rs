//! Counters and events: how the gate tells what it did.

use abi::{Counter, EventHeader, EventTag};
use aya_ebpf::bindings::{BPF_RB_FORCE_WAKEUP, BPF_RB_NO_WAKEUP};
use aya_ebpf::helpers::{bpf_get_current_pid_tgid, bpf_get_current_uid_gid, bpf_ktime_get_boot_ns};
use aya_ebpf::maps::ring_buf::RingBufEntry;

use crate::maps::{COUNTERS, EVENTS};

/// Adds one to a counter of this CPU.
#[inline(always)]
pub fn count(counter: Counter) {
    if let Some(slot) = COUNTERS.get_ptr_mut(counter as u32) {
        // SAFETY: the slot is this CPU's own. A task that is preempted in between can lose
        // one count, never corrupt memory.
        unsafe { *slot += 1 };
    }
}

/// Room for an event, or none when the ring buffer is full; that is counted.
#[inline(always)]
pub fn reserve<T: 'static>(lost: Counter) -> Option<RingBufEntry<T>> {
    let entry = EVENTS.reserve_untyped::<T>(0);
    if entry.is_none() {
        count(lost);
    }
    entry
}

/// Hands an event over and wakes the daemon. Without force the kernel wakes it only when it
/// had read everything before, and some events are left to be read with the next.
#[inline(always)]
pub fn submit<T>(event: RingBufEntry<T>) {
    event.submit(u64::from(BPF_RB_FORCE_WAKEUP));
}

/// Hands over an event that can wait for the next one.
#[inline(always)]
pub fn submit_quietly<T>(event: RingBufEntry<T>) {
    event.submit(u64::from(BPF_RB_NO_WAKEUP));
}

/// Wakes the daemon for what was submitted quietly.
#[inline(always)]
pub fn wake() {
    if let Some(room) = EVENTS.reserve_untyped::<u64>(0) {
        room.discard(u64::from(BPF_RB_FORCE_WAKEUP));
    }
}

/// The header of an event that the current process causes.
#[inline(always)]
pub fn header(tag: EventTag) -> EventHeader {
    header_for(tag, current_process(), current_user())
}

/// The header of an event that a process caused which need not be the current one.
#[inline(always)]
pub fn header_for(tag: EventTag, pid: u32, uid: u32) -> EventHeader {
    // SAFETY: the helper has no preconditions.
    let boot_ns = unsafe { bpf_ktime_get_boot_ns() };
    EventHeader {
        tag: tag as u32,
        pid,
        boot_ns,
        uid,
        reserved: 0,
    }
}

/// The current process's id in the initial pid namespace.
#[inline(always)]
pub fn current_process() -> u32 {
    (bpf_get_current_pid_tgid() >> 32) as u32
}

/// The current process's user in the initial user namespace.
#[inline(always)]
pub fn current_user() -> u32 {
    bpf_get_current_uid_gid() as u32
}
