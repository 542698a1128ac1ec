//! `cgroup_skb/egress`: the second gate. A TCP packet to a mail port leaves only from a
//! socket that holds a grant.
//!
//! Why here: it sees what never came through connect(): raw sockets, and connections that
//! are older than the gate. It runs for each packet of a guarded socket, so the first test
//! is the cheapest: a TCP socket knows its port, and no byte of the packet is read. Since
//! 4.10; socket storage here since 5.2.

use abi::{
    Counter, EventTag, Flow, FlowKind, ProcessRecord, Settings, VerdictEvent, VerdictOrigin,
};
use aya_ebpf::bindings::{BPF_SK_STORAGE_GET_F_CREATE, bpf_sock};
use aya_ebpf::helpers::generated::{
    bpf_get_socket_cookie, bpf_get_socket_uid, bpf_sk_fullsock, bpf_sk_storage_get, bpf_tcp_sock,
};
use aya_ebpf::macros::cgroup_skb;
use aya_ebpf::programs::SkBuffContext;
use policy::{Reason, Standing};

use super::flow::{self, Carried};
use crate::kernel_memory::Address;
use crate::maps::{PROCESSES, SETTINGS, SPOILED, flows, offset};
use crate::report::{count, header_for, reserve, submit};
use crate::sample::{self, Way};

const PASS: i32 = 1;
const DROP: i32 = 0;
const SOCK_STREAM: u32 = 1;
const TCP_ESTABLISHED: u32 = 1;
const TCP_FIN_WAIT1: u32 = 4;
const TCP_LAST_ACK: u32 = 9;
const TCP_CLOSING: u32 = 11;
const SOCK_DGRAM: u32 = 2;
const IPPROTO_TCP: u8 = 6;
const AF_INET6: u32 = 10;
const IPV6_HEADER_BYTES: usize = 40;

#[cgroup_skb(egress)]
pub fn egress(ctx: SkBuffContext) -> i32 {
    // SAFETY: the context is valid while the program runs.
    let socket = unsafe { (*ctx.skb.skb).__bindgen_anon_2.sk };
    if socket.is_null() {
        return PASS;
    }
    // SAFETY: the socket is the context's own and not null.
    let socket = unsafe { bpf_sk_fullsock(socket) };
    if socket.is_null() {
        return PASS;
    }
    let Some(settings) = SETTINGS.get(0) else {
        return DROP;
    };
    // SAFETY: a full socket, checked above.
    let (kind, port) = unsafe { ((*socket).type_, u16::from_be((*socket).dst_port)) };
    match kind {
        SOCK_STREAM if !settings.may_be_watched(port) => {
            sample_packet(&ctx, settings, socket);
            PASS
        }
        SOCK_STREAM if settings.is_mail_port(port) => granted(&ctx, settings, socket, port),
        SOCK_STREAM => {
            if settings.is_irc_port(port) {
                irc(&ctx, socket);
            }
            sample_packet(&ctx, settings, socket);
            PASS
        }
        SOCK_DGRAM => {
            if settings.sample != 0 {
                sample::datagram(&ctx, socket);
            }
            PASS
        }
        _ => raw(&ctx, settings, socket),
    }
}

/// A stream socket to a mail port.
#[inline(always)]
fn granted(ctx: &SkBuffContext, settings: &Settings, socket: *mut bpf_sock, port: u16) -> i32 {
    if let Some(flow) = flow_of(socket)
        && flow.kind == FlowKind::Grant as u8
    {
        // SAFETY: the value is copied out at once.
        let spoiled_ns = unsafe { SPOILED.get(flow.pid) }.copied().unwrap_or(0);
        // Whoever reached into the mailer may hold its socket by now.
        if spoiled_ns < flow.connected_ns {
            notice_state(ctx, socket, flow);
            return PASS;
        }
        // Reported once, and no grant from here on.
        flow.kind = 0;
        flow.port = 0;
    }
    refuse(ctx, settings, socket, port)
}

/// A stream socket to a port where IRC servers listen: only watched.
#[inline(always)]
fn irc(ctx: &SkBuffContext, socket: *mut bpf_sock) {
    if let Some(flow) = flow_of(socket) {
        notice_state(ctx, socket, flow);
    }
}

#[inline(always)]
fn sample_packet(ctx: &SkBuffContext, settings: &Settings, socket: *mut bpf_sock) {
    if settings.sample != 0 {
        sample::packet(ctx, socket, Way::Sent);
    }
}

#[inline(always)]
fn flow_of(socket: *mut bpf_sock) -> Option<&'static mut Flow> {
    // SAFETY: map and socket are valid; without the create flag nothing is written.
    let flow = unsafe { bpf_sk_storage_get(flows(), socket.cast(), core::ptr::null_mut(), 0) };
    // SAFETY: the storage lives as long as its socket, which lives as long as the packet.
    unsafe { flow.cast::<Flow>().as_mut() }
}

