//! Calls on sockets.

use std::io;
use std::net::TcpStream;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd};
use std::time::Duration;

use super::check;

/// A reset ends the connection when the socket is closed; nothing is left waiting.
pub(in crate::player) fn reset_on_close(stream: &TcpStream) -> io::Result<()> {
    rustix::net::sockopt::set_socket_linger(stream, Some(Duration::ZERO)).map_err(Into::into)
}

/// Takes over a socket that came with the exec, by its number.
pub(in crate::player) fn inherited_socket(number: i32) -> io::Result<TcpStream> {
    // SAFETY: fcntl on any number is harmless and tells whether it is open.
    check(libc::c_long::from(unsafe {
        libc::fcntl(number, libc::F_GETFD)
    }))?;
    if number <= 2 {
        return Err(io::Error::from_raw_os_error(libc::EBADF));
    }
    // SAFETY: it is open, and whoever gave its number to this program left it to it.
    Ok(unsafe { TcpStream::from_raw_fd(number) })
}

/// Makes a later connect wait for the first data (TCP_FASTOPEN_CONNECT).
pub(in crate::player) fn set_fast_open_connect(socket: &OwnedFd) -> io::Result<()> {
    set_option(socket, libc::IPPROTO_TCP, libc::TCP_FASTOPEN_CONNECT, 1)
}

/// Makes every packet of the socket carry these options of IPv4.
pub(in crate::player) fn set_ip_options(socket: &OwnedFd, options: &[u8]) -> io::Result<()> {
    // SAFETY: the kernel reads as many bytes as is said.
    let result = unsafe {
        libc::setsockopt(
            socket.as_raw_fd(),
            libc::IPPROTO_IP,
            libc::IP_OPTIONS,
            options.as_ptr().cast(),
            options.len() as u32,
        )
    };
    check(libc::c_long::from(result)).map(drop)
}

/// Has the kernel drop whatever comes in on a socket, by a filter that takes nothing.
pub(in crate::player) fn drop_all_that_comes_in(socket: BorrowedFd<'_>) -> io::Result<()> {
    let mut take_nothing = libc::sock_filter {
        code: (libc::BPF_RET | libc::BPF_K) as u16,
        jt: 0,
        jf: 0,
        k: 0,
    };
    let program = libc::sock_fprog {
        len: 1,
        filter: &raw mut take_nothing,
    };
    // SAFETY: the kernel reads the program and the one instruction that it points to.
    let result = unsafe {
        libc::setsockopt(
            socket.as_raw_fd(),
            libc::SOL_SOCKET,
            libc::SO_ATTACH_FILTER,
            (&raw const program).cast(),
            size_of_val(&program) as u32,
        )
    };
    check(libc::c_long::from(result)).map(drop)
}

/// Sets an option whose value is a number.
pub(in crate::player) fn set_number(
    socket: BorrowedFd<'_>,
    level: i32,
    option: i32,
    number: i32,
) -> io::Result<()> {
    // SAFETY: the kernel reads one number.
    let result = unsafe {
        libc::setsockopt(
            socket.as_raw_fd(),
            level,
            option,
            (&raw const number).cast(),
            size_of_val(&number) as u32,
        )
    };
    check(libc::c_long::from(result)).map(drop)
}

/// Uses up what the kernel lets hang on a socket (`net.core.optmem_max`), down to a few bytes, by
/// keys for peers that it never speaks to (RFC 2385).
pub(in crate::player) fn fill_up(socket: &OwnedFd) -> io::Result<()> {
    /// `TCP_MD5SIG` in `linux/tcp.h`.
    const MD5_KEY: i32 = 14;
    /// More than there is room for on any socket.
    const MOST: u32 = 1 << 20;
    for peer in 0..MOST {
        // `struct tcp_md5sig`: an address in 128 bytes, two flags, the key's length, an interface,
        // the key.
        let mut key = [0; 216];
        key[..2].copy_from_slice(&(libc::AF_INET as u16).to_ne_bytes());
        key[4] = 10;
        key[5..8].copy_from_slice(&peer.to_be_bytes()[1..]);
        key[130..132].copy_from_slice(&8_u16.to_ne_bytes());
        // SAFETY: the kernel reads as many bytes as is said.
        let result = unsafe {
            libc::setsockopt(
                socket.as_raw_fd(),
                libc::IPPROTO_TCP,
                MD5_KEY,
                key.as_ptr().cast(),
                key.len() as u32,
            )
        };
        match check(libc::c_long::from(result)) {
            Ok(_) => {}
            Err(error) if error.raw_os_error() == Some(libc::ENOMEM) => return Ok(()),
            Err(error) => return Err(error),
        }
    }
    Err(io::Error::other("the socket takes anything"))
}

fn set_option(socket: &OwnedFd, level: i32, name: i32, value: i32) -> io::Result<()> {
    // SAFETY: the value is an int and its size is given.
    let result = unsafe {
        libc::setsockopt(
            socket.as_raw_fd(),
            level,
            name,
            (&raw const value).cast(),
            size_of::<i32>() as u32,
        )
    };
    check(libc::c_long::from(result)).map(drop)
}

/// Ends a connection and leaves the socket as if it were new.
pub(in crate::player) fn disconnect(socket: &OwnedFd) -> io::Result<()> {
    Ok(rustix::net::connect_unspec(socket)?)
}

/// Sends a whole link-layer frame on the loopback interface.
pub(in crate::player) fn send_frame(
    socket: &OwnedFd,
    ethertype: u16,
    frame: &[u8],
) -> io::Result<usize> {
    // SAFETY: an all-zero sockaddr_ll is valid.
    let mut address: libc::sockaddr_ll = unsafe { std::mem::zeroed() };
    address.sll_family = libc::AF_PACKET as u16;
    address.sll_protocol = ethertype.to_be();
    address.sll_ifindex = 1;
    address.sll_halen = 6;
    // SAFETY: the buffer and the address are valid for the lengths given.
    let sent = unsafe {
        libc::sendto(
            socket.as_raw_fd(),
            frame.as_ptr().cast(),
            frame.len(),
            0,
            (&raw const address).cast(),
            size_of_val(&address) as u32,
        )
    };
    check(sent as libc::c_long).map(|sent| sent as usize)
}

/// Connects to an address in the form that the kernel reads.
pub(in crate::player) fn connect_to_bytes(socket: &OwnedFd, address: &[u8]) -> io::Result<()> {
    // SAFETY: the kernel reads as many bytes as is said.
    let connected = unsafe {
        libc::connect(
            socket.as_raw_fd(),
            address.as_ptr().cast(),
            address.len() as u32,
        )
    };
    check(libc::c_long::from(connected)).map(drop)
}
