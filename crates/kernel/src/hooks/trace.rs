//! `tp_btf/sched_switch`: a task stops because somebody traces it, and is spoiled for good.
//!
//! Why here: a tracer can do nothing to a task that has not stopped for it, whichever way it
//! attached, and even when it detaches before the next connection. There is no LSM or kprobe
//! to rely on, and a tracepoint on the ptrace call itself would make every system call of
//! the machine take the kernel's slow path. The hook is passed at each change of task, so it
//! does one comparison. The task is the kernel's own pointer: no number that could mean
//! another process in another pid namespace. tp_btf since 5.5; the fourth argument since 5.18.

use aya_ebpf::cty::c_void;
use aya_ebpf::macros::btf_tracepoint;
use aya_ebpf::programs::BtfTracePointContext;
use policy::Tamper;

use super::tamper::spoil;
use crate::kernel_memory::Address;
use crate::maps::offset;

/// `__TASK_TRACED` in `linux/sched.h`.
const TASK_TRACED: u32 = 8;

#[btf_tracepoint(function = "sched_switch")]
pub fn trace_stop(ctx: BtfTracePointContext) -> i32 {
    let state: u32 = ctx.arg(3);
    if state & TASK_TRACED == 0 {
        return 0;
    }
    let task = Address::from(ctx.arg::<*const c_void>(1));
    // While a task is traced, its tracer is its parent.
    let tracer = task.follow(offset!(task_parent));
    spoil(
        task.read(offset!(task_tgid)),
        Tamper::TRACED,
        tracer.read(offset!(task_tgid)),
    );
    0
}
