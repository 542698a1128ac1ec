//! Ways to come to a connected socket.

use std::io::{self, IoSlice, IoSliceMut, Read, Write};
use std::mem::MaybeUninit;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener, TcpStream};
use std::os::fd::{AsFd, OwnedFd};
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::net::{
    AddressFamily, Protocol, RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags,
    SendAncillaryBuffer, SendAncillaryMessage, SendFlags, SocketFlags, SocketType, connect,
    ipproto, recvmsg, sendmsg, sendto, socket_with, sockopt,
};

use super::calls::{self, RingHands};
use crate::smtp::client::SmtpFailure;

/// `MSG_FASTOPEN`, which has no name in the wrapper.
const FAST_OPEN: SendFlags = SendFlags::from_bits_retain(0x2000_0000);

/// The bytes that a technique sends when it cannot hold a conversation.
pub(super) const FIRST_LINE: &[u8] = b"EHLO bot.example.org\r\n";

/// More of them than a packet has room for, or a filter patience.
const BLANK_LINES: [u8; 4000] = {
    let mut lines = [b'\n'; 4000];
    let mut at = 0;
    while at < lines.len() {
        lines[at] = b'\r';
        at += 2;
    }
    lines
};

/// A line that is none, and a whole message behind it, for a server that takes what comes
/// before its greeting.
const WHOLE_MESSAGE: [u8; 3000] = {
    let message = b"\r\nEHLO x\r\nMAIL FROM:<a@b>\r\nRCPT TO:<c@d>\r\nDATA\r\nx\r\n.\r\n";
    let mut bytes = [b'X'; 3000];
    let begin = bytes.len() - message.len();
    let mut at = 0;
    while at < message.len() {
        bytes[begin + at] = message[at];
        at += 1;
    }
    bytes
};

/// More packets than a filter may be willing to read, and a greeting behind them.
const MANY_LINES: [&[u8]; 101] = {
    let mut lines: [&[u8]; 101] = [b"NOOP\r\n"; 101];
    lines[100] = FIRST_LINE;
    lines
};

/// A whole message without a greeting.
const MESSAGE: &[u8] = b"MAIL FROM:<a@b>\r\nRCPT TO:<c@d>\r\nDATA\r\nx\r\n.\r\n";

/// The beginning of TLS.
const CLIENT_HELLO: &[u8] = b"\x16\x03\x01\x02\0\x01\0\x01\xfc\x03\x03";

/// Those of the ways below that do not wait for the server to speak.
pub(super) const BEFORE_THE_SERVER: &[&str] = &[
    "greeting-early",
    "greeting-burst",
    "greeting-none-early",
    "greeting-packets",
    "greeting-starttls-early",
];

/// Ways to write the first line so that it is not recognized: what is written, and how long
/// the client is silent before each piece.
pub(super) fn odd_greeting(name: &str) -> Option<(Vec<&'static [u8]>, Duration)> {
    let soon = Duration::ZERO;
    Some(match name {
        "greeting-split" => (FIRST_LINE.chunks(1).collect(), Duration::from_millis(5)),
        "greeting-lower" => (vec![b"ehlo bot.example.org\r\n"], soon),
        "greeting-blank" => (vec![b"\r\n\r\nEHLO bot.example.org\r\n"], soon),
        "greeting-spaces" => (vec![b"  \tEHLO bot.example.org\r\n"], soon),
        "greeting-late" => (vec![FIRST_LINE], Duration::from_secs(3)),
        "greeting-none" => (vec![b"MAIL FROM:<bot@example.org>\r\n"], soon),
        "greeting-early" => (vec![FIRST_LINE], soon),
        "greeting-noop" => (vec![b"NOOP\r\n", FIRST_LINE], soon),
        "greeting-burst" => (vec![&WHOLE_MESSAGE], soon),
        "greeting-starttls" => (vec![b"STARTTLS\r\n"], soon),
        "greeting-starttls-early" => (
            vec![b"STARTTLS\r\n", CLIENT_HELLO],
            Duration::from_millis(700),
        ),
        "greeting-none-early" => (vec![MESSAGE], soon),
        "greeting-packets" => (MANY_LINES.to_vec(), Duration::from_millis(2)),
        "greeting-long" => (vec![&BLANK_LINES, FIRST_LINE], soon),
        _ => return None,
    })
}

/// Connects and writes the pieces, `early` without waiting for the server; returns the bytes written and the last of the answer.
pub(super) fn say_oddly(
    server: SocketAddr,
    pieces: &[&[u8]],
    silence: Duration,
    early: bool,
    limit: Duration,
) -> Result<(u64, String), (SmtpFailure, u64)> {
    let mut stream = connect_plainly(server, limit).map_err(|failure| (failure, 0))?;
    let mut written = 0;
    let mut answer = [0; 512];
    let failed = |what| move |written| move |error| (SmtpFailure::System(what, error), written);
    stream
        .set_nodelay(true)
        .map_err(failed("set an option")(0))?;
    if !early {
        stream
            .read(&mut answer)
            .map_err(failed("read the greeting")(0))?;
    }
    for piece in pieces {
        std::thread::sleep(silence);
        stream.write_all(piece).map_err(failed("write")(written))?;
        written += piece.len() as u64;
    }
    let length = stream
        .read(&mut answer)
        .map_err(failed("read an answer")(written))?;
    Ok((
        written,
        String::from_utf8_lossy(&answer[..length])
            .trim_end()
            .to_owned(),
    ))
}

