//! Who sits at this machine: the keeper tells the gate, which knows itself when the keyboard or the
//! mouse was used last.

use std::mem::MaybeUninit;
use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};
use std::path::Path;

use linux::gate::Gate;
use linux::presence::{SESSIONS, seated};
use rustix::fs::inotify::{self, CreateFlags, WatchFlags};

use super::Keeper;
use crate::clock;
use crate::output::trouble;

/// Follows logind's sessions.
pub struct Seats {
    changes: Option<OwnedFd>,
    /// Whether the gate sees input at all.
    sees_input: bool,
}

impl Seats {
    /// Tells the gate who is there now, and follows who comes and goes.
    pub fn follow(gate: &mut Gate) -> Self {
        let flags = CreateFlags::CLOEXEC | CreateFlags::NONBLOCK;
        let seats = Self {
            changes: inotify::init(flags).ok(),
            sees_input: gate.sees_input(),
        };
        seats.tell(gate);
        seats
    }

    /// Becomes readable when a session came, went or changed; none where that cannot be followed.
    pub fn as_fd(&self) -> Option<BorrowedFd<'_>> {
        self.changes.as_ref().map(OwnedFd::as_fd)
    }

    /// Takes note of changes.
    fn changed(&self, gate: &mut Gate) {
        if let Some(changes) = &self.changes {
            let mut buffer = [MaybeUninit::uninit(); 4096];
            let mut reader = inotify::Reader::new(changes, &mut buffer);
            while reader.next().is_ok() {}
        }
        self.tell(gate);
    }

    fn tell(&self, gate: &mut Gate) {
        let Some(changes) = &self.changes else { return };
        // The daemon starts before logind, whose folder comes later.
        let sessions = Path::new(SESSIONS);
        let folders = [sessions.parent().and_then(Path::parent), sessions.parent()];
        for folder in folders.into_iter().flatten() {
            let _ = inotify::add_watch(changes, folder, WatchFlags::CREATE | WatchFlags::ONLYDIR);
        }
        let of_sessions = WatchFlags::CLOSE_WRITE | WatchFlags::MOVED_TO | WatchFlags::DELETE;
        let is_watched =
            inotify::add_watch(changes, sessions, of_sessions | WatchFlags::ONLYDIR).is_ok();
        let who = seated(sessions).filter(|_| is_watched && self.sees_input);
        if let Err(error) = gate.set_seated(who.as_ref(), clock::boot_ns()) {
            trouble(&format!("who uses this machine is not known: {error}"));
        }
    }
}

impl Keeper {
    /// A session came, went or changed.
    pub(super) fn sessions_changed(&mut self) {
        self.seats.changed(&mut self.gate);
    }
}
