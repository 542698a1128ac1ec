//! `cgroup_skb/ingress`: what servers answer, for the samples. Only with
//! `packet_watch = "full"`; it refuses nothing.
//!
//! Why here: it sees the payload before the process reads it, and knows the socket. Since
//! 4.10; socket storage here since 5.2, a coarse clock since 5.11.

use aya_ebpf::helpers::generated::bpf_sk_fullsock;
use aya_ebpf::macros::cgroup_skb;
use aya_ebpf::programs::SkBuffContext;

use crate::sample::{self, Way};

const PASS: i32 = 1;
const SOCK_STREAM: u32 = 1;

#[cgroup_skb(ingress)]
pub fn ingress(ctx: SkBuffContext) -> i32 {
    // SAFETY: the context is valid while the program runs.
    let socket = unsafe { (*ctx.skb.skb).__bindgen_anon_2.sk };
    if socket.is_null() {
        return PASS;
    }
    // SAFETY: the socket is the context's own and not null.
    let socket = unsafe { bpf_sk_fullsock(socket) };
    // SAFETY: a full socket when it is not null.
    if !socket.is_null() && unsafe { (*socket).type_ } == SOCK_STREAM {
        sample::packet(&ctx, socket, Way::Received);
    }
    PASS
}
