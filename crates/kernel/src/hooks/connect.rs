//! `cgroup/connect4` and `connect6`: the gate.
//!
//! Why here: every way to open a TCP connection from a socket of a guarded cgroup comes
//! through, in the calling task and before a packet leaves: connect() blocking or not,
//! IPv6 and IPv4 mapped into it, TCP Fast Open by either call, MPTCP, io_uring. A program of
//! the gate cannot be overruled by one attached further down. Since 4.17; helpers used here
//! since 5.11.

use abi::{Counter, Flow, FlowKind, ProcessRecord, RateWindow, Settings, VerdictOrigin};
use aya_ebpf::EbpfContext as _;
use aya_ebpf::bindings::BPF_ANY;
use aya_ebpf::helpers::generated::{bpf_get_socket_cookie, bpf_ktime_get_boot_ns};
use aya_ebpf::macros::cgroup_sock_addr;
use aya_ebpf::programs::SockAddrContext;
use policy::{
    Attempt, Kind, Origin, PresenceRule, Rate, Reason, Tamper, Verdict, is_asked_for_presence,
    is_loopback, may_send, without_typing,
};

use super::code;
use super::flow::{self, Carried};
use super::verdict::{self, Actor, Judged};
use crate::kernel_memory::Address;
use crate::maps::{FLOWS, PROCESSES, RATES, SAMPLINGS, SETTINGS, offset};
use crate::packet::Tcp;
use crate::presence::{Connection, absent_for, has_typed, tell_absence};
use crate::report::{count, current_process, current_user};
use crate::sample;

const ALLOW: i32 = 1;
/// The caller gets EPERM.
const REFUSE: i32 = 0;
const SOCK_STREAM: u32 = 1;
const SOCK_DGRAM: u32 = 2;
const MINUTE_NS: u64 = 60_000_000_000;

#[cgroup_sock_addr(connect4)]
pub fn connect4(ctx: SockAddrContext) -> i32 {
    gate(&ctx, 4)
}

#[cgroup_sock_addr(connect6)]
pub fn connect6(ctx: SockAddrContext) -> i32 {
    gate(&ctx, 6)
}

/// Everything that does not go to a watched port leaves here after one map look-up and a
/// handful of comparisons: that is all that other traffic pays.
#[inline(always)]
fn gate(ctx: &SockAddrContext, family: u8) -> i32 {
    // SAFETY: the context is valid while the program runs.
    let call = unsafe { &*ctx.sock_addr };
    let port = u16::from_be(call.user_port as u16);
    let Some(settings) = SETTINGS.get(0) else {
        return REFUSE;
    };
    if !settings.may_be_watched(port) {
        return elsewhere(ctx, settings, port, family);
    }
    let kind = if settings.is_mail_port(port) {
        FlowKind::Grant
    } else if settings.is_irc_port(port) {
        FlowKind::Irc
    } else {
        return elsewhere(ctx, settings, port, family);
    };
    // The address of a UDP socket may be set to a mail port; no mail goes that way.
    if call.type_ == SOCK_DGRAM {
        return ALLOW;
    }
    let address = destination(ctx, family);
    match kind {
        FlowKind::Irc => {
            watch(ctx, &address, port, family);
            elsewhere(ctx, settings, port, family)
        }
        FlowKind::Grant => judge(ctx, settings, &address, port, family),
    }
}

/// A connection to a port where IRC servers listen. Not inlined, to keep the stack small.
#[inline(never)]
fn watch(ctx: &SockAddrContext, address: &[u8; 16], port: u16, family: u8) {
    let record = PROCESSES.get_ptr(current_process());
    // SAFETY: the record of the current process stays while it is in this call.
    let record = record.map(|record| unsafe { &*record });
    if !keep(ctx, &flow_to(FlowKind::Irc, record, address, port, family)) {
        count(Counter::FlowsLost);
    }
}

