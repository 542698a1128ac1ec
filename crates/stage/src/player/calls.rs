//! The system calls of the stand-in programs that have no safe wrapper, each behind a safe
//! function. A stand-in program has one thread when it makes them, unless stated otherwise.

mod handed;
mod ring;
mod socket;

use std::ffi::{CStr, CString};
use std::io;
use std::os::fd::{AsFd, AsRawFd, FromRawFd, OwnedFd};
use std::time::Duration;

pub(super) use handed::{Notified, answer_connect, hand_over_connects, next_connect};
pub(super) use ring::{RingHands, connect_by_ring, write_by_ring};
pub(super) use socket::{
    connect_to_bytes, disconnect, drop_all_that_comes_in, fill_up, inherited_socket,
    reset_on_close, send_frame, set_fast_open_connect, set_ip_options, set_number,
};

/// What `fork` returned.
pub(super) enum Forked {
    Child,
    Parent(i32),
}

fn check(result: libc::c_long) -> io::Result<libc::c_long> {
    if result < 0 {
        Err(io::Error::last_os_error())
    } else {
        Ok(result)
    }
}

/// Lets the kernel end this process after a time, even if it hangs.
pub fn end_after(limit: Duration) {
    // SAFETY: alarm takes a number and has no memory effects.
    unsafe { libc::alarm(limit.as_secs() as u32) };
}

/// Forks. The child must not return to its caller's caller but exit.
pub(super) fn fork() -> io::Result<Forked> {
    // SAFETY: there is one thread, so the child has a whole and consistent process.
    match check(libc::c_long::from(unsafe { libc::fork() }))? {
        0 => Ok(Forked::Child),
        pid => Ok(Forked::Parent(pid as i32)),
    }
}

/// Forks by clone3, sharing what a fork does not: file system, I/O context, semaphore undo.
pub(super) fn fork_by_clone3() -> io::Result<Forked> {
    // As many fields as the first version of the call knew: flags, pidfd, child_tid,
    // parent_tid, exit_signal, stack, stack_size, tls.
    let flags = libc::CLONE_FS | libc::CLONE_IO | libc::CLONE_SYSVSEM;
    let arguments: [u64; 8] = [
        u64::from(flags.cast_unsigned()),
        0,
        0,
        0,
        libc::SIGCHLD as u64,
        0,
        0,
        0,
    ];
    // SAFETY: without CLONE_VM this is a fork; the kernel only reads the arguments, which
    // outlive the call and are as long as is said.
    match check(unsafe {
        libc::syscall(
            libc::SYS_clone3,
            arguments.as_ptr(),
            std::mem::size_of_val(&arguments),
        )
    })? {
        0 => Ok(Forked::Child),
        pid => Ok(Forked::Parent(pid as i32)),
    }
}

/// Forks a child that gets this process id, which must be free. Takes CAP_CHECKPOINT_RESTORE.
pub(super) fn fork_as(pid: i32) -> io::Result<Forked> {
    // The fields above, and tls, set_tid, set_tid_size.
    let ids = [pid];
    let arguments: [u64; 10] = [
        0,
        0,
        0,
        0,
        libc::SIGCHLD as u64,
        0,
        0,
        0,
        ids.as_ptr() as u64,
        ids.len() as u64,
    ];
    // SAFETY: without CLONE_VM this is a fork; the kernel only reads the arguments and the
    // array, which outlive the call and are as long as is said.
    match check(unsafe {
        libc::syscall(
            libc::SYS_clone3,
            arguments.as_ptr(),
            std::mem::size_of_val(&arguments),
        )
    })? {
        0 => Ok(Forked::Child),
        pid => Ok(Forked::Parent(pid as i32)),
    }
}

