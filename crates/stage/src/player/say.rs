//! A client of any protocol: it says what it is given, piece by piece, and shows the answer.

use std::io::{self, Read, Write};
use std::net::{Shutdown, TcpStream};
use std::os::fd::AsFd as _;
use std::process::ExitCode;
use std::time::Duration;

use super::args::Args;
use super::{calls, sockets};

/// Between two pieces, so that each is a packet of its own.
const APART: Duration = Duration::from_millis(20);

/// `say --server A:P [--await N] [--option NAME] [--piece TEXT]... [--file PATH] [--end yes]`. Reads so
/// many bytes first. `--end` closes the client's side when all is said. Success when the server
/// answers.
pub(super) fn run(args: &Args) -> Result<ExitCode, String> {
    let limit = args.duration("--timeout-ms", 10_000)?;
    let failed = |what: &str, error: &dyn std::fmt::Display| format!("{what}: {error}");
    let connect = match args.text("--option") {
        Some("defer") => sockets::connect_deferred,
        _ => sockets::connect_plainly,
    };
    let mut stream =
        connect(args.server()?, limit).map_err(|failure| failed("connect", &failure))?;
    make_deaf(&stream, args.text("--option")).map_err(|error| failed("set an option", &error))?;
    stream
        .set_nodelay(true)
        .map_err(|error| failed("set an option", &error))?;
    let mut before = vec![0; args.number("--await")?.unwrap_or(0).min(4096) as usize];
    stream
        .read_exact(&mut before)
        .map_err(|error| failed("read", &error))?;
    for piece in args.texts("--piece") {
        stream
            .write_all(piece.as_bytes())
            .map_err(|error| failed("write", &error))?;
        std::thread::sleep(APART);
    }
    if let Some(path) = args.text("--file") {
        let bytes = std::fs::read(path).map_err(|error| failed(path, &error))?;
        stream
            .write_all(&bytes)
            .map_err(|error| failed("write", &error))?;
    }
    if args.text("--end").is_some() {
        stream
            .shutdown(Shutdown::Write)
            .map_err(|error| failed("shut down", &error))?;
    }
    let mut answer = [0; 512];
    match stream.read(&mut answer) {
        Ok(length) if length > 0 => {
            println!("{}", String::from_utf8_lossy(&answer[..length]).trim_end());
            Ok(ExitCode::SUCCESS)
        }
        Ok(_) => Err("no answer".to_owned()),
        Err(error) => Err(failed("read", &error)),
    }
}

/// Has the kernel drop what the server says, in one of two ways.
fn make_deaf(stream: &TcpStream, how: Option<&str>) -> io::Result<()> {
    const MOST_HOPS: i32 = 255;
    match how {
        Some("filter") => calls::drop_all_that_comes_in(stream.as_fd()),
        Some("min-ttl") => {
            calls::set_number(stream.as_fd(), libc::IPPROTO_IP, libc::IP_MINTTL, MOST_HOPS)
        }
        _ => Ok(()),
    }
}
