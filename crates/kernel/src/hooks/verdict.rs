//! How a verdict is told: the one place where the hooks write its event. Refusals that are alike are told
//! one by one as long as they are few, and counted when they are many, so that a flood leaves room for
//! reports that differ.

use core::intrinsics::{AtomicOrdering, atomic_xadd, atomic_xchg};

use abi::{
    Counter, EventTag, FOLD_AFTER, FOLD_NS, Fold, FoldKey, ProcessRecord, VerdictEvent,
    VerdictOrigin,
};
use aya_ebpf::bindings::BPF_NOEXIST;
use aya_ebpf::helpers::{bpf_get_current_comm, bpf_ktime_get_boot_ns};
use policy::{Reason, Standing};

use crate::maps::{EVENTS, FOLDS};
use crate::report::{self, current_process, current_user, header_for, submit, submit_quietly};

/// What is judged, and where it goes.
pub struct Judged {
    /// What kind of deed.
    pub what: VerdictOrigin,
    /// Socket cookie; 0 when there is no socket.
    pub cookie: u64,
    /// Destination in network order.
    pub address: [u8; 16],
    /// Destination port in host order.
    pub port: u16,
    /// 4, 6 or 0.
    pub family: u8,
    /// Of a packet, the socket's own port in host order; else 0.
    pub own_port: u16,
    /// Whether the gate only observes.
    pub observe: u8,
}

/// Who did it.
pub struct Actor {
    /// Process; 0 where user space has to look for it.
    pub pid: u32,
    /// Its user.
    pub uid: u32,
    /// Name of its thread.
    pub comm: [u8; 16],
    /// What is said of it where it has no record any more.
    pub left: Left,
}

/// What a connection still knows of a process that is gone.
#[derive(Clone, Copy, Default)]
#[repr(C)]
pub struct Left {
    /// Index of its program.
    pub program: u32,
    /// Index of the culprit in its lineage.
    pub culprit: u32,
    /// Process that the culprit was.
    pub culprit_pid: u32,
}

impl Actor {
    /// The current process. Not for cgroup_skb, where these helpers are there since 6.10 only.
    #[inline(always)]
    pub fn current() -> Self {
        Self {
            pid: current_process(),
            uid: current_user(),
            comm: bpf_get_current_comm().unwrap_or([0; 16]),
            left: Left::default(),
        }
    }
}

/// The record of a process of which nothing is known.
pub static STRANGER: ProcessRecord = ProcessRecord::of(&Standing::STRANGER);

/// A verdict as [`report`] takes it: without a gap, because the verifier wants every byte written.
#[repr(C)]
struct Told {
    cookie: u64,
    address: [u8; 16],
    comm: [u8; 16],
    pid: u32,
    uid: u32,
    left: Left,
    port: u16,
    own_port: u16,
    what: u8,
    family: u8,
    observe: u8,
    reason: u8,
    reserved: u32,
}

/// Reports a verdict, by the code of its [`Reason`].
#[inline(always)]
pub fn tell(judged: &Judged, reason: u8, actor: &Actor, record: Option<&ProcessRecord>) {
    let told = Told {
        cookie: judged.cookie,
        address: judged.address,
        comm: actor.comm,
        pid: actor.pid,
        uid: actor.uid,
        left: actor.left,
        port: judged.port,
        own_port: judged.own_port,
        what: judged.what as u8,
        family: judged.family,
        observe: judged.observe,
        reason,
        reserved: 0,
    };
    let record = record.map_or(core::ptr::null(), core::ptr::from_ref);
    // SAFETY: both are whole, and the second may be null.
    unsafe { report(&raw const told, record) };
}

/// Writes the event of a verdict, or counts it with others that are alike.
///
/// External linkage: the verifier checks it once, not for each reason that leads to its call.
#[unsafe(no_mangle)]
#[inline(never)]
unsafe extern "C" fn report(told: *const Told, record: *const ProcessRecord) -> u32 {
    // SAFETY: null or whole, as the verifier sees to.
    let (Some(told), record) = (unsafe { told.as_ref() }, unsafe { record.as_ref() }) else {
        return 0;
    };
    let permitted = told.reason == Reason::Permitted as u8;
    let (mut fold, mut count) = (None, 1);
    if !permitted {
        fold = fold_of(told, record);
        if let Some(fold) = fold {
            let Some(folded) = take_folded(fold) else {
                return 0;
            };
            count += folded;
        }
    }
    let Some(mut event) = EVENTS.reserve_untyped::<VerdictEvent>(0) else {
        match fold {
            Some(fold) => add(fold, count),
            None => report::count(Counter::EventsLost),
        }
        return 0;
    };
    // SAFETY: it is a whole VerdictEvent in the ring buffer.
    unsafe { fill(event.as_mut_ptr(), told, record, count) };
    // A wake-up costs the caller more than all the rest. Of a permitted connection the daemon
    // hears when it ends; a refusal is told at once.
    if permitted && told.what == VerdictOrigin::Connect as u8 {
        submit_quietly(event);
    } else {
        submit(event);
    }
    0
}

