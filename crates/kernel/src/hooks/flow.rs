//! What is reported of a watched connection, whichever hook notices it.

use abi::{Counter, EventTag, Flow, FlowEvent, FlowKind};

use crate::kernel_memory::Address;
use crate::maps::offset;
use crate::report::{count, header_for, reserve};

/// Values of [`Flow::established`].
const OPEN: u8 = 1;
const CLOSED: u8 = 2;

/// The connection is up. Reported once.
#[inline(always)]
pub fn opened(flow: &mut Flow, cookie: u64) {
    if flow.kind == 0 || flow.established != 0 {
        return;
    }
    flow.established = OPEN;
    if flow.kind == FlowKind::Grant as u8 {
        count(Counter::GrantsOpened);
    }
    report(EventTag::FlowOpened, flow, cookie, 0, 0);
}

/// The connection is over, or its last holder has let go of it. `socket` is its `tcp_sock`.
/// Reported once, and only when it was up.
#[inline(always)]
pub fn closed(flow: &mut Flow, cookie: u64, socket: Address) {
    if flow.kind == 0 || flow.established != OPEN {
        return;
    }
    flow.established = CLOSED;
    if flow.kind == FlowKind::Grant as u8 {
        count(Counter::GrantsClosed);
    }
    let bytes_sent = socket.read(offset!(tcp_bytes_acked));
    let bytes_received = socket.read(offset!(tcp_bytes_received));
    report(
        EventTag::FlowClosed,
        flow,
        cookie,
        bytes_sent,
        bytes_received,
    );
}

#[inline(always)]
fn report(tag: EventTag, flow: &Flow, cookie: u64, bytes_sent: u64, bytes_received: u64) {
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
