//! Calls by way of io_uring.

use std::ffi::CStr;
use std::io;
use std::net::SocketAddr;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};

/// Whose hands do what a ring is asked for.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(in crate::player) enum RingHands {
    /// The caller's, inside its call.
    Caller,
    /// A worker thread of the kernel's.
    Worker,
    /// A thread of the kernel's that looks at the ring by itself: no call is made.
    Poller,
}

/// Connects through io_uring. Returns what the ring's connect returned.
pub(in crate::player) fn connect_by_ring(
    socket: &OwnedFd,
    server: SocketAddr,
    hands: RingHands,
) -> io::Result<()> {
    let SocketAddr::V4(server) = server else {
        return Err(io::Error::from_raw_os_error(libc::EAFNOSUPPORT));
    };
    let mut builder = io_uring::IoUring::<io_uring::squeue::Entry>::builder();
    if hands == RingHands::Poller {
        builder.setup_sqpoll(1000);
    }
    let mut ring = builder.build(4)?;
    let address = libc::sockaddr_in {
        sin_family: libc::AF_INET as u16,
        sin_port: server.port().to_be(),
        sin_addr: libc::in_addr {
            s_addr: u32::from_ne_bytes(server.ip().octets()),
        },
        sin_zero: [0; 8],
    };
    let length = size_of_val(&address) as u32;
    let connect = io_uring::opcode::Connect::new(
        io_uring::types::Fd(socket.as_raw_fd()),
        (&raw const address).cast(),
        length,
    );
    let mut connect = connect.build();
    if hands == RingHands::Worker {
        connect = connect.flags(io_uring::squeue::Flags::ASYNC);
    }
    // SAFETY: the address lives until the completion has been waited for.
    unsafe { done_by_ring(&mut ring, &connect) }.map(drop)
}

/// Opens a file for writing and writes at an offset, by io_uring alone.
pub(in crate::player) fn write_by_ring(path: &CStr, bytes: &[u8], offset: u64) -> io::Result<()> {
    let mut ring = io_uring::IoUring::new(4)?;
    let open = io_uring::opcode::OpenAt::new(io_uring::types::Fd(libc::AT_FDCWD), path.as_ptr())
        .flags(libc::O_WRONLY | libc::O_CLOEXEC);
    // SAFETY: the path lives until the completion has been waited for.
    let descriptor = unsafe { done_by_ring(&mut ring, &open.build()) }?;
    // SAFETY: the descriptor was just made and belongs to nobody else.
    let file = unsafe { OwnedFd::from_raw_fd(descriptor) };
    let target = io_uring::types::Fd(file.as_raw_fd());
    let write = io_uring::opcode::Write::new(target, bytes.as_ptr(), bytes.len() as u32);
    // SAFETY: the bytes live until the completion has been waited for.
    let written = unsafe { done_by_ring(&mut ring, &write.offset(offset).build()) }?;
    if written as usize == bytes.len() {
        Ok(())
    } else {
        Err(io::ErrorKind::WriteZero.into())
    }
}

/// Submits one operation and returns its result.
///
/// # Safety
///
/// Whatever the operation points at stays valid until this returns.
unsafe fn done_by_ring(
    ring: &mut io_uring::IoUring,
    operation: &io_uring::squeue::Entry,
) -> io::Result<i32> {
    // SAFETY: promised by the caller.
    unsafe { ring.submission().push(operation) }
        .map_err(|_| io::Error::from_raw_os_error(libc::EBUSY))?;
    ring.submit_and_wait(1)?;
    match ring.completion().next().map(|entry| entry.result()) {
        Some(code) if code < 0 => Err(io::Error::from_raw_os_error(-code)),
        Some(code) => Ok(code),
        None => Err(io::Error::from_raw_os_error(libc::EIO)),
    }
}