/// A connection to any other port is permitted, and marked as one to sample or read when its
/// process may not send.
#[inline(always)]
fn elsewhere(ctx: &SockAddrContext, settings: &Settings, port: u16, family: u8) -> i32 {
    // SAFETY: the context is valid while the program runs.
    if settings.sample == 0 || unsafe { (*ctx.sock_addr).type_ } != SOCK_STREAM {
        return ALLOW;
    }
    mark(ctx, settings, &destination(ctx, family), port, family)
}

/// See [`elsewhere`]. Not inlined, to keep the stack small.
#[inline(never)]
fn mark(
    ctx: &SockAddrContext,
    settings: &Settings,
    address: &[u8; 16],
    port: u16,
    family: u8,
) -> i32 {
    let pid = current_process();
    let Some(beginner) = sample::beginner(pid) else {
        return ALLOW;
    };
    // SAFETY: the socket belongs to the context.
    let slot = unsafe { SAMPLINGS.get_or_insert_ptr_mut(ctx, None) };
    if slot.is_null() {
        return no_room(ctx, settings, address, port, family);
    }
    let to = (address, port, family);
    // SAFETY: the storage lives as long as the socket, which is inside its own connect().
    unsafe { *slot = sample::begins(beginner, pid, current_user(), to) };
    ALLOW
}

/// Nothing can be kept for the socket. The kernel bounds what hangs on a socket, and whoever owns
/// it can use that up; what could not be read then does not begin.
#[inline(never)]
fn no_room(
    ctx: &SockAddrContext,
    settings: &Settings,
    address: &[u8; 16],
    port: u16,
    family: u8,
) -> i32 {
    count(Counter::FlowsLost);
    let judged = Judged {
        what: VerdictOrigin::Connect,
        cookie: cookie(ctx),
        address: *address,
        port,
        family,
        own_port: 0,
        observe: settings.observe,
    };
    let record = PROCESSES.get_ptr(current_process());
    // SAFETY: the record of the current process stays while it is in this call.
    let record = record.map(|record| unsafe { &*record });
    verdict::tell(&judged, Reason::NoRoom as u8, &Actor::current(), record);
    if settings.observe != 0 { ALLOW } else { REFUSE }
}

/// A connection to a mail port. Not inlined, to keep the stack small.
#[inline(never)]
fn judge(
    ctx: &SockAddrContext,
    settings: &Settings,
    address: &[u8; 16],
    port: u16,
    family: u8,
) -> i32 {
    count(Counter::ConnectsJudged);
    let record = PROCESSES.get_ptr(current_process());
    // SAFETY: the record of the current process stays while it is in this call.
    let record = record.map(|record| unsafe { &*record });
    let pointer = record.map_or(core::ptr::null(), core::ptr::from_ref);
    let missing = missing(settings);
    // SAFETY: null or a whole record.
    let mut reason = unsafe {
        reason_for(
            pointer,
            is_multipath(ctx).into(),
            is_loopback(address, family).into(),
            missing,
        )
    } as u8;
    let allowed = reason == Reason::Permitted as u8;
    let observed = settings.observe != 0 && !allowed;
    if allowed || observed {
        let mut grant = flow_to(FlowKind::Grant, record, address, port, family);
        grant.observed = observed as u8;
        if allowed {
            code::ask_for_look(&mut grant);
        }
        if !keep(ctx, &grant) {
            // Without a place for the grant the second gate would drop every packet.
            count(Counter::FlowsLost);
            reason = Reason::NoRoom as u8;
        }
    }
    let judged = Judged {
        what: VerdictOrigin::Connect,
        cookie: cookie(ctx),
        address: *address,
        port,
        family,
        own_port: 0,
        observe: settings.observe,
    };
    let allowed = reason == Reason::Permitted as u8;
    count(if allowed {
        Counter::ConnectsAllowed
    } else {
        Counter::ConnectsRefused
    });
    verdict::tell(&judged, reason, &Actor::current(), record);
    let is_told = allowed || reason == Reason::NeedsPresence as u8;
    if let Some(record) = record
        && settings.presence != 0
        && is_told
        && is_asked_for_presence(&record.standing())
    {
        let connection = Connection {
            address: *address,
            port,
            family,
            refused: u8::from(!allowed && settings.observe == 0),
            program: record.program,
        };
        // SAFETY: it is whole.
        unsafe { tell_absence(&raw const connection) };
    }
    if allowed || settings.observe != 0 {
        ALLOW
    } else {
        REFUSE
    }
}

