//! `tp_btf/sched_process_fork`: a child carries its parent's record.
//!
//! Why here: `kernel_clone` calls it in the forking task, after the child exists and before
//! it runs, for every kind of fork and clone. The first argument is the task that forked,
//! not the one that the child will call its parent, so neither CLONE_PARENT nor a double
//! fork changes a lineage. tp_btf since 5.5.

use abi::Counter;
use aya_ebpf::bindings::BPF_ANY;
use aya_ebpf::macros::btf_tracepoint;
use aya_ebpf::programs::BtfTracePointContext;
use policy::Origin;

use crate::kernel_memory::Typed;
use crate::maps::{PROCESSES, THREADS, offset};
use crate::report::count;

#[btf_tracepoint(function = "sched_process_fork")]
pub fn fork(ctx: BtfTracePointContext) -> i32 {
    let parent = Typed::argument(&ctx, 0);
    let child = Typed::argument(&ctx, 1);
    let parent_process: u32 = parent.read(offset!(task_tgid));
    let child_process: u32 = child.read(offset!(task_tgid));
    let Some(record) = PROCESSES.get_ptr(parent_process) else {
        return 0;
    };
    // SAFETY: the parent is the current task, so its record stays while this runs.
    let record = unsafe { &*record };
    if parent_process == child_process {
        if record.origin != Origin::Foreign as u8 {
            // A full table only costs the detection of process_vm_writev by thread id.
            let _ = THREADS.insert(
                child.read::<u32>(offset!(task_pid)),
                child_process,
                u64::from(BPF_ANY),
            );
        }
        return 0;
    }
    if PROCESSES
        .insert(child_process, record, u64::from(BPF_ANY))
        .is_err()
    {
        count(Counter::ProcessesLost);
    }
    0
}
