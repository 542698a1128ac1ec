//! `tp_btf/inet_sock_set_state`: a watched connection is up, or it is closed and its grant
//! with it. Only with `packet_watch = "off"`: else the packet hook sees the same, and what
//! every state change on the machine would cost is saved.
//!
//! tp_btf since 5.5, socket storage in it since 5.11, the cookie since 5.12.

use aya_ebpf::cty::c_void;
use aya_ebpf::helpers::generated::{
    bpf_get_socket_cookie, bpf_sk_storage_delete, bpf_sk_storage_get,
};
use aya_ebpf::macros::btf_tracepoint;
use aya_ebpf::programs::BtfTracePointContext;

use abi::Flow;

use super::flow::{self, Carried};
use crate::kernel_memory::Address;
use crate::maps::flows;

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
    let storage =
        unsafe { bpf_sk_storage_get(flows(), socket.cast_mut(), core::ptr::null_mut(), 0) };
    if storage.is_null() {
        return 0;
    }
    // SAFETY: the storage lives as long as its socket.
    let storage = unsafe { &mut *storage.cast::<Flow>() };
    // SAFETY: the helper takes the tracepoint's socket.
    let cookie = unsafe { bpf_get_socket_cookie(socket.cast_mut()) };
    if state == TCP_ESTABLISHED {
        flow::opened(storage, cookie);
        return 0;
    }
    flow::closed(storage, cookie, Carried::by(Address::from(socket)));
    // The socket may be connected again; that is judged anew.
    // SAFETY: map and socket are valid.
    unsafe { bpf_sk_storage_delete(flows(), socket.cast_mut()) };
    0
}
