//! A connect() that another process makes in this one's place (seccomp's notifications).

use std::io;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};

use super::check;

/// A connect() that another process waits in.
pub(in crate::player) struct Notified {
    id: u64,
    /// The process, as this one sees it.
    pub pid: u32,
    /// Its descriptor.
    pub socket: i32,
    /// Where in its memory the address lies, and how long it is.
    pub address: u64,
    pub length: u64,
}

/// From now on, each connect() of this process and its descendants waits for whoever holds the
/// descriptor that is returned.
pub(in crate::player) fn hand_over_connects() -> io::Result<OwnedFd> {
    let statement = |code: u32, k: u32, jt: u8, jf: u8| libc::sock_filter {
        code: code as u16,
        jt,
        jf,
        k,
    };
    // The number of the call is the first word of what the filter sees.
    let mut filter = [
        statement(libc::BPF_LD | libc::BPF_W | libc::BPF_ABS, 0, 0, 0),
        statement(
            libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K,
            libc::SYS_connect as u32,
            0,
            1,
        ),
        statement(
            libc::BPF_RET | libc::BPF_K,
            libc::SECCOMP_RET_USER_NOTIF,
            0,
            0,
        ),
        statement(libc::BPF_RET | libc::BPF_K, libc::SECCOMP_RET_ALLOW, 0, 0),
    ];
    let program = libc::sock_fprog {
        len: filter.len() as u16,
        filter: filter.as_mut_ptr(),
    };
    // SAFETY: takes numbers only.
    check(libc::c_long::from(unsafe {
        libc::prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)
    }))?;
    // SAFETY: the kernel copies the program, which outlives the call.
    let listener = check(unsafe {
        libc::syscall(
            libc::SYS_seccomp,
            libc::SECCOMP_SET_MODE_FILTER,
            libc::SECCOMP_FILTER_FLAG_NEW_LISTENER,
            &raw const program,
        )
    })?;
    // SAFETY: the kernel has just made this descriptor for this process.
    Ok(unsafe { OwnedFd::from_raw_fd(listener as i32) })
}

/// Takes the next call that waits.
pub(in crate::player) fn next_connect(listener: &OwnedFd) -> io::Result<Notified> {
    // `_IOWR('!', 0, struct seccomp_notif)`.
    const RECEIVE: libc::Ioctl = 0xc050_2100u32 as libc::Ioctl;
    // SAFETY: an all-zero seccomp_notif is valid, and what the kernel asks for.
    let mut call: libc::seccomp_notif = unsafe { std::mem::zeroed() };
    // SAFETY: the kernel writes one seccomp_notif.
    check(libc::c_long::from(unsafe {
        libc::ioctl(listener.as_raw_fd(), RECEIVE, &raw mut call)
    }))?;
    Ok(Notified {
        id: call.id,
        pid: call.pid,
        socket: call.data.args[0] as i32,
        address: call.data.args[1],
        length: call.data.args[2],
    })
}

/// Lets it return.
pub(in crate::player) fn answer_connect(
    listener: &OwnedFd,
    call: &Notified,
    answer: io::Result<()>,
) -> io::Result<()> {
    // `_IOWR('!', 1, struct seccomp_notif_resp)`.
    const SEND: libc::Ioctl = 0xc018_2101u32 as libc::Ioctl;
    let errno = |error: io::Error| error.raw_os_error().unwrap_or(libc::EIO);
    let answer = libc::seccomp_notif_resp {
        id: call.id,
        val: 0,
        error: answer.err().map_or(0, |error| -errno(error)),
        flags: 0,
    };
    // SAFETY: the kernel reads one seccomp_notif_resp.
    check(libc::c_long::from(unsafe {
        libc::ioctl(listener.as_raw_fd(), SEND, &raw const answer)
    }))
    .map(drop)
}
