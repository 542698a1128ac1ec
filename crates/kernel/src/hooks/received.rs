//! `tp_btf/tcp_probe`: what servers answer, for the samples. Only with `packet_watch = "full"`; it
//! refuses nothing.
//!
//! Why here: a packet of an established connection passes it before the process can read it, and
//! the packets of a handshake do not, which are half of what a short connection has. A program
//! of cgroup_skb costs more, for each packet. A tracepoint may read a packet since 6.12; before,
//! `ingress.rs` is there instead. What comes in when the client has closed its side passes the
//! packet hook with its acknowledgement (`sample.rs`).

use aya_ebpf::macros::btf_tracepoint;
use aya_ebpf::programs::BtfTracePointContext;

use crate::arrival::Arrival;
use crate::kernel_memory::Typed;
use crate::packet::{Tcp, has_storage};
use crate::sample;

#[btf_tracepoint(function = "tcp_probe")]
pub fn received(ctx: BtfTracePointContext) -> i32 {
    let socket = Typed::argument(&ctx, 0);
    // Nearly all packets leave here: most sockets have nothing.
    if has_storage(socket) {
        arrives(&Arrival {
            socket,
            packet: Typed::argument(&ctx, 1),
        });
    }
    0
}

/// A packet of a socket for which something is kept. Not inlined, so that what others pass saves no
/// registers for it.
#[inline(never)]
fn arrives(packet: &Arrival) {
    let payload = packet.payload();
    if payload.bytes > 0
        && let Some(tcp) = Tcp::behind(packet.socket.pointer())
    {
        sample::received(packet, tcp, &payload);
    }
}
