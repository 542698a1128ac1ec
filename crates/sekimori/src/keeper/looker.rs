//! Reading files for the keeper, beside its loop.
//!
//! A registered file may be 256 MiB long, and may lie on a file system that never answers. Root's own command
//! may take its time too. Each such read has a thread of its own, and the loop learns of the result
//! as of anything else that it waits for. So the keeper goes on answering.
//!
//! There are lanes, so that whoever holds up one of them holds up nobody in another. A thread that never
//! comes back takes its place in its lane with it: what waits behind it counts as changed meanwhile,
//! as the kernel sees by itself.

use std::collections::VecDeque;
use std::io::{Read as _, Write as _};
use std::os::fd::{AsFd as _, BorrowedFd};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread;

use linux::gate::Registered;
use linux::identity::{self, Error, Program, Stamp};
use linux::seed::Looked;

use super::sockets::Asked;

/// Threads of one lane.
const AT_ONCE: usize = 4;
/// What waits in one lane. Files come once each, so only root's commands can be more.
const WAITING_MAX: usize = 8192;

/// Whose reads wait for each other.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lane {
    /// Files that root alone can write.
    Roots,
    /// Files that users can write.
    Users,
    /// Root's own commands.
    Commands,
}

/// What was found out.
pub enum Found {
    /// About a registered file.
    File(FileFound),
    /// What root's command wants, with the file that it is about.
    Command(Asked),
    /// About the processes that are older than the gate.
    Judged(Result<Looked, linux::Error>),
}

/// A registered file as it is now.
pub struct FileFound {
    /// Where it is registered.
    pub path: String,
    /// How it was registered when the look began.
    pub before: Registered,
    /// Which file is there.
    pub stamp: Result<Stamp, Error>,
    /// What it is; none when it is the one that is registered.
    pub program: Option<Result<Program, Error>>,
}

/// A thread has ended: in which lane, and what it has found.
type Ended = (Lane, Option<Found>);

type Work = Box<dyn FnOnce() -> Option<Found> + Send>;

/// The threads, and what waits for one.
pub struct Looker {
    lanes: [Queue; 3],
    results: Receiver<Ended>,
    ended: Sender<Ended>,
    /// One byte for each result, so that the loop can wait for it.
    wake: UnixStream,
    waker: Arc<UnixStream>,
}

#[derive(Default)]
struct Queue {
    running: usize,
    waiting: VecDeque<Work>,
}

impl Looker {
    /// Nothing to do yet.
    ///
    /// # Errors
    ///
    /// When the system has no room for two sockets.
    pub fn new() -> std::io::Result<Self> {
        let (wake, waker) = UnixStream::pair()?;
        wake.set_nonblocking(true)?;
        waker.set_nonblocking(true)?;
        let (ended, results) = channel();
        Ok(Self {
            lanes: Default::default(),
            results,
            ended,
            wake,
            waker: Arc::new(waker),
        })
    }

    /// Looks at a registered file.
    pub fn look_at(&mut self, path: String, before: Registered, root_owned: bool) {
        let lane = if root_owned { Lane::Roots } else { Lane::Users };
        self.begin(
            lane,
            Box::new(move || Some(Found::File(look(path, before)))),
        );
    }

    /// Does other work that may take long.
    pub fn begin(&mut self, lane: Lane, work: Work) {
        let queue = &mut self.lanes[lane as usize];
        if queue.waiting.len() < WAITING_MAX {
            queue.waiting.push_back(work);
        }
        self.advance(lane);
    }

    /// The next result, if there is one. Whatever waited for its thread begins. To be called until there
    /// is none.
    pub fn next(&mut self) -> Option<Found> {
        // Before the results: each is there before its byte, so none is left without one.
        let mut bytes = [0; 64];
        while matches!((&self.wake).read(&mut bytes), Ok(count) if count > 0) {}
        while let Ok(ended) = self.results.try_recv() {
            let found = self.take(ended);
            if found.is_some() {
                return found;
            }
        }
        None
    }

