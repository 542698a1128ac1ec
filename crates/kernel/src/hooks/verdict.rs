//! How a verdict is told: the one place where the hooks write its event. Refusals that are alike are told
//! one by one as long as they are few, and counted when they are many, so that a flood leaves room for
//! reports that differ.

use core::intrinsics::{AtomicOrdering, atomic_xadd, atomic_xchg};

use abi::{
    Counter, EventTag, FOLD_AFTER, FOLD_NS, Fold, ProcessRecord, VerdictEvent, VerdictOrigin,
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
    let told = &raw const told;
    // SAFETY: both are whole, and the second may be null.
    unsafe {
        let key = alike(told, record);
        let count = fold(told, record, key, 0);
        if count > 0 && report(told, record, count) != 0 {
            // The next one tells of it.
            fold(told, record, key, count);
        }
    }
}

/// Counts a refusal together with others that are alike. Returns how many verdicts are to be told now,
/// this one among them; 0 when this one is counted only. With `more`, that many are counted and none is to
/// be told: there was no room for their event.
///
/// External linkage: the verifier checks it once, not for each reason that leads to its call. [`alike`], it
/// and [`report`] follow each other instead of one calling the other, because stack is scarce.
#[unsafe(no_mangle)]
#[inline(never)]
unsafe extern "C" fn fold(
    told: *const Told,
    record: *const ProcessRecord,
    key: u64,
    more: u64,
) -> u64 {
    // SAFETY: null or whole, as the verifier sees to.
    let (Some(told), record) = (unsafe { told.as_ref() }, unsafe { record.as_ref() }) else {
        return 0;
    };
    let fold = if told.reason == Reason::Permitted as u8 {
        None
    } else {
        fold_of(told, record, key)
    };
    match (fold, more) {
        (Some(fold), 0) => take_folded(fold),
        (Some(fold), more) => {
            add(fold, more);
            0
        }
        (None, 0) => 1,
        (None, _) => {
            report::count(Counter::EventsLost);
            0
        }
    }
}

/// Writes the event of so many verdicts. Returns 1 when there is no room for it.
///
/// External linkage: as above.
#[unsafe(no_mangle)]
#[inline(never)]
unsafe extern "C" fn report(told: *const Told, record: *const ProcessRecord, count: u64) -> u32 {
    // SAFETY: null or whole, as the verifier sees to.
    let (Some(told), record) = (unsafe { told.as_ref() }, unsafe { record.as_ref() }) else {
        return 0;
    };
    let Some(mut event) = EVENTS.reserve_untyped::<VerdictEvent>(0) else {
        return 1;
    };
    // SAFETY: it is a whole VerdictEvent in the ring buffer.
    unsafe { fill(event.as_mut_ptr(), told, record, count) };
    // A wake-up costs the caller more than all the rest. Of a permitted connection the daemon
    // hears when it ends; a refusal is told at once.
    let permitted = told.reason == Reason::Permitted as u8;
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

/// A number over all that refusals have in common which are counted together, in the manner of FNV-1a.
///
/// External linkage: as above.
#[unsafe(no_mangle)]
#[inline(never)]
unsafe extern "C" fn alike(told: *const Told, record: *const ProcessRecord) -> u64 {
    // SAFETY: null or whole, as the verifier sees to.
    let (Some(told), record) = (unsafe { told.as_ref() }, unsafe { record.as_ref() }) else {
        return 0;
    };
    let mut hash = 0xcbf2_9ce4_8422_2325;
    let mut add = |low: u32, high: u32| {
        hash = (hash ^ (u64::from(low) | u64::from(high) << 32)).wrapping_mul(0x0100_0000_01b3);
        hash ^= hash >> 29;
    };
    let [a, b, c, d] = words(&told.address);
    add(a, b);
    add(c, d);
    let who = who(told, record);
    add(who.program, who.culprit);
    add(who.culprit_pid, told.uid);
    let (origin, tampered) = record.map_or((0, 0), |record| (record.origin, record.tampered));
    let own_port = if told.pid == 0 { told.own_port } else { 0 };
    add(
        u32::from(told.port) | u32::from(own_port) << 16,
        u32::from_ne_bytes([told.family, told.what, told.reason, told.observe]),
    );
    add(
        u32::from_ne_bytes([origin, tampered, record.is_some() as u8, 0]),
        0,
    );
    hash
}

#[inline(always)]
fn words(address: &[u8; 16]) -> [u32; 4] {
    let word = |at: usize| {
        u32::from_ne_bytes([
            address[at],
            address[at + 1],
            address[at + 2],
            address[at + 3],
        ])
    };
    [word(0), word(4), word(8), word(12)]
}

#[inline(always)]
fn who(told: &Told, record: Option<&ProcessRecord>) -> Left {
    record.map_or(told.left, |record| Left {
        program: record.program,
        culprit: record.culprit,
        culprit_pid: record.culprit_pid,
    })
}

/// Where refusals like this one are counted. None when there is no room for another kind.
#[inline(always)]
fn fold_of(told: &Told, record: Option<&ProcessRecord>, key: u64) -> Option<*mut Fold> {
    if let Some(found) = FOLDS.get_ptr_mut(key) {
        // SAFETY: a whole value of the map.
        let first = unsafe { &raw const (*found).first };
        // Numbers can be made to meet, and two that come at the same moment do: neither may count as
        // the other.
        return unsafe { is_like(first, told, record) }.then_some(found);
    }
    // Of two that come at the same moment one is the first.
    FOLDS
        .insert(key, &NOTHING_FOLDED, u64::from(BPF_NOEXIST))
        .ok()?;
    let fold = FOLDS.get_ptr_mut(key)?;
    // SAFETY: a whole value of the map. It is believed when its tag is there.
    unsafe { fill(&raw mut (*fold).first, told, record, 1) };
    Some(fold)
}

/// Whether a refusal is like the first one of those that are counted together.
///
/// # Safety
///
/// `first` is a whole event, or all zeros.
#[inline(always)]
unsafe fn is_like(first: *const VerdictEvent, told: &Told, record: Option<&ProcessRecord>) -> bool {
    let who = who(told, record);
    // SAFETY: as the caller says.
    unsafe {
        (*first).header.tag == EventTag::Verdict as u32
            && (*first).header.uid == told.uid
            && (*first).record.program == who.program
            && (*first).record.culprit == who.culprit
            && (*first).record.culprit_pid == who.culprit_pid
            && words(&(*first).address) == words(&told.address)
            && (*first).port == told.port
            && (*first).judged == told.what
            && (*first).reason == told.reason
    }
}

/// How many refusals are to be told now, this one among them. 0 when this one is counted only.
#[inline(always)]
fn take_folded(fold: *mut Fold) -> u64 {
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
            return 0;
        }
        (*fold).told += 1;
        if (*fold).count == 0 {
            return 1;
        }
        1 + atomic_xchg::<u64, { AtomicOrdering::SeqCst }>(&raw mut (*fold).count, 0)
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
