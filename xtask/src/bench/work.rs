//! The operations that are timed.
//!
//! Both ends of a connection belong to one thread. Over loopback and veth a packet is
//! delivered within the call that sends it, so nobody has to be woken, and what is timed is
//! the path of the packet and not the scheduler.

use std::fs;
use std::io::{self, Read, Write};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::os::fd::OwnedFd;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use rustix::net::{AddressFamily, SocketFlags, SocketType, sockopt};

use super::task::Answer;

/// What one operation of [`bulk`] moves.
pub const PIECE_BYTES: usize = 256 * 1024;

/// Operations before the first one that counts.
pub const WARM_UP: u32 = 16;

/// Connects to a listening socket of its own. `each_ns` is connect() alone, `whole_ns`
/// socket(), connect(), accept() and both close().
pub fn connect(port: u16, count: u32, every: Duration) -> Result<Answer> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, port))
        .with_context(|| format!("listen on port {port}"))?;
    let address = listener.local_addr()?;
    let mut answer = Answer::default();
    for number in 0..count + WARM_UP {
        let begun = Instant::now();
        let socket = rustix::net::socket_with(
            AddressFamily::INET,
            SocketType::STREAM,
            SocketFlags::CLOEXEC,
            None,
        )?;
        let before = Instant::now();
        let connected = rustix::net::connect(&socket, &address);
        let after = Instant::now();
        connected.with_context(|| format!("connect to port {port}"))?;
        let (peer, _) = listener.accept()?;
        close_at_once(socket)?;
        drop(peer);
        let ended = Instant::now();
        if number >= WARM_UP {
            answer.each_ns.push((after - before).as_nanos() as u64);
            answer.whole_ns.push((ended - begun).as_nanos() as u64);
        }
        spin_until(begun + every);
    }
    Ok(answer)
}

/// Closes with a reset, so that no port stays in TIME_WAIT.
fn close_at_once(socket: OwnedFd) -> Result<()> {
    sockopt::set_socket_linger(&socket, Some(Duration::ZERO))?;
    Ok(())
}

/// Waits without sleeping: what wakes up first has to warm up.
pub fn spin_until(moment: Instant) {
    while Instant::now() < moment {
        std::hint::spin_loop();
    }
}

/// How many system calls are timed together: one alone is shorter than a look at the clock.
pub const GROUP: u32 = 50;

/// Makes the shortest system calls. `each_ns` is of a group.
pub fn system_calls(count: u32) -> Answer {
    let each_ns = (0..count).map(|_| {
        let begun = Instant::now();
        for _ in 0..GROUP {
            std::hint::black_box(rustix::process::getppid());
        }
        begun.elapsed().as_nanos() as u64
    });
    Answer {
        each_ns: each_ns.collect(),
        ..Answer::default()
    }
}

/// Maps a page, touches it and unmaps it. `each_ns` is of a group.
pub fn maps(count: u32) -> Result<Answer> {
    use rustix::mm::{MapFlags, ProtFlags, mmap_anonymous, munmap};
    let access = ProtFlags::READ | ProtFlags::WRITE;
    let mut answer = Answer::default();
    for _ in 0..count {
        let begun = Instant::now();
        for _ in 0..GROUP {
            // SAFETY: the page is this function's own from here to the end of the block.
            unsafe {
                let page = mmap_anonymous(std::ptr::null_mut(), 4096, access, MapFlags::PRIVATE)?;
                page.cast::<u8>().write_volatile(1);
                munmap(page, 4096)?;
            }
        }
        answer.each_ns.push(begun.elapsed().as_nanos() as u64);
    }
    Ok(answer)
}

/// Starts a program and waits for its end.
pub fn spawn(program: &Path, count: u32) -> Result<Answer> {
    let mut answer = Answer::default();
    let mut command = Command::new(program);
    command.env_clear().stdin(Stdio::inherit());
    for number in 0..count + WARM_UP {
        let begun = Instant::now();
        let status = command.status();
        let ended = Instant::now();
        status.with_context(|| program.display().to_string())?;
        if number >= WARM_UP {
            answer.each_ns.push((ended - begun).as_nanos() as u64);
        }
    }
    Ok(answer)
}

