//! The daemon's side of the control socket: the watcher's, without privilege.
//!
//! Each connection has a short-lived thread that reads one request and writes the answer,
//! so that a slow or silent client holds up nobody but other connections of its user. What needs the daemon's state goes to
//! its loop through a bounded queue; what only needs the journal is read by the thread.

use std::io::{Read as _, Write as _};
use std::ops::ControlFlow;
use std::os::fd::{AsFd as _, BorrowedFd};
use std::os::unix::net::{UnixListener, UnixStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread;
use std::time::{Duration, Instant};

use journal::{Filter, Journal};

use super::clients::Clients;
use super::protocol::{Asker, ENTRIES_MAX, Line, REQUEST_BYTES_MAX, Request};
use crate::watcher::Place;

/// Questions that wait for the daemon's loop; more wait in their threads.
const QUESTIONS_MAX: usize = 8;
/// Threads at once; more connections wait in the socket's queue. More than [`Clients`] lets
/// in, because the thread of a connection that was cut off may still wait for its answer.
const THREADS_MAX: usize = 128;
/// How long a client may take to ask, or to take a piece of its answer.
const PATIENCE: Duration = Duration::from_secs(5);
/// Threads of the server do little; the default stack would be for nothing.
const STACK_BYTES: usize = 256 * 1024;

struct Question {
    request: Request,
    asker: Asker,
    answer: SyncSender<Vec<Line>>,
}

/// Whoever waits for an answer.
pub struct Server {
    questions: Receiver<Question>,
    wake: UnixStream,
}

impl Server {
    /// Begins to accept, and is woken over `wake`, a pair whose first end does not block.
    /// Answers that only need the journal are read from there.
    ///
    /// # Errors
    ///
    /// When the system has no threads left.
    pub fn start(
        listener: UnixListener,
        (wake, waker): (UnixStream, UnixStream),
        journal: &Place,
    ) -> std::io::Result<Self> {
        let (sender, questions) = sync_channel(QUESTIONS_MAX);
        let journal = journal.clone();
        spawn("control", move || {
            accept(&listener, &sender, &waker, &journal)
        })?;
        Ok(Self { questions, wake })
    }

    /// Becomes readable when a question waits.
    pub fn wake(&self) -> BorrowedFd<'_> {
        self.wake.as_fd()
    }

    /// Answers every waiting question.
    pub fn answer_waiting(&self, mut answer: impl FnMut(Request, Asker) -> Vec<Line>) {
        let _ = (&self.wake).read(&mut [0; 64]);
        while let Ok(question) = self.questions.try_recv() {
            let lines = answer(question.request, question.asker);
            // The client may be gone.
            let _ = question.answer.try_send(lines);
        }
    }
}

fn spawn(name: &str, work: impl FnOnce() + Send + 'static) -> std::io::Result<()> {
    thread::Builder::new()
        .name(name.to_owned())
        .stack_size(STACK_BYTES)
        .spawn(work)
        .map(drop)
}

fn accept(
    listener: &UnixListener,
    questions: &SyncSender<Question>,
    waker: &UnixStream,
    journal: &Place,
) {
    let busy = Arc::new(AtomicUsize::new(0));
    let clients = Arc::new(Clients::default());
    for stream in listener.incoming() {
        let Ok(stream) = stream else {
            // Out of file descriptors, most likely: wait for some to come back.
            thread::sleep(Duration::from_millis(100));
            continue;
        };
        while busy.load(Ordering::Acquire) >= THREADS_MAX {
            thread::sleep(Duration::from_millis(20));
        }
        let (questions, journal) = (questions.clone(), journal.clone());
        let Ok(waker) = waker.try_clone() else {
            continue;
        };
        let Ok(uid) = rustix::net::sockopt::socket_peercred(&stream).map(|who| who.uid.as_raw())
        else {
            continue;
        };
        let Ok(client) = clients.enter(uid, &stream) else {
            continue;
        };
        busy.fetch_add(1, Ordering::AcqRel);
        let (done, left) = (Arc::clone(&busy), Arc::clone(&clients));
        let started = spawn("control-client", move || {
            let asked = || left.asked(client);
            let _ = serve(&stream, Asker { uid }, asked, &questions, &waker, &journal);
            left.leave(client);
            done.fetch_sub(1, Ordering::AcqRel);
        });
        if started.is_err() {
            clients.leave(client);
            busy.fetch_sub(1, Ordering::AcqRel);
        }
    }
}

