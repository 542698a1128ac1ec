//! `load-gate`: reads a request on standard input, loads the gate, and says on standard
//! output what it did. A process of its own, so that the daemon stays small.

use std::io::{self, Read as _, Write as _};
use std::process::{Command, ExitCode, Stdio};

use linux::load::{Loaded, Request};

use crate::failure::{Failure, need_root};

/// More than any table of registrations needs.
const REQUEST_BYTES_MAX: u64 = 16 * 1024 * 1024;

/// The hidden command.
pub fn run() -> Result<ExitCode, Failure> {
    need_root("run")?;
    let mut text = String::new();
    io::stdin()
        .take(REQUEST_BYTES_MAX)
        .read_to_string(&mut text)
        .map_err(|error| Failure::failed(format!("standard input: {error}")))?;
    let request: Request = serde_json::from_str(&text)
        .map_err(|error| Failure::failed(format!("load-gate: {error}")))?;
    let loaded = linux::load::load(&request)?;
    serde_json::to_writer(io::stdout(), &loaded)
        .map_err(|error| Failure::failed(format!("standard output: {error}")))?;
    Ok(ExitCode::SUCCESS)
}

/// Starts the hidden command and waits for what it says.
///
/// # Errors
///
/// What it says on standard error, with its exit status.
pub fn in_own_process(request: &Request) -> Result<Loaded, Failure> {
    let failed = |error: io::Error| Failure::failed(format!("load-gate: {error}"));
    let mut child = Command::new("/proc/self/exe")
        .arg("load-gate")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .map_err(failed)?;
    let text = serde_json::to_string(request)
        .map_err(|error| Failure::failed(format!("load-gate: {error}")))?;
    if let Some(mut input) = child.stdin.take() {
        // When the child has ended already, its own words say more than a broken pipe.
        let _ = input.write_all(text.as_bytes());
    }
    let output = child.wait_with_output().map_err(failed)?;
    if output.status.success() {
        return serde_json::from_slice(&output.stdout)
            .map_err(|error| Failure::failed(format!("load-gate: {error}")));
    }
    let said = String::from_utf8_lossy(&output.stderr);
    let message = said
        .lines()
        .last()
        .unwrap_or("ended without a word")
        .trim_start_matches("sekimori: ")
        .to_owned();
    Err(Failure {
        status: if output.status.code() == Some(3) {
            3
        } else {
            1
        },
        message,
    })
}
