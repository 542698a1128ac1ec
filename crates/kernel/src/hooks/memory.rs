//! `tp_btf/mmap_lock_acquire_returned`: who writes into another process's memory spoils it.
//!
//! Why here: whichever way it is done, by process_vm_writev, through /proc/PID/mem under any
//! name, by io_uring or by the calls of 32-bit programs, the kernel takes the lock of the
//! other's memory map in the writer's own call. Nobody else does anything here but compare two
//! addresses, where a tracepoint on a system call makes every call of the machine slower.
//! Since 5.11; used where it costs little, since 6.14: before, the kernel spells out the path
//! of a cgroup each time (`crates/linux/src/btf.rs`).

use aya_ebpf::helpers::generated::bpf_task_pt_regs;
use aya_ebpf::macros::btf_tracepoint;
use aya_ebpf::programs::BtfTracePointContext;
use policy::Tamper;

use super::tamper::spoil_own_users;
use crate::kernel_memory::{Address, Typed};
use crate::maps::{call, offset};

/// `PF_IO_WORKER`, `PF_MEMALLOC` and `PF_KTHREAD` in `linux/sched.h`.
const IO_WORKER: u32 = 0x10;
const RECLAIMS: u32 = 0x800;
const KERNEL_THREAD: u32 = 0x20_0000;

#[btf_tracepoint(function = "mmap_lock_acquire_returned")]
pub fn memory_write(ctx: BtfTracePointContext) -> i32 {
    let memory: u64 = ctx.arg(0);
    let task = Typed::current_task();
    if task.read::<u64>(offset!(task_mm)) == memory {
        return 0;
    }
    // Who changes the map itself takes the lock for writing: fork and exec do, and they work on
    // memory that is nobody's yet.
    if ctx.arg::<u64>(1) & 1 != 0 {
        return 0;
    }
    locked_for_reading(memory);
    0
}

/// The current task holds another's memory map. Not inlined, so that what everybody else's
/// locking passes saves no registers for it.
#[inline(never)]
fn locked_for_reading(memory: u64) {
    let task = Typed::current_task();
    // SAFETY: the helper takes the current task.
    let registers = unsafe { bpf_task_pt_regs(task.pointer()) };
    if writes(task.address(), Address(registers as u64)) {
        let owner = Address(memory).follow(offset!(mm_owner));
        if !owner.is_null() {
            spoil_own_users(owner.read(offset!(task_tgid)), Tamper::MEMORY_WRITTEN);
        }
    }
}

/// Whether the task is in a call that writes. Reading another's memory is what `ps` does too.
#[inline(always)]
fn writes(task: Address, registers: Address) -> bool {
    let flags: u32 = task.read(offset!(task_flags));
    // Whoever needs memory may have to look for it in everybody's.
    if flags & (RECLAIMS | KERNEL_THREAD) != 0 {
        return false;
    }
    // It works for a ring, and its registers tell nothing.
    if flags & IO_WORKER != 0 {
        return true;
    }
    let number: u32 = registers.read(offset!(registers_call));
    let state: u32 = task.read(offset!(task_call_state));
    let is_compat = state & call!(compat_bit) != 0;
    let mut index = 0;
    let mut found = false;
    while index < abi::WRITING_CALLS_MAX {
        found |= number == call!(compat[index]) && is_compat;
        found |= number == call!(native[index]) && !is_compat;
        index += 1;
    }
    found
}
