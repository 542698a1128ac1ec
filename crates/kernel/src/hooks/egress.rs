//! `cgroup_skb/egress`: the second gate. A TCP packet to a mail port leaves only from a
//! socket that holds a grant. To any other port, what may not send speaks no mail.
//!
//! Why here: it sees what never came through connect(): raw sockets, and connections that
//! are older than the gate. It runs for each packet of a guarded socket, so the first test
//! is the cheapest: a TCP socket knows its port, and no byte of the packet is read. Since
//! 4.10; socket storage here since 5.2.

use abi::{Counter, Flow, FlowKind, Settings, VerdictOrigin};
use aya_ebpf::bindings::{BPF_SK_STORAGE_GET_F_CREATE, bpf_sock};
use aya_ebpf::cty::c_void;
use aya_ebpf::helpers::generated::{bpf_get_socket_uid, bpf_sk_storage_get};
use aya_ebpf::macros::cgroup_skb;
use aya_ebpf::programs::SkBuffContext;
use policy::Reason;

use super::code;
use super::flow::{self, Carried};
use super::holder;
use super::verdict::{self, Actor, Judged, Left};
use crate::kernel_memory::Address;
use crate::maps::{LAST_SPOILED, PROCESSES, SETTINGS, SPOILED, flows, offset};
use crate::packet::{
    Header, IPPROTO_TCP, Payload, SOCK_DGRAM, SOCK_STREAM, TCP_FIN_WAIT1, Tcp, cookie, full_socket,
};
use crate::report::count;
use crate::sample;

const PASS: i32 = 1;
const DROP: i32 = 0;
const TCP_ESTABLISHED: u32 = 1;
const TCP_LAST_ACK: u32 = 9;
const TCP_CLOSING: u32 = 11;

#[cgroup_skb(egress)]
pub fn egress(ctx: SkBuffContext) -> i32 {
    let Some(settings) = SETTINGS.get(0) else {
        return DROP;
    };
    let Some(tcp) = Tcp::of(&ctx) else {
        return no_connection(&ctx, settings);
    };
    let port = tcp.port();
    let is_kept = tcp.has_storage() || sample::may_be_subflow(tcp);
    if settings.may_be_watched(port) {
        if settings.is_mail_port(port) {
            return granted(&ctx, settings, tcp, port);
        }
        if is_kept && settings.is_irc_port(port) {
            irc(&ctx, tcp);
        }
    }
    // Nearly all packets leave here.
    if !is_kept || settings.sample == 0 || sample::sent(&ctx, settings, tcp) {
        PASS
    } else {
        DROP
    }
}

/// What belongs to no TCP connection, or to a part of one that was never a whole socket.
#[inline(always)]
fn no_connection(ctx: &SkBuffContext, settings: &Settings) -> i32 {
    let socket = full_socket(ctx);
    if socket.is_null() {
        return PASS;
    }
    // SAFETY: a full socket, checked above.
    let (kind, port) = unsafe { ((*socket).type_, u16::from_be((*socket).dst_port)) };
    match kind {
        // Another protocol's, and no mail goes that way.
        SOCK_STREAM if settings.is_mail_port(port) => {
            refuse(ctx, settings, socket.cast(), (port, 0), Reason::NoGrant)
        }
        SOCK_STREAM => PASS,
        SOCK_DGRAM => {
            if settings.sample != 0 {
                sample::datagram(ctx, socket);
            }
            PASS
        }
        _ => raw(ctx, settings, socket),
    }
}

/// A connection to a mail port. Not inlined, to keep the stack small.
#[inline(never)]
fn granted(ctx: &SkBuffContext, settings: &Settings, tcp: Tcp, port: u16) -> i32 {
    let mut reason = Reason::NoGrant;
    if let Some(flow) = flow_of(tcp)
        && flow.kind == FlowKind::Grant as u8
    {
        if is_spoiled(flow) {
            // Whoever reached into the mailer may hold its socket by now. Reported once, and no
            // grant from here on.
            flow::closed(flow, cookie(ctx), Carried::by(tcp.address()));
            flow.kind = 0;
            flow.port = 0;
            reason = Reason::Tampered;
        } else if holder::holds_grant(flow) && is_written_by_another(ctx, tcp, flow) {
            let task = Address::current_task();
            let writer = Actor {
                pid: task.read(offset!(task_tgid)),
                // SAFETY: the helper takes the program's own context.
                uid: unsafe { bpf_get_socket_uid(ctx.skb.skb) },
                comm: [0; 16],
                left: Left::default(),
            };
            holder::take_back(flow, cookie(ctx), Carried::by(tcp.address()), &writer);
        } else {
            notice_state(ctx, tcp, flow);
            // TCP keeps what is dropped here, and sends it when it is looked at.
            let waits = code::waits_for_look(flow) && tcp.may_carry() && Payload::is_in(ctx);
            return if waits { DROP } else { PASS };
        }
    }
    refuse(ctx, settings, tcp.pointer(), (port, tcp.own_port()), reason)
}

/// Whether somebody has reached into the process since it was given the grant.
#[inline(always)]
fn is_spoiled(flow: &Flow) -> bool {
    let last_ns = LAST_SPOILED.get(0).copied().unwrap_or(u64::MAX);
    // SAFETY: the value is copied out at once.
    last_ns >= flow.connected_ns
        && unsafe { SPOILED.get(flow.pid) }.is_some_and(|spoiled| *spoiled >= flow.connected_ns)
}