/// Forks with flags of clone, without a new stack or shared memory.
pub(super) fn fork_with(flags: i32) -> io::Result<Forked> {
    let flags =
        (flags & !(libc::CLONE_VM | libc::CLONE_THREAD | libc::CLONE_SIGHAND)) as libc::c_ulong;
    // The exit signal must be absent with CLONE_PARENT, which takes over that of the parent.
    let signal = if flags & libc::CLONE_PARENT as libc::c_ulong == 0 {
        libc::SIGCHLD as libc::c_ulong
    } else {
        0
    };
    // SAFETY: without CLONE_VM this is a fork: null pointers mean the same stack, copied,
    // and no thread identifiers to write.
    match check(unsafe {
        libc::syscall(
            libc::SYS_clone,
            flags | signal,
            0usize,
            0usize,
            0usize,
            0usize,
        )
    })? {
        0 => Ok(Forked::Child),
        pid => Ok(Forked::Parent(pid as i32)),
    }
}

/// Starts a program with vfork semantics, which is what posix_spawn does.
pub(super) fn spawn_like_vfork(argv: &[String]) -> io::Result<i32> {
    let words = c_strings(argv)?;
    let pointers = null_terminated(&words);
    let mut pid = 0;
    // SAFETY: all pointers are to null-terminated strings and arrays that outlive the call;
    // null attributes mean the defaults.
    let errno = unsafe {
        libc::posix_spawn(
            &raw mut pid,
            pointers[0],
            std::ptr::null(),
            std::ptr::null(),
            pointers.as_ptr().cast(),
            environ().cast(),
        )
    };
    if errno == 0 {
        Ok(pid)
    } else {
        Err(io::Error::from_raw_os_error(errno))
    }
}

/// Becomes the program behind a descriptor. Returns only on failure.
pub(super) fn exec_descriptor(descriptor: &OwnedFd, argv: &[String]) -> io::Error {
    let Ok(words) = c_strings(argv) else {
        return io::Error::from_raw_os_error(libc::EINVAL);
    };
    let pointers = null_terminated(&words);
    // SAFETY: the path is an empty string and the arrays are null-terminated and outlive the
    // call.
    unsafe {
        libc::syscall(
            libc::SYS_execveat,
            descriptor.as_raw_fd(),
            c"".as_ptr(),
            pointers.as_ptr(),
            environ(),
            libc::AT_EMPTY_PATH,
        )
    };
    io::Error::last_os_error()
}

fn environ() -> *const *const libc::c_char {
    unsafe extern "C" {
        static environ: *const *const libc::c_char;
    }
    // SAFETY: the C library's variable; nothing changes the environment meanwhile.
    unsafe { environ }
}

fn c_strings(words: &[String]) -> io::Result<Vec<CString>> {
    if words.is_empty() {
        return Err(io::Error::from_raw_os_error(libc::EINVAL));
    }
    words
        .iter()
        .map(|word| CString::new(word.as_str()).map_err(io::Error::from))
        .collect()
}

fn null_terminated(words: &[CString]) -> Vec<*const libc::c_char> {
    words
        .iter()
        .map(|word| word.as_ptr())
        .chain([std::ptr::null()])
        .collect()
}

/// Has a file in memory as code, as a library that was loaded is. It stays there.
pub(super) fn map_code(path: &str) -> io::Result<()> {
    let file = std::fs::File::open(path)?;
    // SAFETY: a new mapping, of which nobody knows and which nobody runs.
    unsafe {
        rustix::mm::mmap(
            std::ptr::null_mut(),
            1,
            rustix::mm::ProtFlags::READ | rustix::mm::ProtFlags::EXEC,
            rustix::mm::MapFlags::PRIVATE,
            &file,
            0,
        )
    }?;
    Ok(())
}

