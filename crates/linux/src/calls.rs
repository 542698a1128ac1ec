//! By which calls a process can write into another's memory, on the machines for which that
//! is known.

use std::fs;

use abi::{Calls, WRITING_CALLS_MAX};
use guard::config::CallWatch;
use serde::{Deserialize, Serialize};

use crate::btf::Kernel;

/// Which ways of reaching into other processes are watched.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum CallsWatched {
    /// None.
    None,
    /// Writing into their memory; taking descriptors only where that costs nothing more.
    Cheap,
    /// Taking descriptors too, which makes every system call of the machine a little slower.
    Every,
}

impl CallsWatched {
    /// What to watch on this machine. With Yama's `ptrace_scope` at 1 or more the kernel
    /// refuses the calls to everybody but a process's own ancestors, which started it and are
    /// in its lineage.
    pub fn on_this_machine(wish: CallWatch) -> Self {
        match wish {
            CallWatch::On => Self::Every,
            CallWatch::Off => Self::None,
            CallWatch::Auto => {
                let scope = fs::read_to_string("/proc/sys/kernel/yama/ptrace_scope");
                if scope
                    .is_ok_and(|scope| scope.trim().parse::<u32>().is_ok_and(|scope| scope >= 1))
                {
                    Self::None
                } else {
                    Self::Cheap
                }
            }
        }
    }
}

/// The field of `pt_regs` with the number of the call.
pub const NUMBER: &str = if cfg!(target_arch = "aarch64") {
    "syscallno"
} else {
    "orig_ax"
};

/// The field of `task_struct` that tells a 32-bit program's call.
pub const STATE: &str = if cfg!(target_arch = "aarch64") {
    "thread_info.flags"
} else {
    "thread_info.status"
};

/// write, pwrite64, writev, pwritev, process_vm_writev, pwritev2, io_uring_enter; with the
/// other numbers that they have by x32.
#[cfg(target_arch = "x86_64")]
const NATIVE: &[u32] = &[
    1,
    18,
    20,
    296,
    311,
    328,
    426,
    X32 + 1,
    X32 + 18,
    X32 + 516,
    X32 + 535,
    X32 + 540,
    X32 + 547,
    X32 + 426,
];
/// Marks a call by x32.
#[cfg(target_arch = "x86_64")]
const X32: u32 = 0x4000_0000;
/// The same calls as 32-bit programs make them.
#[cfg(target_arch = "x86_64")]
const COMPAT: &[u32] = &[4, 181, 146, 334, 348, 379, 426];
/// `TS_COMPAT` in `asm/thread_info.h`.
#[cfg(target_arch = "x86_64")]
const COMPAT_BIT: u32 = 2;

#[cfg(target_arch = "aarch64")]
const NATIVE: &[u32] = &[64, 68, 66, 70, 271, 287, 426];
#[cfg(target_arch = "aarch64")]
const COMPAT: &[u32] = &[4, 181, 146, 362, 377, 393, 426];
/// `_TIF_32BIT` in `asm/thread_info.h`.
#[cfg(target_arch = "aarch64")]
const COMPAT_BIT: u32 = 1 << 22;

#[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
const NATIVE: &[u32] = &[];
#[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
const COMPAT: &[u32] = &[];
#[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
const COMPAT_BIT: u32 = 0;

/// The numbers for this machine.
pub const fn writing() -> Calls {
    Calls {
        native: padded(NATIVE),
        compat: padded(COMPAT),
        compat_bit: COMPAT_BIT,
    }
}

/// What is left over has a number that no call has; 0 is one.
const fn padded(numbers: &[u32]) -> [u32; WRITING_CALLS_MAX] {
    let mut slots = [u32::MAX; WRITING_CALLS_MAX];
    let mut index = 0;
    while index < numbers.len() {
        slots[index] = numbers[index];
        index += 1;
    }
    slots
}

/// Whether the kernel tells enough, and cheaply enough, to see such a call where it takes the
/// lock of the other's memory map.
pub const fn are_seen_at_the_lock(kernel: &Kernel) -> bool {
    !NATIVE.is_empty()
        && kernel.has_cheap_memory_locks
        && kernel.offsets.mm_owner != 0
        && kernel.offsets.registers_call != 0
        && kernel.offsets.task_call_state != 0
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The numbers are written out here because those of 32-bit programs stand in no header;
    /// the machine's own can be compared.
    #[test]
    #[cfg(any(target_arch = "x86_64", target_arch = "aarch64"))]
    fn the_numbers_are_those_of_the_machine() {
        let calls = [
            libc::SYS_write,
            libc::SYS_pwrite64,
            libc::SYS_writev,
            libc::SYS_pwritev,
            libc::SYS_process_vm_writev,
            libc::SYS_pwritev2,
            libc::SYS_io_uring_enter,
        ];
        for (number, call) in NATIVE.iter().zip(calls) {
            assert_eq!(i64::from(*number), call);
        }
        assert_eq!(writing().compat[COMPAT.len()], u32::MAX);
    }
}