fn serve(
    stream: &UnixStream,
    asker: Asker,
    asked: impl FnOnce(),
    questions: &SyncSender<Question>,
    mut waker: &UnixStream,
    journal: &Place,
) -> std::io::Result<()> {
    stream.set_write_timeout(Some(PATIENCE))?;
    let line = read_line(stream, PATIENCE)?;
    asked();
    let mut out = std::io::BufWriter::new(stream);
    let request = match serde_json::from_slice(&line) {
        Ok(request) => request,
        Err(error) => {
            return write(
                &mut out,
                &failed(1, format!("request not understood: {error}")),
            );
        }
    };
    match request {
        Request::Entries { since, after } => {
            let filter = Filter {
                since,
                after_id: after,
                uid: asker.sees(),
                ..Filter::default()
            };
            entries(&mut out, journal, &filter)?;
        }
        Request::Entry { id } => {
            let found =
                Journal::open_read_only(&journal.inside).and_then(|journal| journal.get(id));
            let line = match found {
                Ok(Some(entry)) if asker.is_root() || entry.uid == Some(asker.uid) => {
                    Line::Item(entry.to_json())
                }
                // Not even whether it exists is other users' business.
                Ok(_) => failed(1, format!("no entry {id}")),
                Err(error) => failed(1, journal.shown(&error)),
            };
            write(&mut out, &line)?;
        }
        request => {
            let (answer, lines) = sync_channel(1);
            let asked = questions.send(Question {
                request,
                asker,
                answer,
            });
            waker.write_all(&[0])?;
            let lines = asked.ok().and_then(|()| lines.recv_timeout(PATIENCE).ok());
            let busy = || vec![failed(1, "the daemon does not answer".to_owned())];
            for line in lines.unwrap_or_else(busy) {
                write(&mut out, &line)?;
            }
        }
    }
    write(&mut out, &Line::Done)?;
    out.flush()
}

/// Reads up to the end of the line, and not for longer than the patience lasts, however
/// small the pieces are in which it comes.
///
/// # Errors
///
/// When it lasts longer, or the connection breaks.
pub fn read_line(mut stream: &UnixStream, patience: Duration) -> std::io::Result<Vec<u8>> {
    let deadline = Instant::now() + patience;
    let mut line = Vec::new();
    let mut piece = [0; 1024];
    while line.len() < REQUEST_BYTES_MAX {
        let left = deadline.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Err(std::io::ErrorKind::TimedOut.into());
        }
        stream.set_read_timeout(Some(left))?;
        let count = stream.read(&mut piece)?;
        let new = &piece[..count];
        let end = new.iter().position(|byte| *byte == b'\n');
        line.extend_from_slice(&new[..end.unwrap_or(count)]);
        if end.is_some() || count == 0 {
            break;
        }
    }
    Ok(line)
}

fn entries(
    out: &mut impl std::io::Write,
    journal: &Place,
    filter: &Filter<'_>,
) -> std::io::Result<()> {
    let opened = match Journal::open_read_only(&journal.inside) {
        Ok(opened) => opened,
        Err(error) => return write(out, &failed(1, journal.shown(&error))),
    };
    let mut left = ENTRIES_MAX;
    let mut result = Ok(());
    let queried = opened.query(filter, |entry| {
        result = write(out, &Line::Item(entry.to_json()));
        left -= 1;
        if result.is_err() || left == 0 {
            ControlFlow::Break(())
        } else {
            ControlFlow::Continue(())
        }
    });
    if let Err(error) = queried {
        return write(out, &failed(1, journal.shown(&error)));
    }
    result
}

/// An answer that is no.
pub fn failed(status: u8, message: String) -> Line {
    Line::Failed { status, message }
}

/// Writes a whole answer.
///
/// # Errors
///
/// When the client does not take it.
pub fn write_lines(stream: &UnixStream, lines: &[Line]) -> std::io::Result<()> {
    let mut out = std::io::BufWriter::new(stream);
    for line in lines {
        write(&mut out, line)?;
    }
    write(&mut out, &Line::Done)?;
    out.flush()
}

fn write(out: &mut impl std::io::Write, line: &Line) -> std::io::Result<()> {
    serde_json::to_writer(&mut *out, line)?;
    out.write_all(b"\n")
}