/// Two connected sockets over the loopback interface.
pub fn loopback_pair() -> Result<[TcpStream; 2]> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
    connected(&listener)
}

/// Two connected sockets, one of them accepted from `listener`.
pub fn connected(listener: &TcpListener) -> Result<[TcpStream; 2]> {
    let near = TcpStream::connect(listener.local_addr()?)?;
    let (far, _) = listener.accept()?;
    near.set_nodelay(true)?;
    far.set_nodelay(true)?;
    Ok([near, far])
}

/// Sends one byte there and back.
pub fn ping_pong(count: u32) -> Result<Answer> {
    let [mut near, mut far] = loopback_pair()?;
    let mut answer = Answer::default();
    let mut byte = [0];
    let mut packets = 0;
    for number in 0..count + WARM_UP {
        if number == WARM_UP {
            packets = packets_on("lo")?;
        }
        let begun = Instant::now();
        near.write_all(&byte)?;
        far.read_exact(&mut byte)?;
        far.write_all(&byte)?;
        near.read_exact(&mut byte)?;
        let ended = Instant::now();
        if number >= WARM_UP {
            answer.each_ns.push((ended - begun).as_nanos() as u64);
        }
    }
    answer.packets = packets_on("lo")?.saturating_sub(packets);
    Ok(answer)
}

/// What a server says first whose client the gate has no reason to read: no greeting of mail.
const FIRST_WORD: &[u8] = b"HTTP/1.1";

/// Has the far end speak before all else, and the near end read it.
pub fn far_speaks([near, far]: &[TcpStream; 2]) -> Result<()> {
    let (mut near, mut far) = (near, far);
    far.write_all(FIRST_WORD)?;
    near.read_exact(&mut [0; FIRST_WORD.len()])?;
    Ok(())
}

/// Moves pieces of [`PIECE_BYTES`] from the first socket to the second.
pub fn bulk(pair: &[TcpStream; 2], interface: &str, count: u32) -> Result<Answer> {
    let [near, far] = pair;
    near.set_nonblocking(true)?;
    far.set_nonblocking(true)?;
    let data = vec![0x55; PIECE_BYTES];
    let mut room = vec![0; PIECE_BYTES];
    let mut answer = Answer::default();
    let mut packets = 0;
    for number in 0..count + WARM_UP {
        if number == WARM_UP {
            packets = packets_on(interface)?;
        }
        let begun = Instant::now();
        move_piece(near, far, &data, &mut room)?;
        let ended = Instant::now();
        if number >= WARM_UP {
            answer.each_ns.push((ended - begun).as_nanos() as u64);
        }
    }
    answer.packets = packets_on(interface)?.saturating_sub(packets);
    Ok(answer)
}

fn move_piece(
    mut near: &TcpStream,
    mut far: &TcpStream,
    data: &[u8],
    room: &mut [u8],
) -> Result<()> {
    let (mut sent, mut received) = (0, 0);
    while received < data.len() {
        if sent < data.len() {
            sent += or_nothing(near.write(&data[sent..]))?;
        }
        received += or_nothing(far.read(room))?;
    }
    Ok(())
}

fn or_nothing(done: io::Result<usize>) -> io::Result<usize> {
    match done {
        Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(0),
        done => done,
    }
}

/// Packets that an interface of this network namespace sent or received. On the loopback
/// interface they are the same ones, and count once. A packet that the card would cut in
/// pieces counts as one, as it does for the hooks.
fn packets_on(interface: &str) -> Result<u64> {
    let text = fs::read_to_string("/proc/thread-self/net/dev")?;
    let line = text
        .lines()
        .find_map(|line| line.trim_start().strip_prefix(interface)?.strip_prefix(':'));
    let numbers: Vec<u64> = line
        .with_context(|| format!("interface {interface}"))?
        .split_whitespace()
        .filter_map(|word| word.parse().ok())
        .collect();
    let (received, sent) = (numbers.get(1), numbers.get(9));
    let (received, sent) = (received.copied(), sent.copied());
    let sum = |numbers: [Option<u64>; 2]| numbers.into_iter().flatten().sum();
    Ok(if interface == "lo" {
        sum([sent, None])
    } else {
        sum([received, sent])
    })
}