    fn take(&mut self, (lane, found): Ended) -> Option<Found> {
        self.lanes[lane as usize].running -= 1;
        self.advance(lane);
        found
    }

    /// Readable when there is a result.
    pub fn as_fd(&self) -> BorrowedFd<'_> {
        self.wake.as_fd()
    }

    fn advance(&mut self, lane: Lane) {
        while self.lanes[lane as usize].running < AT_ONCE {
            let Some(work) = self.lanes[lane as usize].waiting.pop_front() else {
                return;
            };
            self.lanes[lane as usize].running += 1;
            let (results, waker) = (self.ended.clone(), Arc::clone(&self.waker));
            let body = move || {
                // The loop has ended when nobody takes it. A full pipe wakes the loop as well.
                let _ = results.send((lane, work()));
                let _ = (&*waker).write(&[1]);
            };
            if thread::Builder::new().spawn(body).is_err() {
                // The work is lost with the thread. The file counts as changed until it changes again.
                self.lanes[lane as usize].running -= 1;
                crate::output::trouble("no thread to read a registered file can be started");
                return;
            }
        }
    }
}

fn look(path: String, before: Registered) -> FileFound {
    let stamp = identity::stamp_again(Path::new(&path));
    let is_it = |stamp: &Stamp| {
        (stamp.device, stamp.inode, stamp.changed_ns)
            == (before.device, before.inode, before.changed_ns)
    };
    let is_same = !before.suspended && stamp.as_ref().is_ok_and(is_it);
    let program = (!is_same).then(|| identity::identify_again(Path::new(&path)));
    FileFound {
        path,
        before,
        stamp,
        program,
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;
    use std::time::Duration;

    use rustix::event::{PollFd, PollFlags, Timespec, poll};

    use super::*;

    fn wait(looker: &Looker) {
        let limit = Timespec {
            tv_sec: 20,
            tv_nsec: 0,
        };
        let mut fds = [PollFd::from_borrowed_fd(looker.as_fd(), PollFlags::IN)];
        assert_eq!(poll(&mut fds, Some(&limit)).unwrap(), 1);
    }

    fn file(looker: &mut Looker) -> FileFound {
        loop {
            wait(looker);
            if let Some(Found::File(found)) = looker.next() {
                return found;
            }
        }
    }

    fn registered() -> Registered {
        Registered {
            role: "mailer".to_owned(),
            kind: "batch".to_owned(),
            script_paths: Vec::new(),
            device: 0,
            inode: 0,
            changed_ns: 0,
            suspended: false,
            rights: 0,
            name: [0; 8],
            shell: [0; 8],
        }
    }

    #[test]
    fn what_hangs_in_one_lane_holds_up_nobody_in_another() {
        let mut looker = Looker::new().unwrap();
        let (release, released) = mpsc::channel::<()>();
        let released = Arc::new(std::sync::Mutex::new(released));
        for _ in 0..AT_ONCE {
            let released = Arc::clone(&released);
            let hang = move || {
                drop(released.lock().map(|released| released.recv()));
                None
            };
            looker.begin(Lane::Users, Box::new(hang));
        }
        looker.look_at("/bin/true".to_owned(), registered(), false);
        looker.look_at("/bin/false".to_owned(), registered(), true);
        let found = file(&mut looker);
        assert_eq!(found.path, "/bin/false");
        assert!(found.program.unwrap().is_ok());
        assert!(looker.next().is_none());
        // When the first ones come back, those that wait have their turn.
        drop(release);
        assert_eq!(file(&mut looker).path, "/bin/true");
    }

    #[test]
    fn a_file_that_is_the_registered_one_is_not_read() {
        let mut looker = Looker::new().unwrap();
        let stamp = identity::stamp_again(Path::new("/bin/true")).unwrap();
        let before = Registered {
            device: stamp.device,
            inode: stamp.inode,
            changed_ns: stamp.changed_ns,
            ..registered()
        };
        looker.look_at("/bin/true".to_owned(), before, true);
        assert!(file(&mut looker).program.is_none());
        std::thread::sleep(Duration::from_millis(20));
        assert!(looker.next().is_none());
    }
}
