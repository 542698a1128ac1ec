//! `cgroup_skb/ingress`: what servers answer, for the samples, where `received.rs` cannot be. Only
//! with `packet_watch = "full"`; it refuses nothing.
//!
//! Why here: it sees the payload before the process reads it, and knows the socket. Since
//! 4.10; socket storage here since 5.2, a coarse clock since 5.11.

use aya_ebpf::macros::cgroup_skb;
use aya_ebpf::programs::SkBuffContext;

use crate::packet::{Payload, Tcp};
use crate::sample;

const PASS: i32 = 1;

#[cgroup_skb(ingress)]
pub fn ingress(ctx: SkBuffContext) -> i32 {
    if let Some(tcp) = Tcp::of(&ctx)
        && tcp.has_storage()
        // A handshake says nothing, and where one side alone speaks, the other's packets are all empty.
        && let Some(payload) = Payload::of(&ctx)
        && payload.bytes > 0
    {
        sample::received(&ctx, tcp, &payload);
    }
    PASS
}
