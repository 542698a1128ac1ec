//! `tp_btf/sched_process_exit`: the record goes with the last thread of its process.
//!
//! Why here: `do_exit` calls it for each thread, after it has counted the thread out of
//! `signal->live`. Two last threads may both read 0; removing twice does no harm. tp_btf
//! since 5.5.

use aya_ebpf::macros::btf_tracepoint;
use aya_ebpf::programs::BtfTracePointContext;
use policy::{Origin, Role};

use crate::kernel_memory::Typed;
use crate::maps::{CODE_SEEN, PROCESSES, THREADS, offset};
use crate::presence::TYPING;

#[btf_tracepoint(function = "sched_process_exit")]
pub fn exit(ctx: BtfTracePointContext) -> i32 {
    let task = Typed::argument(&ctx, 0);
    let process: u32 = task.read(offset!(task_tgid));
    let thread: u32 = task.read(offset!(task_pid));
    if thread != process {
        let _ = THREADS.remove(thread);
    }
    let live: i32 = task.follow(offset!(task_signal)).read(offset!(signal_live));
    if live == 0 {
        // SAFETY: nothing else removes the record.
        let of = PROCESSES
            .get_ptr(process)
            .map(|record| unsafe { ((*record).role, (*record).origin) });
        if of.is_some_and(|(role, _)| role == Role::Mailer as u8) {
            let _ = CODE_SEEN.remove(process);
        }
        // Only what is the user's depends on what is typed.
        if of.is_none_or(|(_, origin)| origin == Origin::User as u8) {
            let _ = TYPING.remove(process);
        }
        let _ = PROCESSES.remove(process);
    }
    0
}
