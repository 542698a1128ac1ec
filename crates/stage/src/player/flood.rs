//! A program that pesters a Unix socket at which something answers lines.

use std::collections::VecDeque;
use std::io::{Read as _, Write as _};
use std::os::unix::net::UnixStream;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use super::args::Args;

/// Connections that are kept open at once: less than a process may have files.
const KEPT: usize = 500;
/// More than anybody needs to ask.
const GARBAGE_BYTES: usize = 256 * 1024;
const MOST: u64 = 100_000;

/// Opens `--count` connections to `--socket`, as fast as they are accepted: silent ones, half
/// a line, `--line` without listening to the answer, and much that is no line at all. Keeps
/// the last ones for `--hold-ms`. Prints how many there were.
pub(super) fn run(args: &Args) -> Result<ExitCode, String> {
    let socket = args.text("--socket").ok_or("flood wants --socket PATH")?;
    let line = args.text("--line").unwrap_or("{}");
    let count = args.number("--count")?.unwrap_or(1000).min(MOST);
    let hold = args.duration("--hold-ms", 0)?;
    let begun = Instant::now();
    let garbage: Vec<u8> = (0..GARBAGE_BYTES).map(|at| (at * 31 + 128) as u8).collect();
    let mut kept = VecDeque::new();
    let mut opened = 0;
    for number in 0..count {
        let Ok(mut stream) = UnixStream::connect(socket) else {
            continue;
        };
        opened += 1;
        let _ = stream.set_write_timeout(Some(Duration::from_millis(20)));
        // Whoever is cut off, or not listened to, does not mind.
        let _ = match number % 50 {
            0 => stream.write_all(&garbage),
            1..=10 => stream.write_all(&line.as_bytes()[..line.len() / 2]),
            11..=20 => stream.write_all(format!("{line}\n").as_bytes()),
            _ => Ok(()),
        };
        kept.push_back(stream);
        if kept.len() > KEPT {
            kept.pop_front();
        }
    }
    println!("{opened} opened in {} ms", begun.elapsed().as_millis());
    std::thread::sleep(hold);
    let mut cut_off = 0;
    for stream in &mut kept {
        let _ = stream.set_nonblocking(true);
        cut_off += u64::from(matches!(stream.read(&mut [0]), Ok(0)));
    }
    println!("{cut_off} of {} were cut off", kept.len());
    Ok(ExitCode::SUCCESS)
}
