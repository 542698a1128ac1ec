//! Many short-lived processes, each of which connects once or does nothing at all; and one
//! that connects often.

use std::collections::BTreeMap;
use std::io::{self, BufReader};
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::os::unix::process::CommandExt;
use std::process::Command;
use std::time::{Duration, Instant};

use super::args::Args;
use super::calls::{self, Forked};
use super::mailer::Report;
use super::{errno_name, lineage, orders, sockets};
use crate::smtp::client::SmtpFailure;

/// Processes alive at a time.
const AT_A_TIME: u64 = 32;
const MOST: u64 = 100_000;

/// Forks `--count` processes. Each connects and says one line, or becomes the program
/// after `--`. With `--spread yes` each connects to an address of its own, from the server's on. The report's detail counts how they ended; `errno` is the most frequent.
pub(super) fn run(args: &Args) -> Result<Report, String> {
    let count = args.number("--count")?.unwrap_or(100).min(MOST);
    let server = if args.program.is_empty() {
        Some(args.server()?)
    } else {
        None
    };
    let spread = args.text("--spread").is_some();
    let limit = args.duration("--timeout-ms", 5_000)?;
    let mut ends: BTreeMap<i32, u64> = BTreeMap::new();
    let mut alive = 0;
    for number in 0..count {
        if alive == AT_A_TIME {
            take_end(&mut ends);
            alive -= 1;
        }
        match calls::fork() {
            Ok(Forked::Child) => match server {
                Some(server) => {
                    let own = if spread {
                        beside(server, number)
                    } else {
                        server
                    };
                    std::process::exit(connect_once(own, limit))
                }
                None => {
                    let error = Command::new(&args.program[0])
                        .args(&args.program[1..])
                        .exec();
                    std::process::exit(error.raw_os_error().unwrap_or(libc::EIO));
                }
            },
            Ok(Forked::Parent(_)) => alive += 1,
            Err(error) => return Ok(lineage::system_failure("storm", "fork", error)),
        }
    }
    for _ in 0..alive {
        take_end(&mut ends);
    }
    let most = ends
        .iter()
        .filter(|(end, _)| **end != 0)
        .max_by_key(|(_, times)| **times)
        .map(|(end, _)| *end);
    let arrived = ends.get(&0).copied().unwrap_or(0);
    let named: Vec<String> = ends
        .iter()
        .map(|(end, times)| {
            format!(
                "{times} {}",
                if *end == 0 {
                    "connected"
                } else {
                    errno_name(*end)
                }
            )
        })
        .collect();
    let bytes = if server.is_some() {
        arrived * sockets::FIRST_LINE.len() as u64
    } else {
        0
    };
    Ok(Report {
        errno: most,
        errno_name: most.map(errno_name),
        ..Report::new("storm", "done", bytes).with_detail(named.join(", "))
    })
}

/// The address so many after a server's. There are enough of them in 127.0.0.0/8.
fn beside(server: SocketAddr, number: u64) -> SocketAddr {
    let number = u32::try_from(number).unwrap_or(0);
    match server.ip() {
        IpAddr::V4(ip) => {
            let ip = Ipv4Addr::from_bits(ip.to_bits().wrapping_add(number));
            SocketAddr::new(ip.into(), server.port())
        }
        IpAddr::V6(_) => server,
    }
}

/// Opens `--count` connections to a web server, one after the other, with a question and an
/// answer on each. The report's detail counts those that went well.
pub(super) fn visits(args: &Args) -> Result<Report, String> {
    let count = args.number("--count")?.unwrap_or(100).min(MOST);
    let server = args.server()?;
    let limit = args.duration("--timeout-ms", 5_000)?;
    let (answered, last) = visit(server, count, limit);
    let report = match last {
        Some(error) => Report::failed("visits", &SmtpFailure::System("visit", error), 0),
        None => Report::new("visits", "done", 0),
    };
    Ok(report.with_detail(format!("{answered} answered")))
}

/// Connects `--count` times as fast as it can, and counts how that went. With `--listen yes`
/// it is its own server, so that each connection is accepted; either way it is reset, so that
/// nothing is left waiting. The report's detail counts them.
pub(super) fn connects(args: &Args) -> Result<Report, String> {
    let count = args.number("--count")?.unwrap_or(100);
    let server = args.server()?;
    let own = match args.text("--listen") {
        Some(_) => Some(TcpListener::bind(server).map_err(|error| error.to_string())?),
        None => None,
    };
    let (mut accepted, mut last) = (0_u64, None);
    for _ in 0..count {
        match TcpStream::connect(server) {
            Ok(stream) => {
                if let Some(own) = &own {
                    drop(own.accept().map_err(|error| error.to_string())?);
                }
                calls::reset_on_close(&stream).map_err(|error| error.to_string())?;
                accepted += 1;
            }
            Err(error) => last = Some(error),
        }
    }
    let report = match last {
        Some(error) => Report::failed("connects", &SmtpFailure::System("connect", error), 0),
        None => Report::new("connects", "done", 0),
    };
    Ok(report.with_detail(format!("{accepted} of {count} connected")))
}

/// Starts the program after `--` and waits for its end, again and again for `--for-ms`. The
/// report's detail says how often.
pub(super) fn spawns(args: &Args) -> Result<Report, String> {
    let until = Instant::now() + args.duration("--for-ms", 1000)?;
    let mut started = 0_u64;
    while Instant::now() < until {
        if let Err(error) = calls::spawn_like_vfork(&args.program) {
            return Ok(lineage::system_failure("spawns", "posix_spawn", error));
        }
        calls::wait_for(-1).map_err(|error| error.to_string())?;
        started += 1;
    }
    Ok(Report::new("spawns", "done", 0).with_detail(format!("{started} programs")))
}

/// Returns how many of the visits were answered, and what went wrong last.
pub(super) fn visit(server: SocketAddr, count: u64, limit: Duration) -> (u64, Option<io::Error>) {
    let (mut answered, mut last) = (0, None);
    for _ in 0..count {
        let visit = TcpStream::connect_timeout(&server, limit)
            .and_then(|stream| orders::ask(&mut BufReader::new(stream), "/", limit));
        match visit {
            Ok(_) => answered += 1,
            Err(error) => last = Some(error),
        }
    }
    (answered, last)
}

/// The exit status is the errno, or 0.
fn connect_once(server: SocketAddr, limit: Duration) -> i32 {
    match sockets::connect_plainly(server, limit) {
        Ok(mut stream) => match std::io::Write::write_all(&mut stream, sockets::FIRST_LINE) {
            Ok(()) => 0,
            Err(error) => error.raw_os_error().unwrap_or(libc::EIO),
        },
        Err(failure) => failure.errno().unwrap_or(libc::EIO),
    }
}

fn take_end(ends: &mut BTreeMap<i32, u64>) {
    if let Ok(status) = calls::wait_for(-1) {
        let end = if libc::WIFEXITED(status) {
            libc::WEXITSTATUS(status)
        } else {
            libc::EINTR
        };
        *ends.entry(end).or_default() += 1;
    }
}
