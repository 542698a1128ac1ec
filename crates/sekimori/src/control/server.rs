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
use super::turns::Turns;
use super::waiters::Waiters;
use crate::watcher::Place;

/// Questions that wait for the daemon's loop; more wait in their threads.
const QUESTIONS_MAX: usize = 8;
/// Threads at once; more connections wait in the socket's queue. More than [`Clients`] lets
/// in, because the thread of a connection that was cut off may still wait for its answer.
const THREADS_MAX: usize = 128;
/// How long a client may take to ask, or to take a piece of its answer, and how long it waits for
/// its turn.
const PATIENCE: Duration = Duration::from_secs(5);
/// How long a client waits for an entry before it is answered anyway: less than clients wait for
/// an answer.
const WAIT: Duration = Duration::from_secs(5);
/// Entries that are read in one turn.
const PAGE: u32 = 32;
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

/// What the threads of connections share.
struct Shared {
    questions: SyncSender<Question>,
    waker: UnixStream,
    journal: Place,
    turns: Turns,
    waiters: Waiters,
}

impl Server {
    /// Begins to accept, and is woken over `wake`, a pair whose first end does not block.
    /// Answers that only need the journal are read from there; `waiters` is how its writer tells
    /// of new entries.
    ///
    /// # Errors
    ///
    /// When the system has no threads left.
    pub fn start(
        listener: UnixListener,
        (wake, waker): (UnixStream, UnixStream),
        journal: &Place,
        waiters: Waiters,
    ) -> std::io::Result<Self> {
        let (sender, questions) = sync_channel(QUESTIONS_MAX);
        let shared = Shared {
            questions: sender,
            waker,
            journal: journal.clone(),
            turns: Turns::default(),
            waiters,
        };
        spawn("control", move || accept(&listener, &Arc::new(shared)))?;
        Ok(Self { questions, wake })
    }

