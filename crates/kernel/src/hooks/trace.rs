//! `tp_btf/sched_wait_task`: a tracer makes use of the task it traces, which is spoiled for good.
//!
//! Why here: whatever the tracer asks for, other than to begin, to interrupt or to kill, the
//! kernel first waits in the tracer's own call until the other task really stands still
//! (`ptrace_check_attach` in `kernel/ptrace.c`). Hardly anybody else waits like that, so nobody
//! else pays. There is no LSM or kprobe to rely on, and a tracepoint on the ptrace call itself
//! would make every system call of the machine take the kernel's slow path, and be blind to the
//! calls of 32-bit programs. The task is the kernel's own pointer: no number that could mean
//! another process in another pid namespace. tp_btf since 5.5; a kernel that was built for one
//! processor only waits like that since 6.17.

use aya_ebpf::macros::btf_tracepoint;
use aya_ebpf::programs::BtfTracePointContext;
use policy::Tamper;

use super::tamper::spoil;
use crate::kernel_memory::Typed;
use crate::maps::offset;

#[btf_tracepoint(function = "sched_wait_task")]
pub fn traced(ctx: BtfTracePointContext) -> i32 {
    let task = Typed::argument(&ctx, 0);
    // Somebody else waits: the kernel, for what dies or begins.
    if task.read::<u32>(offset!(task_ptrace)) == 0 {
        return 0;
    }
    // While a task is traced, its tracer is its parent.
    let tracer = task.address().follow(offset!(task_parent));
    spoil(
        task.read(offset!(task_tgid)),
        Tamper::TRACED,
        tracer.read(offset!(task_tgid)),
    );
    0
}