/// What the policy says of a process: the code of a [`Reason`].
///
/// External linkage: the verifier checks it once, and does not follow each reason any further.
#[unsafe(no_mangle)]
#[inline(never)]
unsafe extern "C" fn reason_for(
    record: *const ProcessRecord,
    multipath: u32,
    to_itself: u32,
    missing: u32,
) -> u32 {
    // SAFETY: null or whole, as the verifier sees to.
    let (Some(record), Some(settings)) = (unsafe { record.as_ref() }, SETTINGS.get(0)) else {
        return Reason::UnknownProcess as u32;
    };
    let standing = standing_now(record);
    let attempt = Attempt {
        to_itself: to_itself != 0,
        by_root: current_user() == 0,
    };
    // Only what is permitted otherwise uses up the rate: a bot that starts the mailer in vain must
    // not keep its user from sending.
    let answer = match may_send(&standing, attempt, Rate::UNLIMITED) {
        Verdict::Allow if multipath != 0 => Verdict::Refuse(Reason::Multipath),
        Verdict::Allow => presence_of(&standing, missing),
        refused => refused,
    };
    let answer = match answer {
        Verdict::Allow => may_send(&standing, attempt, rate(settings, record)),
        refused => refused,
    };
    answer.reason() as u32
}

/// What is missing of the person behind the current process.
#[inline(always)]
fn missing(settings: &Settings) -> u32 {
    let mut missing = 0;
    if has_typed(current_process()) == 0 {
        missing |= NOT_TYPED;
    }
    if settings.presence == PresenceRule::Require as u8 && absent_for() != 0 {
        missing |= ABSENT;
    }
    missing
}

/// Bits of what is missing of a person. Looked up before, and not here, because stack is scarce.
const NOT_TYPED: u32 = 1;
/// See [`NOT_TYPED`].
///
/// Only where the rule is to refuse: see [`missing`].
const ABSENT: u32 = 2;

/// The answer for a process that may send, by what was typed and by when its seat was used.
#[inline(always)]
fn presence_of(standing: &policy::Standing, missing: u32) -> Verdict {
    if missing & NOT_TYPED != 0 {
        return without_typing(Verdict::Allow, standing);
    }
    if is_asked_for_presence(standing) && missing & ABSENT != 0 {
        return Verdict::Refuse(Reason::NeedsPresence);
    }
    Verdict::Allow
}

/// The recorded standing, and whether somebody traces the task at this very moment.
#[inline(always)]
fn standing_now(record: &ProcessRecord) -> policy::Standing {
    let mut standing = record.standing();
    let task = Address::current_task();
    if task.read::<u32>(offset!(task_ptrace)) != 0 {
        standing.tampered = standing.tampered.with(Tamper::TRACED);
    }
    standing
}

/// Whether the socket speaks Multipath TCP. It keeps what was written until it knows on which way
/// that goes, and passes no hook when somebody writes (`send.rs`): a grant could not be kept from
/// whom the socket is handed to.
#[inline(always)]
fn is_multipath(ctx: &SockAddrContext) -> bool {
    // SAFETY: the context is valid while the program runs.
    let socket = unsafe { (*ctx.sock_addr).__bindgen_anon_1.sk };
    Tcp::behind(socket).is_some_and(Tcp::is_multipath)
}