/// Writes every field of an event.
///
/// # Safety
///
/// `room` is room for one.
#[inline(always)]
unsafe fn fill(room: *mut VerdictEvent, told: &Told, record: Option<&ProcessRecord>, count: u64) {
    let permitted = told.reason == Reason::Permitted as u8;
    // SAFETY: as the caller says.
    unsafe {
        (*room).cookie = told.cookie;
        (*room).address = told.address;
        (*room).port = told.port;
        (*room).family = told.family;
        (*room).judged = told.what;
        (*room).reason = told.reason;
        (*room).observed = (told.observe != 0 && !permitted) as u8;
        (*room).own_port = told.own_port;
        (*room).comm = told.comm;
        (*room).count = if count > u64::from(u32::MAX) {
            u32::MAX
        } else {
            count as u32
        };
        (*room).known = u32::from(record.is_some());
        copy(record.unwrap_or(&STRANGER), &raw mut (*room).record);
        if record.is_none() {
            (*room).record.program = told.left.program;
            (*room).record.culprit = told.left.culprit;
            (*room).record.culprit_pid = told.left.culprit_pid;
        }
        // Last: with its tag an event is whole.
        (*room).header = header_for(EventTag::Verdict, told.pid, told.uid);
    }
}

/// What the map `folds` begins with.
// SAFETY: it is made of integers only, for which all bits zero is a value.
static NOTHING_FOLDED: Fold = unsafe { core::mem::zeroed() };

/// Where refusals like this one are counted. None when there is no room for another kind.
#[inline(always)]
fn fold_of(told: &Told, record: Option<&ProcessRecord>) -> Option<*mut Fold> {
    let who = record.map_or(told.left, |record| Left {
        program: record.program,
        culprit: record.culprit,
        culprit_pid: record.culprit_pid,
    });
    let (origin, tampered) = record.map_or((0, 0), |record| (record.origin, record.tampered));
    let key = FoldKey {
        address: told.address,
        program: who.program,
        culprit: who.culprit,
        culprit_pid: who.culprit_pid,
        uid: told.uid,
        port: told.port,
        own_port: if told.pid == 0 { told.own_port } else { 0 },
        family: told.family,
        judged: told.what,
        reason: told.reason,
        observed: (told.observe != 0) as u8,
        origin,
        tampered,
        known: record.is_some() as u8,
        reserved: [0; 5],
    };
    let found = FOLDS.get_ptr_mut(&key);
    if found.is_some() {
        return found;
    }
    // Of two that come at the same moment one is the first.
    let first = FOLDS
        .insert(&key, &NOTHING_FOLDED, u64::from(BPF_NOEXIST))
        .is_ok();
    let fold = FOLDS.get_ptr_mut(&key)?;
    if first {
        // SAFETY: a whole value of the map. User space believes it when its tag is there.
        unsafe { fill(&raw mut (*fold).first, told, record, 1) };
    }
    Some(fold)
}

/// How many refusals are to be told together with this one. None when this one is counted only.
#[inline(always)]
fn take_folded(fold: *mut Fold) -> Option<u64> {
    // SAFETY: the helper has no preconditions.
    let now = unsafe { bpf_ktime_get_boot_ns() };
    // SAFETY: a whole value of the map. Processors that come at the same moment may tell one more or less
    // at once; the count itself is changed as a whole.
    unsafe {
        (*fold).last_ns = now;
        if now - (*fold).since_ns > FOLD_NS {
            (*fold).since_ns = now;
            (*fold).told = 0;
        }
        if (*fold).told >= FOLD_AFTER {
            add(fold, 1);
            return None;
        }
        (*fold).told += 1;
        if (*fold).count == 0 {
            return Some(0);
        }
        Some(atomic_xchg::<u64, { AtomicOrdering::SeqCst }>(
            &raw mut (*fold).count,
            0,
        ))
    }
}

#[inline(always)]
fn add(fold: *mut Fold, count: u64) {
    // SAFETY: a whole value of the map, whose count is aligned.
    unsafe {
        atomic_xadd::<u64, u64, { AtomicOrdering::Relaxed }>(&raw mut (*fold).count, count);
    }
}

/// Word by word: the compiler would read all of it before it writes, and stack is scarce.
///
/// # Safety
///
/// `to` is room for a `T`, whose alignment is that of words.
#[inline(always)]
unsafe fn copy<T: Copy>(from: &T, to: *mut T) {
    let (from, to) = (core::ptr::from_ref(from).cast::<u32>(), to.cast::<u32>());
    for index in 0..size_of::<T>() / size_of::<u32>() {
        // SAFETY: both are as long; the one is borrowed, the other the caller's room.
        unsafe {
            to.add(index)
                .write_volatile(from.add(index).read_volatile())
        };
    }
}
