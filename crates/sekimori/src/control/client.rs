//! The side of the commands.

use std::io::{BufRead as _, BufReader, Write as _};
use std::os::unix::net::UnixStream;
use std::path::Path;

use serde_json::Value;

use super::protocol::{Line, Request};
use crate::failure::Failure;

/// Asks the daemon, and hands each piece of the answer to `each`.
///
/// `Ok(false)`: no daemon is running there.
///
/// # Errors
///
/// What the daemon says, with its exit status.
pub fn ask(socket: &Path, request: &Request, mut each: impl FnMut(Value)) -> Result<bool, Failure> {
    let failed = |error: std::io::Error| Failure::failed(format!("{}: {error}", socket.display()));
    let mut stream = match UnixStream::connect(socket) {
        Ok(stream) => stream,
        Err(error)
            if matches!(
                error.kind(),
                std::io::ErrorKind::NotFound | std::io::ErrorKind::ConnectionRefused
            ) =>
        {
            return Ok(false);
        }
        Err(error) => return Err(failed(error)),
    };
    let text =
        serde_json::to_string(request).map_err(|error| Failure::failed(error.to_string()))?;
    stream
        .write_all(text.as_bytes())
        .and_then(|()| stream.write_all(b"\n"))
        .map_err(failed)?;
    for line in BufReader::new(stream).lines() {
        let line = line.map_err(failed)?;
        let line: Line = serde_json::from_str(&line).map_err(|error| {
            Failure::failed(format!(
                "{}: answer not understood: {error}",
                socket.display()
            ))
        })?;
        match line {
            Line::Item(value) => each(value),
            Line::Done => return Ok(true),
            Line::Failed { status, message } => return Err(Failure { status, message }),
        }
    }
    Err(Failure::failed(format!(
        "{}: the answer ended early",
        socket.display()
    )))
}
