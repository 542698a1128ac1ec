//! The desktop shell: starts programs as its own children when it is told to.

use std::io::{self, BufRead, Write};
use std::process::{Command, ExitCode, Stdio};
use std::thread;
use std::time::Duration;

use std::os::unix::process::ExitStatusExt;

use super::args::Args;

/// Longest command line in bytes.
const LONGEST_LINE_BYTES: u64 = 64 * 1024;

/// Starts the program after `--` at once, then those that come on standard input, each a
/// JSON array of strings, until that ends; or for `--seconds` when that is given.
pub(super) fn run(args: &Args) -> Result<ExitCode, String> {
    if !args.program.is_empty() {
        start(&args.program);
    }
    start_what_is_read();
    if let Some(seconds) = args.number("--seconds")? {
        thread::sleep(Duration::from_secs(seconds));
    }
    Ok(ExitCode::SUCCESS)
}

/// The desktop shell alone: starts programs that come on standard input, each a JSON array of
/// strings, until that ends.
pub fn desktop_main() -> ExitCode {
    start_what_is_read();
    ExitCode::SUCCESS
}

fn start_what_is_read() {
    print_line(r#"{"event":"ready"}"#);
    let mut input = io::stdin().lock();
    loop {
        let mut line = String::new();
        match io::Read::take(&mut input, LONGEST_LINE_BYTES).read_line(&mut line) {
            Ok(0) | Err(_) => break,
            Ok(_) => match serde_json::from_str::<Vec<String>>(&line) {
                Ok(argv) => start(&argv),
                Err(_) => print_line(&format!(
                    r#"{{"event":"start-failed","errno":{}}}"#,
                    libc::EINVAL
                )),
            },
        }
    }
}

fn start(argv: &[String]) {
    let spawned = match argv.split_first() {
        Some((program, arguments)) => Command::new(program)
            .args(arguments)
            .stdin(Stdio::null())
            .spawn(),
        None => Err(io::Error::from_raw_os_error(libc::EINVAL)),
    };
    match spawned {
        Ok(mut child) => {
            let pid = child.id();
            print_line(&format!(r#"{{"event":"started","pid":{pid}}}"#));
            thread::spawn(move || {
                let Ok(status) = child.wait() else { return };
                let null = || "null".to_owned();
                let code = status.code().map_or_else(null, |code| code.to_string());
                let signal = status
                    .signal()
                    .map_or_else(null, |signal| signal.to_string());
                print_line(&format!(
                    r#"{{"event":"exited","pid":{pid},"code":{code},"signal":{signal}}}"#
                ));
            });
        }
        Err(error) => {
            let errno = error.raw_os_error().unwrap_or(libc::EIO);
            print_line(&format!(r#"{{"event":"start-failed","errno":{errno}}}"#));
        }
    }
}

/// In one write, so that lines of other processes on the same pipe don't come in between.
fn print_line(line: &str) {
    let mut output = io::stdout().lock();
    let _ = output.write_all(format!("{line}\n").as_bytes());
    let _ = output.flush();
}