/// Counts this connection against the mailer's rate. A service has none: its mail comes
/// from many people. Two connections at once may count as one; the limit is no exact science.
#[inline(always)]
fn rate(settings: &Settings, record: &ProcessRecord) -> Rate {
    if settings.rate_limit == 0
        || record.kind == Kind::Service as u8
        || record.origin == Origin::Service as u8
    {
        return Rate::UNLIMITED;
    }
    let key = (u64::from(current_user()) << 32) | u64::from(record.program);
    // SAFETY: the helper has no preconditions.
    let now = unsafe { bpf_ktime_get_boot_ns() };
    let Some(window) = RATES.get_ptr_mut(key) else {
        let first = RateWindow {
            began_ns: now,
            used: 1,
            reserved: 0,
        };
        let _ = RATES.insert(key, &first, u64::from(BPF_ANY));
        return Rate {
            used: 0,
            limit: settings.rate_limit,
        };
    };
    // SAFETY: the slot stays valid while the program runs; see above for races.
    let window = unsafe { &mut *window };
    if now - window.began_ns > MINUTE_NS {
        window.began_ns = now;
        window.used = 0;
    }
    let used = window.used;
    window.used = used.saturating_add(1);
    Rate {
        used,
        limit: settings.rate_limit,
    }
}

#[inline(always)]
fn flow_to(
    kind: FlowKind,
    record: Option<&ProcessRecord>,
    address: &[u8; 16],
    port: u16,
    family: u8,
) -> Flow {
    // SAFETY: the helper has no preconditions.
    let connected_ns = unsafe { bpf_ktime_get_boot_ns() };
    let (program, culprit, culprit_pid, role, origin) = match record {
        Some(record) => (
            record.program,
            record.culprit,
            record.culprit_pid,
            record.role,
            record.origin,
        ),
        None => (
            0,
            0,
            0,
            policy::Role::Unknown as u8,
            policy::Origin::Foreign as u8,
        ),
    };
    Flow {
        connected_ns,
        pid: current_process(),
        uid: current_user(),
        program,
        culprit,
        culprit_pid,
        address: *address,
        port,
        family,
        kind: kind as u8,
        role,
        origin,
        established: 0,
        observed: 0,
        looked_at: 0,
    }
}

/// Puts a flow into the socket's own storage.
#[inline(always)]
fn keep(ctx: &SockAddrContext, new: &Flow) -> bool {
    // SAFETY: the socket belongs to the context.
    let slot = unsafe { FLOWS.get_or_insert_ptr_mut(ctx, None) };
    if slot.is_null() {
        return false;
    }
    // SAFETY: the storage lives as long as the socket, which is inside its own connect().
    let slot = unsafe { &mut *slot };
    // A socket can be disconnected and connected again. What the old connection carried
    // cannot be asked here.
    flow::closed(slot, cookie(ctx), Carried::default());
    *slot = *new;
    true
}

#[inline(always)]
fn destination(ctx: &SockAddrContext, family: u8) -> [u8; 16] {
    // SAFETY: the context is valid while the program runs.
    let call = unsafe { &*ctx.sock_addr };
    let mut address = [0; 16];
    if family == 4 {
        address[..4].copy_from_slice(&call.user_ip4.to_ne_bytes());
    } else {
        address[..4].copy_from_slice(&call.user_ip6[0].to_ne_bytes());
        address[4..8].copy_from_slice(&call.user_ip6[1].to_ne_bytes());
        address[8..12].copy_from_slice(&call.user_ip6[2].to_ne_bytes());
        address[12..].copy_from_slice(&call.user_ip6[3].to_ne_bytes());
    }
    address
}

#[inline(always)]
fn cookie(ctx: &SockAddrContext) -> u64 {
    // SAFETY: the helper takes the program's own context.
    unsafe { bpf_get_socket_cookie(ctx.as_ptr()) }
}