/// Opens a file for writing by the call that 32-bit programs make; a 64-bit one can make it too.
#[cfg(target_arch = "x86_64")]
pub(super) fn open_as_32_bit(path: &CStr) -> io::Result<OwnedFd> {
    const OPEN: i64 = 5;
    let length = path.count_bytes() + 1;
    // Such a call can only point at the first 4 GiB.
    // SAFETY: a new mapping, of which nobody knows yet.
    let low = unsafe {
        rustix::mm::mmap_anonymous(
            std::ptr::null_mut(),
            length,
            rustix::mm::ProtFlags::READ | rustix::mm::ProtFlags::WRITE,
            rustix::mm::MapFlags::PRIVATE
                | rustix::mm::MapFlags::from_bits_retain(libc::MAP_32BIT as u32),
        )
    }?;
    // SAFETY: the mapping is at least as long as the path with its end.
    unsafe { std::ptr::copy_nonoverlapping(path.as_ptr().cast(), low.cast::<u8>(), length) };
    let mut result = OPEN;
    // SAFETY: the call reads the path and changes nothing but the registers named; rbx, which
    // the compiler keeps for itself, is put back.
    unsafe {
        std::arch::asm!(
            "xchg {path}, rbx",
            "int 0x80",
            "xchg {path}, rbx",
            path = inout(reg) low as u64 => _,
            inout("rax") result,
            in("rcx") libc::O_WRONLY,
            in("rdx") 0,
            out("r8") _, out("r9") _, out("r10") _, out("r11") _,
        );
    }
    // SAFETY: the mapping is this function's own.
    unsafe { rustix::mm::munmap(low, length) }?;
    let descriptor = result as i32;
    if descriptor < 0 {
        return Err(io::Error::from_raw_os_error(-descriptor));
    }
    // SAFETY: the descriptor was just made and belongs to nobody else.
    Ok(unsafe { OwnedFd::from_raw_fd(descriptor) })
}

/// Opens a file for writing by the call that 32-bit programs make.
#[cfg(not(target_arch = "x86_64"))]
pub(super) fn open_as_32_bit(_path: &CStr) -> io::Result<OwnedFd> {
    Err(io::ErrorKind::Unsupported.into())
}

/// One ptrace request without address and data.
pub(super) fn trace(request: libc::c_uint, pid: i32) -> io::Result<()> {
    // SAFETY: attach, seize, detach, continue and traceme take no pointers; zero means none.
    check(unsafe { libc::ptrace(request, pid, 0usize, 0usize) }).map(drop)
}

/// Waits until a traced or own child changes state; returns the raw status.
pub(super) fn wait_for(pid: i32) -> io::Result<i32> {
    let mut status = 0;
    // SAFETY: status is a valid place for an int.
    check(libc::c_long::from(unsafe {
        libc::waitpid(pid, &raw mut status, libc::__WALL)
    }))?;
    Ok(status)
}

/// Writes bytes into another process (process_vm_writev).
pub(super) fn write_memory_of(pid: i32, address: u64, bytes: &[u8]) -> io::Result<usize> {
    let local = libc::iovec {
        iov_base: bytes.as_ptr().cast_mut().cast(),
        iov_len: bytes.len(),
    };
    let remote = libc::iovec {
        iov_base: address as usize as *mut libc::c_void,
        iov_len: bytes.len(),
    };
    // SAFETY: the local vector is only read and is valid; the remote one is another
    // process's, which the kernel checks.
    let written =
        unsafe { libc::process_vm_writev(pid, &raw const local, 1, &raw const remote, 1, 0) };
    check(written as libc::c_long).map(|written| written as usize)
}

/// Puts a character into the terminal's input as if it had been typed.
pub(super) fn type_into(terminal: impl AsFd, character: u8) -> io::Result<()> {
    // SAFETY: TIOCSTI reads one byte.
    let result = unsafe {
        libc::ioctl(
            terminal.as_fd().as_raw_fd(),
            libc::TIOCSTI,
            (&raw const character).cast::<u8>(),
        )
    };
    check(libc::c_long::from(result)).map(drop)
}

/// Gives the process another short name.
pub(super) fn rename_process(name: &CStr) -> io::Result<()> {
    Ok(rustix::thread::set_name(name)?)
}

/// Leaves namespaces for new ones.
pub(super) fn unshare(flags: rustix::thread::UnshareFlags) -> io::Result<()> {
    // SAFETY: no caller passes FILES, which is what could break descriptors.
    unsafe { rustix::thread::unshare_unsafe(flags & !rustix::thread::UnshareFlags::FILES) }?;
    Ok(())
}
