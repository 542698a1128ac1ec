//! A grant belongs to the process that it was given to. A process that may not send itself
//! and writes into a granted connection, because it received, inherited or took the socket,
//! ends the grant with its first byte.

use abi::{Flow, FlowKind, ProcessRecord, VerdictOrigin};
use policy::{Attempt, Rate, Reason, Verdict, is_loopback, may_send};

use super::flow::{self, Carried};
use super::verdict::{self, Actor, Judged};
use crate::kernel_memory::Address;
use crate::maps::{PROCESSES, offset};

/// `PF_EXITING` and `PF_KTHREAD` in `linux/sched.h`.
const EXITING_OR_KERNEL: u32 = 0x4 | 0x20_0000;

/// Whether what the task writes into this connection is a mailer's. A forked child of one writes for it. A thread of the
/// kernel does not: by kTLS it writes what anybody has handed to it, and nobody can say who.
#[inline(always)]
pub fn may_write(task: Address, flow: &Flow) -> bool {
    let attempt = Attempt {
        to_itself: is_loopback(&flow.address, flow.family),
        // Who connected was root at that moment, and hands the connection to its own.
        by_root: true,
    };
    match record_of(task.read(offset!(task_tgid))) {
        Some(record) => may_send(&record.standing(), attempt, Rate::UNLIMITED) == Verdict::Allow,
        None => false,
    }
}

/// Whether what leaves in the task may be a mailer's. What was written before may leave in a process
/// that ends, whose record is gone already, and in a thread of the kernel that closes a socket
/// for its last holder.
#[inline(always)]
pub fn may_let_leave(task: Address, flow: &Flow) -> bool {
    let flags: u32 = task.read(offset!(task_flags));
    flags & EXITING_OR_KERNEL != 0 || may_write(task, flow)
}

/// Whether the flow holds a grant that can be lost.
#[inline(always)]
pub fn holds_grant(flow: &Flow) -> bool {
    flow.kind == FlowKind::Grant as u8 && flow.observed == 0
}

/// Ends the grant and says who had its socket.
#[inline(always)]
pub fn take_back(flow: &mut Flow, cookie: u64, carried: Carried, writer: &Actor) {
    flow::closed(flow, cookie, carried);
    // The port stays, which says that this was reported.
    flow.kind = 0;
    let judged = Judged {
        what: VerdictOrigin::Packet,
        cookie,
        address: flow.address,
        port: flow.port,
        family: flow.family,
        own_port: 0,
        observe: 0,
    };
    let record = record_of(writer.pid);
    verdict::tell(&judged, Reason::GrantOfAnother as u8, writer, record);
}

#[inline(always)]
fn record_of(pid: u32) -> Option<&'static ProcessRecord> {
    let record = PROCESSES.get_ptr(pid)?;
    // SAFETY: the record of the current process stays while it is in its call.
    Some(unsafe { &*record })
}
