//! What the keeper sleeps until: somebody has something to say, or a deadline.

use std::os::fd::AsFd as _;
use std::time::Instant;

use rustix::event::{PollFd, PollFlags, Timespec, poll};

use super::{Keeper, ROUND, files, signals};
use crate::failure::Failure;

impl Keeper {
    pub(super) fn wait(
        &self,
        signals: &signals::Signals,
        files: Option<&files::Files>,
    ) -> Result<Woken, Failure> {
        let timeout = self.timeout();
        let readable = |fd| PollFd::from_borrowed_fd(fd, PollFlags::IN);
        let mut waiting = vec![
            readable(signals.as_fd()),
            readable(self.sockets.root.as_fd()),
        ];
        // Those that may not be there have an end that never has anything to say in their place.
        waiting.push(files.map_or_else(|| silent(signals), |files| readable(files.as_fd())));
        match &self.watcher {
            Some(watcher) => {
                waiting.push(if watcher.gone {
                    silent(signals)
                } else {
                    watcher.served.poll(&self.waiting)
                });
                waiting.push(readable(watcher.ended()));
            }
            None => waiting.extend([silent(signals), silent(signals)]),
        }
        waiting.push(readable(self.looker.as_fd()));
        waiting.push(readable(self.code.as_fd()));
        waiting.push(readable(self.forward.as_fd()));
        for fd in [self.seats.sessions(), self.seats.devices()] {
            waiting.push(fd.map_or_else(|| silent(signals), readable));
        }
        waiting.extend(self.hold.poll());
        match poll(&mut waiting, timeout.as_ref()) {
            Ok(_) => {}
            Err(rustix::io::Errno::INTR) => return Ok(Woken::default()),
            Err(error) => return Err(Failure::failed(format!("poll: {error}"))),
        }
        let woken = |at: usize| !waiting[at].revents().is_empty();
        Ok(Woken {
            signal: woken(0),
            root: woken(1),
            files: woken(2),
            watcher: woken(3),
            ended: woken(4),
            looked: woken(5),
            code: woken(6),
            forward: woken(7),
            sessions: woken(8),
            devices: woken(9),
        })
    }

    /// Until there is something to do unasked; none when nothing is due.
    fn timeout(&self) -> Option<Timespec> {
        let busy = self.notifier.is_busy() || self.unshared || self.registry.is_unsaved();
        let until = |moment: Instant| moment.saturating_duration_since(Instant::now());
        let pulse = self.watcher.as_ref().filter(|watcher| !watcher.gone);
        let pulse = pulse.map(|watcher| watcher.pulse.due());
        let due = [
            self.restart_at.map(until),
            self.ending.map(until),
            self.pace.next().map(until),
            pulse.map(until),
            self.notifier.next_deadline().map(until),
            self.syslog.due().map(until),
            busy.then_some(ROUND),
        ];
        let due = due.into_iter().flatten().min()?;
        Some(Timespec {
            tv_sec: i64::try_from(due.as_secs()).unwrap_or(i64::MAX),
            tv_nsec: due.subsec_nanos().into(),
        })
    }
}

/// Who has something to say.
#[derive(Default)]
pub(super) struct Woken {
    pub(super) signal: bool,
    pub(super) root: bool,
    pub(super) files: bool,
    pub(super) watcher: bool,
    pub(super) ended: bool,
    pub(super) looked: bool,
    pub(super) code: bool,
    pub(super) forward: bool,
    pub(super) sessions: bool,
    pub(super) devices: bool,
}

impl Woken {
    pub(super) const fn is_usual(&self) -> bool {
        (self.watcher || self.code || self.devices)
            && !(self.signal
                || self.root
                || self.files
                || self.ended
                || self.looked
                || self.forward
                || self.sessions)
    }
}

/// A place in the list for something that is not there.
fn silent(signals: &signals::Signals) -> PollFd<'_> {
    PollFd::from_borrowed_fd(signals.as_fd(), PollFlags::empty())
}
