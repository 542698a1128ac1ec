//! Accepting connections for a small server: one thread for each listener and each
//! connection, bounded in number, all gone when the acceptor is dropped.

use std::io::{self, Read};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::os::fd::{AsFd, OwnedFd};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};

use rustix::event::{PollFd, PollFlags, poll};
use rustix::pipe::{PipeFlags, pipe_with};

use crate::{Error, sys};

/// What a server does with a connection, in the connection's own thread. The number counts
/// connections from 0 in the order in which they were accepted.
pub(crate) trait Serve: Send + Sync + 'static {
    fn serve(&self, number: u64, stream: TcpStream, peer: SocketAddr);

    /// A connection beyond the limit; it is closed afterwards.
    fn turn_away(&self, number: u64, stream: TcpStream, peer: SocketAddr);
}

#[derive(Debug)]
pub(crate) struct Acceptor {
    addresses: Vec<SocketAddr>,
    open: Arc<Open>,
    /// Closing it ends the listening threads.
    stop: Option<OwnedFd>,
    threads: Vec<JoinHandle<()>>,
}

/// The connections being served, to close them from outside.
#[derive(Debug, Default)]
struct Open(Mutex<OpenState>);

#[derive(Debug, Default)]
struct OpenState {
    accepted: u64,
    streams: Vec<(u64, TcpStream)>,
    closed: bool,
}

impl Acceptor {
    pub(crate) fn start(
        listeners: Vec<TcpListener>,
        most: usize,
        server: Arc<impl Serve>,
    ) -> Result<Self, Error> {
        let failed = |e: io::Error| Error::system("prepare a listening socket", e);
        let (signal, stop) = pipe_with(PipeFlags::CLOEXEC).map_err(|e| failed(e.into()))?;
        let signal = Arc::new(signal);
        let open = Arc::new(Open::default());
        let mut addresses = Vec::new();
        let mut threads = Vec::new();
        for listener in listeners {
            addresses.push(listener.local_addr().map_err(failed)?);
            listener.set_nonblocking(true).map_err(failed)?;
            let (open, signal, server) =
                (Arc::clone(&open), Arc::clone(&signal), Arc::clone(&server));
            threads.push(thread::spawn(move || {
                sys::name_thread(c"stage-listener");
                accept_all(&listener, &signal, &open, most, &server);
            }));
        }
        Ok(Self {
            addresses,
            open,
            stop: Some(stop),
            threads,
        })
    }

    pub(crate) fn addresses(&self) -> &[SocketAddr] {
        &self.addresses
    }
}

impl Drop for Acceptor {
    fn drop(&mut self) {
        self.stop.take();
        for thread in self.threads.drain(..) {
            let _ = thread.join();
        }
        let mut open = self.open.lock();
        open.closed = true;
        for (_, stream) in open.streams.drain(..) {
            let _ = stream.shutdown(Shutdown::Both);
        }
    }
}

impl Open {
    fn lock(&self) -> MutexGuard<'_, OpenState> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn accept_all(
    listener: &TcpListener,
    signal: &OwnedFd,
    open: &Arc<Open>,
    most: usize,
    server: &Arc<impl Serve>,
) {
    loop {
        let mut polled = [
            PollFd::new(listener, PollFlags::IN),
            PollFd::from_borrowed_fd(signal.as_fd(), PollFlags::IN),
        ];
        match poll(&mut polled, None) {
            Ok(_) | Err(rustix::io::Errno::INTR) => {}
            Err(_) => return,
        }
        if !polled[1].revents().is_empty() {
            return;
        }
        let Ok((stream, peer)) = listener.accept() else {
            continue;
        };
        let _ = stream.set_nonblocking(false);
        let _ = stream.set_nodelay(true);
        let Ok(copy) = stream.try_clone() else {
            continue;
        };
        let mut state = open.lock();
        let number = state.accepted;
        state.accepted += 1;
        if state.streams.len() >= most {
            drop(state);
            server.turn_away(number, stream, peer);
            continue;
        }
        state.streams.push((number, copy));
        drop(state);
        let (open, server) = (Arc::clone(open), Arc::clone(server));
        thread::spawn(move || {
            sys::name_thread(c"stage-server");
            server.serve(number, stream, peer);
            open.lock().streams.retain(|(other, _)| *other != number);
        });
    }
}

/// Reads lines of bounded length.
pub(crate) struct Lines<R> {
    source: R,
    buffer: Vec<u8>,
    longest: usize,
    failure: Option<io::Error>,
}

/// One step of [`Lines`].
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Line {
    /// A line with its end.
    Whole(Vec<u8>),
    /// The source has ended or failed, or a line was too long.
    End,
    /// The line was longer than allowed; reading it stopped.
    TooLong,
}

impl<R: Read> Lines<R> {
    pub(crate) fn new(source: R, longest: usize) -> Self {
        Self {
            source,
            buffer: Vec::new(),
            longest,
            failure: None,
        }
    }

    /// What ended the source, when it was not simply its end.
    pub(crate) fn take_failure(&mut self) -> Option<io::Error> {
        self.failure.take()
    }

    /// The next line. `count` hears of each number of bytes as they come.
    pub(crate) fn next(&mut self, mut count: impl FnMut(usize)) -> Line {
        loop {
            if let Some(end) = self.buffer.iter().position(|byte| *byte == b'\n') {
                let rest = self.buffer.split_off(end + 1);
                return Line::Whole(std::mem::replace(&mut self.buffer, rest));
            }
            if self.buffer.len() > self.longest {
                return Line::TooLong;
            }
            let mut chunk = [0; 4096];
            match self.source.read(&mut chunk) {
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                Ok(0) => return Line::End,
                Err(error) => {
                    self.failure = Some(error);
                    return Line::End;
                }
                Ok(length) => {
                    count(length);
                    self.buffer.extend(&chunk[..length]);
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_cut_and_bounded() {
        let mut lines = Lines::new(&b"one\r\ntwo\nlast"[..], 100);
        let mut total = 0;
        assert_eq!(lines.next(|n| total += n), Line::Whole(b"one\r\n".to_vec()));
        assert_eq!(lines.next(|n| total += n), Line::Whole(b"two\n".to_vec()));
        assert_eq!(lines.next(|n| total += n), Line::End);
        assert_eq!(total, 13);
        let endless = std::io::repeat(b'a');
        assert_eq!(Lines::new(endless, 100).next(|_| ()), Line::TooLong);
    }
}
