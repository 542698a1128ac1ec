//! A client of any protocol: it says what it is given, piece by piece, and shows the answer.

use std::io::{Read, Write};
use std::process::ExitCode;
use std::time::Duration;

use super::args::Args;
use super::sockets;

/// Between two pieces, so that each is a packet of its own.
const APART: Duration = Duration::from_millis(20);

/// `say --server A:P [--await N] [--piece TEXT]...`. Reads so many bytes first. Success when the
/// server answers.
pub(super) fn run(args: &Args) -> Result<ExitCode, String> {
    let limit = args.duration("--timeout-ms", 10_000)?;
    let failed = |what: &str, error: &dyn std::fmt::Display| format!("{what}: {error}");
    let mut stream = sockets::connect_plainly(args.server()?, limit)
        .map_err(|failure| failed("connect", &failure))?;
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
