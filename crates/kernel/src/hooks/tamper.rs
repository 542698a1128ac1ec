//! `tracepoint/syscalls/sys_enter_process_vm_writev`, `sys_enter_pidfd_getfd` and the ends of
//! the calls that open files: who reaches into another process spoils it for good.
//!
//! Why here: there is no LSM or kprobe to rely on. The first two calls are rare, but as soon
//! as any syscall tracepoint is watched, the kernel sends every system call of the machine
//! through its slow path (some 13 ns, and as much again where the end of any is watched); so
//! all these are left out where Yama forbids to reach in anyway (`call_watch`), and since 6.14,
//! where `memory.rs` sees who writes, whichever call is made. pidfd_getfd is watched there if
//! the administrator asks for it: what is written into a connection that was taken so,
//! `send.rs` sees without it. An open call is looked at when it ends, because only then the
//! file is known and not just one of its many names. Since 4.7; pidfd_getfd and openat2 since
//! 5.6.

use abi::{Counter, EventTag, ProcessRecord, TamperEvent};
use aya_ebpf::bindings::BPF_ANY;
use aya_ebpf::macros::tracepoint;
use aya_ebpf::programs::TracePointContext;
use policy::{Origin, Tamper};

use crate::kernel_memory::Address;
use crate::maps::{LAST_SPOILED, PROCESSES, SPOILED, THREADS, offset};
use crate::report::{current_process, current_user, header_for, reserve, submit};

/// Offsets in the records of syscall tracepoints: eight bytes of common fields, the number
/// of the call padded to eight, then one word for each argument.
const FIRST_ARGUMENT: usize = 16;
/// No process has more file descriptors (`fs.nr_open` at its highest).
const DESCRIPTORS_MAX: u64 = 0x7fff_ffc0;
const PROC_SUPER_MAGIC: u64 = 0x9fa0;
/// In `linux/fs.h`.
const FMODE_WRITE: u32 = 2;

#[tracepoint(category = "syscalls", name = "sys_enter_process_vm_writev")]
pub fn vm_write(ctx: TracePointContext) -> u32 {
    // SAFETY: a field of the tracepoint's own record.
    let target: u64 = unsafe { ctx.read_at(FIRST_ARGUMENT) }.unwrap_or(0);
    spoil_own_users(target as u32, Tamper::MEMORY_WRITTEN);
    0
}

#[tracepoint(category = "syscalls", name = "sys_enter_pidfd_getfd")]
pub fn take_descriptor(ctx: TracePointContext) -> u32 {
    // SAFETY: a field of the tracepoint's own record.
    let descriptor: u64 = unsafe { ctx.read_at(FIRST_ARGUMENT) }.unwrap_or(u64::MAX);
    let Some(file) = file_of(descriptor) else {
        return 0;
    };
    // Since 6.9 a pidfd has an inode of its own, which knows the process.
    let mut process = file
        .follow(offset!(file_inode))
        .follow(offset!(inode_private));
    if process.is_null() {
        process = file.follow(offset!(file_private));
    }
    if !process.is_null() {
        spoil_own_users(process.read(offset!(pid_number)), Tamper::DESCRIPTOR_TAKEN);
    }
    0
}

#[tracepoint(category = "syscalls", name = "sys_exit_openat")]
pub fn opened_at(ctx: TracePointContext) -> u32 {
    opened(&ctx)
}

#[tracepoint(category = "syscalls", name = "sys_exit_openat2")]
pub fn opened_at2(ctx: TracePointContext) -> u32 {
    opened(&ctx)
}

#[tracepoint(category = "syscalls", name = "sys_exit_open")]
pub fn opened_old(ctx: TracePointContext) -> u32 {
    opened(&ctx)
}

#[tracepoint(category = "syscalls", name = "sys_exit_creat")]
pub fn created(ctx: TracePointContext) -> u32 {
    opened(&ctx)
}

