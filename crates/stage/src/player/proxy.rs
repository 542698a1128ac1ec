//! Ways to a server through a program that passes things on: a SOCKS proxy, an HTTP proxy, and
//! a program that does so on its standard streams.

use std::io::{self, Read, Write};
use std::net::{IpAddr, SocketAddr, TcpStream};
use std::process::{Command, ExitCode, Stdio};
use std::time::Duration;

use super::args::Args;
use super::mailer::{Report, mail};
use super::sockets::{self, Counting};
use crate::smtp::client::{SmtpFailure, send_over};

/// Longest answer of an HTTP proxy in bytes.
const LONGEST_ANSWER: usize = 4096;

/// Connects to the server, through `--socks` or `--proxy` where one is given.
pub(super) fn connect(
    server: SocketAddr,
    args: &Args,
    limit: Duration,
) -> Result<Result<TcpStream, SmtpFailure>, String> {
    let through = |proxy: SocketAddr, ask: fn(&TcpStream, SocketAddr) -> io::Result<()>| {
        let stream = sockets::connect_plainly(proxy, limit)?;
        match ask(&stream, server) {
            Ok(()) => Ok(stream),
            Err(error) => Err(SmtpFailure::System("ask the proxy", error)),
        }
    };
    Ok(match (args.address("--socks")?, args.address("--proxy")?) {
        (Some(proxy), _) => through(proxy, ask_socks),
        (_, Some(proxy)) => through(proxy, ask_http),
        _ => sockets::connect_plainly(server, limit),
    })
}

/// SOCKS version 5 without authentication (RFC 1928).
fn ask_socks(mut stream: &TcpStream, server: SocketAddr) -> io::Result<()> {
    stream.write_all(&[5, 1, 0])?;
    let mut chosen = [0; 2];
    stream.read_exact(&mut chosen)?;
    let mut request = vec![5, 1, 0];
    match server.ip() {
        IpAddr::V4(ip) => {
            request.push(1);
            request.extend(ip.octets());
        }
        IpAddr::V6(ip) => {
            request.push(4);
            request.extend(ip.octets());
        }
    }
    request.extend(server.port().to_be_bytes());
    stream.write_all(&request)?;
    let mut answer = [0; 4];
    stream.read_exact(&mut answer)?;
    let bound = if answer[3] == 4 { 18 } else { 6 };
    stream.read_exact(&mut vec![0; bound])?;
    match (chosen[1], answer[1]) {
        (0, 0) => Ok(()),
        _ => Err(io::Error::from_raw_os_error(libc::ECONNREFUSED)),
    }
}

/// The method CONNECT (RFC 9110, 9.3.6).
fn ask_http(mut stream: &TcpStream, server: SocketAddr) -> io::Result<()> {
    stream.write_all(format!("CONNECT {server} HTTP/1.1\r\nHost: {server}\r\n\r\n").as_bytes())?;
    let mut answer = Vec::new();
    // Byte by byte: what comes after belongs to the server.
    while !answer.ends_with(b"\r\n\r\n") && answer.len() < LONGEST_ANSWER {
        let mut byte = [0];
        stream.read_exact(&mut byte)?;
        answer.push(byte[0]);
    }
    let status = answer.split(|byte| *byte == b' ').nth(1);
    if status.is_some_and(|status| status.starts_with(b"2")) {
        return Ok(());
    }
    Err(io::Error::from_raw_os_error(libc::ECONNREFUSED))
}

/// Delivers by the standard streams of a program that passes them on.
pub(super) fn piped(args: &Args) -> Result<ExitCode, String> {
    let (program, arguments) = args.words.split_first().ok_or("piped wants a program")?;
    let mut child = Command::new(program)
        .args(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .map_err(|e| format!("cannot start {program}: {e}"))?;
    let (Some(input), Some(output)) = (child.stdin.take(), child.stdout.take()) else {
        return Err("a program without pipes".to_owned());
    };
    let mut writer = Counting {
        inner: input,
        written: 0,
    };
    let report = match send_over(output, &mut writer, &mail(args)) {
        Ok(()) => Report::new("piped", "delivered", writer.written),
        Err(failure) => Report::failed("piped", &failure, writer.written),
    };
    drop(writer);
    let _ = child.kill();
    let _ = child.wait();
    report.print();
    Ok(report.exit_code())
}