/// Counts the payload bytes that the kernel accepted.
pub(super) struct Counting<W> {
    pub inner: W,
    pub written: u64,
}

impl<W: Write> Write for Counting<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let written = self.inner.write(bytes)?;
        self.written += written as u64;
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.inner.flush()
    }
}

/// The usual way: connect and wait, bounded.
pub(super) fn connect_plainly(
    server: SocketAddr,
    limit: Duration,
) -> Result<TcpStream, SmtpFailure> {
    let socket = open(server, None).map_err(|e| SmtpFailure::System("make a socket", e))?;
    bound(&socket, limit).map_err(|e| SmtpFailure::System("set a time limit", e))?;
    // A blocking connect: what every simple program does. SO_SNDTIMEO bounds it.
    connect(&socket, &server).map_err(|e| SmtpFailure::System("connect", e.into()))?;
    Ok(TcpStream::from(socket))
}

/// The usual way, but the last packet of the handshake waits for what is written first.
pub(super) fn connect_deferred(
    server: SocketAddr,
    limit: Duration,
) -> Result<TcpStream, SmtpFailure> {
    let socket = open(server, None).map_err(|e| SmtpFailure::System("make a socket", e))?;
    bound(&socket, limit).map_err(|e| SmtpFailure::System("set a time limit", e))?;
    calls::set_number(socket.as_fd(), libc::IPPROTO_TCP, libc::TCP_DEFER_ACCEPT, 5)
        .map_err(|e| SmtpFailure::System("defer the handshake", e))?;
    connect(&socket, &server).map_err(|e| SmtpFailure::System("connect", e.into()))?;
    Ok(TcpStream::from(socket))
}

/// The usual way, with options in the header of every IP packet.
pub(super) fn connect_with_options(
    server: SocketAddr,
    limit: Duration,
    options: &[u8],
) -> Result<TcpStream, SmtpFailure> {
    let socket = open(server, None).map_err(|e| SmtpFailure::System("make a socket", e))?;
    bound(&socket, limit).map_err(|e| SmtpFailure::System("set a time limit", e))?;
    calls::set_ip_options(&socket, options)
        .map_err(|e| SmtpFailure::System("set IP options", e))?;
    connect(&socket, &server).map_err(|e| SmtpFailure::System("connect", e.into()))?;
    Ok(TcpStream::from(socket))
}

/// The usual way, on a socket on which nothing more can hang.
pub(super) fn connect_filled_up(
    server: SocketAddr,
    limit: Duration,
) -> Result<TcpStream, SmtpFailure> {
    let socket = open(server, None).map_err(|e| SmtpFailure::System("make a socket", e))?;
    bound(&socket, limit).map_err(|e| SmtpFailure::System("set a time limit", e))?;
    calls::fill_up(&socket).map_err(|e| SmtpFailure::System("fill the socket up", e))?;
    connect(&socket, &server).map_err(|e| SmtpFailure::System("connect", e.into()))?;
    Ok(TcpStream::from(socket))
}

/// A connect that returns at once and is polled for.
pub(super) fn connect_nonblocking(server: SocketAddr, limit: Duration) -> io::Result<TcpStream> {
    let family = family(server);
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    let socket = socket_with(family, SocketType::STREAM, flags, None)?;
    match connect(&socket, &server) {
        Ok(()) => {}
        Err(rustix::io::Errno::INPROGRESS) => {
            let limit = Timespec::try_from(limit).unwrap_or(Timespec {
                tv_sec: 10,
                tv_nsec: 0,
            });
            let mut polled = [PollFd::new(&socket, PollFlags::OUT)];
            if poll(&mut polled, Some(&limit))? == 0 {
                return Err(io::Error::from_raw_os_error(libc::ETIMEDOUT));
            }
            sockopt::socket_error(&socket)??;
        }
        Err(error) => return Err(error.into()),
    }
    let stream = TcpStream::from(socket);
    stream.set_nonblocking(false)?;
    stream.set_read_timeout(Some(Duration::from_secs(10)))?;
    Ok(stream)
}

/// An IPv6 socket to an IPv4 server, by its IPv4-mapped address.
pub(super) fn mapped(server: SocketAddr) -> SocketAddr {
    match server.ip() {
        IpAddr::V4(v4) => SocketAddr::new(IpAddr::V6(v4.to_ipv6_mapped()), server.port()),
        IpAddr::V6(_) => server,
    }
}

