//! What is reported of a watched connection, whichever hook notices it.

use abi::{Counter, EventTag, Flow, FlowEvent, FlowKind};

use crate::kernel_memory::Address;
use crate::maps::offset;
use crate::report::{count, header_for, reserve, submit, submit_quietly, wake};

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
    // Quietly: whatever needs to know of an open connection, a later verdict or a question to
    // the daemon, comes after this.
    report(EventTag::FlowOpened, flow, cookie, Carried::default());
}

/// Payload bytes that a connection has carried.
#[derive(Clone, Copy, Default)]
pub struct Carried {
    /// Sent and acknowledged.
    pub sent: u64,
    /// Received.
    pub received: u64,
}

impl Carried {
    /// By the `tcp_sock` at this address.
    #[inline(always)]
    pub fn by(socket: Address) -> Self {
        Self {
            sent: socket.read(offset!(tcp_bytes_acked)),
            received: socket.read(offset!(tcp_bytes_received)),
        }
    }
}

/// The connection is over, or its last holder has let go of it. Reported once, and only when
/// it was up; else the daemon is only woken.
#[inline(always)]
pub fn closed(flow: &mut Flow, cookie: u64, carried: Carried) {
    if flow.kind == 0 || flow.established == CLOSED {
        return;
    }
    if flow.established != OPEN {
        // It never came up; its verdict still waits to be read.
        flow.established = CLOSED;
        wake();
        return;
    }
    flow.established = CLOSED;
    if flow.kind == FlowKind::Grant as u8 {
        count(Counter::GrantsClosed);
    }
    report(EventTag::FlowClosed, flow, cookie, carried);
}

#[inline(always)]
fn report(tag: EventTag, flow: &Flow, cookie: u64, carried: Carried) {
    let Some(mut event) = reserve::<FlowEvent>(Counter::EventsLost) else {
        return;
    };
    event.write(FlowEvent {
        header: header_for(tag, flow.pid, flow.uid),
        cookie,
        connected_ns: flow.connected_ns,
        bytes_sent: carried.sent,
        bytes_received: carried.received,
        address: flow.address,
        program: flow.program,
        culprit: flow.culprit,
        culprit_pid: flow.culprit_pid,
        port: flow.port,
        family: flow.family,
        kind: flow.kind,
        role: flow.role,
        origin: flow.origin,
        reserved: [0; 6],
    });
    match tag {
        EventTag::FlowOpened => submit_quietly(event),
        _ => submit(event),
    }
}
