//! Unix sockets over which no descriptors come in.

use std::io;
use std::os::fd::{AsRawFd as _, BorrowedFd};

/// From asm-generic/socket.h, since Linux 6.16.
const SO_PASSRIGHTS: libc::c_int = 83;

/// Has the kernel refuse descriptors that somebody wants to hand over through this Unix socket,
/// and through those that are accepted from it. Whoever reads has to close them, and closing
/// takes as long as their sender wants it to: a TCP socket may linger for hours.
///
/// `false` before Linux 6.16, which cannot refuse them.
///
/// # Errors
///
/// When this is no Unix socket.
pub fn refuse(socket: BorrowedFd<'_>) -> io::Result<bool> {
    let no: libc::c_int = 0;
    // SAFETY: the kernel reads one `c_int` from `no`, which lives longer than the call.
    let done = unsafe {
        libc::setsockopt(
            socket.as_raw_fd(),
            libc::SOL_SOCKET,
            SO_PASSRIGHTS,
            (&raw const no).cast(),
            size_of_val(&no) as libc::socklen_t,
        )
    };
    if done == 0 {
        return Ok(true);
    }
    match io::Error::last_os_error() {
        error if error.raw_os_error() == Some(libc::ENOPROTOOPT) => Ok(false),
        error => Err(error),
    }
}
