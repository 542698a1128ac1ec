//! The side of the commands.

use std::io::{BufRead as _, BufReader, ErrorKind, Read as _, Write as _};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::Duration;

use serde_json::Value;

use super::protocol::Line;
use crate::failure::Failure;

/// A daemon that is stopped or stuck must not hold up whoever asks.
const PATIENCE: Duration = Duration::from_secs(10);
/// Whoever answers has no privilege, and may be asked by root: no answer is longer.
const ANSWER_BYTES_MAX: u64 = 256 * 1024 * 1024;

/// Has the daemon write down what it has not read yet: of permitted connections it hears only
/// when they end, or when it is asked something. Waits a moment for it, not longer.
pub fn nudge(socket: &Path) {
    const MOMENT: Duration = Duration::from_millis(300);
    let asked = UnixStream::connect(socket).and_then(|mut stream| {
        stream.set_read_timeout(Some(MOMENT))?;
        stream.set_write_timeout(Some(MOMENT))?;
        stream.write_all(b"{\"request\":\"status\"}\n")?;
        BufReader::new(stream).read_line(&mut String::new())
    });
    // Without a daemon, or with one that is stopped, the journal is as it is.
    drop(asked);
}

/// Asks the daemon, and hands each piece of the answer to `each`.
///
/// `Ok(false)`: no daemon is running there.
///
/// # Errors
///
/// What the daemon says, with its exit status.
pub fn ask(
    socket: &Path,
    request: &impl serde::Serialize,
    mut each: impl FnMut(Value),
) -> Result<bool, Failure> {
    let failed = |error: std::io::Error| Failure::failed(format!("{}: {error}", socket.display()));
    let mut stream = match UnixStream::connect(socket) {
        Ok(stream) => stream,
        Err(error)
            if matches!(
                error.kind(),
                ErrorKind::NotFound | ErrorKind::ConnectionRefused
            ) =>
        {
            return Ok(false);
        }
        Err(error) => return Err(failed(error)),
    };
    let text =
        serde_json::to_string(request).map_err(|error| Failure::failed(error.to_string()))?;
    stream.set_read_timeout(Some(PATIENCE)).map_err(failed)?;
    stream.set_write_timeout(Some(PATIENCE)).map_err(failed)?;
    stream
        .write_all(text.as_bytes())
        .and_then(|()| stream.write_all(b"\n"))
        .map_err(failed)?;
    for line in BufReader::new(stream.take(ANSWER_BYTES_MAX)).lines() {
        let line = line.map_err(|error| match error.kind() {
            ErrorKind::WouldBlock | ErrorKind::TimedOut => Failure::failed(format!(
                "{}: the daemon does not answer (is it stopped?); the gate decides all the same",
                socket.display()
            )),
            _ => failed(error),
        })?;
        let line: Line = serde_json::from_str(&line).map_err(|error| {
            Failure::failed(format!(
                "{}: answer not understood: {error}",
                socket.display()
            ))
        })?;
        match line {
            Line::Item(value) => each(value),
            Line::Done => return Ok(true),
            Line::Failed { status, message } => {
                let message = engine::printable(&message).into_owned();
                return Err(Failure { status, message });
            }
        }
    }
    Err(Failure::failed(format!(
        "{}: the answer ended early",
        socket.display()
    )))
}
