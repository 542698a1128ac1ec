//! The rogue: a program in the guest that tries to reach mail ports from the first moment on,
//! without end, and notes what each attempt came to.

use std::collections::BTreeMap;
use std::fs;
use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4, UdpSocket};
use std::path::Path;
use std::thread::sleep;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use rustix::io::Errno;
use rustix::net::{AddressFamily, SocketFlags, SocketType, connect, socket_with, sockopt};
use rustix::time::{ClockId, clock_gettime};

/// The host, as QEMU's user network shows it. It forwards nothing.
const HOST: Ipv4Addr = Ipv4Addr::new(10, 0, 2, 2);
/// Where nothing is guarded: shows whether the network is up.
pub const OTHER_PORT: u16 = 8025;
/// The mail ports.
pub const MAIL_PORTS: [u16; 3] = [25, 465, 587];

/// UDP ports of the marks: mail may leave from here on; it may not.
pub const MARK_OPEN: u16 = 9;
/// See [`MARK_OPEN`].
pub const MARK_CLOSED: u16 = 10;

const BETWEEN_ROUNDS: Duration = Duration::from_millis(2);
/// Once it was refused: the guest's processor is slow, others have to do something too, and each attempt
/// makes the journal longer that is read here again and again.
const ONCE_REFUSED: Duration = Duration::from_millis(500);
const NOTE_EVERY: Duration = Duration::from_millis(500);

/// Attempts of one kind with one end.
#[derive(Clone, Copy, Default)]
struct Tally {
    count: u64,
    first_ms: u64,
    last_ms: u64,
}

/// Tries without end, and keeps the file at `notes` up to date: a line for each target and
/// outcome, with the times since boot of the first and the last.
pub fn run(notes: &Path) -> Result<()> {
    let mut tallies: BTreeMap<(SocketAddr, &'static str), Tally> = BTreeMap::new();
    let mut noted = Instant::now();
    let mut pause = BETWEEN_ROUNDS;
    let targets: Vec<SocketAddr> = [Ipv4Addr::LOCALHOST, HOST]
        .into_iter()
        .flat_map(|to| {
            let ports = MAIL_PORTS.into_iter().chain([OTHER_PORT]);
            ports.map(move |port| SocketAddrV4::new(to, port).into())
        })
        .collect();
    loop {
        for target in &targets {
            let outcome = attempt(*target);
            if outcome == "refused-by-the-gate" {
                pause = ONCE_REFUSED;
            }
            let now = since_boot_ms();
            let tally = tallies.entry((*target, outcome)).or_insert(Tally {
                first_ms: now,
                ..Tally::default()
            });
            tally.count += 1;
            tally.last_ms = now;
        }
        if noted.elapsed() >= NOTE_EVERY {
            noted = Instant::now();
            note(notes, &tallies)?;
        }
        sleep(pause);
    }
}

/// `left`: a packet is on its way, or an answer has come already.
fn attempt(target: SocketAddr) -> &'static str {
    let flags = SocketFlags::NONBLOCK | SocketFlags::CLOEXEC;
    let Ok(socket) = socket_with(AddressFamily::INET, SocketType::STREAM, flags, None) else {
        return "no-socket";
    };
    // Closing ends it at once.
    let _ = sockopt::set_socket_linger(&socket, Some(Duration::ZERO));
    match connect(&socket, &target) {
        Ok(()) | Err(Errno::INPROGRESS | Errno::CONNREFUSED) => "left",
        Err(Errno::PERM) => "refused-by-the-gate",
        Err(Errno::NETUNREACH | Errno::HOSTUNREACH | Errno::NETDOWN) => "no-network",
        Err(_) => "other",
    }
}

/// One attempt at a mail port of the host's.
pub fn once() -> &'static str {
    attempt(SocketAddrV4::new(HOST, MAIL_PORTS[0]).into())
}

/// Tells whoever reads the recording of packets that mail may leave from now on, or not.
pub fn mark(port: u16) -> Result<()> {
    let socket = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0)).context("a socket")?;
    // Some more than one: the first may wait for an address to be resolved.
    for _ in 0..3 {
        socket.send_to(b"mark", (HOST, port)).context("a packet")?;
        sleep(BETWEEN_ROUNDS);
    }
    Ok(())
}

fn note(path: &Path, tallies: &BTreeMap<(SocketAddr, &'static str), Tally>) -> Result<()> {
    let text: String = tallies
        .iter()
        .map(|((target, outcome), tally)| {
            let Tally {
                count,
                first_ms,
                last_ms,
            } = tally;
            format!("{target} {outcome} {count} {first_ms} {last_ms}\n")
        })
        .collect();
    let part = path.with_extension("part");
    fs::write(&part, text)
        .and_then(|()| fs::rename(&part, path))
        .with_context(|| path.display().to_string())
}

fn since_boot_ms() -> u64 {
    let time = clock_gettime(ClockId::Boottime);
    let (s, ns) = (time.tv_sec.cast_unsigned(), time.tv_nsec.cast_unsigned());
    s * 1000 + ns / 1_000_000
}