/// The same port on the IPv6 loopback address, unless the server is IPv6 already.
pub(super) fn over_ipv6(server: SocketAddr) -> SocketAddr {
    match server.ip() {
        IpAddr::V4(_) => SocketAddr::new(IpAddr::V6(Ipv6Addr::LOCALHOST), server.port()),
        IpAddr::V6(_) => server,
    }
}

/// Multipath TCP.
pub(super) fn connect_multipath(server: SocketAddr, limit: Duration) -> io::Result<TcpStream> {
    let socket = open(server, Some(ipproto::MPTCP))?;
    bound(&socket, limit)?;
    connect(&socket, &server)?;
    Ok(TcpStream::from(socket))
}

/// TCP Fast Open without a connect: the first line goes with the SYN. Returns the socket
/// and the bytes accepted.
pub(super) fn fast_open_by_sendto(
    server: SocketAddr,
    limit: Duration,
    protocol: Option<Protocol>,
) -> io::Result<(TcpStream, usize)> {
    let socket = open(server, protocol)?;
    bound(&socket, limit)?;
    let sent = sendto(
        &socket,
        FIRST_LINE,
        FAST_OPEN | SendFlags::NOSIGNAL,
        &server,
    )?;
    Ok((TcpStream::from(socket), sent))
}

/// TCP Fast Open by a connect that does nothing until the first write.
pub(super) fn fast_open_by_connect(
    server: SocketAddr,
    limit: Duration,
) -> io::Result<(TcpStream, usize)> {
    let socket = open(server, None)?;
    bound(&socket, limit)?;
    calls::set_fast_open_connect(&socket)?;
    connect(&socket, &server)?;
    let mut stream = TcpStream::from(socket);
    let sent = stream.write(FIRST_LINE)?;
    Ok((stream, sent))
}

/// By io_uring.
pub(super) fn connect_by_ring(
    server: SocketAddr,
    limit: Duration,
    hands: RingHands,
) -> io::Result<TcpStream> {
    let socket = open(server, None)?;
    bound(&socket, limit)?;
    calls::connect_by_ring(&socket, server, hands)?;
    Ok(TcpStream::from(socket))
}

/// With a socket that was connected somewhere else before, where it was let.
pub(super) fn reconnect(server: SocketAddr, limit: Duration) -> io::Result<TcpStream> {
    let socket = open(server, None)?;
    bound(&socket, limit)?;
    let elsewhere = TcpListener::bind(SocketAddr::new(loopback(server), 0))?;
    connect(&socket, &elsewhere.local_addr()?)?;
    calls::disconnect(&socket)?;
    connect(&socket, &server)?;
    Ok(TcpStream::from(socket))
}

fn loopback(server: SocketAddr) -> IpAddr {
    if server.is_ipv4() {
        IpAddr::V4(Ipv4Addr::LOCALHOST)
    } else {
        IpAddr::V6(Ipv6Addr::LOCALHOST)
    }
}

/// Sends one descriptor over a UNIX socket.
pub(super) fn send_descriptor(socket: impl AsFd, descriptor: impl AsFd) -> io::Result<()> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut control = SendAncillaryBuffer::new(&mut space);
    let descriptors = [descriptor.as_fd()];
    control.push(SendAncillaryMessage::ScmRights(&descriptors));
    sendmsg(
        socket,
        &[IoSlice::new(b"s")],
        &mut control,
        SendFlags::NOSIGNAL,
    )?;
    Ok(())
}

/// Receives one descriptor over a UNIX socket.
pub(super) fn receive_descriptor(socket: impl AsFd) -> io::Result<OwnedFd> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut control = RecvAncillaryBuffer::new(&mut space);
    let mut byte = [0];
    recvmsg(
        socket,
        &mut [IoSliceMut::new(&mut byte)],
        &mut control,
        RecvFlags::CMSG_CLOEXEC,
    )?;
    let received = control.drain().find_map(|message| match message {
        RecvAncillaryMessage::ScmRights(mut descriptors) => descriptors.next(),
        _ => None,
    });
    received.ok_or_else(|| io::Error::from_raw_os_error(libc::EBADF))
}

fn open(server: SocketAddr, protocol: Option<Protocol>) -> io::Result<OwnedFd> {
    Ok(socket_with(
        family(server),
        SocketType::STREAM,
        SocketFlags::CLOEXEC,
        protocol,
    )?)
}

fn family(server: SocketAddr) -> AddressFamily {
    if server.is_ipv4() {
        AddressFamily::INET
    } else {
        AddressFamily::INET6
    }
}

/// Bounds connecting, writing and reading.
fn bound(socket: &OwnedFd, limit: Duration) -> io::Result<()> {
    sockopt::set_socket_timeout(socket, sockopt::Timeout::Recv, Some(limit))?;
    sockopt::set_socket_timeout(socket, sockopt::Timeout::Send, Some(limit))?;
    Ok(())
}
