//! The side of the commands.

use std::io::{BufRead as _, BufReader, ErrorKind, Read as _, Take, Write as _};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::Duration;

use rustix::net::sockopt::socket_peercred;
use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType};
use serde_json::Value;

use super::protocol::{Line, Request};
use crate::failure::Failure;

/// A daemon that is stopped or stuck must not hold up whoever asks.
const PATIENCE: Duration = Duration::from_secs(10);
/// How often a busy daemon is given [`PATIENCE`] more: two minutes in all.
const ROUNDS_MAX: u32 = 11;
/// Whoever answers has no privilege, and may be asked by root: no answer is longer.
const ANSWER_BYTES_MAX: u64 = 256 * 1024 * 1024;

/// Has the daemon write down what it has not read yet: of permitted connections it hears only
/// when they end, or when it is asked something. Waits a moment for it, not longer.
pub fn nudge(socket: &Path) {
    const MOMENT: Duration = Duration::from_millis(300);
    let asked = connect(socket, MOMENT).and_then(|mut stream| {
        stream.write_all(b"{\"request\":\"flush\"}\n")?;
        BufReader::new(stream).read_line(&mut String::new())
    });
    // Without a daemon, or with one that is stopped, the journal is as it is.
    drop(asked);
}

/// Waits until the daemon has an entry at or after `since` and after the id `after`, or for a few
/// seconds. Whether it did: a daemon that does not run, is of an older version or has too many who
/// wait did not.
pub fn wait(socket: &Path, since: Option<u64>, after: Option<u64>) -> bool {
    let mut waited = false;
    let asked = ask(socket, &Request::Wait { since, after }, |value| {
        waited = value == true;
    });
    matches!(asked, Ok(true)) && waited
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
    let failed = |error: std::io::Error| {
        let shown = socket.display();
        Failure::failed(match error.kind() {
            ErrorKind::WouldBlock | ErrorKind::TimedOut => format!(
                "{shown}: the daemon does not answer (is it stopped?); the gate decides all the same"
            ),
            _ => format!("{shown}: {error}"),
        })
    };
    let mut stream = match connect(socket, PATIENCE) {
        Ok(stream) => stream,
        Err(error) if is_nobody(&error) => return Ok(false),
        Err(error) => return Err(failed(error)),
    };
    let text =
        serde_json::to_string(request).map_err(|error| Failure::failed(error.to_string()))?;
    stream
        .write_all(text.as_bytes())
        .and_then(|()| stream.write_all(b"\n"))
        .map_err(failed)?;
    let mut answer = BufReader::new(stream.take(ANSWER_BYTES_MAX));
    while let Some(line) = next_line(&mut answer, socket).map_err(failed)? {
        let line: Line = serde_json::from_slice(&line).map_err(|error| {
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

/// The next line of an answer; none at its end. A daemon that reads a large program, or that has much to
/// catch up on, may take longer than [`PATIENCE`]. It goes on answering others meanwhile, so it is asked
/// whether it does.
fn next_line(
    answer: &mut BufReader<Take<UnixStream>>,
    socket: &Path,
) -> std::io::Result<Option<Vec<u8>>> {
    let mut line = Vec::new();
    let mut rounds = 0;
    loop {
        match answer.read_until(b'\n', &mut line) {
            Ok(_) if line.is_empty() => return Ok(None),
            Ok(_) => return Ok(Some(line)),
            Err(error)
                if error.kind() == ErrorKind::WouldBlock
                    && rounds < ROUNDS_MAX
                    && answers_others(socket) =>
            {
                rounds += 1;
            }
            Err(error) => return Err(error),
        }
    }
}

/// Whether the daemon answers a request that no version knows.
fn answers_others(socket: &Path) -> bool {
    let asked = connect(socket, PATIENCE / 3).and_then(|mut stream| {
        stream.write_all(b"{\"request\":\"are you there\"}\n")?;
        BufReader::new(stream.take(ANSWER_BYTES_MAX)).read_line(&mut String::new())
    });
    asked.is_ok_and(|bytes| bytes > 0)
}

/// The process that listens at a socket, as the kernel knows it: one that is stopped, too.
/// None where nobody does.
///
/// # Errors
///
/// When that cannot be found out.
pub fn listener(socket: &Path) -> Result<Option<u32>, Failure> {
    let found = connect(socket, PATIENCE).and_then(|stream| Ok(socket_peercred(&stream)?));
    match found {
        Ok(who) => Ok(Some(who.pid.as_raw_nonzero().get().cast_unsigned())),
        Err(error) if is_nobody(&error) => Ok(None),
        Err(error) => Err(Failure::failed(format!("{}: {error}", socket.display()))),
    }
}

fn is_nobody(error: &std::io::Error) -> bool {
    matches!(
        error.kind(),
        ErrorKind::NotFound | ErrorKind::ConnectionRefused
    )
}

/// Connects, and waits for a place in the daemon's queue as long as later for a piece of the
/// answer: the queue of a daemon that is stopped may be full.
fn connect(socket: &Path, patience: Duration) -> std::io::Result<UnixStream> {
    let (unix, stream) = (AddressFamily::UNIX, SocketType::STREAM);
    let stream = rustix::net::socket_with(unix, stream, SocketFlags::CLOEXEC, None)?;
    let stream = UnixStream::from(stream);
    stream.set_read_timeout(Some(patience))?;
    // The kernel counts waiting for a place as sending.
    stream.set_write_timeout(Some(patience))?;
    rustix::net::connect(&stream, &SocketAddrUnix::new(socket)?)?;
    Ok(stream)
}

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use rustix::net::{bind, listen, socket};

    use super::*;

    #[test]
    fn nobody_waits_forever_for_a_place_in_the_queue() {
        const MOMENT: Duration = Duration::from_millis(100);
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("socket");
        let nowhere = connect(&path, MOMENT).unwrap_err();
        assert_eq!(nowhere.kind(), ErrorKind::NotFound);
        let stuck = socket(AddressFamily::UNIX, SocketType::STREAM, None).unwrap();
        bind(&stuck, &SocketAddrUnix::new(&path).unwrap()).unwrap();
        listen(&stuck, 0).unwrap();
        let _first = connect(&path, MOMENT).unwrap();
        let begun = Instant::now();
        let second = connect(&path, MOMENT).unwrap_err();
        assert_eq!(second.kind(), ErrorKind::WouldBlock);
        assert!(begun.elapsed() >= MOMENT);
    }
}
