//! `tp_btf/tcp_sendmsg_locked`, or `tp_btf/sock_send_length`: who writes into a granted
//! connection?
//!
//! Why here: a packet may leave long after it was written, on an interrupt, when nobody can
//! say who wrote it. The first is passed in the writer's own call, before its bytes are in
//! the socket; since 6.16. The second, since 6.3, at the end of the call: bytes that have
//! left by then left in it, which the packet hook sees. On older kernels there is the packet
//! hook alone. Either is passed by every byte that is sent on the machine, so the first test
//! is the cheapest: a port. Not with `packet_watch = "off"`: without a packet hook a grant
//! that has ended stops nothing.

use abi::Flow;
use aya_ebpf::helpers::generated::{bpf_get_socket_cookie, bpf_sk_storage_get};
use aya_ebpf::macros::btf_tracepoint;
use aya_ebpf::programs::BtfTracePointContext;

use super::code;
use super::flow::Carried;
use super::holder;
use super::verdict::Actor;
use crate::kernel_memory::{Address, Typed};
use crate::maps::{SETTINGS, flows, offset};

#[btf_tracepoint(function = "tcp_sendmsg_locked")]
pub fn write(ctx: BtfTracePointContext) -> i32 {
    let socket = Typed::argument(&ctx, 0);
    if is_watched(socket) {
        writes(socket);
    }
    0
}

#[btf_tracepoint(function = "sock_send_length")]
pub fn written(ctx: BtfTracePointContext) -> i32 {
    let socket = Typed::argument(&ctx, 0);
    if is_watched(socket) && ctx.arg::<i32>(1) > 0 {
        writes(socket);
    }
    0
}

/// What nearly everybody's sending ends with.
#[inline(always)]
fn is_watched(socket: Typed) -> bool {
    SETTINGS.get(0).is_some_and(|settings| {
        settings.may_be_watched(u16::from_be(socket.read(offset!(sock_dport))))
    })
}

/// The current task writes into a socket. Not inlined, so that what most sockets do saves no
/// registers for it.
#[inline(never)]
fn writes(socket: Typed) {
    // SAFETY: the socket is the tracepoint's argument; without the create flag nothing is written.
    let storage =
        unsafe { bpf_sk_storage_get(flows(), socket.pointer(), core::ptr::null_mut(), 0) };
    // SAFETY: the storage lives as long as its socket.
    let Some(flow) = (unsafe { storage.cast::<Flow>().as_mut() }) else {
        return;
    };
    if !holder::holds_grant(flow) {
        return;
    }
    if holder::may_write(Address::current_task(), flow) {
        code::ask_for_look(flow);
        return;
    }
    // SAFETY: the helper takes the tracepoint's socket.
    let cookie = unsafe { bpf_get_socket_cookie(socket.pointer()) };
    let carried = Carried::by(socket.address());
    holder::take_back(flow, cookie, carried, &Actor::current());
}
