//! How a verdict is told: the one place where the hooks write its event.

use abi::{Counter, EventTag, ProcessRecord, VerdictEvent, VerdictOrigin};
use aya_ebpf::helpers::bpf_get_current_comm;
use policy::{Reason, Standing};

use crate::report::{current_process, current_user, header_for, reserve, submit, submit_quietly};

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

/// Writes the event of a verdict.
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
    let Some(mut event) = reserve::<VerdictEvent>(Counter::EventsLost) else {
        return 0;
    };
    let room = event.as_mut_ptr();
    // SAFETY: `room` is a whole VerdictEvent in the ring buffer; every field is written.
    unsafe {
        (*room).header = header_for(EventTag::Verdict, told.pid, told.uid);
        (*room).cookie = told.cookie;
        (*room).address = told.address;
        (*room).port = told.port;
        (*room).family = told.family;
        (*room).judged = told.what;
        (*room).reason = told.reason;
        (*room).observed = (told.observe != 0 && !permitted) as u8;
        (*room).own_port = told.own_port;
        (*room).comm = told.comm;
        (*room).reserved2 = 0;
        (*room).known = u32::from(record.is_some());
        copy(record.unwrap_or(&STRANGER), &raw mut (*room).record);
        if record.is_none() {
            (*room).record.program = told.left.program;
            (*room).record.culprit = told.left.culprit;
            (*room).record.culprit_pid = told.left.culprit_pid;
        }
    }
    // A wake-up costs the caller more than all the rest. Of a permitted connection the daemon
    // hears when it ends; a refusal is told at once.
    if permitted && told.what == VerdictOrigin::Connect as u8 {
        submit_quietly(event);
    } else {
        submit(event);
    }
    0
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