    /// Becomes readable when a question waits.
    pub fn wake(&self) -> BorrowedFd<'_> {
        self.wake.as_fd()
    }

    /// Answers waiting questions: no more than fit into the queue, because reports wait meanwhile. For
    /// each question that is left, a byte is left that wakes the loop again.
    pub fn answer_waiting(&self, mut answer: impl FnMut(Request, Asker) -> Vec<Line>) {
        for _ in 0..QUESTIONS_MAX {
            if !matches!((&self.wake).read(&mut [0]), Ok(1)) {
                return;
            }
            if let Ok(question) = self.questions.try_recv() {
                let lines = answer(question.request, question.asker);
                // The client may be gone.
                let _ = question.answer.try_send(lines);
            }
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

fn accept(listener: &UnixListener, shared: &Arc<Shared>) {
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
        let Ok(uid) = rustix::net::sockopt::socket_peercred(&stream).map(|who| who.uid.as_raw())
        else {
            continue;
        };
        let Ok(client) = clients.enter(uid, &stream) else {
            continue;
        };
        busy.fetch_add(1, Ordering::AcqRel);
        let (done, left, shared) = (Arc::clone(&busy), Arc::clone(&clients), Arc::clone(shared));
        let started = spawn("control-client", move || {
            let asked = || left.asked(client);
            let _ = shared.serve(&stream, Asker { uid }, asked);
            left.leave(client);
            done.fetch_sub(1, Ordering::AcqRel);
        });
        if started.is_err() {
            clients.leave(client);
            busy.fetch_sub(1, Ordering::AcqRel);
        }
    }
}

impl Shared {
    fn serve(
        &self,
        stream: &UnixStream,
        asker: Asker,
        asked: impl FnOnce(),
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
                self.entries(&mut out, asker, filter(asker, since, after))?;
            }
            Request::Entry { id } => write(&mut out, &self.entry(asker, id))?,
            Request::Wait { since, after } => {
                let waited = self.wait(asker, filter(asker, since, after))?;
                write(&mut out, &Line::Item(waited.into()))?;
            }
            request => {
                for line in self.ask(request, asker)? {
                    write(&mut out, &line)?;
                }
            }
        }
        write(&mut out, &Line::Done)?;
        out.flush()
    }

    /// Has the daemon's loop answer.
    fn ask(&self, request: Request, asker: Asker) -> std::io::Result<Vec<Line>> {
        let (answer, lines) = sync_channel(1);
        let asked = self.questions.send(Question {
            request,
            asker,
            answer,
        });
        (&self.waker).write_all(&[0])?;
        let lines = asked.ok().and_then(|()| lines.recv_timeout(PATIENCE).ok());
        let busy = || vec![failed(1, "the daemon does not answer".to_owned())];
        Ok(lines.unwrap_or_else(busy))
    }

    /// Waits for an entry. False when too many wait.
    fn wait(&self, asker: Asker, filter: Filter<'_>) -> std::io::Result<bool> {
        // Before it is looked for, so that none comes unnoticed in between.
        let Some(place) = self.waiters.enter(asker.uid) else {
            return Ok(false);
        };
        // The loop also learns that somebody waits.
        self.ask(Request::Flush, asker)?;
        let found = self.turns.take(asker.uid, PATIENCE).is_some_and(|_turn| {
            let mut found = false;
            let look = Journal::open_read_only(&self.journal.inside).and_then(|journal| {
                journal.query(&filter, |_| {
                    found = true;
                    ControlFlow::Break(())
                })
            });
            // Whoever asks for the entries next learns what is wrong.
            found || look.is_err()
        });
        if !found {
            let _ = place.told.recv_timeout(WAIT);
        }
        Ok(true)
    }

    fn entry(&self, asker: Asker, id: u64) -> Line {
        let Some(_turn) = self.turns.take(asker.uid, PATIENCE) else {
            return too_many();
        };
        let found =
            Journal::open_read_only(&self.journal.inside).and_then(|journal| journal.get(id));
        match found {
            Ok(Some(entry)) if asker.is_root() || entry.uid == Some(asker.uid) => {
                Line::Item(entry.to_json())
            }
            // Not even whether it exists is other users' business.
            Ok(_) => failed(1, format!("no entry {id}")),
            Err(error) => failed(1, self.journal.shown(&error)),
        }
    }

    /// Writes the entries that fit, each page in a turn of its own: a client that takes its answer
    /// slowly keeps nobody waiting.
    fn entries(
        &self,
        out: &mut impl std::io::Write,
        asker: Asker,
        mut filter: Filter<'_>,
    ) -> std::io::Result<()> {
        let mut left = ENTRIES_MAX;
        let mut journal = None;
        while left > 0 {
            let Some(turn) = self.turns.take(asker.uid, PATIENCE) else {
                return write(out, &too_many());
            };
            let opened = match journal.take() {
                Some(journal) => Ok(journal),
                None => Journal::open_read_only(&self.journal.inside),
            };
            let page = opened.and_then(|opened| Ok((page(&opened, &filter, left)?, opened)));
            drop(turn);
            let (page, opened) = match page {
                Ok(page) => page,
                Err(error) => return write(out, &failed(1, self.journal.shown(&error))),
            };
            out.write_all(&page.lines)?;
            if page.count < PAGE {
                break;
            }
            left = left.saturating_sub(page.count);
            filter.after_id = Some(page.last);
            journal = Some(opened);
        }
        Ok(())
    }
}

/// A page of an answer.
#[derive(Default)]
struct Page {
    lines: Vec<u8>,
    count: u32,
    /// The id of its last entry.
    last: u64,
}

fn page(journal: &Journal, filter: &Filter<'_>, left: u32) -> Result<Page, journal::Error> {
    let mut page = Page::default();
    journal.query(filter, |entry| {
        // Writing to memory does not fail.
        let _ = write(&mut page.lines, &Line::Item(entry.to_json()));
        page.count += 1;
        page.last = entry.id;
        if page.count < left.min(PAGE) {
            ControlFlow::Continue(())
        } else {
            ControlFlow::Break(())
        }
    })?;
    Ok(page)
}

fn filter(asker: Asker, since: Option<u64>, after_id: Option<u64>) -> Filter<'static> {
    Filter {
        since,
        after_id,
        uid: asker.sees(),
        ..Filter::default()
    }
}

fn too_many() -> Line {
    let message = "too many of your connections read the journal; try again later";
    failed(1, message.to_owned())
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