/// A file was opened: is it another process's memory, and for writing?
#[inline(always)]
fn opened(ctx: &TracePointContext) -> u32 {
    // SAFETY: a field of the tracepoint's own record. Of a call's end it is the result.
    let descriptor: u64 = unsafe { ctx.read_at(FIRST_ARGUMENT) }.unwrap_or(u64::MAX);
    let Some(file) = file_of(descriptor) else {
        return 0;
    };
    let inode = file.follow(offset!(file_inode));
    let filesystem: u64 = inode.follow(offset!(inode_sb)).read(offset!(sb_magic));
    if filesystem != PROC_SUPER_MAGIC || file.read::<u32>(offset!(file_mode)) & FMODE_WRITE == 0 {
        return 0;
    }
    let name: u32 = file
        .follow(offset!(file_dentry))
        .follow(offset!(dentry_name))
        .read(0);
    if name == u32::from_ne_bytes(*b"mem\0") {
        let own = inode.0.wrapping_sub(offset!(proc_vfs_inode) as u64);
        let process = Address(own).follow(offset!(proc_pid));
        spoil_own_users(process.read(offset!(pid_number)), Tamper::MEMORY_WRITTEN);
    }
    0
}

/// An open file of the current process.
#[inline(always)]
fn file_of(descriptor: u64) -> Option<Address> {
    if descriptor > DESCRIPTORS_MAX {
        return None;
    }
    let table = Address::current_task()
        .follow(offset!(task_files))
        .follow(offset!(files_fdt))
        .follow(offset!(fdt_fd));
    let file = table.follow(descriptor as usize * 8);
    (!file.is_null()).then_some(file)
}

/// Spoils a process before the call has done its work, because afterwards would be too late.
/// A call that the kernel is going to refuse must not spoil another user's process.
#[inline(always)]
pub fn spoil_own_users(target: u32, signs: Tamper) {
    let caller = current_user();
    if caller == 0 || record_of(target).is_some_and(|(_, record)| record.uid == caller) {
        spoil(target, signs, current_process());
    }
}

/// The record behind a process or thread id, with the process's id.
#[inline(always)]
fn record_of(target: u32) -> Option<(u32, &'static mut ProcessRecord)> {
    let process = match PROCESSES.get_ptr_mut(target) {
        Some(_) => target,
        // SAFETY: the value is copied out at once.
        None => *unsafe { THREADS.get(target) }?,
    };
    let record = PROCESSES.get_ptr_mut(process)?;
    // SAFETY: the slot may be reused when the process ends meanwhile; then a newer process
    // can be spoiled by mistake, never trusted.
    Some((process, unsafe { &mut *record }))
}

/// Marks a process, and its grants with it. Nothing happens to one that is foreign anyway, or
/// that reaches into itself.
#[inline(always)]
pub fn spoil(target: u32, signs: Tamper, by: u32) {
    let program = match PROCESSES.get_ptr(by) {
        // SAFETY: at worst the slot is reused meanwhile, and another program is named.
        Some(record) => unsafe { (*record).program },
        None => 0,
    };
    let Some((process, record)) = record_of(target) else {
        return;
    };
    if process == by {
        return;
    }
    if record.origin == Origin::Foreign as u8 {
        // One that is older than the gate may become the user's when registrations change, and must
        // not then. Nobody need be told now.
        if record.seeded != 0 {
            record.tampered |= signs.0;
        }
        return;
    }
    let now = header_for(EventTag::Tamper, by, record.uid);
    let _ = SPOILED.insert(process, now.boot_ns, u64::from(BPF_ANY));
    if let Some(last) = LAST_SPOILED.get_ptr_mut(0) {
        // SAFETY: the slot stays, and an aligned word is written at once. Of two at the same time
        // either will do.
        unsafe { *last = now.boot_ns };
    }
    let before = record.tampered;
    record.tampered = before | signs.0;
    if record.culprit == 0 {
        record.culprit = program;
        record.culprit_pid = by;
    }
    if before == record.tampered {
        return;
    }
    let target_program = record.program;
    if let Some(mut event) = reserve::<TamperEvent>(Counter::EventsLost) {
        event.write(TamperEvent {
            header: now,
            target_pid: process,
            target_program,
            program,
            signs: signs.0,
            reserved: [0; 3],
        });
        submit(event);
    }
}
