//! `tp_btf/inet_sock_set_state`: a watched connection is up, or it is closed and its grant
//! with it.
//!
//! Why here and not at `cgroup/sock_release`: after close() the kernel may still send what
//! the mailer wrote last, and those packets need the grant. The state says when the
//! connection is really over. tp_btf since 5.5, socket storage in it since 5.11, the cookie
//! since 5.12.

use abi::{Counter, EventTag, Flow, FlowEvent, FlowKind};
use aya_ebpf::cty::c_void;
use aya_ebpf::helpers::generated::{
    bpf_get_socket_cookie, bpf_sk_storage_delete, bpf_sk_storage_get,
};
use aya_ebpf::macros::btf_tracepoint;
use aya_ebpf::programs::BtfTracePointContext;

use crate::kernel_memory::Address;
use crate::maps::{flows, offset};
use crate::report::{count, header_for, reserve};

const TCP_ESTABLISHED: i32 = 1;
const TCP_CLOSE: i32 = 7;

#[btf_tracepoint(function = "inet_sock_set_state")]
pub fn socket_state(ctx: BtfTracePointContext) -> i32 {
    let state: i32 = ctx.arg(2);
    if state != TCP_ESTABLISHED && state != TCP_CLOSE {
        return 0;
    }
    let socket: *const c_void = ctx.arg(0);
    // SAFETY: the socket is the tracepoint's argument; without the create flag nothing is written.
    let flow = unsafe { bpf_sk_storage_get(flows(), socket.cast_mut(), core::ptr::null_mut(), 0) };
    if flow.is_null() {
        return 0;
    }
    // SAFETY: the storage lives as long as its socket.
    let flow = unsafe { &mut *flow.cast::<Flow>() };
    let grant = flow.kind == FlowKind::Grant as u8;
    if state == TCP_ESTABLISHED {
        flow.established = 1;
        if grant {
            count(Counter::GrantsOpened);
        }
        report(EventTag::FlowOpened, socket, flow, 0, 0);
        return 0;
    }
    if flow.established == 1 {
        if grant {
            count(Counter::GrantsClosed);
        }
        let tcp = Address::from(socket);
        report(
            EventTag::FlowClosed,
            socket,
            flow,
            tcp.read(offset!(tcp_bytes_acked)),
            tcp.read(offset!(tcp_bytes_received)),
        );
    }
    // The socket may be connected again; that is judged anew.
    // SAFETY: map and socket are valid.
    unsafe { bpf_sk_storage_delete(flows(), socket.cast_mut()) };
    0
}

#[inline(always)]
fn report(tag: EventTag, socket: *const c_void, flow: &Flow, bytes_sent: u64, bytes_received: u64) {
    if flow.kind == 0 {
        return;
    }
    // SAFETY: the helper takes the tracepoint's socket.
    let cookie = unsafe { bpf_get_socket_cookie(socket.cast_mut()) };
    let Some(mut event) = reserve::<FlowEvent>(Counter::EventsLost) else {
        return;
    };
    event.write(FlowEvent {
        header: header_for(tag, flow.pid, flow.uid),
        cookie,
        connected_ns: flow.connected_ns,
        bytes_sent,
        bytes_received,
        address: flow.address,
        program: flow.program,
        culprit: flow.culprit,
        port: flow.port,
        family: flow.family,
        kind: flow.kind,
        role: flow.role,
        origin: flow.origin,
        reserved: [0; 10],
    });
    event.submit(0);
}
