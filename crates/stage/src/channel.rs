//! The owner's end of the socket to a sandbox's init: asks, and waits for answers.

use std::collections::HashMap;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use rustix::net::{AddressFamily, Shutdown, SocketFlags, SocketType, shutdown, socketpair};

use crate::wire::{Exit, Reply, Request, receive, send};
use crate::{Error, sys};

/// How long the init may take over one request.
const ANSWER_LIMIT: Duration = Duration::from_secs(20);

/// Requests go out in any order; each carries a ticket that its answer repeats.
#[derive(Debug)]
pub(crate) struct Channel {
    socket: Arc<OwnedFd>,
    shared: Arc<Shared>,
    reader: Mutex<Option<JoinHandle<()>>>,
}

#[derive(Debug, Default)]
struct Shared {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct State {
    last_ticket: u64,
    answers: HashMap<u64, Reply>,
    exits: HashMap<u64, Exit>,
    gone: bool,
}

/// The ticket of [`Reply::Ready`] and of a failure to become ready.
const READY: u64 = 0;

impl Channel {
    /// The channel and the init's end of it.
    pub(crate) fn new() -> Result<(Self, OwnedFd), Error> {
        let (ours, theirs) = socketpair(
            AddressFamily::UNIX,
            SocketType::SEQPACKET,
            SocketFlags::CLOEXEC,
            None,
        )
        .map_err(|e| Error::system("make a socket pair", e))?;
        let socket = Arc::new(ours);
        let shared = Arc::new(Shared::default());
        let reader = {
            let (socket, shared) = (Arc::clone(&socket), Arc::clone(&shared));
            thread::spawn(move || {
                sys::name_thread(c"stage-channel");
                while let Ok(Some((reply, _))) = receive::<Reply>(&*socket) {
                    shared.take(reply);
                }
                shared.lock().gone = true;
                shared.changed.notify_all();
            })
        };
        Ok((
            Self {
                socket,
                shared,
                reader: Mutex::new(Some(reader)),
            },
            theirs,
        ))
    }

    /// Sends the first message and waits until the sandbox stands.
    pub(crate) fn set_up(&self, request: &Request) -> Result<(), Error> {
        self.send(request, &[])?;
        self.answer(READY).map(drop)
    }

    /// Sends the request that `make` makes of a new ticket; returns the ticket and the answer.
    pub(crate) fn ask(
        &self,
        make: impl FnOnce(u64) -> Request,
        descriptors: &[BorrowedFd<'_>],
    ) -> Result<(u64, Reply), Error> {
        let ticket = {
            let mut state = self.shared.lock();
            state.last_ticket += 1;
            state.last_ticket
        };
        self.send(&make(ticket), descriptors)?;
        Ok((ticket, self.answer(ticket)?))
    }

    /// How the process with this ticket ended, if it has.
    pub(crate) fn exit(&self, ticket: u64) -> Option<Exit> {
        self.shared.lock().exits.get(&ticket).copied()
    }

    /// Waits until the process with this ticket has ended; `None` when it has not in time.
    pub(crate) fn wait_for_exit(
        &self,
        ticket: u64,
        limit: Duration,
    ) -> Result<Option<Exit>, Error> {
        self.wait(limit, |state| state.exits.get(&ticket).copied())
    }

    /// Closes the channel; the init ends.
    pub(crate) fn close(&self) {
        let _ = shutdown(&*self.socket, Shutdown::Both);
        let reader = self
            .reader
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .take();
        if let Some(reader) = reader {
            let _ = reader.join();
        }
    }

    fn send(&self, request: &Request, descriptors: &[BorrowedFd<'_>]) -> Result<(), Error> {
        send(self.socket.as_fd(), request, descriptors).map_err(|error| {
            match error.raw_os_error() {
                Some(libc::EPIPE | libc::ECONNRESET) => Error::InitGone,
                _ => Error::Message(error.to_string()),
            }
        })
    }

    fn answer(&self, ticket: u64) -> Result<Reply, Error> {
        match self.wait(ANSWER_LIMIT, |state| state.answers.remove(&ticket))? {
            Some(Reply::Failed { what, errno, .. }) => Err(Error::Init { what, errno }),
            Some(reply) => Ok(reply),
            None => Err(Error::Timeout {
                what: "sandbox init did not answer".to_owned(),
                limit: ANSWER_LIMIT,
            }),
        }
    }

    fn wait<T>(
        &self,
        limit: Duration,
        mut find: impl FnMut(&mut State) -> Option<T>,
    ) -> Result<Option<T>, Error> {
        let deadline = Instant::now() + limit;
        let mut state = self.shared.lock();
        loop {
            if let Some(found) = find(&mut state) {
                return Ok(Some(found));
            }
            if state.gone {
                return Err(Error::InitGone);
            }
            let Some(left) = deadline.checked_duration_since(Instant::now()) else {
                return Ok(None);
            };
            state = self
                .shared
                .changed
                .wait_timeout(state, left)
                .unwrap_or_else(PoisonError::into_inner)
                .0;
        }
    }
}

impl Drop for Channel {
    fn drop(&mut self) {
        self.close();
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn take(&self, reply: Reply) {
        let mut state = self.lock();
        match reply {
            Reply::Exited { ticket, exit } => {
                state.exits.insert(ticket, exit);
            }
            Reply::Started { ticket, .. }
            | Reply::Done { ticket }
            | Reply::Failed { ticket, .. } => {
                state.answers.insert(ticket, reply);
            }
            Reply::Ready => {
                state.answers.insert(READY, reply);
            }
        }
        drop(state);
        self.changed.notify_all();
    }
}