/// The first packet that leaves in the state ESTABLISHED, the handshake's last, tells that
/// the connection is up; the packet with the FIN that it is over, where no release has told
/// that before.
#[inline(always)]
fn notice_state(ctx: &SkBuffContext, socket: *mut bpf_sock, flow: &mut Flow) {
    // SAFETY: a full socket, checked by the caller.
    let state = unsafe { (*socket).state };
    // SAFETY: the helper takes the program's own context.
    let cookie = || unsafe { bpf_get_socket_cookie(ctx.skb.skb.cast()) };
    match state {
        TCP_ESTABLISHED if flow.established == 0 => flow::opened(flow, cookie()),
        TCP_FIN_WAIT1 | TCP_LAST_ACK | TCP_CLOSING if flow.established == 1 => {
            // SAFETY: a full socket; null for what is no TCP.
            let tcp = unsafe { bpf_tcp_sock(socket) };
            if !tcp.is_null() {
                // SAFETY: checked above.
                let (sent, received) = unsafe { ((*tcp).bytes_acked, (*tcp).bytes_received) };
                flow::closed(flow, cookie(), Carried { sent, received });
            }
        }
        _ => {}
    }
}

/// A raw socket can put any packet together: the packet itself has to be read. A raw socket
/// never holds a grant.
#[inline(never)]
fn raw(ctx: &SkBuffContext, settings: &Settings, socket: *mut bpf_sock) -> i32 {
    let version = ctx.load::<u8>(0).unwrap_or(0);
    let (protocol, transport) = if version >> 4 == 4 {
        let protocol = ctx.load::<u8>(9).unwrap_or(0);
        // Only the first fragment has ports; without it the rest is worth nothing.
        (protocol, usize::from(version & 0xf) * 4)
    } else {
        (ctx.load::<u8>(6).unwrap_or(0), IPV6_HEADER_BYTES)
    };
    if protocol != IPPROTO_TCP {
        return PASS;
    }
    let port = u16::from_be(ctx.load::<u16>(transport + 2).unwrap_or(0));
    if settings.is_mail_port(port) {
        refuse(ctx, settings, socket, port)
    } else {
        PASS
    }
}

/// Drops the packet, and reports it once for each socket: the sender retries.
#[inline(never)]
fn refuse(ctx: &SkBuffContext, settings: &Settings, socket: *mut bpf_sock, port: u16) -> i32 {
    count(Counter::PacketsRefused);
    let create = u64::from(BPF_SK_STORAGE_GET_F_CREATE);
    // SAFETY: map and socket are valid; a null value means zeroed.
    let flow = unsafe { bpf_sk_storage_get(flows(), socket.cast(), core::ptr::null_mut(), create) }
        .cast::<Flow>();
    if !flow.is_null() {
        // SAFETY: the storage lives as long as its socket.
        let known = unsafe { (*flow).port } == port;
        if !known {
            // SAFETY: as above.
            unsafe { (*flow).port = port };
            report(ctx, settings, socket, port);
        }
    }
    if settings.observe != 0 { PASS } else { DROP }
}

#[inline(always)]
fn report(ctx: &SkBuffContext, settings: &Settings, socket: *mut bpf_sock, port: u16) {
    // SAFETY: the helper takes the program's own context.
    let (uid, cookie) = unsafe {
        (
            bpf_get_socket_uid(ctx.skb.skb),
            bpf_get_socket_cookie(ctx.skb.skb.cast()),
        )
    };
    let Some(mut event) = reserve::<VerdictEvent>(Counter::EventsLost) else {
        return;
    };
    // SAFETY: a full socket, checked by the caller.
    let family = if unsafe { (*socket).family } == AF_INET6 {
        6
    } else {
        4
    };
    let mut address = [0; 16];
    if family == 4 {
        let destination: [u8; 4] = ctx.load(16).unwrap_or([0; 4]);
        address[..4].copy_from_slice(&destination);
    } else {
        address = ctx.load(24).unwrap_or([0; 16]);
    }
    let room = event.as_mut_ptr();
    // A raw socket sends in the calling task. A TCP packet may leave from an interrupt or on
    // behalf of another task: nobody is named here, and user space looks for the owner.
    // SAFETY: a full socket, checked by the caller.
    let (kind, own_port) = unsafe { ((*socket).type_, (*socket).src_port as u16) };
    let pid: u32 = if kind == SOCK_STREAM {
        0
    } else {
        Address::current_task().read(offset!(task_tgid))
    };
    let record = PROCESSES.get_ptr(pid);
    // SAFETY: `room` is a whole VerdictEvent in the ring buffer; every field is written.
    unsafe {
        (*room).header = header_for(EventTag::Verdict, pid, uid);
        (*room).cookie = cookie;
        (*room).address = address;
        (*room).port = port;
        (*room).family = family;
        (*room).judged = VerdictOrigin::Packet as u8;
        (*room).reason = Reason::NoGrant as u8;
        (*room).observed = settings.observe;
        (*room).own_port = own_port;
        (*room).comm = [0; 16];
        (*room).reserved2 = 0;
        match record {
            Some(record) => {
                (*room).known = 1;
                (*room).record = *record;
            }
            None => {
                (*room).known = 0;
                (*room).record = ProcessRecord::of(&Standing::STRANGER);
            }
        }
    }
    submit(event);
}
