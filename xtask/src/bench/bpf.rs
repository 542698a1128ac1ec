//! The bpf() system call, as far as the bench needs it: loading, attaching, and looking at
//! what others have loaded.

use std::io;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::thread::sleep;
use std::time::{Duration, Instant};

const PROG_GET_NEXT_ID: libc::c_long = 11;
const PROG_GET_FD_BY_ID: libc::c_long = 13;
const OBJ_GET_INFO_BY_FD: libc::c_long = 15;

/// How long the kernel may take to let go of programs whose links are gone.
const GRACE: Duration = Duration::from_millis(500);

/// The kind of program that a tracepoint with types has.
pub const TRACING: u32 = 26;

/// Kinds of programs that run for the whole machine: kprobe, tracepoint, perf_event,
/// raw_tracepoint, raw_tracepoint_writable, tracing.
const MACHINE_WIDE: [u32; 6] = [2, 5, 7, 17, 24, TRACING];

/// Makes the call. Its result is a descriptor.
///
/// `T` must be the fields of `union bpf_attr` for `command`, and pointers in it must lead to
/// what the kernel expects there.
pub fn make<T>(command: libc::c_long, attributes: &T) -> io::Result<OwnedFd> {
    let fd = call(command, &raw const *attributes as *mut T)?;
    // SAFETY: a descriptor that the kernel has just made for us.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

fn call<T>(command: libc::c_long, attributes: *mut T) -> io::Result<i32> {
    // SAFETY: the kernel reads as many bytes as the struct has, and writes only to fields that
    // the two callers below own.
    let result = unsafe { libc::syscall(libc::SYS_bpf, command, attributes, size_of::<T>()) };
    if result < 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(result as i32)
}

#[repr(C)]
struct NextId {
    start: u32,
    next: u32,
    flags: u32,
}

#[repr(C)]
struct FdById {
    id: u32,
    unused: u32,
    flags: u32,
}

#[repr(C)]
struct GetInfo {
    fd: u32,
    bytes: u32,
    info: u64,
}

/// Whether nobody's programs run for the whole machine. The gate's own go a moment after their
/// links, and are waited for.
///
/// # Errors
///
/// When the kernel does not let us look.
pub fn is_quiet() -> io::Result<bool> {
    let since = Instant::now();
    while machine_wide_programs()? > 0 {
        if since.elapsed() > GRACE {
            return Ok(false);
        }
        sleep(Duration::from_millis(10));
    }
    Ok(true)
}

/// How many programs are loaded that run for the whole machine, whoever loaded them.
fn machine_wide_programs() -> io::Result<usize> {
    let mut count = 0;
    each_program(|info| count += usize::from(MACHINE_WIDE.contains(&info.kind)))?;
    Ok(count)
}

/// The numbers in the kernel's type information of the tracepoints that have a program, whoever
/// loaded it.
///
/// # Errors
///
/// When the kernel does not let us look.
pub fn tracepoints() -> io::Result<Vec<u32>> {
    let mut found = Vec::new();
    each_program(|info| {
        if info.kind == TRACING && info.attach_type_id != 0 {
            found.push(info.attach_type_id);
        }
    })?;
    Ok(found)
}

fn each_program(mut look: impl FnMut(&Info)) -> io::Result<()> {
    let mut ids = NextId {
        start: 0,
        next: 0,
        flags: 0,
    };
    loop {
        match call(PROG_GET_NEXT_ID, &raw mut ids) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
            done => done?,
        };
        ids.start = ids.next;
        // One that is gone already counts for nothing.
        if let Ok(info) = info_of(ids.next) {
            look(&info);
        }
    }
}

/// The fields of `struct bpf_prog_info` that are looked at, and what lies between them.
#[repr(C)]
struct Info {
    kind: u32,
    others: [u32; 55],
    attach_type_id: u32,
    reserved: u32,
}

fn info_of(id: u32) -> io::Result<Info> {
    let program = make(
        PROG_GET_FD_BY_ID,
        &FdById {
            id,
            unused: 0,
            flags: 0,
        },
    )?;
    // The kernel fills as much as it knows, and lists nothing where it is given no room.
    let mut info = Info {
        kind: 0,
        others: [0; 55],
        attach_type_id: 0,
        reserved: 0,
    };
    let mut wanted = GetInfo {
        fd: program.as_raw_fd() as u32,
        bytes: size_of_val(&info) as u32,
        info: (&raw mut info) as u64,
    };
    call(OBJ_GET_INFO_BY_FD, &raw mut wanted)?;
    Ok(info)
}