/// Whether payload leaves in the call of a process that may not send. Only when that process
/// owns the socket at this moment; else it leaves on an interrupt, in whatever task that hit.
#[inline(always)]
fn is_written_by_another(ctx: &SkBuffContext, tcp: Tcp, flow: &Flow) -> bool {
    tcp.may_carry()
        && tcp.is_owned()
        && Payload::is_in(ctx)
        && !holder::may_let_leave(Address::current_task(), flow)
}

/// A connection to a port where IRC servers listen: only watched. Not inlined: the stack of each
/// function in a chain of calls counts, on Linux 6.1 in steps of 32 bytes, and `egress` begins
/// long chains.
#[inline(never)]
fn irc(ctx: &SkBuffContext, tcp: Tcp) {
    if let Some(flow) = flow_of(tcp) {
        notice_state(ctx, tcp, flow);
    }
}

#[inline(always)]
fn flow_of(tcp: Tcp) -> Option<&'static mut Flow> {
    // SAFETY: map and socket are valid; without the create flag nothing is written.
    let flow = unsafe { bpf_sk_storage_get(flows(), tcp.pointer(), core::ptr::null_mut(), 0) };
    // SAFETY: the storage lives as long as its socket, which lives as long as the packet.
    unsafe { flow.cast::<Flow>().as_mut() }
}

/// A packet that leaves in the state ESTABLISHED tells that the connection is up; the one with
/// the FIN that it is over, where no release has told that before. Not the handshake's last: it
/// leaves within connect(), which need not wait for a report.
#[inline(always)]
fn notice_state(ctx: &SkBuffContext, tcp: Tcp, flow: &mut Flow) {
    match tcp.state() {
        TCP_ESTABLISHED if flow.established == 0 => {
            if !tcp.is_silent() {
                flow::opened(flow, cookie(ctx));
            }
        }
        TCP_FIN_WAIT1 | TCP_LAST_ACK | TCP_CLOSING if flow.established == 1 => {
            flow::closed(flow, cookie(ctx), Carried::by(tcp.address()));
        }
        _ => {}
    }
}

/// A raw socket can put any packet together: the packet itself has to be read. A raw socket
/// never holds a grant.
#[inline(never)]
fn raw(ctx: &SkBuffContext, settings: &Settings, socket: *mut bpf_sock) -> i32 {
    // Only the first fragment has ports; without it the rest is worth nothing.
    let Some(header) = Header::of(ctx).behind_extensions(ctx) else {
        return if settings.observe != 0 { PASS } else { DROP };
    };
    if header.protocol != IPPROTO_TCP {
        return PASS;
    }
    let port = header.port(ctx);
    // For connections that it has forgotten the kernel itself answers from a raw socket: with a
    // reset, or once more with the last acknowledgement.
    if settings.is_mail_port(port) && !header.is_mere_answer(ctx) {
        refuse(ctx, settings, socket.cast(), (port, 0), Reason::NoGrant)
    } else {
        PASS
    }
}

/// Drops the packet, and reports it once for each socket: the sender retries. The ports are the
/// destination's, and the connection's own, else 0.
#[inline(always)]
fn refuse(
    ctx: &SkBuffContext,
    settings: &Settings,
    socket: *mut c_void,
    (port, own_port): (u16, u16),
    reason: Reason,
) -> i32 {
    count(Counter::PacketsRefused);
    let create = u64::from(BPF_SK_STORAGE_GET_F_CREATE);
    // SAFETY: map and socket are valid; a null value means zeroed.
    let flow = unsafe { bpf_sk_storage_get(flows(), socket, core::ptr::null_mut(), create) }
        .cast::<Flow>();
    if !flow.is_null() {
        // SAFETY: the storage lives as long as its socket.
        let known = unsafe { (*flow).port } == port;
        if !known {
            // SAFETY: as above.
            unsafe { (*flow).port = port };
            report(ctx, settings, (port, own_port), reason);
        }
    }
    if settings.observe != 0 { PASS } else { DROP }
}

#[inline(never)]
fn report(ctx: &SkBuffContext, settings: &Settings, (port, own_port): (u16, u16), reason: Reason) {
    let header = Header::of(ctx);
    // A raw socket sends in the calling task. A TCP packet may leave from an interrupt or on
    // behalf of another task: nobody is named here, and user space looks for the owner.
    let pid: u32 = if own_port != 0 {
        0
    } else {
        Address::current_task().read(offset!(task_tgid))
    };
    let judged = Judged {
        what: VerdictOrigin::Packet,
        cookie: cookie(ctx),
        address: header.destination(ctx),
        port,
        family: header.version,
        own_port,
        observe: settings.observe,
    };
    let actor = Actor {
        pid,
        // SAFETY: the helper takes the program's own context.
        uid: unsafe { bpf_get_socket_uid(ctx.skb.skb) },
        comm: [0; 16],
        left: Left::default(),
    };
    // SAFETY: the record of a task that is in its call stays.
    let record = PROCESSES.get_ptr(pid).map(|record| unsafe { &*record });
    verdict::tell(&judged, reason as u8, &actor, record);
}
