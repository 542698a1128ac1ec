//! `cgroup/sock_release`: the last holder of a watched connection has closed it.
//!
//! Why here: it runs once for each socket, in the task that closes it, also when a process
//! ends. The grant itself needs no end: it lies in the socket and goes with it. What the
//! mailer wrote last may still be on its way then, and needs the grant. A Multipath TCP
//! subflow is not released like this; the packet hook sees its end. Since 5.9.

use abi::{Flow, Sampling};
use aya_ebpf::EbpfContext as _;
use aya_ebpf::cty::c_void;
use aya_ebpf::helpers::generated::{bpf_get_socket_cookie, bpf_sk_storage_get};
use aya_ebpf::macros::cgroup_sock;
use aya_ebpf::programs::SockContext;

use super::flow::{self, Carried};
use crate::kernel_memory::Address;
use crate::maps::{flows, samplings};
use crate::sample;

const TCP_ESTABLISHED: u32 = 1;
const TCP_CLOSE_WAIT: u32 = 8;
/// Anything else would be an error to the kernel.
const DONE: i32 = 1;

#[cgroup_sock(sock_release)]
pub fn release(ctx: SockContext) -> i32 {
    if let Some(flow) = stored::<Flow>(&ctx, flows()) {
        // SAFETY: the context is valid while the program runs.
        let state = unsafe { (*ctx.sock).state };
        // It may have come up without a word.
        if state == TCP_ESTABLISHED || state == TCP_CLOSE_WAIT {
            flow::opened(flow, cookie(&ctx));
        }
        flow::closed(flow, cookie(&ctx), carried(&ctx));
    }
    if let Some(sampling) = stored::<Sampling>(&ctx, samplings()) {
        sample::closed(sampling, cookie(&ctx), carried(&ctx));
    }
    DONE
}

/// What the socket holds in this map.
#[inline(always)]
fn stored<'a, T>(ctx: &'a SockContext, map: *mut c_void) -> Option<&'a mut T> {
    // SAFETY: the socket is the program's own context; without the create flag nothing is written.
    let storage = unsafe { bpf_sk_storage_get(map, ctx.as_ptr(), core::ptr::null_mut(), 0) };
    // SAFETY: the storage lives as long as its socket, and each map has one type of value.
    unsafe { storage.cast::<T>().as_mut() }
}

#[inline(always)]
fn cookie(ctx: &SockContext) -> u64 {
    // SAFETY: the helper takes the program's own context.
    unsafe { bpf_get_socket_cookie(ctx.as_ptr()) }
}

#[inline(always)]
fn carried(ctx: &SockContext) -> Carried {
    Carried::by(Address::from(ctx.as_ptr().cast_const().cast::<c_void>()))
}
